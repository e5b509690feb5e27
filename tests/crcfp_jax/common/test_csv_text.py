"""Tables whose cells others have named."""

import csv
import io
import os

import pytest

from crcfp_jax.common.csv_text import cell_text, csv_text


def test_rows_are_what_csv_reads_back():
    rows = [["name", "n"], ['a "b", c', 1], ["two\nlines", -0.5], ["-", None], ["-1.5", "+3"], ["", True]]
    read = list(csv.reader(io.StringIO(csv_text(rows).decode(), newline="")))
    assert read == [["name", "n"], ['a "b", c', "1"], ["two\nlines", "-0.5"], ["-", ""], ["-1.5", "+3"], ["", "True"]]
    assert b"\r" not in csv_text(rows)


@pytest.mark.parametrize("text", ["=1+1", "=cmd|' /C calc'!A0", "+2.0 (1.4)", "-x.png", "@SUM(A1)", "\tx"])
def test_formulas_are_text(text):
    ((cell,),) = csv.reader(io.StringIO(csv_text([[text]]).decode(), newline=""))
    assert cell == f"'{text}" == cell_text(text)


@pytest.mark.parametrize("text", ["'quoted'", "'", "a.png", "x=1", "-"])
def test_other_text_stays(text):
    assert csv_text([[text]]).decode() == f"{text}\n" and cell_text(text) == text


def test_a_carriage_return_ends_no_row():
    assert csv_text([["a\rb", 1]]) == b"a\\rb,1\n" and cell_text("a\rb") == r"a\rb"


def test_names_that_are_no_utf8_are_escaped():
    name = os.fsdecode(b"caf\xe9.png")
    assert csv_text([[name]]) == b"caf\\udce9.png\n" and cell_text(name) == r"caf\udce9.png"
