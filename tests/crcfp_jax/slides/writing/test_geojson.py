"""Polygons: what they cover, that they are valid, and that the heights of bands do not matter."""

import json
import tracemalloc
import uuid
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import rasterio.features
import shapely
from writer_inputs import CLASSES, bands, write

from crcfp_jax.slides.writing.band import NOT_ANALYSED, OutputGrid
from crcfp_jax.slides.writing.geojson import NAMESPACE, GeoJsonWriter, ring_texts
from crcfp_jax.slides.writing.regions import Regions
from crcfp_jax.slides.writing.trace import smooth, trace

NUMBERS = {info.name: number for number, info in enumerate(CLASSES)}


def features(tmp_path, classes, *, scale=(1.0, 1.0), **heights):
    """The features of a class map's file."""
    grid = OutputGrid(*classes.shape, scale, 0.5)
    write(GeoJsonWriter(tmp_path, grid, CLASSES, 0.0), bands(classes, **heights))
    assert [path.name for path in tmp_path.iterdir()] == ["regions.geojson"]
    collection = json.loads((tmp_path / "regions.geojson").read_text(encoding="utf-8"))
    assert set(collection) == {"type", "features"} and collection["type"] == "FeatureCollection"
    return collection["features"]


def shapes(found):
    return [shapely.geometry.shape(feature["geometry"]) for feature in found]


def rasterised(found, shape, scale=(1.0, 1.0)):
    """The class map that the features describe; background where there is none."""
    labels = np.zeros(shape, np.uint8)
    pairs = [
        (geometry, NUMBERS[feature["properties"]["classification"]["name"]])
        for feature, geometry in zip(found, shapes(found), strict=True)
    ]
    if pairs:
        transform = rasterio.Affine(scale[1], 0, 0, 0, scale[0], 0)
        rasterio.features.rasterize(pairs, out=labels, transform=transform)
    return labels


def blobs(height, width, seed, size=9):
    """Smooth regions of four classes, some of it not analysed."""
    small = np.random.default_rng(seed).normal(size=(5, height // size + 2, width // size + 2))
    rows, columns = np.linspace(0, small.shape[1] - 1.001, height), np.linspace(0, small.shape[2] - 1.001, width)
    y, x = rows.astype(int)[:, None], columns.astype(int)
    v, u = rows[:, None] - y, columns - x
    fine = (small[:, y, x] * (1 - v) + small[:, y + 1, x] * v) * (1 - u)
    fine += (small[:, y, x + 1] * (1 - v) + small[:, y + 1, x + 1] * v) * u
    classes = fine.argmax(0).astype(np.uint8)
    classes[classes == 4] = NOT_ANALYSED
    return classes


def noise(height, width, seed):
    """The worst: every pixel for itself."""
    classes = np.random.default_rng(seed).integers(0, 5, (height, width), np.uint8)
    classes[classes == 4] = NOT_ANALYSED
    return classes


def checkerboard(height, width):
    return (np.add.outer(np.arange(height), np.arange(width)) % 2).astype(np.uint8)


def rings(height, width):
    """Holes in holes in holes, across all rows."""
    y, x = np.mgrid[:height, :width]
    return (np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x)) % 3).astype(np.uint8)


def comb(height, width):
    """Teeth that only the last rows join."""
    classes = np.tile(np.arange(width) % 2, (height, 1)).astype(np.uint8)
    classes[-3:] = 1
    return classes


MAPS = {
    "blobs": blobs(230, 310, 0),
    "noise": noise(90, 120, 1),
    "checkerboard": checkerboard(41, 60),
    "rings": rings(75, 64),
    "comb": comb(80, 33),
    "upside down": comb(80, 33)[::-1].copy(),
    "all one": np.full((50, 40), 3, np.uint8),
    "one row": np.array([[1, 1, 0, 2, 255, 2]], np.uint8),
    "one pixel": np.array([[2]], np.uint8),
    "nothing": np.full((20, 30), NOT_ANALYSED, np.uint8),
    "background": np.zeros((20, 30), np.uint8),
}


@pytest.mark.parametrize("name", MAPS)
def test_polygons_cover_their_pixels_and_nothing_else(tmp_path, name):
    classes = MAPS[name]
    found = features(tmp_path, classes, rng=np.random.default_rng(0))
    geometries = shapes(found)
    assert all(shapely.is_valid(geometries))
    assert all(geometry.exterior.is_ccw for geometry in geometries)
    assert not any(hole.is_ccw for geometry in geometries for hole in geometry.interiors)
    np.testing.assert_array_equal(rasterised(found, classes.shape), np.where(classes == NOT_ANALYSED, 0, classes))


