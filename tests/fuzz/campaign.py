"""Damages every kind of file that a command reads, many times, and counts what comes of it.

    python tests/fuzz/campaign.py [--cases 20000] [--seed 1] [--kind KIND] [--report FILE]

Every case has to end, within SECONDS and without a crash, in one line that names the file or in what was in the whole
file; where a format has no check sum, what else was read counts as `other`, which nobody can tell.
"""

import argparse
import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 20  # of a case
SHARES = {"pictures and slides": 6, "masks": 2, "annotations": 2}  # of the cases; 1 for each other kind
SPEAKING = ("checkpoint",)  # whose libraries' threads go on after a fault; a command silences them and ends
START = 300  # seconds until a process has made its seeds
OUTCOMES = ("told", "right", "other")  # as they should be
FAULTS = ("silent", "badly told", "traceback", "memory", "endless", "crash", "noise")


class Worker:
    """A process that reads damaged files, started again when it has died of one."""

    def __init__(self, folder: Path, seed: int):
        self._folder, self._seed = folder, seed
        self._process: subprocess.Popen | None = None
        self.noise = folder / "stderr"
        self.seeds: dict[str, list[str]] = {}
        self._known: set[tuple[str, int]] = set()  # files that the process has read once
        self._start()

    def _start(self) -> None:
        paths = [ROOT, ROOT / "tests" / "helpers", ROOT / "tests" / "fuzz"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "JAX_PLATFORMS": "cpu"}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._errors = self.noise.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("worker.py"), self._folder / "files", str(self._seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment,
        )  # fmt: skip
        answer = self._receive(START)
        if answer is None:
            raise RuntimeError(f"the process did not start: {self.noise.read_text()[-3000:]}")
        self.seeds = answer  # names of a checkpoint's files are drawn anew
        self._known.clear()

    def ask(self, kind: str, number: int, case: int) -> dict:
        """The outcome of a case."""
        if self._process is None:
            self._start()
        length = self.noise.stat().st_size
        try:
            self._process.stdin.write(json.dumps([kind, number, case]).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._receive(SECONDS if (kind, number) in self._known else START)  # the whole one is read first
        except BrokenPipeError:
            answer = None
        self._known.add((kind, number))
        if answer is None:
            code = self._process.poll()
            self.close()
            return {"outcome": "endless" if code is None else "crash", "text": f"status {code}", "done": "?"}
        if kind not in SPEAKING and self.noise.stat().st_size > length and answer["outcome"] in OUTCOMES:
            answer |= {"outcome": "noise", "text": self.noise.read_bytes()[length:][:300].decode(errors="replace")}
        return answer

    def _receive(self, seconds: float) -> dict | None:
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        return None

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._errors.close()
            self._process = None


def run(cases: int, seed: int, folder: Path, only: str | None = None) -> tuple[dict[str, Counter], list[dict]]:
    """Runs so many cases, shared among the kinds as SHARES says and evenly among the files of a kind.

    Returns:
        Counts of outcomes by kind, and the faults.
    """
    counts: dict[str, Counter] = {}
    faults = []
    worker = Worker(folder, seed)
    try:
        kinds = [kind for kind in worker.seeds if only in (None, kind) for _ in range(SHARES.get(kind, 1))]
        numbers = {kind: itertools.cycle(range(len(names))) for kind, names in worker.seeds.items()}
        for case in range(cases):
            kind = kinds[case % len(kinds)]
            number = next(numbers[kind])
            answer = worker.ask(kind, number, case)
            counts.setdefault(kind, Counter())[answer["outcome"]] += 1
            if answer["outcome"] in FAULTS:
                faults.append({"kind": kind, "file": worker.seeds[kind][number], "case": case} | answer)
    finally:
        worker.close()
    return counts, faults


def table(counts: dict[str, Counter]) -> str:
    """The counts as Markdown."""
    columns = (*OUTCOMES, *FAULTS)
    lines = [f"| | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    total = sum(counts.values(), Counter())
    for kind, own in [*counts.items(), ("**all**", total)]:
        lines.append(f"| {kind} | {' | '.join(str(own[name]) for name in columns)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs a campaign and prints its table; ends with 1 where there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", help="of this kind of file alone")
    parser.add_argument("--report", type=Path, help="file for the faults, a line of JSON each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, faults = run(options.cases, options.seed, Path(folder), options.kind)
    print(table(counts))
    if options.report:
        options.report.write_text("".join(json.dumps(fault) + "\n" for fault in faults))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
