"""The process in which damaged files are read; it may crash or hang, which costs one case.

    python worker.py FOLDER SEED

reads lines of JSON [kind, number of the seed, number of the case] and answers each with one of JSON.
"""

import contextlib
import json
import os
import random
import shutil
import sys
import time
import warnings
from pathlib import Path

from mutations import damage
from peak_memory import peak_memory, reset_peak
from seed import Seed, file_seeds
from seed_folders import folder_seeds
from seed_pictures import MASKS, PICTURES
from seed_texts import ANNOTATIONS, WEIGHTS

from crcfp_jax.common.errors import UserError
from data_pipelines.reading import vendor

MEMORY = 2**29  # bytes that reading a file of some kB may take, besides what the process has; or OpenSlide's process
LONGEST = 600  # characters of a line


def all_seeds(scratch: Path) -> dict[str, list[Seed]]:
    """Every seed, by the kind of what it is."""
    files = {"pictures and slides": PICTURES, "masks": MASKS, "annotations": ANNOTATIONS, "published weights": WEIGHTS}
    return {kind: file_seeds(own) for kind, own in files.items()} | folder_seeds(scratch)


class Readers:
    """The memory of OpenSlide's processes, whose peak is read before they end."""

    def __init__(self) -> None:
        self._ended: list[int] = []
        end = vendor.ReaderProcess.end

        def measured(reader: vendor.ReaderProcess) -> None:
            self._ended.append(peak_memory(reader._process.pid))
            end(reader)

        vendor.ReaderProcess.end = measured

    def reset(self) -> None:
        """Forgets what there has been."""
        self._ended.clear()
        for reader in vendor._idle:
            if reader.alive:
                reset_peak(reader._process.pid)

    def peak(self) -> int:
        """The most bytes that one of them has had since."""
        return max([*self._ended, *(peak_memory(reader._process.pid) for reader in vendor._idle)], default=0)


class Case:
    """One seed in a folder of its own, which is put right again after every damage."""

    def __init__(self, folder: Path, seed: Seed):
        folder.mkdir(parents=True)
        seed.write(folder)
        self.seed, self.folder = seed, folder
        self.path = folder / seed.name
        self.whole = self.path.read_bytes()
        self.expected = seed.read(folder)
        self.others = {path for path in folder.rglob("*") if path.is_file()}

    def run(self, rng: random.Random, readers: Readers) -> dict:
        """Damages, reads and judges."""
        content, done = damage(self.whole, self.seed.form, rng)
        while content == self.whole:
            content, done = damage(self.whole, self.seed.form, rng)
        self.path.write_bytes(content)
        reset_peak()
        readers.reset()
        before, started = peak_memory(), time.perf_counter()
        try:
            outcome, text = self._read(sealed=done == "png_chunk")
        finally:
            self.path.write_bytes(self.whole)
            for path in self.folder.rglob("*"):  # what reading has written, such as a report
                if path.is_file() and path not in self.others:
                    path.unlink()
        taken = max(peak_memory() - before, readers.peak())
        if taken > MEMORY:
            outcome = "memory"
        return {
            "outcome": outcome, "text": text, "done": done, "seconds": time.perf_counter() - started, "bytes": taken,
        }  # fmt: skip

    def _read(self, *, sealed: bool) -> tuple[str, str]:
        try:
            found = self.seed.read(self.folder)
        except UserError as error:
            line = str(error)
            names = self.path.name in line or str(self.folder) in line
            proper = names and "\n" not in line and len(line) <= LONGEST and line.isprintable()
            return "told" if proper else "badly told", line
        except BaseException as error:  # which is looked for
            return "traceback", f"{type(error).__name__}: {error}"
        if found == self.expected:
            return "right", ""
        return ("silent" if self.seed.checked and not sealed else "other"), ""


def main() -> None:
    """Answers until standard input ends."""
    folder, campaign = Path(sys.argv[1]), sys.argv[2]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    shutil.rmtree(folder, ignore_errors=True)
    seeds = all_seeds(folder / "scratch")
    print(json.dumps({kind: [seed.name for seed in own] for kind, own in seeds.items()}), file=answers, flush=True)
    cases: dict[tuple[str, int], Case] = {}
    readers = Readers()
    for line in sys.stdin:
        kind, number, case = json.loads(line)
        if (kind, number) not in cases:
            cases[kind, number] = Case(folder / "cases" / kind / str(number), seeds[kind][number])
        rng = random.Random(f"{campaign} {kind} {number} {case}")
        with contextlib.redirect_stdout(sys.stderr):
            answer = cases[kind, number].run(rng, readers)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
