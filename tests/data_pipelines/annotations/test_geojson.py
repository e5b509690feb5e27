import gzip
import json
import math

import pytest
from shapely.geometry import mapping
from studies import feature, square

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.files import read_annotations


def read(tmp_path, value, name="a.geojson"):
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return read_annotations(path)


def only(tmp_path, value):
    (annotation,) = read(tmp_path, value).annotations
    return annotation


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


@pytest.mark.parametrize("wrap", [collection, lambda *features: list(features), lambda single: single])
def test_roots(tmp_path, wrap):
    annotation = only(tmp_path, wrap(feature("Tumor", square(10, 20, 5))))
    assert annotation.name == "Tumor" and annotation.colour == (200, 0, 0) and annotation.place == "annotation 1"
    assert annotation.geometry.bounds == (10, 20, 15, 25)


def test_gzip_and_byte_order_mark(tmp_path):
    text = json.dumps(collection(feature("Tumor", square(0, 0, 1)))).encode()
    for name, content in (
        ("a.geojson.gz", gzip.compress(text)),
        ("b.json", gzip.compress(text)),
        ("c.json", b"\xef\xbb\xbf" + text),
    ):
        (tmp_path / name).write_bytes(content)
        assert len(read_annotations(tmp_path / name).annotations) == 1


@pytest.mark.parametrize(
    ("classification", "name", "colour"),
    [
        ({"name": "Tumor", "color": [1, 2, 3]}, "Tumor", (1, 2, 3)),
        ({"names": ["Immune cells", "CD3"], "color": [1, 2, 3]}, "Immune cells: CD3", (1, 2, 3)),
        ({"name": "Stroma", "colorRGB": -6895466}, "Stroma", (150, 200, 150)),
        ({"name": " Necrosis "}, "Necrosis", None),
        (None, None, None),
        ({"name": None}, None, None),
    ],
)
def test_classifications(tmp_path, classification, name, colour):
    drawn = feature(None, square(0, 0, 1))
    drawn["properties"]["classification"] = classification
    annotation = only(tmp_path, drawn)
    assert (annotation.name, annotation.colour) == (name, colour)


def test_objects_of_other_types_are_left_out_and_told(tmp_path):
    others = [feature("Tumor", square(0, 0, 1)) for _ in range(5)]
    for drawn, kind in zip(others, ("detection", "detection", "cell", "tile", "tmaCore"), strict=True):
        drawn["properties"]["objectType"] = kind
    old = feature("Tumor", square(0, 0, 1)) | {"id": "PathDetectionObject"}
    old["properties"].pop("objectType")
    older = feature("Tumor", square(0, 0, 1))
    older["properties"]["object_type"] = older["properties"].pop("objectType")
    found = read(tmp_path, collection(*others, old, older))
    assert len(found.annotations) == 1
    assert found.notes == ("3 detections left out", "1 cell left out", "1 tile left out", "1 tmaCore left out")


def test_children(tmp_path):
    inner = feature("Necrosis", square(2, 2, 1))
    outer = feature("Tumor", square(0, 0, 5)) | {"childObjects": [inner]}
    assert [each.name for each in read(tmp_path, collection(outer)).annotations] == ["Tumor", "Necrosis"]


def test_geometries(tmp_path):
    hole = [*square(0, 0, 4), *square(1, 1, 2)]
    members = [
        {"type": "Polygon", "coordinates": square(0, 0, 2)},
        {"type": "LineString", "coordinates": [[0, 0], [9, 0]]},
    ]
    apart = {"type": "Polygon", "coordinates": square(5, 5, 1)}
    mixed = feature("a", None)
    mixed["geometry"] = {
        "type": "GeometryCollection",
        "geometries": [*members, apart, {"type": "Point", "coordinates": [1, 2]}],
    }
    found = read(
        tmp_path,
        collection(
            feature("a", hole),
            feature("a", [square(0, 0, 1), square(5, 5, 2)], "MultiPolygon"),
            feature("a", [[0, 0], [3, 4]], "LineString"),
            feature("a", [[1, 1], [2, 2]], "MultiPoint"),
            mixed,
        ),
    )
    kinds = [(each.geometry.geom_type, each.geometry.area, each.geometry.length) for each in found.annotations]
    assert kinds[0][:2] == ("Polygon", 12) and kinds[1][:2] == ("MultiPolygon", 5)
    assert kinds[2] == ("LineString", 0, 5) and kinds[3][0] == "MultiPoint"
    assert [kind for kind, _, _ in kinds[4:]] == ["MultiPolygon", "LineString", "Point"]
    assert {each.place for each in found.annotations[4:]} == {"annotation 5"}


