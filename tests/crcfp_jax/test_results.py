"""Result folders: whole or absent, one process each, never overwritten unasked."""

import json

import pytest

from crcfp_jax.inference.inputs import Input
from crcfp_jax.inference.results import ResultFolders, identity
from crcfp_jax.lock import Lock
from data_pipelines.errors import UserError


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "slide.svs"
    path.write_bytes(bytes(range(256)) * 10)
    return Input(path, "deep/slide.svs")


def make(folders, picture, content="result"):
    with folders.making(picture) as folder:
        (folder / "mask.png").write_text(content)
        folders.finish(folder, picture, {"input": {"size": [1, 2]}, "timing": {}})


def visible(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if ".locks" not in path.parts)


def test_a_folder_takes_its_place_when_it_is_complete(tmp_path, picture):
    output = tmp_path / "out"
    folders = ResultFolders(output, {"--tile": 96}, overwrite=False)
    assert folders.finished(picture) is None
    with folders.making(picture) as folder:
        (folder / "mask.png").write_text("x")
        assert not (output / "deep" / "slide.svs").exists()
        result = folders.finish(folder, picture, {"input": {"size": [1, 2]}})
    assert visible(output) == ["deep", "deep/slide.svs", "deep/slide.svs/mask.png", "deep/slide.svs/result.json"]
    assert folders.finished(picture) == result == json.loads((output / "deep/slide.svs/result.json").read_text())
    assert result["input"] == {"path": str(picture.path), "identity": identity(picture.path), "size": [1, 2]}
    assert result["settings"] == {"--tile": 96}


def test_a_failure_leaves_nothing_and_a_killed_process_is_cleaned_up_after(tmp_path, picture):
    output = tmp_path / "out"
    folders = ResultFolders(output, {}, overwrite=False)
    with pytest.raises(RuntimeError), folders.making(picture) as folder:
        (folder / "mask.png").write_text("x")
        raise RuntimeError
    assert visible(output) == ["deep"]
    left = output / "deep" / ".slide.svs.part"
    left.mkdir()
    (left / "half").write_text("x")
    make(folders, picture)
    assert visible(output) == ["deep", "deep/slide.svs", "deep/slide.svs/mask.png", "deep/slide.svs/result.json"]


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
    assert visible(output) == ["deep", "deep/slide.svs", "deep/slide.svs/mask.png", "deep/slide.svs/result.json"]
    assert other.finished(picture)["settings"] == {"--tile": 128}
    picture.path.write_bytes(b"another")
    with pytest.raises(UserError, match="was made of another file than"):
        other.finished(picture)
    picture.path.unlink()
    assert other.finished(picture)["settings"] == {"--tile": 128}


def test_what_another_process_makes_is_left_to_it(tmp_path, picture):
    output = tmp_path / "out"
    folders = ResultFolders(output, {}, overwrite=False)
    with Lock(output / ".locks" / picture.name) as lock:
        assert lock.take()
        with folders.making(picture) as folder:
            assert folder is None
    with folders.making(picture) as folder:
        assert folder.is_dir()
        folders.finish(folder, picture, {"input": {}})


def test_a_folder_that_is_no_result_is_not_touched(tmp_path, picture):
    (tmp_path / "out" / "deep" / "slide.svs").mkdir(parents=True)
    folders = ResultFolders(tmp_path / "out", {}, overwrite=True)
    with pytest.raises(UserError, match="is in the way and holds no results"):
        folders.finished(picture)


def test_an_output_that_cannot_be_made_is_told(tmp_path, picture):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        ResultFolders(tmp_path / "file" / "out", {}, overwrite=False)
