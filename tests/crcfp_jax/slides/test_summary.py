"""What a user sees of a batch of pictures."""

import csv
import io
import json

import pytest
from rich.console import Console

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from crcfp_jax.slides import summary as summing
from crcfp_jax.slides.inputs import Input
from crcfp_jax.slides.options import Options, parse_formats
from crcfp_jax.slides.summary import Summary

CLASSES = (ClassInfo("tumour", (200, 30, 30)), ClassInfo("other", (120, 200, 120)))
RESULT = {
    "input": {"size": [3000, 2000], "microns_per_pixel": 0.25, "notes": ["grey: the model was trained on colour"]},
    "tissue_share": 0.5,
    "areas": {"tumour": {"pixels": 3, "mm2": 0.3, "share": 0.75}, "other": {"pixels": 1, "mm2": 0.1, "share": 0.25}},
    "timing": {"seconds": 70.0, "network_seconds": 60.0, "device_busy": 0.987, "megapixels_per_second": 1.25},
    "output": {"files": []},
}


def picture(tmp_path, name):
    return Input(tmp_path / name, name)


def test_every_picture_has_a_line_and_failures_are_told_again_at_the_end(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    with Summary(tmp_path, CLASSES, 4, console=console) as summary:
        with summary.progress(picture(tmp_path, "a.svs")) as advance:
            advance(1, 2)
        summary.done(picture(tmp_path, "a.svs"), RESULT)
        summary.failed(picture(tmp_path, "b.svs"), "b.svs is empty: copy it again")
        summary.busy(picture(tmp_path, "c.svs"))
        summary.skipped(picture(tmp_path, "d.svs"), RESULT)
        assert summary.exit_code == 1
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "[1/4] a.svs: 1 min 10 s, 1.25 megapixels/s, device busy 99 %"
    assert lines[1] == "  note: grey: the model was trained on colour"
    assert lines[2] == "[2/4] b.svs: failed"
    assert lines[3] == "[3/4] c.svs: left to the other process that is at it"
    assert lines[4] == "[4/4] d.svs: done before"
    assert lines[5].split() == ["input", "pixels", "µm/px", "tissue", "tumour", "other", "mm²", "time"]
    assert " ".join(lines[6].split()) == "a.svs 2000 x 3000 0.25 50 % 75.0 % 25.0 % 0.4 1 min 10 s"
    assert lines[7].split()[-2:] == ["done", "before"]
    assert lines[8] == "failed: b.svs: b.svs is empty: copy it again"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert [row["input"] for row in rows] == ["a.svs", "b.svs", "c.svs", "d.svs"]
    assert [row["state"] for row in rows] == ["done", "failed", "busy", "done before"]
    assert rows[0]["tumour_mm2"] == "0.3" and rows[0]["other_share"] == "0.25" and rows[0]["analysed_mm2"] == "0.4"
    assert (rows[0]["height"], rows[0]["width"], rows[0]["seconds"], rows[0]["error"]) == ("3000", "2000", "70.0", "")
    assert rows[1]["error"] == "b.svs is empty: copy it again" and rows[1]["height"] == rows[2]["height"] == ""


def store(folder, content):
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(content))


def test_results_of_other_commands_are_in_the_file_too(tmp_path):
    stored = RESULT | {"settings": {"--tile": 96}, "input": RESULT["input"] | {"identity": {"bytes": 1}}}
    areas = {"tumour": {"pixels": 5, "mm2": 0.5, "share": 0.5}, "stroma": {"pixels": 5, "mm2": 0.5, "share": 0.5}}
    for name in ("a.svs", "z.svs", "deep/e.svs", ".f.svs.part"):
        store(tmp_path / name, stored)
    store(tmp_path / "of_another_model.svs", stored | {"areas": areas})
    store(tmp_path / "damaged.svs", [])
    with Summary(tmp_path, CLASSES, 1, console=Console(file=io.StringIO())) as summary:
        summary.failed(picture(tmp_path, "z.svs"), "z.svs was made with other settings")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert [(row["input"], row["state"]) for row in rows] == [
        ("z.svs", "failed"),
        ("a.svs", "done before"),
        ("deep/e.svs", "done before"),
        ("of_another_model.svs", "done before"),
    ]
    assert rows[1]["tumour_mm2"] == "0.3"
    assert (rows[3]["tumour_mm2"], rows[3]["other_mm2"], rows[3]["analysed_mm2"]) == ("0.5", "", "1.0")