def test_an_ellipse_fills_the_box_of_its_corners(tmp_path):
    drawn = feature("a", square(0, 0, 10))
    drawn["geometry"]["isEllipse"] = True
    area = only(tmp_path, drawn).geometry
    assert area.bounds == pytest.approx((0, 0, 10, 10))
    assert area.area == pytest.approx(math.pi * 25, rel=1e-3)


def test_other_planes_are_left_out_and_told(tmp_path):
    drawn = feature("a", square(0, 0, 1))
    drawn["geometry"]["plane"] = {"c": -1, "z": 2, "t": 0}
    found = read(tmp_path, collection(drawn, feature("b", square(0, 0, 1))))
    assert [each.name for each in found.annotations] == ["b"]
    assert found.notes == ("1 annotation on other planes of the stack left out",)


def test_an_outline_that_crosses_itself_is_mended_and_told(tmp_path):
    bow = [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]  # two triangles that meet in the middle
    found = read(tmp_path, collection(feature("a", bow)))
    assert found.annotations[0].geometry.is_valid and found.annotations[0].geometry.area == 8
    assert found.notes == ("1 outline that crosses itself mended, first annotation 1",)
    with pytest.raises(UserError, match="annotation 1 has an outline without any area: delete it, or draw it again"):
        read(tmp_path, feature("a", [[[0, 0], [4, 4], [0, 0], [0, 0]]]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is no GeoJSON"),
        ("[" * 100_000, "is no GeoJSON"),
        ("3", "holds no GeoJSON features"),
        ('{"a": 1}', "holds no GeoJSON features"),
        ("", "is empty: export it again"),
        (json.dumps(feature("a", [[["x", 0]]])), "annotation 1 has a position that is no pair of numbers: delete it"),
        (json.dumps(feature("a", square(0, 0, 1e9))), "annotation 1 has positions that are no pixels"),
        (json.dumps(feature("a", square(math.nan, 0, 1))), "annotation 1 has positions that are no pixels"),
        (json.dumps(feature("a", [], "Polygo")), "annotation 1 is a Polygo, which is no geometry of GeoJSON"),
        (json.dumps(feature("a", square(0, 0, 1)) | {"childObjects": [1]}), "annotation 2 is no GeoJSON feature"),
    ],
)
def test_faults(tmp_path, value, message):
    with pytest.raises(UserError, match=message) as told:
        read(tmp_path, value)
    assert "a.geojson" in str(told.value) and "\n" not in str(told.value)


def test_damaged_files(tmp_path):
    content = gzip.compress(b'{"type": "FeatureCollection"}')
    (tmp_path / "a.geojson.gz").write_bytes(content[:-9])
    with pytest.raises(UserError, match="is truncated or damaged"):
        read_annotations(tmp_path / "a.geojson.gz")
    (tmp_path / "b.geojson").write_bytes(b'{"type": "\xff"}')
    with pytest.raises(UserError, match="is not in UTF-8"):
        read_annotations(tmp_path / "b.geojson")
    with pytest.raises(UserError, match="cannot read"):
        read_annotations(tmp_path / "c.geojson")


def test_files_of_qupath(real_data):
    """Counts as grep finds them in the files."""
    for path in sorted((real_data / "annotations" / "puma_qupath").glob("*.geojson")):
        found = read_annotations(path)
        stored = json.loads(path.read_text())["features"]
        assert len(found.annotations) == len(stored)
        for annotation, drawn in zip(found.annotations, stored, strict=True):
            assert annotation.name == drawn["properties"]["classification"]["name"]
            assert annotation.colour == tuple(drawn["properties"]["classification"]["color"])
            corners = mapping(annotation.geometry)["coordinates"]
            if annotation.geometry.geom_type == drawn["geometry"]["type"] == "Polygon" and len(corners) == 1:
                assert annotation.geometry.is_valid
    kinds = {
        "rectangle": "Polygon", "ellipse": "Polygon", "polygon": "Polygon", "brush": "Polygon", "wand": "Polygon",
        "line": "LineString", "polyline": "LineString", "point": "Point", "multipoint": "MultiPoint",
    }  # fmt: skip
    for name, kind in kinds.items():
        (annotation,) = read_annotations(real_data / "annotations" / "forms" / f"qupath-{name}.json").annotations
        assert annotation.geometry.geom_type == kind and annotation.name is None
