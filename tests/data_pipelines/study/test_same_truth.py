"""MoNuSeg through its own recipe and through the folder: the same pixels with the same labels."""

import numpy as np
import pytest
from PIL import Image
from studies import feature, square, traced, write_geojson

from data_pipelines.build import build
from data_pipelines.builders.monuseg import TEST, TRAINING, rasterise


def whole(data_set, image):
    """Image and label of an image of 1000 x 1000 pixels, put together from its tiles."""
    pixels, label = np.zeros((1000, 1000, 3), np.uint8), np.full((1000, 1000), 255, np.uint8)
    for record in data_set.records:
        if record.image == image:
            tile = data_set.source(record.split, labels=True)[record.position]
            place = np.s_[record.y : record.y + tile["label"].shape[0], record.x : record.x + tile["label"].shape[1]]
            pixels[place] = tile["image"]
            label[place] = np.where(tile["label"] == 255, label[place], tile["label"])
    return pixels, label


def write(folder, paths, form):
    """Images with what the recipe makes of their annotations, as GeoJSON or masks."""
    folder.mkdir(parents=True)
    for path, annotation in paths:
        (folder / path.name).symlink_to(path)
        label = rasterise(annotation, 1000, 1000)
        if form == "mask":
            Image.fromarray(label).save(folder / f"{path.stem}_mask.png")
        else:
            nuclei = [feature("nuclei", coordinates) for _, coordinates in traced(label)]
            write_geojson(folder / f"{path.stem}.geojson", feature("Region*", square(0, 0, 1000)), *nuclei)


@pytest.mark.parametrize("form", ["geojson", "mask"])
@pytest.mark.parametrize("count", [2, pytest.param(44, marks=pytest.mark.slow)])
def test_same_labels(tmp_path, real_data, form, count):
    raw = real_data / "monuseg"
    images = sorted((raw / TRAINING / "Tissue Images").glob("*.tif")) + sorted((raw / TEST).glob("*.tif"))
    folders = {path: raw / TRAINING / "Annotations" if TRAINING in path.parts else raw / TEST for path in images}
    paths = [(path, folder / f"{path.stem}.xml") for path, folder in folders.items()][:count]
    write(tmp_path / "study" / "annotated", paths, form)
    data_set = build("folder", tmp_path / "study", tmp_path / "data", mpp="0.25", microns_per_pixel="0.25", tile="250")
    assert len(data_set.records) == 16 * len(paths) and len(data_set.classes) == 2
    for path, annotation in paths:
        pixels, label = whole(data_set, path.stem)
        with Image.open(path) as stored:
            np.testing.assert_array_equal(pixels, np.asarray(stored.convert("RGB")))
        np.testing.assert_array_equal(label, rasterise(annotation, 1000, 1000))
