"""The build command: summary, faults in one line, and nothing half-built that looks finished."""

import dataclasses
import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from processes import ROOT
from raw_folders import REGION, write_bcss
from tensorflow_datasets.core import shuffle

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.command import run_main
from crcfp_jax.common.errors import UserError
from data_pipelines.build import build, main
from data_pipelines.data_set import open_data_set
from data_pipelines.recipes import FoundSources, Recipe, Source, Tile
from data_pipelines.units import Splits, Unit


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: main([str(argument) for argument in arguments]))
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def test_summary_and_second_run(tmp_path, capsys):
    write_bcss(tmp_path / "raw", ("A2", "OL"), height=40, width=30)
    command = ("bcss", "--raw_dir", tmp_path / "raw", "--data_dir", tmp_path / "data")
    code, out, err = run(capsys, *command)
    assert (code, err) == (0, "")
    assert out.startswith("built: ")
    assert "train tiles per hospital: A2 1" in out and "test tiles per hospital: OL 1" in out
    shares = [float(line.split("│")[2]) for line in out.splitlines() if line.startswith(("│ tumour", "│ stroma"))]
    assert shares[0] == pytest.approx(100 * 3 / 20, abs=3) and shares[1] == pytest.approx(100 / 20, abs=2)
    code, out, err = run(capsys, *command)
    assert (code, err) == (0, "") and out.startswith("already built: ")


def test_overwrite_follows_the_raw_data(tmp_path):
    write_bcss(tmp_path / "raw", height=40, width=30)
    first = build("bcss", tmp_path / "raw", tmp_path / "data")
    same = build("bcss", tmp_path / "raw", tmp_path / "data", overwrite=True)
    assert same.fingerprint == first.fingerprint
    write_bcss(tmp_path / "raw", height=40, width=31)
    assert build("bcss", tmp_path / "raw", tmp_path / "data").fingerprint == first.fingerprint
    assert build("bcss", tmp_path / "raw", tmp_path / "data", overwrite=True).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["brca"], "unknown data set 'brca'; known: bcss, ebhi, folder, glas, monuseg, synthetic"),
        (["bcss", "--class_map", "own"], "--class_map own is unknown for bcss; known: paper, release"),
        (["monuseg", "--class_map", "release"], "--class_map does not apply to data set monuseg"),
        (["synthetic", "--raw_dir", "{empty}"], "--raw_dir does not apply to data set synthetic"),
        (["--class_map", "paper"], "command line: give the data set's name first; known: bcss, ebhi, folder, glas"),
        (["bcss"], "--raw_dir is not given: download BCSS"),
        (["bcss", "--raw_dir", "{missing}"], "{missing} does not exist: download BCSS (about 5 GB) from the Google"),
        (["monuseg", "--raw_dir", "{empty}"], "{empty} is empty: download the training and the test data of MoNuSeg"),
        (["bcss", "--raw_dir", "{other}"], "holds no rgbs_colorNormalized/*.png: download BCSS"),
        (["monuseg", "--raw_dir", "{other}"], "MoNuSeg 2018 Training Data/Tissue Images holds no *.tif: download"),
    ],
)
def test_faults_in_one_line(tmp_path, capsys, arguments, message):
    folders = {name: str(tmp_path / name) for name in ("missing", "empty", "other")}
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "thesis").mkdir(parents=True)
    data_dir = tmp_path / "data"
    arguments = [argument.format(**folders) for argument in arguments]
    code, out, err = run(capsys, *arguments, "--data_dir", data_dir)
    assert code == 1 and out == "" and err.count("\n") == 1
    assert message.format(**folders) in err
    if "download" in message:
        raw_dir = arguments[-1] if "--raw_dir" in arguments else "RAW_DIR"
        command = f"python -m data_pipelines.build {arguments[0]} --raw_dir {raw_dir} --data_dir {data_dir}"
        assert err.endswith(f"then run: {command}\n")
    assert not data_dir.exists()


def test_unwritable_data_dir(tmp_path, capsys):
    write_bcss(tmp_path / "raw", height=40, width=30)
    (tmp_path / "data").write_text("a file where the folder should be")
    code, _, err = run(capsys, "bcss", "--raw_dir", tmp_path / "raw", "--data_dir", tmp_path / "data")
    assert code == 1 and err.count("\n") == 1 and "can't write the data set to" in err


