"""Pipes and devices where files are expected: reading them would wait, or go on, for ever."""

import os
from pathlib import Path

import pytest
from fake_tiles import build_stored, noise
from written_json import write_card

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json, read_metrics
from crcfp_jax.portable_model.card import check_files, read_card
from crcfp_jax.slides.frames import fingerprint
from crcfp_jax.slides.result_folders import identity
from data_pipelines.annotations.files import read_annotations
from data_pipelines.annotations.masks import read_mask
from data_pipelines.annotations.table import read_class_table
from data_pipelines.data_set import open_data_set
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.whole import read_codes

READERS = [open_slide, read_codes, read_mask, read_annotations, read_class_table, read_json, read_metrics, fingerprint]
READERS.append(identity)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_pipe_is_refused(read, tmp_path):
    pipe = tmp_path / "a.tif"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=r"a\.tif is a pipe, socket or device, not a file: save what it gives"):
        read(pipe)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_device_is_refused(read):
    with pytest.raises(UserError, match="/dev/zero is a pipe, socket or device"):
        read(Path("/dev/zero"))


def test_a_pipe_among_the_files_of_a_model_is_refused(tmp_path):
    write_card(tmp_path)
    os.mkfifo(tmp_path / "model.jaxexport")
    with pytest.raises(UserError, match=r"model\.jaxexport is a pipe"):
        check_files(tmp_path, read_card(tmp_path))


@pytest.mark.parametrize("name", ["index.json", "splits.json", "about.json"])
def test_a_pipe_in_a_built_data_set_is_refused(name, tmp_path):
    path = build_stored(tmp_path, noise(9)).path
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(UserError, match=f"{name} is a pipe"):
        open_data_set(tmp_path, "tiny")
