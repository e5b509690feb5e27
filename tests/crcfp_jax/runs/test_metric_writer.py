"""metrics.jsonl and TensorBoard events on disk, tables and versions."""

import io
import json
import struct

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event, SessionLog

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from crcfp_jax.evaluation.metrics import summary
from crcfp_jax.evaluation.result import compare_results, result_table
from crcfp_jax.runs import metric_writer
from crcfp_jax.runs.versions import versions

RESULT = summary(np.array([[3, 1, 0], [1, 1, 0], [0, 0, 0]], np.int64), ["tumour", "stroma", "fat"])


def read_events(folder):
    """The events of all files in a folder: records of a length, its checksum, the message and its checksum."""
    events = []
    for path in sorted(folder.glob("events*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack("Q", content[place : place + 8])
            events.append(Event.FromString(content[place + 12 : place + 12 + length]))
            place += 16 + length
    return events


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_scalars_and_pictures_are_on_disk_when_the_call_returns(tmp_path):
    with metric_writer.MetricWriter(tmp_path / "run") as writer:
        writer.write(20, {"loss": np.float32(0.5), "loss/entropy": float("nan")})
        writer.write_image(20, "validation/predictions", np.zeros((4, 6, 3), np.uint8))
        assert lines(tmp_path / "run") == [{"step": 20, "loss": 0.5, "loss/entropy": None}]
        events = read_events(tmp_path / "run")
    values = [(event.step, value) for event in events for value in event.summary.value]
    assert [(step, value.tag) for step, value in values] == [
        (20, "loss"),
        (20, "loss/entropy"),
        (20, "validation/predictions"),
    ]
    assert values[0][1].simple_value == 0.5
    assert (values[2][1].image.height, values[2][1].image.width) == (4, 6)


def test_resuming_drops_what_comes_after_the_restored_step(tmp_path):
    with metric_writer.MetricWriter(tmp_path) as writer:
        for step in (10, 20, 30):
            writer.write(step, {"loss": step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "lo')  # killed here
    with metric_writer.MetricWriter(tmp_path, step=20) as writer:
        assert lines(tmp_path) == [{"step": 10, "loss": 10.0}, {"step": 20, "loss": 20.0}]
        writer.write(30, {"loss": 31})
    assert lines(tmp_path)[-1] == {"step": 30, "loss": 31.0}
    assert len(lines(tmp_path)) == 3
    starts = [event.step for event in read_events(tmp_path) if event.session_log.status == SessionLog.START]
    assert starts == [21]  # TensorBoard hides older points from there on


def test_a_new_run_drops_the_lines_of_one_that_never_saved(tmp_path):
    with metric_writer.MetricWriter(tmp_path) as writer:
        writer.write(10, {"loss": 1})
    metric_writer.MetricWriter(tmp_path).close()
    assert lines(tmp_path) == []


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"stop": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is damaged"):
        metric_writer.MetricWriter(tmp_path, step=5)


def test_other_processes_write_nothing(tmp_path):
    with metric_writer.MetricWriter(tmp_path / "run", enabled=False) as writer:
        writer.write(1, {"loss": 1})
        writer.write_image(1, "a", np.zeros((2, 2, 3), np.uint8))
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_plainly(tmp_path):
    with metric_writer.MetricWriter(tmp_path) as writer:
        writer._lines.close()
        writer._lines = open("/dev/full", "ab", buffering=0)  # noqa: SIM115  # closed by the writer
        with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: the disk is full"):
            writer.write(1, {"loss": 1})


def test_an_unwritable_folder_is_told_plainly(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file.run"):
        metric_writer.MetricWriter(tmp_path / "file" / "run")


def test_table_by_hand():
    console = Console(file=io.StringIO(), width=100)
    console.print(result_table(RESULT, [ClassInfo("tumour", (200, 30, 30))], title="test, step 7"))
    text = console.file.getvalue()
    rows = [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in text.splitlines()]
    assert ["■ tumour", "60.0", "75.0", "75.0", "75.0", "66.7"] in rows
    assert ["stroma", "33.3", "50.0", "50.0", "50.0", "33.3"] in rows
    assert ["fat", "-", "-", "-", "-", "0.0"] in rows
    assert ["mean", "46.7", "62.5", "", "", ""] in rows
    assert "accuracy 66.7" in text
    assert "test, step 7" in text


def test_comparison():
    assert compare_results(RESULT, json.loads(json.dumps(RESULT))) == ("the same figures as result.json, to the pixel")
    other = {"confusion_matrix": [], "mean_iou": 46.0, "mean_dice": 62.5}
    assert compare_results(RESULT, other) == (
        "differs from result.json: mIoU 46.67 (stored 46.00), Dice 62.50 (stored 62.50), accuracy 66.67 (stored -)"
    )
    old, new = ({"versions": {"crcfp-jax": version}} for version in ("0.1.0", "0.2.0"))
    line = compare_results(RESULT | new, other | old)
    assert line.endswith("accuracy 66.67 (stored -); that was made by crcfp-jax 0.1.0, this is 0.2.0")


def test_versions():
    found = versions()
    assert found["platform"] == "cpu"
    assert found["device"] == "4 x cpu"
    assert all(part.isdecimal() for part in found["jax"].split(".")[:3])
    assert json.loads(json.dumps(found)) == found