def test_killed_build_is_not_taken_for_finished(tmp_path):
    write_bcss(tmp_path / "raw", ("A1", "A2", "A7"), height=40, width=30)
    script = """
import os, signal, sys
from data_pipelines.storage.builder import TissueBuilder
from data_pipelines.build import main
collect = TissueBuilder._collect
def killed(self, record, counts):
    if len(self.collected.records) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return collect(self, record, counts)
TissueBuilder._collect = killed
main(["bcss", "--raw_dir", sys.argv[1], "--data_dir", sys.argv[2]])
"""
    arguments = [sys.executable, "-c", script, tmp_path / "raw", tmp_path / "data"]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert any((tmp_path / "data" / "bcss" / ".1.0.0.part").rglob("*array_record*"))  # it had begun to write
    with pytest.raises(UserError, match="not built"):
        open_data_set(tmp_path / "data", "bcss")
    assert len(build("bcss", tmp_path / "raw", tmp_path / "data").records) == 3
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".bcss.lock", "bcss"]
    assert [path.name for path in (tmp_path / "data" / "bcss").iterdir()] == ["1.0.0"]
    assert all(path.is_file() for path in (tmp_path / "data" / "bcss" / "1.0.0").iterdir())


def test_folder_without_index_is_built_again(tmp_path):
    write_bcss(tmp_path / "raw", height=40, width=30)
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data")
    (data_set.path / "index.json").unlink()
    assert build("bcss", tmp_path / "raw", tmp_path / "data").fingerprint == data_set.fingerprint


def test_failed_build_leaves_the_old_one(tmp_path):
    write_bcss(tmp_path / "raw", height=40, width=30)
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data")
    (tmp_path / "raw" / "masks" / f"{REGION.format(site='A2')}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="is no PNG, so it holds no class codes"):
        build("bcss", tmp_path / "raw", tmp_path / "data", overwrite=True)
    assert open_data_set(tmp_path / "data", "bcss").source("train", labels=True)[0]["label"].shape == (512, 512)
    assert open_data_set(tmp_path / "data", "bcss").fingerprint == data_set.fingerprint
    # Killed between the two renames.
    data_set.path.rename(data_set.path.with_name(".1.0.0.old"))
    # It is there again with the plain command, which needs no raw folder for what is built.
    assert build("bcss", None, tmp_path / "data").fingerprint == data_set.fingerprint
    assert [path.name for path in data_set.path.parent.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (errno.ENOSPC, "the disk is full: free some space or choose another folder"),
        (errno.EDQUOT, "your disk quota is used up: free some space or choose another folder"),
        (errno.EACCES, "permission denied: change the folder's permissions or choose another folder"),
    ],
)
def test_faults_of_the_disk_have_the_same_advice_as_elsewhere(tmp_path, monkeypatch, fault, advice):
    def refuse(*_):
        raise OSError(fault, os.strerror(fault), "inside")

    monkeypatch.setattr("data_pipelines.storage.store.write_index", refuse)
    write_bcss(tmp_path / "raw", height=40, width=30)
    with pytest.raises(UserError) as refused:
        build("bcss", tmp_path / "raw", tmp_path / "data")
    assert str(refused.value) == f"can't write the data set to --data_dir {tmp_path / 'data'}: {advice}"
    assert not list((tmp_path / "data" / "bcss").iterdir())


def test_the_command_ends_like_every_other(tmp_path):
    command = [sys.executable, "-m", "data_pipelines.build", "brca", "--data_dir", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: unknown data set 'brca'; known: bcss, ebhi, folder, glas, monuseg, synthetic\n"


def test_one_build_at_a_time(tmp_path):
    write_bcss(tmp_path / "raw", height=40, width=30)
    (tmp_path / "data").mkdir()
    with open(tmp_path / "data" / ".bcss.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another build of bcss is running"):
            build("bcss", tmp_path / "raw", tmp_path / "data")


def test_a_split_larger_than_memory_needs_no_tensorflow(tmp_path, monkeypatch):
    """Above this many bytes a GeneratorBasedBuilder would open its sorting files with TensorFlow."""
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1)
    write_bcss(tmp_path / "raw", ("A1", "A2"), height=40, width=30)
    assert len(build("bcss", tmp_path / "raw", tmp_path / "data").records) == 2


def test_a_file_system_without_locks_builds_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_bcss(tmp_path / "raw", height=40, width=30)
    assert len(build("bcss", tmp_path / "raw", tmp_path / "data").records) == 1


