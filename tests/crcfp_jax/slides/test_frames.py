"""Regions: which file belongs to which picture, and which of its annotations are frames."""

import json

import pytest
import shapely
from studies import feature, square, write_geojson

from crcfp_jax.common.errors import UserError
from crcfp_jax.slides.frames import fingerprint, match_regions, read_frames
from crcfp_jax.slides.inputs import Input

SIZE = (300, 400)  # height, width
FRAME = "Region*"


def pictures(folder, *names):
    return [Input(folder / name, name) for name in names]


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("[]")
    return folder


def matches(found, folder):
    return [picture.regions and picture.regions.relative_to(folder).as_posix() for picture in found]


def named(name, label, coordinates):
    """A feature whose object has a name of its own."""
    drawn = feature(name, coordinates)
    drawn["properties"]["name"] = label
    return drawn


def frames(tmp_path, *features):
    write_geojson(tmp_path / "slide.geojson", *features)
    found, notes = read_frames(tmp_path / "slide.geojson", SIZE)
    return [(frame.name, frame.area.bounds) for frame in found], notes


def test_the_only_picture_has_the_file_whatever_its_name(tmp_path):
    file = make(tmp_path, "drawn.geojson") / "drawn.geojson"
    found, notes = match_regions(pictures(tmp_path, "a.svs"), file)
    assert ([picture.regions for picture in found], notes) == ([file], [])


def test_files_of_a_folder_are_named_after_pictures(tmp_path):
    folder = make(tmp_path / "drawn", "a.geojson", "b.svs.geojson", "c.GeoJSON.gz", "d.xml", "notes.txt", ".e.json")
    found, notes = match_regions(pictures(tmp_path, "a.svs", "b.svs", "c.tif", "d.png", "e.svs"), folder)
    assert matches(found, folder) == ["a.geojson", "b.svs.geojson", "c.GeoJSON.gz", "d.xml", None]
    assert notes == [f"e.svs: no regions, as no file in {folder} has this name"]


def test_files_in_folders_like_those_of_the_pictures(tmp_path):
    folder = make(tmp_path / "drawn", "one/a.json", "two/a.json", "b.json", "far/c.json")
    found, notes = match_regions(pictures(tmp_path, "two/a.svs", "one/a.svs", "one/b.svs", "c.svs"), folder)
    assert matches(found, folder) == ["two/a.json", "one/a.json", "b.json", "far/c.json"] and notes == []


def test_what_belongs_to_nothing_is_noted_in_short(tmp_path):
    folder = make(tmp_path / "drawn", "a.json", *(f"other{number}.json" for number in range(6)))
    _, notes = match_regions(pictures(tmp_path, "a.svs", "b.svs"), folder)
    first = ", ".join(str(folder / f"other{number}.json") for number in range(3))
    assert notes == [
        f"{first} and 3 more: no input has this name",
        f"b.svs: no regions, as no file in {folder} has this name",
    ]


@pytest.mark.parametrize(
    ("names", "files", "regions", "told"),
    [
        (["a.svs"], [], "drawn", "no such file or folder"),
        (["a.svs"], ["drawn/x.txt"], "drawn", "no annotations in this folder"),
        (
            ["a.svs"],
            ["drawn/b.json"],
            "drawn",
            "b.json: no input has this name; call it as its slide, such as a.geo",
        ),
        (["a.svs", "b.svs"], ["c.json"], "c.json", "c.json: no input has this name"),
        (
            ["a.svs", "a.png"],
            ["drawn/a.json"],
            "drawn",
            "may be of a.svs and a.png: name it after one, such as a.svs.",
        ),
        (["1/a.svs", "2/a.svs"], ["a.json"], "a.json", "may be of 1/a.svs and 2/a.svs"),
        (["a.svs"], ["drawn/a.json", "drawn/a.geojson"], "drawn", "are both named after a.svs: remove one"),
        (["a.svs"], ["drawn/a.json", "drawn/a.svs.json"], "drawn", "are both named after a.svs: remove one"),
    ],
)
def test_what_cannot_be_matched_is_told(tmp_path, names, files, regions, told):
    make(tmp_path, *files)
    with pytest.raises(UserError, match=told) as error:
        match_regions(pictures(tmp_path, *names), tmp_path / regions)
    assert str(error.value).startswith("--regions") and "\n" not in str(error.value)


