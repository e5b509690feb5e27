"""Texts of pictures in letters that a font has."""

import pytest
from PIL import ImageFont

from crcfp_jax.common import drawing
from crcfp_jax.common.drawing import legible

OWN = ImageFont.load_default(15).getname()


def test_ascii_is_drawn_in_pillows_own_font():
    texts, font = legible(["Tumour: 50 %", "two\nlines"], 15)
    assert texts == ["Tumour: 50 %", "two lines"] and font.getname() == OWN


def test_without_another_font_accents_are_left_out(monkeypatch):
    monkeypatch.setattr(drawing, "FONTS", ("nowhere.ttf",))
    texts, font = legible(["Tumör", "Łagodny", "腫瘍", "10 µm²"], 15)
    assert texts == ["Tumor", "?agodny", "??", "10 ?m2"] and font.getname() == OWN


def test_a_font_that_has_the_letters_is_taken(monkeypatch):
    try:
        ImageFont.truetype("DejaVuSans.ttf", 15)
    except OSError:
        pytest.skip("no DejaVu Sans on this machine")
    monkeypatch.setattr(drawing, "FONTS", ("nowhere.ttf", "DejaVuSans.ttf"))
    texts, font = legible(["Tumör Łagodny", "腫"], 15)
    assert texts == ["Tumör Łagodny", "?"] and font.getname()[0] == "DejaVu Sans"
