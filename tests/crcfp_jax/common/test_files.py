"""Files are whole or absent; faults of the file system are told in one line."""

import errno
import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.common import files
from crcfp_jax.common.errors import UserError


def test_json_round_trip_of_numpy_and_jax_values(tmp_path):
    path = tmp_path / "new" / "result.json"
    files.write_json_atomic(path, {"a": np.float32(0.5), "b": jnp.arange(2), "c": (1, True, None), "d": {2: "x"}})
    assert files.read_json(path) == {"a": 0.5, "b": [0, 1], "c": [1, True, None], "d": {"2": "x"}}


def test_json_knows_no_nan():
    assert files.to_json_types([float("nan"), np.inf, np.array([np.nan, 1.0])]) == [None, None, [None, 1.0]]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    files.write_json_atomic(path, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*result\.json: the disk is full"):
        files.write_json_atomic(path, 2)
    assert json.loads(path.read_text()) == 1
    assert os.listdir(tmp_path) == ["result.json"]


def test_missing_space_is_told_with_place_and_numbers(tmp_path, monkeypatch):
    mebibyte = 2**20
    usage = shutil.disk_usage(tmp_path)._replace(free=3 * mebibyte - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: {tmp_path: usage}[path])
    files.check_space(tmp_path, 3 * mebibyte - 1, what="a checkpoint", option="--workdir")
    with pytest.raises(UserError) as refused:  # the need is rounded up, what is free down
        files.check_space(tmp_path, 3 * mebibyte, what="a checkpoint", option="--workdir")
    assert str(refused.value) == (
        f"{tmp_path}: a checkpoint takes at least 3 MiB and the disk has 2 MiB free: "
        "make space or choose another --workdir"
    )


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"taken.result\.json: "):
        files.write_atomic(tmp_path / "taken" / "result.json", b"")


@pytest.mark.parametrize("content", [None, "{"])
def test_reading_names_a_missing_or_damaged_file(tmp_path, content):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"result\.json"):
        files.read_json(path)
