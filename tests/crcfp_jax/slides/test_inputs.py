"""Which pictures a command line names."""

import json
import os

import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.slides.inputs import find_inputs


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "b.SVS", "notes.txt", "deep/c.tiff", "deep/a.png", ".hidden.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def store(folder):
    """A result.json as predict writes it."""
    area = {"tumour": {"pixels": 2, "mm2": 5e-7, "share": 1.0}}
    folder.mkdir(parents=True)
    result = {
        "input": {"size": [1, 2], "microns_per_pixel": 0.5, "identity": {"bytes": 1}},
        "settings": {},
        "tissue_share": None,
        "areas": area,
        "timing": {"seconds": 2.0, "megapixels_per_second": 1},
        "output": {"files": []},
    }
    (folder / "result.json").write_text(json.dumps(result))


def names(found):
    return [picture.name for picture in found.pictures]


def test_a_folder_gives_its_pictures_with_their_paths_below_it(pictures, tmp_path):
    assert names(find_inputs([str(pictures)], tmp_path / "out")) == ["a.png", "b.SVS", "deep/a.png", "deep/c.tiff"]


def test_files_come_in_their_order_each_once_whatever_they_are_called(pictures, tmp_path):
    words = [str(pictures / name) for name in ("notes.txt", "b.SVS", "a.png", "notes.txt")] + [str(pictures / "*.png")]
    assert names(find_inputs(words, tmp_path / "out")) == ["notes.txt", "b.SVS", "a.png"]


def test_a_pattern_may_name_folders_below(pictures, tmp_path):
    assert names(find_inputs([str(pictures / "**" / "*.tiff")], tmp_path / "out")) == ["c.tiff"]


def test_results_are_no_inputs(pictures):
    output = pictures / "results"
    (output / "a.png").mkdir(parents=True)
    (output / "a.png" / "overlay.png").write_bytes(b"x")
    (output / "run.png").write_bytes(b"x")
    assert names(find_inputs([str(pictures)], output)) == ["a.png", "b.SVS", "deep/a.png", "deep/c.tiff"]
    (found,) = find_inputs([str(pictures / "*" / "*.png")], output).pictures
    assert found.path == pictures / "deep" / "a.png"
    assert names(find_inputs([str(pictures / "[dr]*")], output)) == ["a.png", "c.tiff"]  # folders deep and results
    for word in ("results", "results/run.png", "results/a.png"):
        with pytest.raises(UserError) as error:
            find_inputs([str(pictures / word)], output)
        told = f"{pictures / word} lies in --output {output}: results are no inputs, give what lies elsewhere"
        assert str(error.value) == told
    with pytest.raises(UserError, match="no file fits it as a pattern"):
        find_inputs([str(output / "*.png")], output)


def test_hidden_folders_below_a_folder_are_skipped_but_may_be_named(pictures, tmp_path):
    (pictures / ".ipynb_checkpoints" / "deep").mkdir(parents=True)
    (pictures / ".ipynb_checkpoints" / "deep" / "e.png").write_bytes(b"x")
    (pictures / "deep" / ".cache").mkdir()
    (pictures / "deep" / ".cache" / "f.png").write_bytes(b"x")
    assert names(find_inputs([str(pictures)], tmp_path / "out")) == ["a.png", "b.SVS", "deep/a.png", "deep/c.tiff"]
    assert names(find_inputs([str(pictures / ".ipynb_checkpoints")], tmp_path / "out")) == ["deep/e.png"]


def test_what_a_folder_holds_besides_is_told(pictures, tmp_path):
    for name in ("x.czi", "deep/y.CZI", "z.dcm", "pyramid.ptif", "large.btf", "text.txt"):
        (pictures / name).write_bytes(b"x")
    (pictures / "gone.svs").symlink_to(tmp_path / "nowhere.svs")
    os.mkfifo(pictures / "pipe.tif")
    found = find_inputs([str(pictures)], tmp_path / "out")
    assert names(found) == ["a.png", "b.SVS", "deep/a.png", "deep/c.tiff", "large.btf", "pyramid.ptif"]
    assert found.notes == [
        f"{pictures}: left out deep/y.CZI and 1 more (.czi, which is not read), gone.svs (a link that leads nowhere), "
        "pipe.tif (no regular file), z.dcm (.dcm, which is not read); of a DICOM slide, give one .dcm file by its name"
    ]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "s.vsi").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no picture in this folder or below it; .*left out s\.vsi \(\.vsi, which"):
        find_inputs([str(tmp_path / "other")], tmp_path / "out")
    with pytest.raises(UserError, match=r"oth\*: no picture in the folders that fit this pattern; .*left out s\.vsi"):
        find_inputs([str(tmp_path / "oth*")], tmp_path / "out")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"bare: no picture in this folder or below it; give files"):
        find_inputs([str(pictures), str(tmp_path / "bare")], tmp_path / "out")


def test_earlier_results_below_a_folder_are_no_inputs(pictures, tmp_path):
    earlier = pictures / "predictions" / "a.png"
    store(earlier)
    (earlier / "overlay.png").write_bytes(b"x")
    (earlier / "mask.png").write_bytes(b"x")
    found = find_inputs([str(pictures)], tmp_path / "out")
    assert names(found) == ["a.png", "b.SVS", "deep/a.png", "deep/c.tiff"]
    told = "left out predictions/a.png/mask.png and 1 more (of earlier results)"
    assert found.notes == [f"{pictures}: {told}"]
    (earlier / "result.json").write_text("{}")  # of something else
    assert len(find_inputs([str(pictures)], tmp_path / "out").pictures) == 6


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("missing.svs", "missing.svs: no such file or folder"),
        ("*.ndpi", "no file fits it as a pattern"),
        ("empty", "no picture in this folder or below it"),
    ],
)
def test_a_word_that_names_nothing_is_told(pictures, tmp_path, word, told):
    (pictures / "empty").mkdir()
    with pytest.raises(UserError, match=told.replace("*", r"\*")):
        find_inputs([str(pictures / word)], tmp_path / "out")


def test_two_pictures_of_one_name_are_told(pictures, tmp_path):
    with pytest.raises(UserError, match=r"deep/a\.png and .*in/a\.png have the same name: give the folder that"):
        find_inputs([str(pictures / "a.png"), str(pictures / "deep" / "a.png")], tmp_path / "out")


def test_names_that_results_could_not_have_are_told(pictures, tmp_path):
    (pictures / "summary.csv").write_bytes(b"x")
    with pytest.raises(UserError, match=r"summary\.csv is the name of a table beside the results: call the picture"):
        find_inputs([str(pictures / "summary.csv")], tmp_path / "out")
    inner = pictures / "y" / "a.png" / "b.png"
    inner.parent.mkdir(parents=True)
    inner.write_bytes(b"x")
    with pytest.raises(UserError, match=r"results of .*y/a\.png/b\.png would lie in those of .*in/a\.png: give each"):
        find_inputs([str(pictures / "a.png"), str(pictures / "y")], tmp_path / "out")