@pytest.mark.parametrize("name", MAPS)
def test_one_polygon_for_each_region(tmp_path, name):
    classes = MAPS[name]
    expected = [
        (int(number), shapely.geometry.shape(geometry))
        for geometry, number in rasterio.features.shapes(
            classes, mask=(classes != 0) & (classes != NOT_ANALYSED), connectivity=4
        )
    ]
    found = features(tmp_path, classes, height=7)
    assert len(found) == len(expected)
    tree = shapely.STRtree([geometry for _, geometry in expected])
    for feature, geometry in zip(found, shapes(found), strict=True):
        place = tree.query(geometry.representative_point(), predicate="within")
        (truth,) = [
            expected[index]
            for index in place
            if expected[index][0] == NUMBERS[feature["properties"]["classification"]["name"]]
        ]
        assert len(geometry.interiors) == len(truth[1].interiors) or name in ("noise", "checkerboard")
        assert shapely.hausdorff_distance(geometry, truth[1]) <= np.sqrt(1 / 8) + 0.01


@pytest.mark.parametrize("name", MAPS)
def test_heights_of_bands_do_not_matter(tmp_path, name):
    classes = MAPS[name]
    results = []
    for height in (1, 2, 13, 1000):
        folder = tmp_path / str(height)
        folder.mkdir()
        found = features(folder, classes, height=height)
        results.append({feature["id"]: feature for feature in found})
        assert len(results[-1]) == len(found)  # ids differ
    assert all(result == results[0] for result in results[1:])


@pytest.mark.parametrize("name", MAPS)
def test_areas_of_outlines_are_those_of_their_regions(name):
    classes = MAPS[name]
    regions = Regions(classes.shape[1], range(len(CLASSES)))
    parts = [corners for corners in [*regions.add(classes), regions.finish()] if len(corners[0])]
    found = sorted(area for corners in parts for area in trace(corners).areas().tolist())
    expected = []
    for number in range(len(CLASSES)):
        _, labels = cv2.connectedComponents((classes == number).astype(np.uint8), connectivity=4)
        expected += np.bincount(labels.reshape(-1))[1:].tolist()
    assert found == sorted(expected)


def test_small_regions_have_no_polygon_and_are_told(tmp_path):
    classes = np.zeros((30, 30), np.uint8)
    classes[2:6, 2:7] = classes[10:20, 10:20] = 1  # 20 pixels of 0.25 µm² each, and 100 with a hole of 4
    classes[2:5, 10:16] = 1  # 18 pixels
    classes[25, 25] = 2
    classes[14:16, 14:16] = 0
    writer = GeoJsonWriter(tmp_path, OutputGrid(30, 30, (1.0, 1.0), 0.5), CLASSES, 5.0)
    write(writer, bands(classes, height=7))
    assert writer.notes == ("2 regions smaller than 5 µm² have no polygon; --least_area 0 gives them one",)
    kept = json.loads((tmp_path / "regions.geojson").read_text())["features"]
    classes[2:5, 10:16] = classes[25, 25] = 0
    np.testing.assert_array_equal(rasterised(kept, classes.shape), classes)
    assert [len(geometry.interiors) for geometry in shapes(kept)] == [0, 1]
    (tmp_path / "all").mkdir()
    everything = GeoJsonWriter(tmp_path / "all", OutputGrid(30, 30, (1.0, 1.0), 0.5), CLASSES, 0.0)
    write(everything, bands(classes, height=7))
    assert everything.notes == ()
    assert json.loads((tmp_path / "all" / "regions.geojson").read_text())["features"] == kept


