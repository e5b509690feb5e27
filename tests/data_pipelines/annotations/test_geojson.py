import gzip
import json
import math
import zipfile
from collections import Counter

import pytest
from shapely.geometry import mapping
from studies import feature, square

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations import files
from data_pipelines.annotations.files import read_annotations
from data_pipelines.annotations.geojson import parse_geojson


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
        ({"name": "a", "color": [math.nan, 0, 0]}, "a", None),
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
        (json.dumps([feature("a", square(0, 0, 1)), 3]), "annotation 2 is no GeoJSON feature"),
        (
            json.dumps(feature("a", [[[0, 0], [1, 1]]])),
            "annotation 1 has an outline of 2 points, where an area",
        ),
        (json.dumps(feature("a", [[0, 0]], "LineString")), "annotation 1 is a line of one point"),
        (
            '{"type": "Feature", "geometry": '
            + '{"type": "GeometryCollection", "geometries": [' * 102
            + "]}" * 102
            + "}",
            "annotation 1 has collections more than 100 deep in one another",
        ),
        (
            "[" + '{"type": "Feature", "geometry": null, "childObjects": [' * 102 + "]}" * 102 + "]",
            "objects lie more than 100 deep in one another",
        ),
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


@pytest.mark.parametrize(
    ("kind", "coordinates", "area"),
    [
        ("Polygon", [*square(0, 0, 4), *square(2, 2, 4)], 16 - 4),  # a hole that reaches over the outline
        ("Polygon", [*square(0, 0, 4), *square(1, 1, 2), *square(1, 1, 2)], 16 - 4),  # a hole twice
        ("MultiPolygon", [square(0, 0, 4), square(2, 2, 4)], 16 + 16 - 4),  # parts that overlap
        ("MultiPolygon", [square(0, 0, 4), square(1, 1, 2)], 16),
        ("Polygon", [square(0, 0, 4)[0][:-1]], 16),  # not closed
        ("Polygon", [[[*position, 7] for position in square(0, 0, 4)[0]]], 16),  # with a third coordinate
    ],
)
def test_areas_hold_what_is_drawn_and_not_more(tmp_path, kind, coordinates, area):
    geometry = only(tmp_path, feature("a", coordinates, kind)).geometry
    assert geometry.is_valid and geometry.area == area


def test_parts_that_overlap_are_not_called_crossing(tmp_path):
    drawn = feature("a", [square(0, 0, 4), square(2, 2, 4)], "MultiPolygon")
    assert read(tmp_path, drawn).notes == ()
    bow = [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]
    notes = read(tmp_path, collection(feature("a", square(0, 0, 1)), feature("a", bow), feature("b", bow))).notes
    assert notes == ("2 outlines that cross themselves mended, first annotation 2",)


def test_what_has_no_geometry_is_told(tmp_path):
    nothing, empty = feature("a", []) | {"geometry": None}, feature("b", [])
    found = read(tmp_path, collection(nothing, empty, feature("c", square(0, 0, 1))))
    assert [each.name for each in found.annotations] == ["c"]
    assert found.notes == ("1 annotation without geometry left out", "1 annotation without any point left out")


JUNK = [None, -1, 2**70, math.nan, "x", {}, [1, 2], [[1, 2], [3, 4]], [[[0, 0], [0, 0], [0, 0], [0, 0]]]]


def places(value, path=()):
    """Every place in nested lists and dicts."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def replaced(value, path, junk):
    if not path:
        return junk
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], junk)
    return copy


def test_anything_anywhere_is_read_or_refused_in_one_line(tmp_path):
    members = [
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "LineString", "coordinates": [[1, 2], [3, 4]]},
        {"type": "MultiPolygon", "coordinates": [[[[0, 0], [1, 0], [0, 1]]]]},
    ]
    drawn = feature("a", square(0, 0, 1)) | {"childObjects": [feature("b", [], "Point")]}
    drawn["geometry"] |= {"isEllipse": False, "plane": {"z": 0, "t": 0}}
    mixed = feature("c", []) | {"geometry": {"type": "GeometryCollection", "geometries": members}}
    whole = collection(drawn, mixed)
    refused = taken = 0
    for path in places(whole):
        for junk in JUNK:
            try:
                found = parse_geojson(tmp_path / "a.geojson", json.dumps(replaced(whole, path, junk))).annotations
                areas = [each.geometry for each in found if "Polygon" in each.geometry.geom_type]
                assert all(area.is_valid and area.area > 0 for area in areas)
                taken += 1
            except UserError as error:
                assert str(error).startswith(f"{tmp_path}/a.geojson") and "\n" not in str(error)
                refused += 1
    assert refused > 200 and taken > 200


def test_a_file_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 2**20)
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(b" " * (2**20 + 1)))
    with pytest.raises(UserError, match="unpacks to more than 1 MiB; it was not read"):
        read_annotations(tmp_path / "a.geojson.gz")
    (tmp_path / "b.geojson").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(UserError, match="is larger than 1 MiB"):
        read_annotations(tmp_path / "b.geojson")


def test_zip_as_qupath_compresses(tmp_path):
    text = json.dumps(collection(feature("Tumor", square(0, 0, 1))))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", text)
    assert len(read_annotations(tmp_path / "a.zip").annotations) == 1
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-30])
    with pytest.raises(UserError, match="is truncated or damaged"):
        read_annotations(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("a.geojson", text)
        archive.writestr("b.geojson", text)
    with pytest.raises(UserError, match="holds 2 files, where the annotations of one image belong: unpack it"):
        read_annotations(tmp_path / "c.zip")


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


def test_counts_of_files_of_qupath(real_data):
    """As `grep -c '"name": "nuclei_tumor"'` and so on count them."""
    folder = real_data / "annotations" / "puma_qupath"
    expected = {
        "033": {"nuclei_tumor": 254, "nuclei_lymphocyte": 4, "nuclei_melanophage": 4, "nuclei_stroma": 1},
        "049": {"nuclei_tumor": 314, "nuclei_lymphocyte": 10, "nuclei_melanophage": 6, "nuclei_stroma": 31},
    }
    for roi, counts in expected.items():
        found = read_annotations(folder / f"training_set_metastatic_roi_{roi}_nuclei.geojson")
        assert Counter(each.name for each in found.annotations) == counts and found.notes == ()


def test_older_keys_of_qupath(real_data):
    found = read_annotations(real_data / "annotations" / "forms" / "qupath-polygon-cell-classified.json")
    assert [(each.name, each.colour, each.label) for each in found.annotations] == [
        ("Cell", (127, 220, 58), "Erythrocytes 2"),
        ("Cell", (127, 220, 58), "Erythrocytes 1"),
        ("Nucleus", (184, 115, 67), "Neutrophils 1"),
        ("Nucleus", (184, 115, 67), "Neutrophils 2"),
    ]


def test_files_of_another_tool_are_refused(real_data):
    for name in ("area", "polyline"):
        with pytest.raises(UserError, match=r"\.json.* no GeoJSON feature.*: export it again from QuPath as GeoJSON"):
            read_annotations(real_data / "annotations" / "forms" / f"pathologycore-{name}.json")


def test_files_of_qupath(real_data):
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
