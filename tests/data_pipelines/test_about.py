"""A data set's folder says all of itself: splits, licence and description beside the index, and no part of it."""

import dataclasses
import json
import shutil

import pytest
from raw_folders import write_bcss

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build
from data_pipelines.data_set import open_data_set
from data_pipelines.recipes import find_recipe
from data_pipelines.splits import make_split
from data_pipelines.units import splits_to_json


@pytest.fixture
def built(tmp_path):
    """A data set of three hospitals, in `tmp_path / 'data'`."""
    write_bcss(tmp_path / "raw", ("A1", "A2", "OL"), height=40, width=30)
    return build("bcss", tmp_path / "raw", tmp_path / "data")


def test_the_index_is_as_it_was_before_there_were_splits_in_the_folder(built):
    """Byte for byte, or every run on a data set built before would take a new build for another one."""
    index = json.loads((built.path / "index.json").read_text())
    keys = ["name", "version", "classes", "microns_per_pixel", "options", "pixels", "skipped", "content"]
    assert list(index) == [*keys, "files", "columns", "records"]
    files = {path.name for path in built.path.iterdir()}
    assert files - index["files"].keys() == {"index.json", "splits.json", "about.json"}
    # Its length is in the index; TFDS would write the name of the module that the class lies in.
    assert json.loads((built.path / "dataset_info.json").read_text())["moduleName"] == "data_pipelines.builders.base"


def test_splits_and_licence_come_from_the_folder_and_may_be_edited(built, tmp_path):
    recipe = find_recipe("bcss")
    assert splits_to_json(built.splits) == splits_to_json(recipe.splits)
    assert (built.licence, built.description) == ("CC0 1.0", recipe.description)
    lists = {"default": "site", "units": {"site": {"field": "hospital", "fractions": {"1/2": 1, "1/1": 2}}}}
    (built.path / "splits.json").write_text(json.dumps(lists))
    (built.path / "about.json").write_text(json.dumps({"licence": "ours"}))
    edited = open_data_set(tmp_path / "data", "bcss")
    assert edited.fingerprint == built.fingerprint
    assert edited.splits.units[0].name == "site" and (edited.licence, edited.description) == ("ours", "")
    assert len(make_split(edited, "1/2", 1, validation=False).labelled) == 1


def test_a_data_set_built_before_has_its_recipes(built, tmp_path):
    for file in ("splits.json", "about.json"):
        (built.path / file).unlink()
    older = open_data_set(tmp_path / "data", "bcss")
    assert older.fingerprint == built.fingerprint and older.splits == find_recipe("bcss").splits
    assert older.licence == "CC0 1.0"


def test_a_name_that_stands_nowhere_opens_and_without_splits_is_told(built, tmp_path):
    shutil.move(built.path.parent, tmp_path / "data" / "tnbc")
    moved = open_data_set(tmp_path / "data", "tnbc")
    assert moved.name == "tnbc" and moved.records == built.records and moved.splits == built.splits
    index = tmp_path / "data" / "tnbc" / "1.0.0" / "index.json"
    index.write_text(index.read_text().replace('"name": "bcss"', '"name": "tnbc"'))
    (index.parent / "splits.json").unlink()
    with pytest.raises(
        UserError, match=r"splits\.json is missing, .* build it again by the recipe that it was made by"
    ):
        open_data_set(tmp_path / "data", "tnbc")


def test_neither_a_data_set_nor_a_recipe(tmp_path):
    with pytest.raises(UserError) as told:
        open_data_set(tmp_path, "tnbc")
    assert str(told.value) == (
        f"there is no data set 'tnbc' in {tmp_path}, and no recipe of that name; there are recipes for bcss, ebhi, "
        "folder, glas, monuseg, synthetic"
    )


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("splits.json", b"\xff\xfe", "codec can't decode"),
        ("splits.json", b'{"units": ', "Expecting value"),
        ("splits.json", b"null", "it is missing"),
        ("splits.json", b'{"default": "hospital", "units": {"hospital": {"fractions": {"1/8": "one"}}}}', "has 'one'"),
        ("about.json", b"[]", "description and licence should be two texts"),
        ("about.json", b'{"licence": 3}', "description and licence should be two texts"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(built, tmp_path, file, content, named):
    (built.path / file).write_bytes(content)
    with pytest.raises(UserError) as told:
        open_data_set(tmp_path / "data", "bcss")
    message = str(told.value)
    assert message.startswith(f"{built.path / file} can't be used (") and named in message and "\n" not in message
    assert message.endswith(f"build bcss --raw_dir RAW_DIR --data_dir {tmp_path / 'data'} --overwrite")


def test_splits_that_could_not_be_opened_are_no_recipes():
    recipe = find_recipe("synthetic")
    broken = dataclasses.replace(recipe.splits.units[0], fractions={"1/8": 0})
    with pytest.raises(ValueError, match=r"units\.hospital\.fractions has 0 for 1/8"):
        dataclasses.replace(recipe, splits=dataclasses.replace(recipe.splits, units=(broken,)))