def test_neither_tensorflow_nor_jax_is_imported(tmp_path):
    write_bcss(tmp_path / "raw", height=40, width=30)
    script = """
import sys
from data_pipelines.build import build
build("bcss", sys.argv[1], sys.argv[2]).source("train", labels=True)[0]
of_jax = [name for name in sys.modules if name.startswith("crcfp_jax.") and ".common" not in name]
sys.exit(bool(of_jax) or any(name in sys.modules for name in ("tensorflow", "jax", "flax", "torch")))
"""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    arguments = [sys.executable, "-c", script, tmp_path / "raw", tmp_path / "data"]
    subprocess.run(arguments, check=True, env=environment)


def test_nothing_is_left_in_the_temporary_directory(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    write_bcss(tmp_path / "raw", height=40, width=30)
    built = build("bcss", tmp_path / "raw", tmp_path / "data")
    assert len(open_data_set(built.path.parents[1], "bcss").source("train", labels=True)) == 1
    assert not list((tmp_path / "temporary").iterdir())


def _store(tmp_path, *tiles: Tile):
    """Builds a data set named 'own' from tiles made here."""
    recipe = Recipe(
        name="own",
        description="",
        licence="",
        classes=(ClassInfo("a", (0, 0, 0)), ClassInfo("b", (1, 1, 1))),
        microns_per_pixel=1.0,
        splits=Splits((Unit("image", {"1/1": 1}),)),
        find_sources=lambda raw_dir: FoundSources((Source("all", "train", lambda: tiles),)),
        needs_raw=False,
    )
    return build(recipe, None, tmp_path / "data")


def _tile(name: str, label: np.ndarray | None) -> Tile:
    return Tile(name, np.zeros((2, 3, 3), np.uint8), label, "hospital", "patient", "image", 4, 5)


def test_annotated_means_any_pixel_that_counts(tmp_path):
    partly = np.full((2, 3), 255, np.uint8)
    partly[1, 2] = 1
    data_set = _store(
        tmp_path,
        _tile("none", None),
        _tile("ignored", np.full((2, 3), 255, np.uint8)),
        _tile("partly", partly),
    )
    assert [record.annotated for record in data_set.records] == [False, False, True]
    assert (data_set.source("train", labels=True)[0]["label"] == 255).all()
    assert data_set.pixels == {"train": [0, 1]}
    record = data_set.records[2]
    assert (record.hospital, record.patient, record.image, record.x, record.y) == ("hospital", "patient", "image", 4, 5)


def test_a_tile_may_have_a_pixel_size_of_its_own(tmp_path):
    own = Tile("own", np.zeros((4, 7, 3), np.uint8), None, "hospital", "patient", "image", 0, 0, microns_per_pixel=0.5)
    records = _store(tmp_path, _tile("none", None), own).records
    assert [(r.microns_per_pixel, r.height, r.width) for r in records] == [(1.0, 2, 3), (0.5, 4, 7)]
    assert open_data_set(tmp_path / "data", "own").records == records
    none = dataclasses.replace(own, microns_per_pixel=0.0)
    with pytest.raises(ValueError, match=r"own: 0\.0 µm per pixel is no size"):
        _store(tmp_path / "other", none)


def test_contract_of_tiles(tmp_path):
    with pytest.raises(UserError, match="tile twin occurs twice"):
        _store(tmp_path, _tile("twin", None), _tile("twin", None))
    with pytest.raises(UserError, match="holds 2, 7; known are 0 a, 1 b, and 255 for not annotated"):
        _store(tmp_path, _tile("odd", np.uint8([[2, 7, 0], [1, 255, 2]])))
    with pytest.raises(ValueError, match=r"label uint8 \(3, 2\) is not uint8 \[2, 3\]"):
        _store(tmp_path, _tile("odd", np.zeros((3, 2), np.uint8)))
    assert not list((tmp_path / "data").glob("own/*"))


def test_two_processes_store_the_same_bytes(tmp_path):
    """A message's map has another order in every process."""
    program = (
        "import sys; from fake_tiles import build_stored, noise; from pathlib import Path; "
        "build_stored(Path(sys.argv[1]), noise(9))"
    )
    contents = []
    for name in ("a", "b", "c"):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])}
        subprocess.run([sys.executable, "-c", program, tmp_path / name], env=environment, check=True)
        folder = tmp_path / name / "tiny"
        contents.append({path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) > 5
