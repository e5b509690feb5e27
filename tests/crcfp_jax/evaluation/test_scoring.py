"""Evaluation: each labelled pixel once, over any number of processes, and the command."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crcfp_jax import evaluate as evaluation
from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.command import run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.evaluation.scoring import add_halves, evaluate, split_halves
from crcfp_jax.evaluation.windows import Evaluator
from crcfp_jax.runs.restore import Restored
from data_pipelines.data_set import DataSet, Record

CLASSES = (ClassInfo("dark", (0, 0, 0)), ClassInfo("middle", (120, 120, 120)), ClassInfo("bright", (250, 250, 250)))
SIZES = ((20, 32), (32, 9), (40, 40), (3, 5), (64, 50), (33, 17), (16, 16))


class Memory(DataSet):
    """A data set that holds its tiles, given as options, in memory."""

    def source(self, split, *, labels):
        assert split == "test"
        assert labels
        return self.options["tiles"]


def data_set(tiles, microns_per_pixel=lambda number: 0.5, images="sssssss", patients="ppppppp"):
    records = tuple(
        Record(f"tile-{i}", "test", i, "h", patients[i], images[i], 0, 0, True, microns_per_pixel(i))
        for i in range(len(tiles))
    )
    return Memory("memory", CLASSES, 0.5, records, "", Path(), {"tiles": tiles}, {}, ())


def flat_tiles(wrong=()):
    """Tiles of one grey value each, which gives their class away, with an ignored first row."""
    tiles = []
    for number, size in enumerate(SIZES):
        label = np.full(size, number % 3, np.uint8)
        label[0] = 255
        grey = (number + (number in wrong)) % 3 * 100
        tiles.append({"image": np.full((*size, 3), grey, np.uint8), "label": label})
    return tiles


def by_grey(windows):
    """Probability 1 of class grey / 100."""
    return np.eye(3, dtype=np.float32)[windows[..., 0] // 100]


EVALUATOR = Evaluator(by_grey, side=16, microns_per_pixel=0.5, batch_size=4, num_classes=3)


def test_every_labelled_pixel_once_at_any_size():
    tiles = data_set(flat_tiles(wrong=(3,)), lambda number: 0.25 + 0.1 * number)  # seen at 0.5 to 1.7 times their size
    advanced = []
    result, samples = evaluate(EVALUATOR, tiles, tiles.records, threads=2, advance=lambda: advanced.append(1))
    pixels = [(height - 1) * width for height, width in SIZES]
    expected = np.zeros((3, 3), int)
    for number, count in enumerate(pixels):
        expected[number % 3, (number + (number == 3)) % 3] += count
    np.testing.assert_array_equal(result["confusion_matrix"], expected)
    assert result["images"] == len(advanced) == len(SIZES)
    assert result["accuracy"] == pytest.approx(100 * (1 - pixels[3] / sum(pixels)))
    assert list(result["per_class"]) == ["dark", "middle", "bright"]
    assert samples == []


def test_each_image_has_figures_of_its_own():
    tiles = data_set(flat_tiles(wrong=(3,)), images="babcbca", patients="qpqpqpq")  # one name may be two patients'
    result, _ = evaluate(EVALUATOR, tiles, tiles.records, threads=2)
    pixels = [(height - 1) * width for height, width in SIZES]
    numbers = {("b", "q"): (0, 2, 4), ("a", "p"): (1,), ("c", "p"): (3, 5), ("a", "q"): (6,)}
    assert [(row["image"], row["patient"]) for row in result["per_image"]] == list(numbers)
    for row in result["per_image"]:
        expected = np.zeros((3, 3), int)
        for number in numbers[row["image"], row["patient"]]:
            expected[number % 3, (number + (number == 3)) % 3] += pixels[number]
        np.testing.assert_array_equal(row["confusion_matrix"], expected)
    total = np.sum([row["confusion_matrix"] for row in result["per_image"]], axis=0)
    np.testing.assert_array_equal(total, result["confusion_matrix"])
    assert json.loads(json.dumps(result)) == result


def test_values_survive_where_images_are_not_scaled():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 3, (24, 20)).astype(np.uint8)
    image = np.repeat((label * 100)[..., None], 3, axis=-1)
    label[label == 1] = np.where(generator.random((label == 1).sum()) < 0.5, 1, 255)
    tiles = data_set([{"image": image, "label": label}])
    result, _ = evaluate(EVALUATOR, tiles, tiles.records, threads=1)
    np.testing.assert_array_equal(result["confusion_matrix"], np.diag(np.bincount(label.reshape(-1))[:3]))


def test_samples_are_evenly_spaced_and_complete():
    tiles = data_set(flat_tiles())
    _, samples = evaluate(EVALUATOR, tiles, tiles.records, samples=3, threads=2)
    assert [sample.caption for sample in samples] == ["tile-0", "tile-3", "tile-6"]
    for sample, number in zip(samples, (0, 3, 6), strict=True):
        np.testing.assert_array_equal(sample.image, tiles.options["tiles"][number]["image"])
        np.testing.assert_array_equal(sample.label, tiles.options["tiles"][number]["label"])
        np.testing.assert_array_equal(sample.prediction, np.full(SIZES[number], number % 3))


def test_nothing_to_evaluate():
    tiles = data_set(flat_tiles())
    with pytest.raises(UserError, match="memory: nothing to evaluate"):
        evaluate(EVALUATOR, tiles, ())
    blank = data_set([{"image": np.zeros((4, 4, 3), np.uint8), "label": np.full((4, 4), 255, np.uint8)}])
    with pytest.raises(UserError, match=r"labelled 255 \(ignored\)"):
        evaluate(EVALUATOR, blank, blank.records, threads=1)


def test_counts_survive_being_halved():
    counts = np.array([[0, 1], [2**32 - 1, 2**40 + 7]], np.int64)
    halves = split_halves(counts)
    np.testing.assert_array_equal(halves, [[[0, 1], [2**32 - 1, 7]], [[0, 0], [0, 2**8]]])
    total = add_halves(np.stack([halves, halves, halves]))
    np.testing.assert_array_equal(total, 3 * counts)
    assert total.dtype == np.int64


PROCESS = """
import json, os, sys
import jax, numpy as np
jax.distributed.initialize(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
sys.path.insert(0, sys.argv[1])
from test_scoring import EVALUATOR, data_set, evaluate, flat_tiles
from crcfp_jax.evaluation.scoring import sum_over_processes
tiles = data_set(flat_tiles(wrong=(3,)), images="aabbbca")  # a and b by both processes
result, samples = evaluate(EVALUATOR, tiles, tiles.records, threads=2, samples=2,
                           process_index=jax.process_index(), process_count=jax.process_count())
large = sum_over_processes(np.array([2**40 + jax.process_index(), 3], np.int64))
print(json.dumps([result, [sample.caption for sample in samples], large.tolist()]))
"""


@pytest.mark.multiprocess
def test_two_processes_agree_with_one():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parent), address, "2"]
    with contextlib.ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen([*command, str(index)], env=environment, stdout=subprocess.PIPE, text=True)
            )
            for index in range(2)
        ]
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    # Gloo writes to stdout, too.
    (first, captions, large), (second, _, _) = [json.loads(output.splitlines()[-1]) for output in outputs]
    tiles = data_set(flat_tiles(wrong=(3,)), images="aabbbca")
    alone, _ = evaluate(EVALUATOR, tiles, tiles.records, threads=2)
    assert first == second == alone
    assert [row["image"] for row in first["per_image"]] == ["a", "b", "c"]
    assert captions == ["tile-0", "tile-6"]
    assert large == [2**41 + 1, 6]


@pytest.fixture
def restored(monkeypatch):
    """Stands in for a trained run."""
    tiles = data_set(flat_tiles(wrong=(3,)))
    run = Restored(EVALUATOR, tiles, {"test": tiles.records, "validation": ()}, step=7, threads=2)
    monkeypatch.setattr(evaluation, "restore_for_evaluation", lambda workdir: run)
    return run


def test_command_repeats_the_stored_figures(tmp_path, restored, capsys):
    (tmp_path / "config.json").write_text("{}")
    evaluation.main(["--workdir", str(tmp_path)])
    output = capsys.readouterr().out
    assert "test, step 7, 7 images" in output
    assert f"no {tmp_path / 'result.json'} to compare with" in output
    result, _ = evaluate(restored.evaluator, restored.data_set, restored.records["test"])
    (tmp_path / "result.json").write_text(json.dumps(result))
    evaluation.main(["--workdir", str(tmp_path), "--split", "test"])
    assert "the same figures as result.json, to the pixel" in capsys.readouterr().out
    (tmp_path / "result.json").write_text(json.dumps(result | {"confusion_matrix": [[1]], "mean_iou": 1.5}))
    evaluation.main(["--workdir", str(tmp_path)])
    assert "(stored 1.50)" in capsys.readouterr().out


def test_command_names_a_split_that_the_run_does_not_have(tmp_path, restored, capsys):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SystemExit) as done:
        run_main(lambda: evaluation.main(["--workdir", str(tmp_path), "--split", "validation"]))
    assert done.value.code == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: the run has no validation split; choose another --split\n"


def test_command_wants_a_run_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "crcfp_jax.evaluate", "--workdir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: {tmp_path} is not a run folder (no config.json): give the --workdir of a training run"
    ]
