"""The paper's figures: every row is there, digit for digit, and its slips are marked."""

from collections import Counter

import pytest

from crcfp_jax.common.words import METRICS
from crcfp_jax.tables.definitions import DATA, SYSTEMS, TABLES
from crcfp_jax.tables.paper import PaperFigure, find_row, paper_rows, source
from data_pipelines.recipes import unit_name

BCSS, MONUSEG = ("bcss", ["hospital"]), ("monuseg", ["crop"])


def printed(*place):
    return [figure.printed for figure in find_row(*place).figures.values()]


def test_every_row_of_the_papers_tables_is_there_once():
    # Shares x methods and supervised 1/1: 3 x 4 + 1, 3 x 5 + 1, 3 x 4 + 1; 3 x 4 schemes; 6 numbers each
    assert Counter(row.table for row in paper_rows()) == {1: 13, 2: 16, 3: 13, 4: 12, 5: 6, 6: 6}
    places = [(row.table, row.fraction, row.system, row.value) for row in paper_rows()]
    assert len(set(places)) == len(places) == 66
    assert "2301.13141" in source()


def test_rows_are_where_the_grids_have_them():
    for row in paper_rows():
        table = TABLES[row.table]
        assert row.data == table.data and row.system in table.systems and row.system in SYSTEMS
        assert row.split_unit == unit_name(row.data, "default")
        assert row.fraction in (*DATA[row.data].fractions, "1/1")
        assert row.value is None if table.sweep is None else row.value in table.sweep.values
        assert list(row.figures) == (["mean_iou"] if row.table == 4 else list(METRICS))
    assert {row.system for row in paper_rows() if row.fraction == "1/1"} == {"supervised"}
    assert {row.data for row in paper_rows() if row.system == "cdcl"} == {"monuseg"}
    for number in (5, 6):
        assert tuple(row.value for row in paper_rows() if row.table == number) == TABLES[number].sweep.values


# Read in the paper by eye.
@pytest.mark.parametrize(
    ("place", "figures"),
    [
        ((1, *BCSS, "1/8", "supervised", None), ["40.99 (7.96)", "55.96 (9.1)", "66.53 (6.07)"]),
        ((1, *BCSS, "1/4", "cct", None), ["30.63 (2.19)", "43.24 (3.33)", "62.43 (0.89)"]),
        ((1, *BCSS, "1/2", "supervised", None), ["56.26 (1.19)", "71.33 (0.98)", "78.07 (1.031)"]),
        ((1, *BCSS, "1/2", "crcfp", None), ["61.86 (0.63)", "75.73 (0.59)", "81.18 (0.27)"]),
        ((1, *BCSS, "1/1", "supervised", None), ["61.29 (0.26)", "75.49 (0.12)", "81.10 (0.09)"]),
        ((2, *MONUSEG, "1/32", "cdcl", None), ["62.72 (1.83)", "75.95 (75.95)", "81.66 (1.57)"]),
        ((2, *MONUSEG, "1/16", "supervised", None), ["56.20 (5.76)", "70.80 (4.58)", "75.27 (75.27)"]),
        ((2, *MONUSEG, "1/8", "cct", None), ["40.9 (0.13)", "50.00 (0.54)", "74.63 (0.42)"]),
        ((2, *MONUSEG, "1/8", "crcfp", None), ["75.57 (0.85)", "85.19 (0.54)", "90.28 (0.42)"]),
        ((2, *MONUSEG, "1/1", "supervised", None), ["71.29 (0.16)", "82.49 (0.11)", "87.52 (0.09)"]),
        ((3, *BCSS, "1/8", "cac", None), ["46.91 (6.79)", "61.92 (6.74)", "72.01 (3.85)"]),
        ((3, *BCSS, "1/2", "supervised", None), ["60.37 (1.89)", "74.5 (1.58)", "80.57 (0.86)"]),
        ((3, *BCSS, "1/1", "supervised", None), ["62.33 (1.04)", "76.22 (0.73)", "81.68 (0.58)"]),
        ((4, *BCSS, "1/8", "crcfp_s2", None), ["45.76 (6.12)"]),
        ((4, *BCSS, "1/2", "cac", None), ["60.44 (1.48)"]),
        ((5, *BCSS, "1/8", "crcfp", 500), ["45.81 (7.78)", "59.86 (8.88)", "70.05 (5.30)"]),
        ((5, *BCSS, "1/8", "crcfp", 3200), ["48.34 (5.25)", "63.83 (5.01)", "73.06 (3.59)"]),
        ((6, *BCSS, "1/8", "crcfp", 1), ["43.94 (7.95)", "58.9 (8.27)", "69.14 (5.54)"]),
        ((6, *BCSS, "1/8", "crcfp", 10), ["45.68 (6.79)", "60.64 (7.20)", "71.84 (3.99)"]),
    ],
)
def test_figures_are_digit_for_digit(place, figures):
    assert printed(*place) == figures


def test_the_schemes_and_the_recommended_settings_repeat_table_1():
    for fraction in ("1/8", "1/4", "1/2"):
        for system in ("supervised", "cac", "crcfp"):
            (scheme,) = printed(4, *BCSS, fraction, system, None)
            assert scheme == printed(1, *BCSS, fraction, system, None)[0]
    main = printed(1, *BCSS, "1/8", "crcfp", None)
    assert printed(5, *BCSS, "1/8", "crcfp", 1200) == printed(6, *BCSS, "1/8", "crcfp", 4) == main


def test_every_slip_is_marked_and_nothing_else():
    figures = [
        (row.table, row.fraction, row.system, metric, figure)
        for row in paper_rows()
        for metric, figure in row.figures.items()
    ]
    assert [place[:-1] for place in figures if place[-1].slip] == [
        (2, "1/32", "cdcl", "mean_dice"), (2, "1/16", "supervised", "accuracy"),
    ]  # fmt: skip
    assert all(figure.slip == (figure.mean == figure.deviation) for *_, figure in figures)
    assert all(0 < figure.deviation < 10 < figure.mean < 100 for *_, figure in figures if not figure.slip)


def test_a_figures_numbers():
    figure = PaperFigure("78.07 (1.031)")
    assert (figure.mean, figure.deviation, figure.slip) == (78.07, 1.031, False)


def test_no_row_for_other_runs():
    assert find_row(2, "monuseg", ["image"], "1/32", "crcfp", None) is None
    assert find_row(2, "monuseg", ["crop", "image"], "1/32", "crcfp", None) is None
    assert find_row(1, "synthetic", ["hospital"], "1/8", "crcfp", None) is None
    assert find_row(1, *BCSS, "1/8", "supervised_plain", None) is None
    assert find_row(1, *BCSS, "1/8", "cdcl", None) is None
    assert find_row(6, *BCSS, "1/8", "crcfp", 3) is None and find_row(5, *BCSS, "1/8", "cac", 100) is None


def test_a_moved_number_of_negatives_finds_the_nearest_row():
    values = {number: find_row(5, *BCSS, "1/8", "crcfp", number) for number in (95, 94, 105, 106, 496, 1200)}
    assert {number: row and row.value for number, row in values.items()} == {
        95: 100, 94: None, 105: 100, 106: None, 496: 500, 1200: 1200
    }  # fmt: skip
