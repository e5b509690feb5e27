import re
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations import masks
from data_pipelines.annotations.mask_classes import mask_label, name_values
from data_pipelines.annotations.masks import read_mask
from data_pipelines.annotations.table import read_class_table

CODES = np.array([[0, 0, 1], [2, 255, 1]])


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def named(masks, table=None, kind="auto"):
    masks = [read_mask(path) for path in masks]
    counts = {mask.path: mask.counts() for mask in masks}
    return name_values(counts, colours=masks[0].colours, table=table, kind=kind)


def write_table(tmp_path, text):
    (tmp_path / "classes.toml").write_text(text)
    return read_class_table(tmp_path / "classes.toml")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_grey_codes(tmp_path, name):
    mask = read_mask(save(tmp_path / name, CODES.astype(np.uint8)), (2, 3))
    np.testing.assert_array_equal(mask.values, CODES)
    assert not mask.colours and mask.counts() == {0: 2, 1: 2, 2: 1, 255: 1}


def test_palette_indices_as_stored(tmp_path):
    image = Image.fromarray(CODES.astype(np.uint8)).convert("L")
    image = Image.frombytes("P", image.size, CODES.astype(np.uint8).tobytes())
    image.putpalette([200, 10, 10, 0, 255, 0] + [7] * 762)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").values, CODES)


def test_sixteen_bits_and_more(tmp_path):
    numbers = np.array([[0, 300], [70, 65535]], np.uint16)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", numbers)).values, numbers)
    tifffile.imwrite(tmp_path / "b.tif", numbers.astype(np.uint32) * 3)
    np.testing.assert_array_equal(read_mask(tmp_path / "b.tif").values, numbers.astype(np.int64) * 3)


def test_few_bits_are_not_spread(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], bool))
    image.save(tmp_path / "a.png", bits=1)
    assert read_mask(tmp_path / "a.png").values.tolist() == [[0, 1], [1, 0]]


def test_colours_and_transparency(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [[200, 0, 0, 255], [0, 0, 255, 255], [9, 9, 9, 0]]
    mask = read_mask(save(tmp_path / "a.png", pixels))
    assert mask.colours and mask.values.tolist() == [[0xC80000, 0x0000FF, -1]]
    table = write_table(
        tmp_path, '[[class]]\nname = "a"\ncolour = "#c80000"\n[[class]]\nname = "b"\ncolour = "#0000ff"'
    )
    naming = named([mask.path], table)
    assert mask_label(mask, naming, {"a": 0, "b": 1}).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize(
    ("pixels", "options", "values"),
    [
        (CODES.astype(np.int32), {}, CODES),
        (CODES.astype(np.uint8), {"compression": "zlib"}, CODES),
        (CODES.astype(np.uint8), {"photometric": "miniswhite"}, CODES),
        (np.array([[False, True]]), {}, [[0, 1]]),
        (np.array([[False, True]]), {"photometric": "minisblack"}, [[0, 1]]),
        (np.full((2, 3, 3), [200, 0, 1], np.uint8), {"photometric": "rgb"}, np.full((2, 3), 0xC80001)),
        (
            np.full((3, 2, 4), 9, np.uint8),
            {"photometric": "rgb", "planarconfig": "separate"},
            np.full((2, 4), 0x90909),
        ),
    ],
)
def test_kinds_of_tiff(tmp_path, pixels, options, values):
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, **options)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif").values, values)


