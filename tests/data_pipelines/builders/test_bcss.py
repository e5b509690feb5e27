"""BCSS: codes, tiles and every way in which the raw folder can be wrong."""

import numpy as np
import pytest
from PIL import Image
from raw_folders import REGION, write_bcss

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build
from data_pipelines.builders.bcss import code_table
from data_pipelines.builders.raw import cut_tiles

TUMOUR, STROMA, INFLAMMATORY, NECROSIS, OTHER, IGNORED = 0, 1, 2, 3, 4, 255
A2 = REGION.format(site="A2")


def test_all_22_codes():
    expected = [IGNORED, TUMOUR, STROMA, INFLAMMATORY, NECROSIS, OTHER, OTHER, IGNORED, OTHER, OTHER]  # 0 to 9
    expected += [INFLAMMATORY, INFLAMMATORY, *[OTHER] * 7, TUMOUR, TUMOUR, OTHER]  # 10 to 21
    assert code_table("paper")[:22].tolist() == expected
    expected[0] = expected[7] = OTHER
    assert code_table("release")[:22].tolist() == expected


@pytest.mark.parametrize(("height", "width"), [(5, 7), (4, 4), (8, 4), (9, 3), (1, 1)])
def test_tiles_cover_every_pixel_once(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    label = np.random.default_rng(1).integers(0, 5, (height, width), dtype=np.uint8)
    seen = np.zeros((height, width), int)
    for x, y, tile, tile_label in cut_tiles(image, label, 4):
        assert tile.shape == (4, 4, 3) and tile_label.shape == (4, 4)
        inside = np.s_[: height - y, : width - x]
        window = np.s_[y : y + 4, x : x + 4]
        np.testing.assert_array_equal(tile[inside], image[window])
        np.testing.assert_array_equal(tile_label[inside], label[window])
        seen[window] += 1
        assert (tile_label == 255).sum() == 16 - tile_label[inside].size
    assert (seen == 1).all()


def test_edges_mirror_the_region():
    image = np.zeros((1, 3, 3), np.uint8)
    image[0, :, 0] = (10, 20, 30)
    _, (_, _, second, label) = cut_tiles(image, None, 2)
    assert second[0, :, 0].tolist() == [30, 30] and label is None


def test_records(tmp_path):
    write_bcss(tmp_path / "raw", ("A2", "OL", "S3"))
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data")
    assert [(r.split, r.hospital) for r in data_set.records[::4]] == [("train", "A2"), ("test", "OL"), ("test", "S3")]
    first = data_set.records[:4]
    assert [(r.x, r.y) for r in first] == [(0, 0), (512, 0), (0, 512), (512, 512)]
    assert {r.patient for r in first} == {"TCGA-A2-A0D2"} and {r.image for r in first} == {A2}
    assert first[1].id == f"{A2}_0_512"
    assert data_set.microns_per_pixel == 0.25
    assert [info.name for info in data_set.classes] == ["tumour", "stroma", "inflammatory", "necrosis", "other"]


def test_class_map_is_part_of_the_data_set(tmp_path):
    _, codes = write_bcss(tmp_path / "raw", height=40, width=30)[A2]
    paper = build("bcss", tmp_path / "raw", tmp_path / "data")
    with pytest.raises(UserError, match="was built with class_map=paper, not release; add --overwrite"):
        build("bcss", tmp_path / "raw", tmp_path / "data", class_map="release")
    release = build("bcss", tmp_path / "raw", tmp_path / "data", class_map="release", overwrite=True)
    ignored = int(np.isin(codes, (0, 7)).sum())
    assert sum(paper.pixels["train"]) == 1200 - ignored and sum(release.pixels["train"]) == 1200
    assert release.pixels["train"][OTHER] - paper.pixels["train"][OTHER] == ignored > 0
    assert release.fingerprint != paper.fingerprint


def _no_mask(raw):
    (raw / "masks" / f"{A2}.png").unlink()


def _no_image(raw):
    (raw / "rgbs_colorNormalized" / f"{A2}.png").unlink()


def _other_size(raw):
    Image.fromarray(np.zeros((40, 29), np.uint8)).save(raw / "masks" / f"{A2}.png")


def _unknown_code(raw):
    Image.fromarray(np.full((40, 30), 22, np.uint8)).save(raw / "masks" / f"{A2}.png")


def _colour_mask(raw):
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(raw / "masks" / f"{A2}.png")


def _truncated(raw):
    path = raw / "rgbs_colorNormalized" / f"{A2}.png"
    path.write_bytes(path.read_bytes()[:2000])


def _not_an_image(raw):
    (raw / "masks" / f"{A2}.png").write_text("404 not found")


def _odd_name(raw):
    for folder in ("masks", "rgbs_colorNormalized"):
        (raw / folder / f"{A2}.png").rename(raw / folder / "region-1.png")


FAULTS = {
    _no_mask: rf"rgbs_colorNormalized/{A2}.png has no annotation: .*masks/{A2}.png is missing",
    _no_image: rf"masks/{A2}.png has no image: .*rgbs_colorNormalized/{A2}.png is missing",
    _other_size: rf"masks/{A2}.png has 29 x 40 pixels, its image 30 x 40",
    _unknown_code: rf"masks/{A2}.png has the unknown class code 22; known are 0 to 21",
    _colour_mask: rf"masks/{A2}.png is a picture in 8-bit RGB, not a mask of class codes",
    _truncated: rf"rgbs_colorNormalized/{A2}.png is truncated or damaged",
    _not_an_image: rf"masks/{A2}.png is no PNG, so it holds no class codes",
    _odd_name: r"region-1.png: the name should have the form TCGA-",
}


@pytest.mark.parametrize("spoil", FAULTS)
def test_fault_is_named_and_skipped_on_demand(tmp_path, spoil):
    write_bcss(tmp_path / "raw", ("A1", "A2", "OL"), height=40, width=30)
    spoil(tmp_path / "raw")
    with pytest.raises(UserError, match=FAULTS[spoil] + r".*--skip_bad") as caught:
        build("bcss", tmp_path / "raw", tmp_path / "data")
    assert "\n" not in str(caught.value)
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data", skip_bad=True)
    assert [record.hospital for record in data_set.records] == ["A1", "OL"]
    assert len(data_set.skipped) == 1
    assert [record.position for record in data_set.records] == [0, 0]
    assert data_set.source("train", labels=True)[0]["label"].shape == (512, 512)


def test_nothing_left_after_skipping(tmp_path):
    write_bcss(tmp_path / "raw", ("A2", "OL"), height=40, width=30)
    _truncated(tmp_path / "raw")
    with pytest.raises(UserError, match="nothing usable is left of the train split"):
        build("bcss", tmp_path / "raw", tmp_path / "data", skip_bad=True)


def test_images_without_masks_as_unlabelled(tmp_path):
    write_bcss(tmp_path / "raw", ("A1", "A2"), height=40, width=30)
    _no_mask(tmp_path / "raw")
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data", unannotated_ok=True)
    assert [(record.hospital, record.annotated) for record in data_set.records] == [("A1", True), ("A2", False)]


def test_hidden_files_are_not_data(tmp_path):
    write_bcss(tmp_path / "raw", height=40, width=30)
    (tmp_path / "raw" / "masks" / f"._{A2}.png").write_bytes(b"left by macOS")
    assert len(build("bcss", tmp_path / "raw", tmp_path / "data").records) == 1


def test_real_region(tmp_path, real_data):
    data_set = build("bcss", real_data / "bcss_sample", tmp_path / "data")
    assert len(data_set.records) == 35  # 3391 x 2418 pixels
    assert sum(data_set.pixels["train"]) <= 3391 * 2418
    with Image.open(next((real_data / "bcss_sample" / "masks").iterdir())) as mask:
        codes = np.asarray(mask)
    assert data_set.pixels["train"][TUMOUR] == int(np.isin(codes, (1, 19, 20)).sum())
    assert data_set.pixels["train"][NECROSIS] == int((codes == 4).sum())


def test_a_region_has_the_pixel_size_that_its_name_states(tmp_path):
    write_bcss(tmp_path / "raw", ("A1", "A2"), height=40, width=30)
    for folder in ("rgbs_colorNormalized", "masks"):
        stated = tmp_path / "raw" / folder / f"{REGION.format(site='A1')}.png"
        stated.rename(stated.with_name(stated.name.replace("MPP-0.2500", "MPP-0.5000")))
    records = build("bcss", tmp_path / "raw", tmp_path / "data").records
    assert {record.hospital: record.microns_per_pixel for record in records} == {"A1": 0.5, "A2": 0.25}