def test_a_fingerprint_changes_with_the_file(tmp_path):
    path = make(tmp_path, "a.json") / "a.json"
    first = fingerprint(path)
    assert fingerprint(None) is None and first.startswith("a.json (SHA-256 ") and fingerprint(path) == first
    path.write_text("{}")
    assert fingerprint(path) != first
    path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*a\.json"):
        fingerprint(path)


def test_frames_are_the_regions_and_have_the_names_of_their_objects(tmp_path):
    found, notes = frames(
        tmp_path,
        named(FRAME, "core A", square(10, 20, 30)),
        feature("Tumor", square(0, 0, 5)),
        feature("region*", square(100, 20, 30)),
        feature("Stroma", [[0, 0], [9, 9]], "LineString"),
    )
    assert found == [("core A", (10, 20, 40, 50)), ("", (100, 20, 130, 50))] and notes == []


def test_without_frames_every_area_is_one(tmp_path):
    found, notes = frames(
        tmp_path,
        named("Tumor", "suggest 1", square(10, 20, 30)),
        feature("Stroma", square(0, 0, 5)),
        feature(None, square(50, 50, 5)),
        feature("Stroma", [[0, 0], [9, 9]], "LineString"),
    )
    assert [name for name, _ in found] == ["suggest 1", "Stroma", ""]
    assert notes == [
        "slide.geojson has no Region*: each of its 3 areas is a region",
        "slide.geojson: left out, as no areas: 1",
    ]


def test_what_reaches_beyond_the_slide_is_noted(tmp_path):
    found, notes = frames(tmp_path, named(FRAME, "core A", square(-10, -10, 20)), feature(FRAME, square(0, 0, 300)))
    assert [bounds for _, bounds in found] == [(-10, -10, 10, 10), (0, 0, 300, 300)]
    assert notes == ["slide.geojson: what lies on the slide is counted of annotation 1 (core A) with 25 % inside"]


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ([], "slide.geojson holds no area: draw the regions as areas of QuPath's class Region*"),
        ([feature(FRAME, [[0, 0], [9, 9]], "LineString")], "holds no area"),
        (
            [feature(FRAME, square(0, 0, 9)), named(FRAME, "far", square(400, 0, 9))],
            "annotation 2 (far) lies outside the slide of 400 x 300 pixels: give this slide's regions",
        ),
    ],
)
def test_what_holds_no_region_of_the_slide_is_told(tmp_path, features, told):
    with pytest.raises(UserError) as error:
        frames(tmp_path, *features)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_notes_of_the_file_are_passed_on(tmp_path):
    detection = feature("Tumor", square(0, 0, 9))
    detection["properties"]["objectType"] = "detection"
    _, notes = frames(tmp_path, feature(FRAME, square(0, 0, 9)), detection)
    assert len(notes) == 1 and notes[0].startswith("slide.geojson: ") and "detection" in notes[0]
    assert json.loads((tmp_path / "slide.geojson").read_text())["features"]


def test_a_frame_may_have_holes_and_parts(tmp_path):
    ring = [*square(10, 10, 50), list(reversed(square(20, 20, 10)[0]))]
    write_geojson(tmp_path / "a.json", feature(FRAME, [ring, square(200, 200, 10)], "MultiPolygon"))
    (frame,), _ = read_frames(tmp_path / "a.json", SIZE)
    assert frame.area.area == 50 * 50 - 10 * 10 + 100
    assert frame.area.equals(
        (shapely.box(10, 10, 60, 60) - shapely.box(20, 20, 30, 30)) | shapely.box(200, 200, 210, 210)
    )