def test_what_another_process_has_finished_meanwhile_is_in_the_summary(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    with Summary(tmp_path, CLASSES, 2, console=console) as summary:
        summary.busy(picture(tmp_path, "a.svs"))
        summary.busy(picture(tmp_path, "b.svs"))
        stored = RESULT | {"settings": {}, "input": RESULT["input"] | {"identity": {"bytes": 1}}}
        store(tmp_path / "a.svs", stored)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert [(row["input"], row["state"], row["tumour_mm2"]) for row in rows] == [
        ("a.svs", "done before", "0.3"),
        ("b.svs", "busy", ""),
    ]


def test_a_long_picture_is_told_of_every_minute_where_there_is_no_terminal(tmp_path):
    console, seconds = Console(file=io.StringIO(), width=200), iter([0, 0, 30, 61, 90, 121, 150])
    with (
        Summary(tmp_path, CLASSES, 2, console=console, clock=lambda: float(next(seconds))) as summary,
        summary.progress(picture(tmp_path, "a.svs")) as advance,
    ):
        for done in (0, 300, 300, 300, 300, 300):
            advance(done, 1500)
    assert console.file.getvalue().splitlines() == [
        "[1/2] a.svs: 1500 windows",
        "[1/2] a.svs: 600 of 1500 windows, about 1 min 32 s left",
        "[1/2] a.svs: 1200 of 1500 windows, about 30 s left",
    ]


def test_regions_follow_their_picture_and_have_a_file(tmp_path):
    def region(number, name):
        areas = {"tumour": {"pixels": 1, "mm2": 0.1, "share": 0.2}, "other": {"pixels": 4, "mm2": 0.4, "share": 0.8}}
        return {"region": number, "name": name, "areas": areas, "not_analysed": {"pixels": 2, "mm2": 0.2}}

    stored = RESULT | {"settings": {}, "input": RESULT["input"] | {"identity": {"bytes": 1}}}
    store(tmp_path / "z.svs", stored | {"regions": [region(1, "")]})
    console = Console(file=io.StringIO(), width=200)
    with Summary(tmp_path, CLASSES, 2, console=console) as summary:
        summary.note("b.svs: no regions")
        summary.done(picture(tmp_path, "a.svs"), RESULT | {"regions": [region(1, "core [A"), region(2, "")]})
        summary.done(picture(tmp_path, "b.svs"), RESULT | {"regions": [region(n + 1, "") for n in range(12)]})
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert lines[0] == "note: b.svs: no regions"
    assert "region 1: core [A 20.0 % 80.0 % 0.5" in lines and "region 2 20.0 % 80.0 % 0.5" in lines
    assert "region 10 20.0 % 80.0 % 0.5" in lines and "region 11 20.0 % 80.0 % 0.5" not in lines
    assert "and 2 more in areas_by_region.csv" in lines
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary_by_region.csv").read_text())))
    assert [row["input"] for row in rows] == ["a.svs"] * 2 + ["b.svs"] * 12 + ["z.svs"]
    assert rows[0] == {
        "input": "a.svs",
        "region": "1",
        "name": "core [A",
        "analysed_mm2": "0.5",
        "tumour_mm2": "0.1",
        "other_mm2": "0.4",
        "tumour_share": "0.2",
        "other_share": "0.8",
        "not_analysed_mm2": "0.2",
    }


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    classes = (ClassInfo("[red]tumour[/blue]", (200, 30, 30)), ClassInfo("other", (120, 200, 120)))
    areas = {info.name: {"pixels": 1, "mm2": 0.1, "share": 0.5} for info in classes}
    console = Console(file=io.StringIO(), width=200)
    with Summary(tmp_path, classes, 1, console=console) as summary:
        summary.done(picture(tmp_path, "a[/b].svs"), RESULT | {"areas": areas})
    told = console.file.getvalue()
    assert "[red]tumour[/blue]" in told and told.count("a[/b].svs") == 2


def test_a_full_disk_does_not_hide_what_failed(tmp_path, monkeypatch):
    def refuse(path, content):
        raise UserError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr(summing, "write_atomic", refuse)
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(UserError, match="the disk is full"), Summary(tmp_path, CLASSES, 1, console=console) as summary:
        summary.failed(picture(tmp_path, "a.svs"), "a.svs is empty: copy it again")
    assert "failed: a.svs: a.svs is empty: copy it again" in console.file.getvalue()


def test_no_failure_no_error_code(tmp_path):
    with Summary(tmp_path, CLASSES, 1, console=Console(file=io.StringIO())) as summary:
        summary.done(picture(tmp_path, "a.svs"), RESULT | {"tissue_share": None})
    assert summary.exit_code == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"microns_per_pixel": 250.0}, "--mpp 250.0: give µm per pixel, between 0.05 and 20"),
        ({"forced_microns_per_pixel": 0.0}, "--force_mpp 0.0: give µm per pixel, between 0.05 and 20"),
        ({"side": 8}, "--tile 8: give at least 32 pixels"),
        ({"overlap": 0.9}, "--overlap 0.9: give a share from 0 to 0.75"),
        ({"batch_size": 0}, "--batch_size 0: give at least 1"),
    ],
)
def test_options_that_cannot_be_used_are_told(change, told):
    usable = {"microns_per_pixel": None, "forced_microns_per_pixel": None, "side": 96, "overlap": 0.25}
    usable |= {"batch_size": 4, "tissue_only": True}
    with pytest.raises(UserError) as error:
        Options(**usable | change, formats=("mask",))
    assert str(error.value) == told


def test_formats_are_known_names():
    assert parse_formats("csv, mask") == ("mask", "csv")
    for words in ("mask,pdf", "", ","):
        with pytest.raises(UserError, match=r"unknown; known: mask, overlay, geojson, csv, probabilities, uncertainty"):
            parse_formats(words)
