import re

import pytest

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.choice import PALETTE, choose_classes
from data_pipelines.annotations.table import ClassRow, is_frame, is_ignored, read_class_table

TABLE = """
background = "stroma"
ignored = ["fold", 7, "#00FF00"]
unclassified = "Tumor"
[[class]]
name = "stroma"
[[class]]
name = "tumour"
colour = "#c80010"
aliases = ["Tumor", "carcinoma in situ"]
values = [1, 2]
"""


def write(tmp_path, text):
    (tmp_path / "classes.toml").write_text(text)
    return read_class_table(tmp_path / "classes.toml")


def test_table(tmp_path):
    table = write(tmp_path, TABLE)
    assert table.rows == (
        ClassRow("stroma", None),
        ClassRow("tumour", (200, 0, 16), ("Tumor", "carcinoma in situ"), (1, 2)),
    )
    assert table.background == "stroma" and table.unclassified == "Tumor" and table.known == "stroma, tumour, fold"
    assert table.by_value == {7: None, 1: "tumour", 2: "tumour"}
    assert table.by_colour == {0x00FF00: None, 0xC80010: "tumour"}
    assert [table.find(name) for name in ("Stroma", "TUMOR", "carcinoma  in situ", "Fold", "x")] == [0, 1, 1, 255, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[class]", "is no TOML"),
        ("", "it has no classes: write an entry [[class]] with a name for each"),
        ("classes = 1", "'classes' is unknown; known are [[class]], background, unclassified and ignored"),
        ("[[class]]\nnames = 'a'", "class 1 has 'names'; known are name, colour, aliases and values"),
        ("[[class]]\ncolour = 'a'", "class 1 has no name"),
        ("[[class]]\nname = 'a'\ncolour = 'red'", 'class 1: colour should be "#c80000" or [200, 0, 0]'),
        ("[[class]]\nname = 'a'\nvalues = ['1']", "class 1: values should be a list of whole numbers"),
        ("[[class]]\nname = 'a'\naliases = 'b'", "class 1: aliases should be a list of names"),
        ("[[class]]\nname = 'a'\n[[class]]\nname = ' A'", "the name 'A' is there twice: leave one out"),
        ("ignored = ['a']\n[[class]]\nname = 'a'", "the name 'a' is there twice"),
        ("[[class]]\nname='a'\nvalues=[1]\n[[class]]\nname='b'\nvalues=[1]", "the value 1 is there twice"),
        ("ignored = [7]\n[[class]]\nname='a'\nvalues=[7]", "the value 7 is there twice"),
        ("ignored = ['']\n[[class]]\nname='a'", "ignored should be a list of names, codes or colours, such as"),
        ("[[class]]\nname='a'\ncolour='#010203'\n[[class]]\nname='b'\ncolour=[1, 2, 3]", "the colour (1, 2, 3) is"),
        ("[[class]]\nname='a'\nvalues=[-1]", "class 1: values should be a list of whole numbers"),
        ("background = 3\n[[class]]\nname = 'a'", "background is no name"),
        ("unclassified = 'b'\n[[class]]\nname = 'a'", "unclassified is 'b', which is none of a"),
    ],
)
def test_faults(tmp_path, text, message):
    with pytest.raises(UserError, match=re.escape(message)) as told:
        write(tmp_path, text)
    assert str(told.value).startswith(f"{tmp_path}/classes.toml") and "\n" not in str(told.value)


def test_frames_and_ignored_ones():
    assert is_frame("Region*") and is_frame("REGION*") and not is_frame("Region") and not is_frame(None)
    assert is_ignored("Ignore*") and not is_ignored("Tumor") and not is_ignored(None)


def test_classes_are_the_union_of_what_is_drawn():
    drawn = {"Tumor": (200, 0, 0), "stroma": None, "tumor": (1, 1, 1)}
    classes, notes = choose_classes(drawn, None, needed=["background"])
    assert classes == (
        ClassInfo("background", (235, 235, 235)),
        ClassInfo("stroma", PALETTE[0]),
        ClassInfo("Tumor", (200, 0, 0)),
    )
    assert notes == ("taken for one class: Tumor, tumor",)
    assert choose_classes({"b": None, "Background": None}, None)[0][0].name == "Background"


def test_classes_of_a_table_in_its_order(tmp_path):
    table = write(tmp_path, TABLE)
    classes, _ = choose_classes({"Tumor": (9, 9, 9), "Stroma": (0, 99, 0)}, table)
    assert classes == (ClassInfo("stroma", (0, 99, 0)), ClassInfo("tumour", (200, 0, 16)))
    assert choose_classes({}, table, needed=["fat"])[0][0].name == "fat"


def test_the_order_of_files_changes_nothing():
    drawn = {"tumor": (1, 1, 1), "Tumor ": (200, 0, 0), "class 10": None, "class 2": None, "Background": None}
    expected = choose_classes(drawn, None)
    assert [info.name for info in expected[0]] == ["Background", "class 2", "class 10", "Tumor "]
    assert choose_classes(dict(reversed(drawn.items())), None) == expected


def test_background_comes_first_where_it_is_needed():
    drawn = {"a": None, "fat": None}
    names = [info.name for info in choose_classes(drawn, None, needed=["other", "background", "fat"])[0]]
    assert names == ["background", "other", "a", "fat"]


def test_colours_are_told_apart():
    drawn = {f"class {number}": None for number in range(199)} | {"z": PALETTE[0]}
    classes, _ = choose_classes(drawn, None)
    assert len({info.colour for info in classes}) == len(classes) == 200
    with pytest.raises(UserError, match="there are 201 classes, more than 200"):
        choose_classes(drawn | {"y": None}, None)