def test_outlines_before_smoothing_are_exact():
    """Against GDAL's polygons, ring by ring, on maps where regions touch themselves at corners."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        classes = noise(*rng.integers(1, 25, 2).tolist(), seed)
        if seed % 2:
            classes = classes.repeat(2, 0).repeat(3, 1)
        regions = Regions(classes.shape[1], [0, 1, 2, 3])
        parts = [corners for band in bands(classes, rng=rng) for corners in regions.add(band.classes)]
        ours = []
        for outlines in (trace(corners) for corners in [*parts, regions.finish()] if len(corners[0])):
            for number, start, stop in zip(outlines.classes, outlines.regions, outlines.regions[1:], strict=False):
                points = [
                    outlines.points[outlines.rings[ring] : outlines.rings[ring + 1]] for ring in range(start, stop)
                ]
                ours.append((int(number), shapely.Polygon(points[0], points[1:])))
        assert all(geometry.is_valid for _, geometry in ours)
        theirs = [
            (int(number), shapely.geometry.shape(geometry))
            for geometry, number in rasterio.features.shapes(classes, mask=classes != NOT_ANALYSED, connectivity=4)
        ]
        key = lambda pair: (pair[0], shapely.normalize(pair[1].simplify(0)).bounds, pair[1].area)  # noqa: E731
        for one, other in zip(sorted(ours, key=key), sorted(theirs, key=key), strict=True):
            assert one[0] == other[0] and one[1].equals(other[1])


def test_smoothing_by_hand():
    def smoothed(classes):
        regions = Regions(classes.shape[1], [1])
        corners = [part for part in [*regions.add(classes), regions.finish()] if len(part[0])]
        outlines = trace(corners[0])
        return smooth(outlines.points, outlines.rings)[0].tolist()

    pixel = np.array([[1]], np.uint8)
    assert smoothed(pixel) == [[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]]
    steps = np.tril(np.ones((4, 4), np.uint8))  # the slanted side is one line
    assert smoothed(steps) == [[0.5, 0], [4, 3.5], [3.5, 4], [0.5, 4], [0, 3.5], [0, 0.5]]


@pytest.mark.parametrize("largest", [1.0, 99.99, 9999.99, 1e4, 123456.0, 99999999.0, 6e8])
def test_coordinates_are_written_as_geos_does(largest):
    rng = np.random.default_rng(0)
    points = rng.random((600, 2)) * largest
    points[::3], points[1::3] = points[::3].round(), points[1::3].round(1)
    points[0], points[1] = 0, (0.004, largest)
    rings = np.array([0, 4, 8, 200, 600])
    rounded = points.round(2)
    lines = [rounded[[*range(start, stop), start]] for start, stop in pairwise(rings)]
    expected = [shapely.to_geojson(shapely.LineString(line)) for line in lines]
    assert [f'{{"type":"LineString","coordinates":{text}}}' for text in ring_texts(points, rings)] == expected


def test_features_are_what_qupath_reads(tmp_path):
    classes = np.zeros((6, 8), np.uint8)
    classes[2:4, 2:6] = 2
    (feature,) = features(tmp_path, classes, scale=(3.0, 2.0), height=3)
    text = "stroma[[5.0,6.0],[11.0,6.0],[12.0,7.5],[12.0,10.5],[11.0,12.0],[5.0,12.0],[4.0,10.5],[4.0,7.5],[5.0,6.0]]"
    assert feature.pop("id") == str(uuid.uuid5(NAMESPACE, text))
    assert feature == {
        "type": "Feature",
        "properties": {
            "objectType": "annotation",
            "classification": {"name": "stroma", "color": [30, 90, 200]},
        },
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[5, 6], [11, 6], [12, 7.5], [12, 10.5], [11, 12], [5, 12], [4, 10.5], [4, 7.5], [5, 6]]],
        },
    }


@pytest.mark.parametrize("scale", [(1.0, 1.0), (3.97, 4.01), (1.0007, 1.0003), (19.3, 19.2)])
def test_slide_coordinates_cover_the_same_pixels(tmp_path, scale):
    classes = blobs(200, 170, 3)
    found = features(tmp_path, classes, scale=scale, height=64)
    assert all(shapely.is_valid(shapes(found)))
    seen = rasterised(found, classes.shape, scale)
    for number in range(1, 4):
        both, either = (seen == number) & (classes == number), (seen == number) | (classes == number)
        assert both.sum() / either.sum() >= 0.999


def test_a_region_of_every_row_keeps_what_its_outline_needs_and_no_more(tmp_path):
    classes = np.ones((100, 2000), np.uint8)
    classes[40:60:4, 3:1990:9] = 2
    band = next(bands(classes, height=100))

    def peak(rows):
        tracemalloc.start()
        writer = GeoJsonWriter(tmp_path, OutputGrid(rows, 2000, (1.0, 1.0), 0.5), CLASSES, 0.0)
        for top in range(0, rows, 100):
            writer.write(replace(band, top=top))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        writer.finish()
        return most

    peak(200)  # what is allocated once
    holes, corners, size = 5 * 221 * 20, 4, 8
    assert peak(3000) - peak(1000) < 2 * holes * corners * size


def test_a_full_disk_is_told_once(tmp_path):
    (tmp_path / "regions.geojson").symlink_to("/dev/full")
    writer = GeoJsonWriter(tmp_path, OutputGrid(20, 30, (1.0, 1.0), 0.5), CLASSES, 0.0)
    with pytest.raises(OSError, match="No space left"):
        writer.finish()
    writer.close()


def test_giving_up_closes_the_file(tmp_path):
    writer = GeoJsonWriter(tmp_path, OutputGrid(20, 30, (1.0, 1.0), 0.5), CLASSES, 0.0)
    writer.write(next(bands(MAPS["background"], height=10)))
    writer.close()
