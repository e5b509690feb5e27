"""Places of a slide: every pixel in one of them, and what a network says of each by hand."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from crcfp_jax.portable_model.card import Card
from crcfp_jax.slides.options import Options
from crcfp_jax.slides.plan import plan_picture
from crcfp_jax.suggest.candidates import BATCH, find_candidates
from crcfp_jax.suggest.division import divide
from data_pipelines.reading.open import open_slide

SIDE = 64


def redness(images):
    """Two classes by the red of a pixel; the window's mean colour as its features."""
    red = images[..., 0].astype(np.float32) / 255
    return {"probabilities": np.stack([red, 1 - red], axis=-1), "embedding": images.mean((1, 2)) / 255}


def look(path, group, tissue_only=False):
    """The candidates of a picture, and its pixels."""
    options = Options(1.0, None, SIDE, overlap=0.0, batch_size=BATCH, tissue_only=tissue_only, formats=("mask",))
    done = []
    with open_slide(path) as slide, ThreadPoolExecutor(2) as pool:
        card = object.__new__(Card)  # of which the plan asks for the pixel sizes alone
        for name in ("microns_per_pixel", "data_microns_per_pixel"):
            object.__setattr__(card, name, 1.0)
        plan = plan_picture(slide, card, options)
        found = find_candidates(plan, redness, classes=2, division=divide(plan, group), pool=pool, advance=done.append)
        return found, plan.view.read(0, 0, *plan.view.size), sum(done)


@pytest.mark.parametrize(
    ("size", "group", "places"),
    [((160, 100), 1, (3, 2)), ((40, 64), 1, (1, 1)), ((65, 300), 2, (1, 3)), ((448, 128), 3, (3, 1))],
)
def test_every_pixel_counts_in_one_place(tmp_path, size, group, places):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(25400,) * 2)
    found, seen, windows = look(tmp_path / "a.png", group)
    assert len(found.boxes) == places[0] * places[1]
    assert windows == -(-size[0] // SIDE) * -(-size[1] // SIDE)
    covered = np.zeros(size, int)
    for box, shares in zip(found.boxes.astype(int), found.shares, strict=True):
        left, top, width, height = box
        assert width <= group * SIDE and height <= group * SIDE
        covered[top : top + height, left : left + width] += 1
        mean = seen[top : top + height, left : left + width, 0].mean() / 255
        np.testing.assert_allclose(shares, [mean, 1 - mean], rtol=1e-5)
    assert (covered == 1).all()


def test_a_place_is_tissue_by_half(tmp_path):
    """Of two rows of three places the left ones are tissue, a third of one in the middle is, the others are glass."""
    pixels = np.full((96, 3 * SIDE, 3), 245, np.uint8)
    pixels[:, :SIDE] = pixels[:16, SIDE : 2 * SIDE] = (180, 60, 140)
    pixels = np.kron(pixels, np.ones((8, 8, 1), np.uint8))  # tissue is looked for at 8 µm
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(25400,) * 2)
    found, _, _ = look(tmp_path / "a.png", 8, tissue_only=True)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 512, 384], [0, 384, 512, 384]])
    np.testing.assert_allclose(found.shares[:, 0], 180 / 255, rtol=0.03)  # tissue has a margin, of glass