def test_transparent_pixels_of_a_tiff_are_unknown(tmp_path):
    pixels = np.array([[[1, 2, 3, 255], [1, 2, 3, 0]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    assert read_mask(tmp_path / "a.tif").values.tolist() == [[0x010203, -1]]


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (np.zeros((2, 8, 8), np.uint8), {"photometric": "minisblack"}, "holds several images of one size"),
        (np.full((8, 8), -1, np.int16), {}, "holds negative values (-1)"),
        (np.zeros((8, 8, 4), np.uint8), {"photometric": "separated"}, "has 4 channels (SEPARATED, uint8)"),
        (np.zeros((8, 8, 3), np.uint16), {"photometric": "rgb"}, "has 3 channels (RGB, uint16)"),
        (np.zeros((8, 8), np.uint8), {"compression": "jpeg2000"}, "is compressed as JPEG2000"),
    ],
)
def test_tiffs_that_are_no_masks(tmp_path, pixels, options, message):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(UserError, match=re.escape(message)):
        read_mask(tmp_path / "a.tif")


def test_a_tiff_that_lacks_a_part(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 3, (64, 64), np.uint8), rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        end = max(file.pages[0].dataoffsets) + 4
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(UserError, match="is truncated or damaged: copy it again"):
        read_mask(path)


def test_a_tiff_whose_pages_go_round_in_a_circle(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=None)
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack("<I", content[4:8])
    (tags,) = struct.unpack("<H", content[first : first + 2])
    content[first + 2 + 12 * tags : first + 6 + 12 * tags] = struct.pack("<I", first)
    path.write_bytes(content)
    with pytest.raises(UserError, match="its chain of images is a circle"):
        read_mask(path)


def test_a_picture_of_16_bits_a_colour_is_no_mask(tmp_path):
    """Pillow would cut off the lower bytes."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint16))
    with pytest.raises(UserError, match="is a picture of the kind RGB with 16 bits, not a mask"):
        read_mask(tmp_path / "a.png")


def test_ignored_codes_and_colours(tmp_path):
    table = write_table(
        tmp_path, 'ignored = [0, "#ffffff"]\n[[class]]\nname = "a"\nvalues = [1, 2]\ncolour = "#010203"'
    )
    mask = read_mask(save(tmp_path / "a.png", CODES.astype(np.uint8)))
    assert mask_label(mask, named([mask.path], table), {"a": 0}).tolist() == [[255, 255, 0], [0, 255, 0]]
    mask = read_mask(save(tmp_path / "b.png", np.array([[[1, 2, 3], [255, 255, 255]]], np.uint8)))
    assert mask_label(mask, named([mask.path], table), {"a": 4}).tolist() == [[4, 255]]


def test_many_rows_and_values_are_looked_at_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "BLOCK", 16)
    for dtype in (np.uint8, np.int32):
        values = np.random.default_rng(0).integers(0, 5, (30, 7)).astype(dtype)
        mask = masks.Mask(tmp_path, values, colours=False)
        assert mask.counts() == {value: int((values == value).sum()) for value in range(5)}
        np.testing.assert_array_equal(mask.label({value: 9 - value for value in range(5)}), 9 - values)


def test_meaning_of_codes(tmp_path):
    naming = named([save(tmp_path / "a.png", CODES.astype(np.uint8))])
    assert [naming.of(value) for value in (0, 1, 2, 255)] == ["background", "class 1", "class 2", None]


def test_black_and_white_over_all_masks(tmp_path):
    first = save(tmp_path / "a.png", np.array([[0, 255]], np.uint8))
    second = save(tmp_path / "b.png", np.array([[0, 0]], np.uint8))
    naming = named([first, second])
    assert [naming.of(value) for value in (0, 255)] == ["background", "foreground"]
    third = save(tmp_path / "c.png", np.array([[0, 1]], np.uint8))  # then 255 is what is not annotated
    assert named([first, second, third]).of(255) is None


def test_numbers_of_objects(tmp_path):
    path = save(tmp_path / "a.png", np.arange(40, dtype=np.uint16).reshape(4, 10) * 9)
    naming = named([path], kind="instances")
    assert [naming.of(value) for value in (0, 9, 351)] == ["background", "object", "object"]
    table = write_table(tmp_path, '[[class]]\nname = "background"\n[[class]]\nname = "gland"')
    assert named([path], table, kind="instances").of(9) == "gland"
    assert mask_label(read_mask(path), naming, {"background": 0, "object": 1}).sum() == 39


def test_values_of_a_table(tmp_path):
    table = write_table(tmp_path, '[[class]]\nname = "a"\nvalues = [0, 2]\n[[class]]\nname = "b"\nvalues = [1]')
    mask = read_mask(save(tmp_path / "a.png", CODES.astype(np.uint8)))
    label = mask_label(mask, named([mask.path], table), {"a": 0, "b": 1})
    assert label.tolist() == [[0, 0, 1], [0, 255, 1]]


@pytest.mark.parametrize(
    ("pixels", "table", "message"),
    [
        (
            [[0, 7, 7, 7]],
            '[[class]]\nname = "a"\nvalues = [0]',
            "a.png holds the values 7 (3 pixels) of no class: give a class of CLASSES values = [7], or write ignored ="
            " [7], and so on",
        ),
        (
            [[0, 7, 7, 7]],
            '[[class]]\nname = "a"',
            "a.png holds the values 7 (3 pixels), 0 (1 pixels), and CLASSES says of no class which value it has: give"
            " classes values = [...], or build with --mask instances",
        ),
        (
            [list(range(40))],
            None,
            "a.png holds 40 different values: if they number objects of one class, build with --mask instances; else"
            " list them in classes.toml",
        ),
        (
            [[[200, 0, 0], [200, 0, 0], [200, 0, 0], [0, 0, 0]]],
            None,
            "a.png holds the colours #c80000 (3 pixels), #000000 (1 pixels) of no class: write a classes.toml into"
            " the study's folder, with names of your own: class = ["
            '{name = "class 1", colour = "#c80000"}, {name = "class 2", colour = "#000000"}]',
        ),
    ],
)
def test_values_that_mean_nothing(tmp_path, pixels, table, message):
    path = save(tmp_path / "a.png", np.array(pixels, np.uint8))
    table = table and write_table(tmp_path, table)
    with pytest.raises(UserError) as told:
        named([path], table)
    assert str(told.value) == f"{tmp_path}/{message}".replace("CLASSES", f"{tmp_path}/classes.toml")


def test_what_is_no_mask(tmp_path):
    grey = np.zeros((8, 8), np.uint8)
    with pytest.raises(UserError, match="a JPEG alters the values of a mask"):
        read_mask(save(tmp_path / "a.jpg", grey))
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((8, 8), np.float32))
    with pytest.raises(UserError, match="holds float32 values, not whole numbers"):
        read_mask(tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "c.tif", grey, compression="jpeg")
    with pytest.raises(UserError, match="is compressed as JPEG"):
        read_mask(tmp_path / "c.tif")
    with pytest.raises(UserError, match=re.escape("8 x 8 pixels, its image 9 x 8: a mask has the size of its image")):
        read_mask(save(tmp_path / "d.png", grey), (8, 9))
    content = (tmp_path / "d.png").read_bytes()
    (tmp_path / "e.png").write_bytes(content[:-20])
    with pytest.raises(UserError, match="is truncated or damaged"):
        read_mask(tmp_path / "e.png")


def test_masks_of_glands(real_data):
    paths = sorted((real_data / "glas" / "instance_masks").iterdir())[:6]
    naming = named(paths, kind="instances")
    for path in paths:
        with Image.open(path) as image:
            expected = (np.asarray(image) > 0).astype(np.uint8)
        np.testing.assert_array_equal(mask_label(read_mask(path), naming, {"background": 0, "object": 1}), expected)


def test_masks_of_one_bit(real_data):
    paths = sorted((real_data / "ebhi_seg" / "masks").iterdir())[:6]
    naming = named(paths)
    assert [naming.of(value) for value in (0, 1)] == ["background", "foreground"]
    with Image.open(paths[0]) as image:
        expected = np.asarray(image).sum()
    assert mask_label(read_mask(paths[0]), naming, {"background": 0, "foreground": 1}).sum() == expected


def test_a_mask_of_codes_and_its_table(tmp_path, real_data):
    (path,) = (real_data / "bcss_sample" / "masks").iterdir()
    text = 'ignored = [7]\n[[class]]\nname = "tumour"\nvalues = [1, 19]\n[[class]]\nname = "rest"\nvalues = [2, 4]'
    label = mask_label(read_mask(path), named([path], write_table(tmp_path, text)), {"tumour": 0, "rest": 1})
    with Image.open(path) as image:
        codes = np.asarray(image)
    np.testing.assert_array_equal(label, np.array([9, 0, 1, 9, 1, 9, 9, 255], np.uint8)[codes])
