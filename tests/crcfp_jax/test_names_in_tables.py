"""Names in tables, whole in the narrowest terminal."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.doctor.render import _rich_table
from crcfp_jax.evaluation.result import result_table
from data_pipelines.build import _print_tiles
from data_pipelines.data_set import Record

NAME = "Tumour-infiltrating_lymphocytes_and_plasma_cells_of_the_invasive_margin_beyond_60_letters"
ROW = {"iou": 50.0, "dice": 60.0, "precision": 70.0, "recall": 80.0, "support": 9}
RESULT = {"accuracy": 1.0, "mean_iou": 50.0, "mean_dice": 60.0, "per_class": {NAME: ROW}}


def built(console):
    record = Record("a", "train", 0, "H", "P", "I", 0, 0, True, 0.5, 8, 8, None)
    classes = (ClassInfo(NAME, (1, 2, 3)),)
    _print_tiles(
        SimpleNamespace(name="d", records=[record], classes=classes, pixels={"train": [9], "test": [8]}), console
    )


@pytest.mark.parametrize(
    "show",
    [
        lambda console: console.print(result_table(RESULT)),
        lambda console: console.print(_rich_table("t", ("class", "mm²", "share of pixels"), [(NAME, "1.5", "30")])),
        built,
    ],
)
def test_a_long_name_is_folded_not_cut(show):
    console = Console(width=80, record=True, file=io.StringIO())
    show(console)
    lines = console.export_text().splitlines()
    assert "…" not in "".join(lines)
    letters = [character for character in "".join(lines) if character in NAME]
    found = iter(letters)
    assert all(letter in found for letter in NAME)
