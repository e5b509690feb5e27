"""Result folders: whole or absent, one process each, never overwritten unasked."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.lock import Lock
from crcfp_jax.slides import result_folders
from crcfp_jax.slides.inputs import Input
from crcfp_jax.slides.result_folders import ResultFolders, identity

FIGURES = {
    "input": {"size": [1, 2], "microns_per_pixel": 0.5},
    "tissue_share": None,
    "areas": {"tumour": {"pixels": 2, "mm2": 5e-7, "share": 1.0}},
    "timing": {"seconds": 2.0, "megapixels_per_second": 1},
    "output": {"files": ["mask.png"]},
}
COMPLETE = ["deep", "deep/slide.svs", "deep/slide.svs/mask.png", "deep/slide.svs/result.json"]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "slide.svs"
    path.write_bytes(bytes(range(256)) * 10)
    return Input(path, "deep/slide.svs")


def make(folders, picture, content="result"):
    with folders.claimed(picture) as folder:
        (folder / "mask.png").write_text(content)
        folders.finish(folder, picture, FIGURES)


def visible(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if ".locks" not in path.parts)


def test_a_folder_takes_its_place_when_it_is_complete(tmp_path, picture):
    output = tmp_path / "out"
    folders = ResultFolders(output, {"--tile": 96}, overwrite=False)
    assert folders.finished(picture) is None
    with folders.claimed(picture) as folder:
        (folder / "mask.png").write_text("x")
        assert not (output / "deep" / "slide.svs").exists()
        result = folders.finish(folder, picture, FIGURES)
    assert visible(output) == COMPLETE
    assert folders.finished(picture) == result == json.loads((output / "deep/slide.svs/result.json").read_text())
    assert result["input"] == {"path": str(picture.path), "identity": identity(picture.path)} | FIGURES["input"]
    assert result["settings"] == {"--tile": 96}


def test_a_failure_leaves_nothing_and_a_killed_process_is_cleaned_up_after(tmp_path, picture):
    output = tmp_path / "out"
    folders = ResultFolders(output, {}, overwrite=False)
    with pytest.raises(RuntimeError), folders.claimed(picture) as folder:
        (folder / "mask.png").write_text("x")
        raise RuntimeError
    assert visible(output) == ["deep"]
    left = output / "deep" / ".slide.svs.part"
    left.mkdir()
    (left / "half").write_text("x")
    make(folders, picture)
    assert visible(output) == COMPLETE


@pytest.fixture
def moved_away(tmp_path, picture):
    """A finished result of tiles of 96 pixels whose replacement was killed between the two renames."""
    make(ResultFolders(tmp_path / "out", {"--tile": 96}, overwrite=False), picture, "old")
    deep = tmp_path / "out" / "deep"
    os.rename(deep / "slide.svs", deep / ".slide.svs.old")
    (deep / ".slide.svs.part").mkdir()
    (deep / ".slide.svs.part" / "mask.png").write_text("new")
    return tmp_path / "out"


def test_a_result_that_was_moved_away_comes_back(moved_away, picture):
    folders = ResultFolders(moved_away, {"--tile": 96}, overwrite=False)
    with folders.claimed(picture) as folder:
        assert folder is None
    assert visible(moved_away) == COMPLETE
    assert folders.finished(picture)["settings"] == {"--tile": 96}


def test_a_result_that_was_moved_away_is_not_overwritten_unasked(moved_away, picture):
    folders = ResultFolders(moved_away, {"--tile": 128}, overwrite=False)
    with pytest.raises(UserError, match="was made with --tile 96, now 128"), folders.claimed(picture):
        pass
    assert visible(moved_away) == COMPLETE
    make(ResultFolders(moved_away, {"--tile": 128}, overwrite=True), picture, "newer")
    assert visible(moved_away) == COMPLETE
    assert (moved_away / "deep/slide.svs/mask.png").read_text() == "newer"


def test_overwriting_keeps_what_a_user_has_put_there(tmp_path, picture):
    final, figures = tmp_path / "out" / "deep" / "slide.svs", FIGURES | {"output": {"files": ["mask.png", "gone.csv"]}}

    def predict(tile):
        folders = ResultFolders(tmp_path / "out", {"--tile": tile}, overwrite=True)
        with folders.claimed(picture) as folder:
            (folder / "mask.png").write_text(str(tile))
            (folder / ("gone.csv" if tile == 96 else "more.csv")).write_text(str(tile))
            folders.finish(folder, picture, figures)

    predict(96)
    (final / "corrected.geojson").write_text("mine")
    (final / "more.csv").write_text("my own of that name")
    (final / "qupath" / "data").mkdir(parents=True)
    (final / "qupath" / "data" / "1.qpdata").write_text("mine")
    predict(128)
    qupath = ["qupath", "qupath/data", "qupath/data/1.qpdata"]
    assert visible(final) == [
        "corrected.geojson", "mask.png", "more.csv", "more_before.csv", *qupath, "result.json"
    ]  # fmt: skip
    mine = ("corrected.geojson", "qupath/data/1.qpdata", "more_before.csv")
    assert [(final / name).read_text() for name in mine] == ["mine", "mine", "my own of that name"]
    assert (final / "mask.png").read_text() == (final / "more.csv").read_text() == "128"


def test_what_cannot_be_kept_is_told_before_the_work_begins(tmp_path, picture, monkeypatch):
    folders = ResultFolders(tmp_path / "out", {"--tile": 96}, overwrite=False)
    make(folders, picture)
    (tmp_path / "out" / "deep" / "slide.svs" / "mine.txt").write_text("mine")

    def refuse(source, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(source))

    monkeypatch.setattr(result_folders, "link_or_copy", refuse)
    again = ResultFolders(tmp_path / "out", {"--tile": 128}, overwrite=True)
    with pytest.raises(UserError, match=r"slide\.svs: permission denied"), again.claimed(picture):
        pytest.fail("the work began")
    assert visible(tmp_path / "out") == sorted([*COMPLETE, "deep/slide.svs/mine.txt"])


def test_a_link_in_the_place_of_results_is_refused_and_what_it_leads_to_stays(tmp_path, picture):
    make(ResultFolders(tmp_path / "elsewhere", {"--tile": 96}, overwrite=False), picture)
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "slide.svs").symlink_to(tmp_path / "elsewhere" / "deep" / "slide.svs")
    with pytest.raises(UserError, match=r"slide\.svs is a link: remove it, or give the folder that it leads to"):
        make(ResultFolders(tmp_path / "out", {"--tile": 128}, overwrite=True), picture)
    assert visible(tmp_path / "elsewhere") == COMPLETE


def test_a_rename_that_fails_leaves_the_older_result(tmp_path, picture, monkeypatch):
    output = tmp_path / "out"
    make(ResultFolders(output, {"--tile": 96}, overwrite=False), picture, "old")
    rename = os.rename

    def refuse(source, target):
        if Path(source).name.endswith(".part"):
            raise PermissionError(errno.EACCES, "Permission denied", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(UserError, match=r"cannot write .*out/deep/slide\.svs: permission denied"):
        make(ResultFolders(output, {"--tile": 128}, overwrite=True), picture, "new")
    assert visible(output) == COMPLETE and (output / "deep/slide.svs/mask.png").read_text() == "old"


def test_other_settings_or_another_picture_are_told_and_overwritten_only_if_asked(tmp_path, picture):
    output = tmp_path / "out"
    make(ResultFolders(output, {"--tile": 96}, overwrite=False), picture, "old")
    other = ResultFolders(output, {"--tile": 128}, overwrite=False)
    with pytest.raises(UserError, match=r"was made with --tile 96, now 128: give --overwrite or another --output"):
        other.finished(picture)
    again = ResultFolders(output, {"--tile": 128}, overwrite=True)
    assert again.finished(picture) is None
    make(again, picture, "new")
    assert (output / "deep/slide.svs/mask.png").read_text() == "new"
    assert visible(output) == COMPLETE
    assert other.finished(picture)["settings"] == {"--tile": 128}
    picture.path.write_bytes(b"another")
    with pytest.raises(UserError, match="was made of another file than"):
        other.finished(picture)
    picture.path.unlink()
    assert other.finished(picture)["settings"] == {"--tile": 128}


def test_settings_of_a_picture_of_its_own(tmp_path, picture):
    output, own = tmp_path / "out", {"--regions": None}
    folders = ResultFolders(output, {"--tile": 96}, own=lambda _: dict(own), overwrite=False)
    make(ResultFolders(output, {"--tile": 96}, overwrite=False), picture)  # as before there were regions
    assert folders.finished(picture)["settings"] == {"--tile": 96}
    own["--regions"] = "a.geojson (1)"
    with pytest.raises(UserError, match=r"was made with --regions None, now 'a\.geojson \(1\)': give --overwrite"):
        folders.finished(picture)
    again = ResultFolders(output, {"--tile": 96}, own=lambda _: dict(own), overwrite=True)
    make(again, picture)
    assert folders.finished(picture)["settings"] == {"--tile": 96, "--regions": "a.geojson (1)"}
    own["--regions"] = "a.geojson (2)"
    with pytest.raises(UserError) as error, again.claimed(picture) as folder:
        own["--regions"] = "a.geojson (3)"
        again.finish(folder, picture, FIGURES)
    assert str(error.value) == f"{picture.path}: --regions changed while it was predicted: run the command again"


def test_what_another_process_makes_is_left_to_it(tmp_path, picture):
    output = tmp_path / "out"
    folders = ResultFolders(output, {}, overwrite=False)
    with Lock(output / ".locks" / picture.name) as lock:
        assert lock.take()
        with folders.claimed(picture) as folder:
            assert folder is None
    with folders.claimed(picture) as folder:
        assert folder.is_dir()
        folders.finish(folder, picture, FIGURES)


def test_a_folder_that_is_no_result_is_not_touched(tmp_path, picture):
    (tmp_path / "out" / "deep" / "slide.svs").mkdir(parents=True)
    folders = ResultFolders(tmp_path / "out", {}, overwrite=True)
    with pytest.raises(UserError, match="is in the way and holds no results"):
        folders.finished(picture)


def test_an_output_that_cannot_be_made_is_told(tmp_path, picture):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        ResultFolders(tmp_path / "file" / "out", {}, overwrite=False)


@pytest.mark.parametrize("operation", ["mkdir", "open"])
def test_an_output_without_permission_is_told(tmp_path, monkeypatch, operation):
    output = tmp_path / "out"

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(*{"mkdir": (os, "mkdir"), "open": ("builtins.open",)}[operation], refuse)
    with pytest.raises(UserError) as error:
        ResultFolders(output, {}, overwrite=False)
    assert str(error.value) == (
        f"cannot write {output}/.locks: permission denied: change the folder's permissions or choose another folder"
    )


def test_what_another_process_has_just_made_is_not_made_again(tmp_path, picture):
    folders = ResultFolders(tmp_path / "out", {}, overwrite=False)
    assert folders.finished(picture) is None
    make(ResultFolders(tmp_path / "out", {}, overwrite=False), picture)
    with folders.claimed(picture) as folder:
        assert folder is None


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"settings": {}, "input": {"identity": 1}},
        FIGURES | {"settings": []},
        FIGURES | {"settings": {}},
        FIGURES | {"settings": {}, "input": FIGURES["input"] | {"identity": {"bytes": 1}}, "areas": {"tumour": 0.5}},
        FIGURES | {"settings": {}, "input": FIGURES["input"] | {"identity": {"bytes": 1}}, "tissue_share": "half"},
        FIGURES | {"settings": {}, "input": FIGURES["input"] | {"identity": {"bytes": 1}}, "regions": [{"areas": {}}]},
    ],
)
def test_a_json_file_of_something_else_is_told(tmp_path, picture, content):
    folders = ResultFolders(tmp_path / "out", {}, overwrite=True)
    path = tmp_path / "out" / "deep" / "slide.svs" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        folders.finished(picture)
    assert re.fullmatch(
        rf"{re.escape(str(path))} is damaged \(.+\): delete its folder, or give another --output", str(error.value)
    )


@pytest.mark.parametrize("vanished", [False, True])
def test_a_picture_that_changes_meanwhile_has_no_result(tmp_path, picture, vanished):
    folders = ResultFolders(tmp_path / "out", {}, overwrite=False)
    with pytest.raises(UserError) as error, folders.claimed(picture) as folder:
        picture.path.unlink() if vanished else picture.path.write_bytes(b"another")
        folders.finish(folder, picture, FIGURES)
    assert str(error.value) == f"{picture.path} changed while it was predicted: run the command again"
    assert visible(tmp_path / "out") == ["deep"]


def test_a_picture_that_is_gone_is_told(tmp_path, picture):
    folders = ResultFolders(tmp_path / "out", {}, overwrite=False)
    picture.path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*slide\.svs: No such file"), folders.claimed(picture):
        pass
