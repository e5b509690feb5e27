"""Recipes are found by their files, and their options are theirs alone."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from examples import EXAMPLES
from PIL import Image
from raw_folders import write_lab

from crcfp_jax.common.errors import UserError
from data_pipelines import builders
from data_pipelines.build import main
from data_pipelines.data_set import build_command, open_data_set
from data_pipelines.recipes import all_recipes, builds_itself, find_recipe, unit_name
from data_pipelines.units import Splits


def test_every_module_with_a_recipe_is_one():
    recipes = all_recipes()
    assert list(recipes) == ["bcss", "ebhi", "folder", "glas", "monuseg", "synthetic"]
    assert all(name == recipe.name for name, recipe in recipes.items())
    assert [name for name, recipe in recipes.items() if recipe.grows] == ["folder"]  # licence and units: the user's
    assert all(recipe.grows or (recipe.licence and recipe.splits.units) for recipe in recipes.values())
    assert find_recipe("raw") is None and find_recipe("no such") is None  # a helper; nothing


def test_which_needs_no_download_is_asked_by_name():
    assert [name for name in all_recipes() if builds_itself(name)] == ["synthetic"]
    assert not builds_itself("tnbc")
    assert build_command("synthetic", "d") == "python -m data_pipelines.build synthetic --data_dir d"


def test_a_units_name_without_the_data_set():
    assert unit_name("monuseg", "default") == "crop" and unit_name("monuseg", "image") == "image"
    assert unit_name("tnbc", "default") == unit_name("folder", "default") == "default"


def test_listing_recipes_loads_nothing_that_stores_them():
    program = (
        "import sys\nfrom data_pipelines.build import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(', '.join({'tensorflow_datasets', 'jax', 'grain'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in all_recipes())


def test_options_are_flags_of_their_recipe_alone(capsys):
    for name, has in (("bcss", True), ("monuseg", False)):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        told = capsys.readouterr().out
        assert ("--class_map" in told) is ("--unannotated_ok" in told) is has and "--raw_dir" in told


@pytest.fixture
def lab(monkeypatch):
    """The example of the documentation, as if its file lay in data_pipelines/builders."""
    monkeypatch.setattr(builders, "__path__", [*builders.__path__, str(EXAMPLES)])
    yield
    sys.modules.pop("data_pipelines.builders.lab", None)


def test_a_file_is_all_that_a_recipe_takes(lab, tmp_path, capsys):
    write_lab(tmp_path / "raw")
    main(["lab", "--raw_dir", str(tmp_path / "raw"), "--data_dir", str(tmp_path / "data"), "--test", "P2"])
    assert "labels by patient: 1/4, 1/1" in capsys.readouterr().out
    data_set = open_data_set(tmp_path / "data", "lab")
    assert {record.patient for record in data_set.records if record.split == "test"} == {"P2"}
    assert data_set.options == {"test": "P2"} and data_set.licence == "not to be passed on"
    with pytest.raises(UserError, match="built with test=P2, not P9; add --overwrite"):
        main(["lab", "--raw_dir", str(tmp_path / "raw"), "--data_dir", str(tmp_path / "data")])


def test_a_recipe_says_what_labels_are_given_to():
    with pytest.raises(ValueError, match="the recipe synthetic has no split unit"):
        dataclasses.replace(find_recipe("synthetic"), splits=Splits())


def test_what_is_wrong_in_its_raw_folder_is_told(lab, tmp_path, capsys):
    write_lab(tmp_path / "raw")
    where = ["--raw_dir", str(tmp_path / "raw"), "--data_dir", str(tmp_path / "data")]
    with pytest.raises(UserError, match="no annotated picture of the patient to test on: give another --test than P7"):
        main(["lab", *where, "--test", "P7"])
    (tmp_path / "raw" / "masks" / "P1_1.png").unlink()
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(tmp_path / "raw" / "masks" / "P2_1.png")
    main(["lab", *where, "--skip_bad"])
    told = " ".join(capsys.readouterr().out.split())
    assert "2 left out:" in told and "has no annotation" in told
    assert "the mask of P2_1 holds 7; known are 0 rest, 1 tumour, and 255 for not annotated" in told
    assert len(open_data_set(tmp_path / "data", "lab").records) == 8


def test_a_file_of_another_name_is_a_mistake_that_is_told(lab, tmp_path, monkeypatch):
    (tmp_path / "lab2.py").write_text((EXAMPLES / "lab.py").read_text())
    monkeypatch.setattr(builders, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"builders/lab2\.py is called 'lab': call it 'lab2'"):
        find_recipe("lab2")
    sys.modules.pop("data_pipelines.builders.lab2", None)
