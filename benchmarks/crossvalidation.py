"""Whether cross-validation is honest: its figure from 8 annotated images of GlaS against the 80 official test images.

    python benchmarks/crossvalidation.py --raw_dir GLAS --workdir V [--draws 5] [--folds 4]

For each draw a study of 8 of the 85 training images, the other 77 without annotation, is built by the recipe `folder`,
cross-validated, and trained on as a whole; that model is then tested on the official images. A killed command goes on.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ANNOTATED = 8
MICRONS = "3.0"  # as configs/glas.py:tiny


def write_study(raw_dir: Path, folder: Path, draw: int) -> None:
    """Links to images and masks: those of the draw, the others without masks, and the official test images."""
    images = {path.stem: path for path in sorted((raw_dir / "images").iterdir())}
    masks = {path.stem: path for path in (raw_dir / "instance_masks").iterdir()}
    training = [name for name in images if name.startswith("train")]
    chosen = set(np.random.default_rng(draw).permutation(training)[:ANNOTATED].tolist())
    for name, path in images.items():
        role = "annotated" if name in chosen else "unannotated" if name in training else "test"
        (folder / role).mkdir(parents=True, exist_ok=True)
        _link(path.resolve(), folder / role / path.name)
        if role != "unannotated":
            _link(masks[name].resolve(), folder / role / f"{name}_mask{masks[name].suffix}")


def _link(path: Path, place: Path) -> None:
    if not place.exists():
        place.symlink_to(path)


def run(*words: str) -> None:
    """Runs a module of this project in a process of its own."""
    subprocess.run([sys.executable, "-m", *words], check=True, env=os.environ)


def measure(raw_dir: Path, workdir: Path, draw: int, folds: int, method: str) -> dict:
    """The cross-validated mIoU of a draw with its interval, and that of the official test images."""
    name, data = f"draw{draw}", str(workdir / "data")
    write_study(raw_dir, workdir / "studies" / name, draw)
    options = ("--mpp", "0.62", "--microns_per_pixel", MICRONS, "--mask", "instances")
    run("data_pipelines.build", "folder", "--raw_dir", str(workdir / "studies" / name), "--data_dir", data, *options)
    place = workdir / "runs" / name
    settings = (f"--config.data.name={name}", f"--config.data.dir={data}")
    command = ("crcfp_jax.crossvalidate", "--config", "configs/own.py:tiny", "--workdir", str(place))
    run(*command, "--methods", method, "--folds", str(folds), "--seed", str(draw), "--final", *settings)
    table = json.loads((place / "crossvalidation.json").read_text())["methods"][method]
    test = json.loads((place / method / "final" / "result.json").read_text())
    pooled = table["pooled"]
    return {
        "draw": draw,
        "estimate": pooled["mean_iou"],
        "interval": pooled["intervals"]["mean_iou"],
        "official": test["mean_iou"],
    }


def main() -> None:
    """Prints a line a draw, and how often the interval holds the official figure."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--raw_dir", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--method", default="supervised")
    given = parser.parse_args()
    rows = []
    for draw in range(1, given.draws + 1):
        rows.append(measure(given.raw_dir, given.workdir, draw, given.folds, given.method))
        print(json.dumps(rows[-1]), flush=True)
    print("| draw | cross-validated mIoU of 8 images | 95 % interval | 80 official test images |\n|---|---|---|---|")
    for row in rows:
        low, high = row["interval"]
        print(f"| {row['draw']} | {row['estimate']:.1f} | {low:.1f} to {high:.1f} | {row['official']:.1f} |")
    held = sum(row["interval"][0] <= row["official"] <= row["interval"][1] for row in rows)
    print(f"the interval holds the official figure in {held} of {len(rows)} draws")


if __name__ == "__main__":
    main()
