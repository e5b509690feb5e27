"""The command: files of every kind, figures skipped with a line, bad input."""

import csv
import io
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from figure_runs import write_run
from PIL import Image

pytest.importorskip("matplotlib")

from crcfp_jax.common.errors import UserError
from crcfp_jax.figures.__main__ import FIGURES, check_packages, main
from crcfp_jax.figures.output import save
from crcfp_jax.figures.style import TYPE, Drawing, picture_grid, styled


def check_pictures(folder: Path, name: str):
    """Both pictures open; returns the size of the PNG in inches."""
    assert xml.etree.ElementTree.parse(folder / f"{name}.svg").getroot().tag.endswith("svg")
    with Image.open(folder / f"{name}.png") as picture:
        picture.load()
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=1)
        return picture.width / 300, picture.height / 300


def test_a_sweep_gives_its_curve_and_says_what_is_missing(tmp_path, capsys):
    for negatives in (100, 1200):
        for seed in (1, 2):
            folder = tmp_path / "runs" / f"crcfp-negatives{negatives}-1_8-seed{seed}"
            write_run(folder, seed=seed, score=50 + seed, **{"contrastive.negatives": negatives})
    main([str(tmp_path), "--output", str(tmp_path / "out"), "--only", "negatives,classifiers,supervised_vs_semi"])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "compared: crcfp, fraction 1/8, seed 1"
    assert told[1] == f"negatives: {tmp_path / 'out' / 'negatives'}.{{png,svg,csv,json}}"  # json: the paper's
    assert told[2].startswith("classifiers: skipped, needs finished runs") and "crcfp_jax.tables 6" in told[2]
    assert told[3].startswith("supervised_vs_semi: skipped, needs finished runs of a supervised")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"negatives.{e}" for e in ("csv", "json", "png", "svg")
    ]
    check_pictures(tmp_path / "out", "negatives")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "negatives.csv").read_text())))
    assert [(row["negatives"], row["seed"], row["mean_iou"]) for row in rows] == [
        ("100", "1", "51.0"), ("100", "2", "52.0"), ("1200", "1", "51.0"), ("1200", "2", "52.0"),
    ]  # fmt: skip


def test_runs_that_give_nothing_and_unknown_names(tmp_path):
    run = write_run(tmp_path / "run")
    with pytest.raises(UserError, match="no figure can be drawn: negatives needs finished runs"):
        main([str(run), "--output", str(tmp_path / "out"), "--only", "negatives"])
    with pytest.raises(UserError, match="--only umap: umap; known figures: supervised_vs_semi, negatives"):
        main([str(run), "--output", str(tmp_path / "out"), "--only", "umap"])
    assert not (tmp_path / "out").exists()


def test_a_data_set_that_is_not_built_is_told_once_the_other_figures_are_drawn(tmp_path):
    for method in ("supervised", "crcfp"):
        write_run(tmp_path / "runs" / method, method, **{"data.dir": str(tmp_path / "none")})
    arguments = ["--only", "clusters,supervised_vs_semi"]
    with pytest.raises(UserError, match=r"^clusters: .*runs/supervised: data set 'bcss' is not built in .*none"):
        main([str(tmp_path), "--output", str(tmp_path / "out"), *arguments])
    check_pictures(tmp_path / "out", "supervised_vs_semi")


def test_missing_packages_are_told_with_the_command():
    with pytest.raises(UserError, match=r"^figures need umap-learn: pip install 'crcfp-jax\[figures\]'"):
        check_packages(["embeddings"], lambda name: None if name == "umap" else object())
    check_packages(["negatives"], lambda name: None if name == "umap" else object())  # not needed there


def test_every_figure_has_a_function():
    import importlib

    for name, module in FIGURES.items():
        assert callable(getattr(importlib.import_module(f"crcfp_jax.figures.{module}"), name))


@styled
def grid(columns):
    return picture_grid([1.0, 1.0], [0.1, 0.3], columns, left=0.2, top=0.3, bottom=0.2, gap=0.1)


@pytest.mark.parametrize("columns", [2, 9])
def test_grids_of_pictures_fit_a_page_and_their_cells_are_square(columns, tmp_path):
    figure, rows = grid(columns)
    width, height = figure.get_size_inches()
    assert width <= 190 / 25.4 + 1e-6 and height <= 225 / 25.4 and len(rows[0]) == columns
    box = rows[1][0].get_position()
    assert box.width * width == pytest.approx(box.height * height)
    assert box.width * width <= 42 / 25.4 + 1e-6
    rows[0][0].set_title("title")
    assert rows[0][0].title.get_fontsize() >= TYPE == 8
    save(Drawing(figure, numbers={"a": np.float32(1)}, arrays={"b": np.ones(2)}), tmp_path, "grid")
    assert check_pictures(tmp_path, "grid") == pytest.approx((width, height), abs=0.01)
    assert (tmp_path / "grid.json").read_text() == '{\n  "a": 1.0\n}\n'
    assert np.load(tmp_path / "grid.npz")["b"].tolist() == [1.0, 1.0]


def test_the_same_drawing_gives_the_same_file(tmp_path):
    contents = []
    for _ in range(2):
        save(Drawing(grid(2)[0]), tmp_path, "grid")
        contents.append((tmp_path / "grid.svg").read_bytes())
    assert contents[0] == contents[1]
