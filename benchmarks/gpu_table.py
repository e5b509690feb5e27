"""The table of benchmarks/gpu.sh, from the logs in its output folder.

    python benchmarks/gpu_table.py OUTPUT_FOLDER

A part's log is complete once gpu.sh has written its last line, '== exit CODE after SECONDS s'. What a log doesn't say
is shown as '-'; a part that has no complete log, or that failed, is shown as such.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

STEPS = {
    "jax_v3plus": "ResNet-50, v3+",
    "jax_v3": "ResNet-50, v3",
    "jax_supervised": "ResNet-50, v3+, supervised",
    "jax_efficientnet": "EfficientNet-Lite0, v3+",
    "jax_vit": "ViT-S/16, v3+",
}
PYTORCH = {"pytorch_eager": "PyTorch", "pytorch_compiled": "PyTorch, compiled"}  # ResNet-50, v3+
PREDICT = {"predict_none": "network that answers at once", "predict_random": "ResNet-50, v3+"}
STEP_COLUMNS = ("step", "median s", "TFLOP", "TFLOP/s", "of matmul", "device GiB", "compile s")
SLIDE_COLUMNS = (
    "slide", "windows", "s", "windows/s", "bare windows/s", "Mpx/s", "device busy", "of bare", "of bare, whole command",
)  # fmt: skip
NUMBER = r"([\d.e+-]+)"


def read_part(folder: Path, name: str) -> tuple[str, str]:
    """The log of a part, and why it can't be used: '' where it can."""
    path = folder / f"{name}.log"
    if not path.is_file():
        return "", "not run"
    text = path.read_text(errors="replace")
    end = re.search(r"^== exit (\d+) after \d+ s\s*\Z", text, re.MULTILINE)
    if end is None:
        return text, "cut off"
    return text, "" if end[1] == "0" else f"failed ({path.name})"


def find(pattern: str, text: str) -> float | None:
    """The number that the first group of a pattern stands for."""
    found = re.search(pattern, text)
    return float(found[1]) if found else None


def shown(number: float | None, form: str) -> str:
    """A number as an f-string's form has it; '-': not known."""
    return "-" if number is None else f"{number:{form}}"


def step_rows(folder: Path, peak: float | None) -> Iterable[list[str]]:
    """Rows of the steps; `peak`: TFLOP/s of the device's matrix products."""
    for name, title in STEPS.items():
        text, why = read_part(folder, name)
        if why:
            yield [title, why]
            continue
        rate = find(rf"operations of a step: \S+ TFLOP, {NUMBER} TFLOP/s", text)
        yield [
            title,
            shown(find(rf"step alone\W+{NUMBER}", text), ".4f"),
            shown(find(rf"operations of a step: {NUMBER} TFLOP", text), ".4g"),
            shown(rate, ".4g"),
            shown(rate / peak if rate and peak else None, ".3f"),
            shown(find(rf"device, greatest {NUMBER}", text), ".2f"),
            shown(find(rf"compile\W+{NUMBER}", text), ".1f"),
        ]
    for name, title in PYTORCH.items():
        text, why = read_part(folder, name)
        if why:
            yield [title, why]
            continue
        for line in re.findall(r".*median.*", text):
            streams = re.search(r"(\w+) streams", line)
            memory = find(rf"peak {NUMBER} GiB", line)
            yield [
                f"{title}, {streams[1]} streams" if streams else title,
                shown(find(rf"median {NUMBER} s", line), ".4f"),
                *"---",
                shown(memory, ".2f"),
                "-",
            ]


def predict_rows(folder: Path) -> Iterable[list[str]]:
    """Rows of whole slides."""
    for name, title in PREDICT.items():
        text, why = read_part(folder, name)
        if why:
            yield [f"Predict: {title}", why]
            continue
        bare = find(rf"bare network: {NUMBER} windows", text)
        for row in re.findall(r"^\d+ \d+ \d+ .*$", text, re.MULTILINE):
            width, height, windows, seconds, megapixels, busy, share, whole, _ = row.split()
            rate = None if bare is None else float(share) * bare
            yield [
                f"Predict: {title}, {width} x {height}",
                windows,
                seconds,
                shown(rate, ".1f"),
                shown(bare, ".1f"),
                megapixels,
                busy,
                share,
                whole,
            ]


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Rows as lines: the first column to the left, the others to the right; a short row's last word runs on."""
    rows = list(rows)
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        rest = zip(row[1:], widths[1:], strict=False) if len(row) == len(widths) else [(row[1], 0)]
        lines.append("  ".join([row[0].ljust(widths[0]), *(word.rjust(width) for word, width in rest)]).rstrip())
    return "\n".join(lines)


def table(folder: Path) -> str:
    """The whole table."""
    tests, why = read_part(folder, "tests")
    counts = re.findall(r"^.*\b(?:passed|failed|skipped|error).* in .*$", tests, re.MULTILINE)
    matmul, matmul_why = read_part(folder, "matmul")
    peak = None if matmul_why else find(rf": {NUMBER} TFLOP/s", matmul)
    device = folder / "device.log"
    lines = [device.read_text().strip()] if device.is_file() else []
    lines += [f"tests: {' '.join([*counts[-1:], why]).strip('= ') or '-'}"]
    lines += [f"matmul: {matmul_why or next((line for line in matmul.splitlines() if 'TFLOP/s' in line), '-')}", ""]
    lines += [aligned([STEP_COLUMNS, *step_rows(folder, peak)]), ""]
    return "\n".join([*lines, aligned([SLIDE_COLUMNS, *predict_rows(folder)])])


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("give the output folder of benchmarks/gpu.sh")
    print(table(Path(sys.argv[1])))
