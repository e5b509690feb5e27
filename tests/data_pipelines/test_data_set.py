"""A built data set comes back as it was given, in order, and masks stay unread where no labels are asked for."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from raw_folders import write_bcss

from crcfp_jax.common.errors import UserError
from data_pipelines import data_set as records
from data_pipelines.build import build
from data_pipelines.builders.bcss import code_table
from data_pipelines.scale import network_pixel_size
from data_pipelines.storage import encoding

SITES = ("A1", "A2", "A7", "A8", "AC", "AN", "AO", "AQ", "AR", "BH", "C8", "OL")  # 11 shards of training, 1 of test


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A data set of 12 regions of 2 tiles, and what was put into it."""
    folder = tmp_path_factory.mktemp("records")
    written = write_bcss(folder / "raw", SITES, height=60, width=513)
    return build("bcss", folder / "raw", folder / "data"), written


def test_storage_order_is_index_order(built):
    data_set, _ = built
    for split, count in (("train", 22), ("test", 2)):
        rows = [record for record in data_set.records if record.split == split]
        stored = tfds.builder_from_directory(data_set.path).as_data_source(split=split)
        assert [record.position for record in rows] == list(range(count)) == list(range(len(stored)))
        assert [example["id"].decode() for example in stored] == [record.id for record in rows]


def test_pixels_come_back(built):
    data_set, written = built
    source = data_set.source("train", labels=True)
    table = code_table("paper")
    for record in (record for record in data_set.records if record.split == "train"):
        tile = source[record.position]
        image, codes = written[record.image]
        height, width = (60, min(512, 513 - record.x))
        assert tile["image"].shape == (512, 512, 3) and tile["image"].dtype == np.uint8
        assert tile["label"].shape == (512, 512) and tile["label"].dtype == np.uint8
        np.testing.assert_array_equal(tile["image"][:height, :width], image[:, record.x : record.x + 512])
        np.testing.assert_array_equal(tile["label"][:height, :width], table[codes[:, record.x : record.x + 512]])
        assert (tile["label"][height:] == 255).all() and (tile["label"][:, width:] == 255).all()


def test_threads_read_what_one_thread_reads(built):
    data_set, _ = built
    source = data_set.source("train", labels=True)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(source.__getitem__, [i % 22 for i in range(88)]))
    for i, tile in enumerate(together):
        alone = source[i % 22]
        assert (tile["image"] == alone["image"]).all() and (tile["label"] == alone["label"]).all()


def test_without_labels_no_mask_is_decoded(tmp_path, monkeypatch):
    write_bcss(tmp_path / "raw", height=40, width=30)
    encode = encoding._png

    def garbage_for_masks(pixels, level):
        return encode(pixels, level) if pixels.ndim == 3 else b"this is no PNG file"

    monkeypatch.setattr(encoding, "_png", garbage_for_masks)
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data")
    assert set(data_set.source("train", labels=False)[0]) == {"image"}
    with pytest.raises(UserError, match=r"tile 0 can't be read .*--overwrite"):
        data_set.source("train", labels=True)[0]


def test_unknown_split_and_index(built):
    data_set, _ = built
    with pytest.raises(UserError, match="no split 'validation'; it has train, test"):
        data_set.source("validation", labels=False)
    for index in (-1, 22):
        with pytest.raises(IndexError):
            data_set.source("train", labels=False)[index]


def test_not_built_names_the_command(tmp_path):
    command = f"python -m data_pipelines.build monuseg --raw_dir RAW_DIR --data_dir {tmp_path}"
    with pytest.raises(UserError, match=f"'monuseg' is not built in .*{command}$"):
        records.open_data_set(tmp_path, "monuseg")
    with pytest.raises(UserError, match=f"build synthetic --data_dir {tmp_path}$"):
        records.open_data_set(tmp_path, "synthetic")
    assert records.build_command("bcss", "d", "my folder").endswith("bcss --raw_dir 'my folder' --data_dir d")


def test_an_index_without_sizes_opens_with_the_fingerprint_that_it_had(tmp_path):
    write_bcss(tmp_path / "raw", height=40, width=600)
    now = build("bcss", tmp_path / "raw", tmp_path / "data")
    index = json.loads((now.path / "index.json").read_text())
    assert index["columns"][-3:] == ["microns_per_pixel", "height", "width"]
    assert index["records"][0][-3:] == [0.25, 512, 512]
    text = json.dumps(index | {"columns": index["columns"][:-3], "records": [row[:-3] for row in index["records"]]})
    (now.path / "index.json").write_text(text)
    old = records.open_data_set(tmp_path / "data", "bcss")
    assert old.fingerprint == hashlib.sha256(text.encode()).hexdigest()[:16] != now.fingerprint
    assert old.records == tuple(dataclasses.replace(r, height=None, width=None) for r in now.records)
    sizes = [network_pixel_size(data_set, microns_per_pixel=0.0, base_size=192) for data_set in (old, now)]
    assert sizes == [0.25 * 512 / 192] * 2


def test_damage_is_found_when_opening(tmp_path):
    write_bcss(tmp_path / "raw", height=40, width=30)
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data")
    again = records.open_data_set(tmp_path / "data", "bcss")
    assert again.fingerprint == data_set.fingerprint and again.records == data_set.records
    shard = next(data_set.path.glob("*array_record*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{shard.name} is missing or cut short; .*--overwrite"):
        records.open_data_set(tmp_path / "data", "bcss")
    (data_set.path / "index.json").write_text('{"records": [[1]]}')
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        records.open_data_set(tmp_path / "data", "bcss")


def test_more_files_than_a_process_may_open(tmp_path):
    """In a process of its own, whose limit is lowered."""
    program = """
import resource, sys
from data_pipelines.data_set import open_data_set
resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
source = open_data_set(sys.argv[1], "bcss").source("train", labels=True)
print(len([source[number] for number in range(len(source))]))
"""
    write_bcss(tmp_path / "raw", tuple(f"{letter}{digit}" for letter in "ABCDE" for digit in range(10)), 20, 20)
    build("bcss", tmp_path / "raw", tmp_path / "data")
    words = [sys.executable, "-c", program, str(tmp_path / "data")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and int(done.stdout) > 40, done.stderr
