"""The sitting on a GPU, benchmarks/gpu.sh: its table on made-up logs, and all of it on a CPU, in small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from quick_compilation import FLAGS

ROOT = Path(__file__).parents[1]
PARTS = (
    "tests", "jax_v3plus", "jax_v3", "jax_supervised", "jax_efficientnet", "jax_vit", "pytorch_eager",
    "pytorch_compiled", "predict_none", "predict_random", "matmul",
)  # fmt: skip
COMPLETE = "== exit 0 after 12 s\n"
STEP = """\
┃            ┃ median s ┃ least s ┃ batches/s ┃
│ step alone │   0.0500 │  0.0480 │     20.00 │
│ compile    │     31.4 │         │           │
operations of a step: 12.5 TFLOP, 250 TFLOP/s
memory, GiB: step, temporary 9.00, state and batch 0.50, process, greatest 4.00, device, greatest 10.25
"""
PYTORCH = """\
PyTorch 2.14.1, cuda (NVIDIA H200), 8 + 8 images of 320 px, bf16 autocast
channels_last, separate streams: least 0.080 s, median 0.081 s a step, peak 15.25 GiB
channels_last, joined streams: least 0.070 s, median 0.072 s a step, peak 16.50 GiB
"""
PREDICT = """\
bare network: 400.0 windows of 320 px a second, batches of 16
width height windows seconds megapixels/s device_busy of_bare of_bare_whole_command peak_GiB
12000 12000 900 6 15.36 0.750 0.900 0.375 3.50
this process: 2.10 GiB
"""


def table(folder):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu_table.py", folder], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def row(text, title):
    """The words after the title of the one row that has it."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"{title}  "))
    return line.removeprefix(title).split()


def sitting(folder, limit, *, small=True):
    """Runs the whole of it; the finished process."""
    environment = os.environ | {"PYTHON": sys.executable, "LIMIT": str(limit), "XLA_FLAGS": FLAGS}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".jax_cache")
    command = [ROOT / "benchmarks" / "gpu.sh", *["--small"] * small, folder]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)


def test_the_table_of_logs(tmp_path):
    (tmp_path / "device.log").write_text("NVIDIA H200, 580.1, 143771 MiB\n")
    (tmp_path / "tests.log").write_text("......\n6 passed in 70.12s (0:01:10)\n" + COMPLETE)
    (tmp_path / "matmul.log").write_text("bfloat16 products of 8192 x 8192 on H200, jax 0.11: 625 TFLOP/s\n" + COMPLETE)
    (tmp_path / "jax_v3plus.log").write_text(STEP + COMPLETE)
    (tmp_path / "jax_v3.log").write_text("operations of a step: not known, as XLA gives no count here\n" + COMPLETE)
    (tmp_path / "jax_supervised.log").write_text(STEP)
    (tmp_path / "jax_vit.log").write_text("RESOURCE_EXHAUSTED\n== exit 1 after 30 s\n")
    (tmp_path / "pytorch_eager.log").write_text(PYTORCH + COMPLETE)
    (tmp_path / "predict_random.log").write_text(PREDICT + COMPLETE)
    text = table(tmp_path)
    assert text.startswith("NVIDIA H200, 580.1")
    assert "tests: 6 passed in 70.12s" in text and "625 TFLOP/s" in text
    # 12.5 TFLOP in 0.05 s are 250 TFLOP/s, of 625.
    assert row(text, "ResNet-50, v3+") == ["0.0500", "12.5", "250", "0.400", "10.25", "31.4"]
    assert row(text, "ResNet-50, v3") == ["-"] * 6
    assert row(text, "ResNet-50, v3+, supervised") == ["cut", "off"]
    assert row(text, "EfficientNet-Lite0, v3+") == ["not", "run"]
    assert row(text, "ViT-S/16, v3+") == ["failed", "(jax_vit.log)"]
    assert row(text, "PyTorch, separate streams") == ["0.0810", "-", "-", "-", "15.25", "-"]
    assert row(text, "PyTorch, joined streams") == ["0.0720", "-", "-", "-", "16.50", "-"]
    assert row(text, "PyTorch, compiled") == ["not", "run"]
    # 0.9 of 400 windows a second.
    assert row(text, "Predict: ResNet-50, v3+, 12000 x 12000") == [
        "900", "6", "360.0", "400.0", "15.36", "0.750", "0.900", "0.375",
    ]  # fmt: skip


def test_what_does_not_fit_is_put_off(tmp_path):
    done = sitting(tmp_path / "logs", 10, small=False)  # less than any part needs
    assert done.returncode == 1
    assert f"put off, for the next call: {' '.join(PARTS)}" in done.stderr
    assert not list((tmp_path / "logs").glob("*_*.log"))


def test_a_failure_is_told_and_not_repeated(tmp_path):
    for name in PARTS:
        (tmp_path / f"{name}.log").write_text(COMPLETE)
    (tmp_path / "jax_vit.log").write_text("RESOURCE_EXHAUSTED\n== exit 1 after 30 s\n")
    done = sitting(tmp_path, 540, small=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"failed: jax_vit; remove a log of {tmp_path} to run its part again"
    assert (tmp_path / "jax_vit.log").read_text().startswith("RESOURCE_EXHAUSTED")


@pytest.mark.slow
def test_the_whole_sitting_in_small_on_a_cpu(tmp_path):
    (tmp_path / "matmul.log").write_text("a part that was cut off\n")
    first = sitting(tmp_path, 3500)
    assert first.returncode == 0, first.stdout + first.stderr
    text = table(tmp_path)
    assert first.stdout.endswith(text)
    assert "tests: 5 skipped" in text and "TFLOP/s" in text.partition("matmul:")[2].splitlines()[0]
    titles = (
        "ResNet-50, v3+",
        "ResNet-50, v3",
        "ResNet-50, v3+, supervised",
        "EfficientNet-Lite0, v3+",
        "ViT-S/16, v3+",
    )
    for title in titles:
        *numbers, memory, compiling = row(text, title)
        assert all(float(word) >= 0 for word in [*numbers, compiling]) and memory == "-"  # a CPU says none
    for title in ("PyTorch, joined streams", "PyTorch, compiled, joined streams"):
        assert float(row(text, title)[0]) > 0
    for title in ("Predict: network that answers at once, 700 x 700", "Predict: ResNet-50, v3+, 700 x 700"):
        windows, *numbers = map(float, row(text, title))
        assert windows > 0 and len(numbers) == 7
    changed = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*_*.log")}
    second = sitting(tmp_path, 3500)
    assert second.returncode == 0 and second.stdout.strip() == text.strip()
    assert changed == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*_*.log")}
