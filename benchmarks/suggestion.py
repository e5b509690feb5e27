"""Whether suggestion works: annotates tiles five times, by suggestion, by uncertainty alone and by chance.

    python benchmarks/suggestion.py synthetic|glas|monuseg --data_dir data --workdir V [--seeds 3] [--rules ...]

Starts from a few annotated tiles drawn by the seed. In each round a supervised model is trained from scratch on what is
annotated so far and tested on the data set's test images; then as many tiles as at the start are added, by the rules of
`crcfp_jax.suggest.selection`. All rules start from the same tiles. A killed command goes on; V/results.json holds every
run, V/curve.png and V/table.md the means over seeds with intervals.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import t as student

ROUNDS = 5
STEPS = 160  # of each training
START = {"synthetic": 4, "glas": 4, "monuseg": 4}  # tiles, and added in a round
RULES = ("suggestion", "uncertainty", "chance")
CONFIGS = {"synthetic": "quickstart", "glas": "glas", "monuseg": "monuseg"}
ROOT = Path(__file__).parents[1]


def write_data_set(source: Path, place: Path, seed: int, labelled: list[str]) -> None:
    """A copy of a data set's folder, by links, whose labels are those of some tiles."""
    place.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.name != "splits.json" and not (place / path.name).exists():
            os.link(path, place / path.name)
    unit = {"field": "crop", "fractions": {"1/2": len(labelled)}, "labelled": {str(seed): {"1/2": labelled}}}
    value = {"source": "benchmarks/suggestion.py", "default": "crop", "units": {"crop": unit}}
    (place / "splits.json").write_text(json.dumps(value))


def train(name: str, data_dir: Path, seed: int, workdir: Path) -> float:
    """Trains in a process of its own; returns the test mIoU."""
    if not (workdir / "result.json").is_file():
        settings = {"method": "supervised", "data.name": name, "data.dir": data_dir, "fraction": "1/2"}
        settings |= {"seed": seed, "train.steps": STEPS, "checkpoint.every": STEPS, "train.picture_every": STEPS}
        flags = [f"--config.{key}={value}" for key, value in settings.items()]
        config = f"{ROOT}/configs/{CONFIGS[name.split('-')[0]]}.py:tiny"
        command = [sys.executable, "-m", "crcfp_jax.main", "--config", config, "--workdir", str(workdir), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return json.loads((workdir / "result.json").read_text())["mean_iou"]


def look(workdir: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """What a trained model says of the training tiles: names, uncertainty [n] and embeddings [n, d]."""
    import jax
    from jax import numpy as jnp

    from crcfp_jax.portable_model.artifact import network_outputs
    from crcfp_jax.runs.restore import restore_variables
    from crcfp_jax.suggest.selection import normalised_entropy, unit_length
    from data_pipelines.reading.resample import to_canvas
    from data_pipelines.tiling import cut_windows

    parts, variables, _ = restore_variables(workdir)
    network = parts.network()

    @jax.jit
    def outputs(images):
        found = network_outputs(network, variables, images)
        return found["probabilities"], found["embedding"]

    records = [record for record in parts.data_set.records if record.split == "train"]
    source = parts.data_set.source("train", labels=False)
    uncertainty, embedding = [], []
    for record in records:
        canvas = to_canvas(source[record.position]["image"], parts.microns_per_pixel / record.microns_per_pixel)
        windows, _ = cut_windows(canvas, parts.config.data.side)
        padded = np.zeros((-(-len(windows) // 16) * 16, *windows.shape[1:]), np.uint8)
        padded[: len(windows)] = windows
        found = [outputs(jnp.asarray(padded[first : first + 16])) for first in range(0, len(padded), 16)]
        probabilities, vectors = (np.concatenate([np.asarray(each[part]) for each in found]) for part in (0, 1))
        uncertainty.append(normalised_entropy(probabilities[: len(windows)]).mean())
        embedding.append(vectors[: len(windows)].mean(0))
    return [record.id for record in records], np.array(uncertainty), unit_length(np.array(embedding))


def add(rule: str, workdir: Path, labelled: list[str], count: int, seed: int, round_number: int) -> list[str]:
    """The tiles that a rule chooses next."""
    from crcfp_jax.suggest.selection import choose

    names, uncertainty, embedding = look(workdir)
    free = [place for place, name in enumerate(names) if name not in labelled]
    if rule == "chance":
        order = np.random.default_rng([seed, 10, round_number]).permutation(free)
        return [names[place] for place in order[:count]]
    if rule == "uncertainty":
        order = sorted(free, key=lambda place: -uncertainty[place])
        return [names[place] for place in order[:count]]
    known = embedding[[place for place, name in enumerate(names) if name in labelled]]
    return [names[free[each.candidate]] for each in choose(uncertainty[free], embedding[free], known, count)]


def simulate(data: str, data_dir: Path, workdir: Path, rule: str, seed: int) -> list[float]:
    """The test mIoU of every round."""
    from data_pipelines.data_set import data_set_path, open_data_set

    own = workdir / "data"
    source = data_set_path(data_dir, data)
    names = sorted(record.id for record in open_data_set(data_dir, data).records if record.split == "train")
    count = START[data]
    labelled = np.random.default_rng([seed, 9]).permutation(names)[:count].tolist()
    scores = []
    for number in range(ROUNDS + 1):
        key = f"{data}-{rule if number else 'start'}-seed{seed}-{number}"
        write_data_set(source, data_set_path(own, key), seed, labelled)
        run = workdir / "runs" / key
        scores.append(train(key, own, seed, run))
        if number < ROUNDS:
            chosen = run / f"next-{rule}.json"
            if not chosen.is_file():
                chosen.write_text(json.dumps(add(rule, run, labelled, count, seed, number)))
            labelled = [*labelled, *json.loads(chosen.read_text())]
    return scores


def table(results: dict[str, dict[str, list[float]]], count: int) -> str:
    """Means over seeds with the 95 % interval of Student's t."""
    lines = ["| tiles annotated | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    for number in range(ROUNDS + 1):
        cells = []
        for rows in results.values():
            values = np.array([row[number] for row in rows.values() if len(row) > number])
            few = len(values) < 2
            reach = 0 if few else student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
            cells.append(f"{values.mean():.1f} ± {reach:.1f}" if len(values) else "-")
        lines.append(f"| {count * (number + 1)} | " + " | ".join(cells) + " |")
    areas = {rule: np.mean([np.mean(row[1:]) for row in rows.values()]) for rule, rows in results.items() if rows}
    lines.append("| mean of the five rounds | " + " | ".join(f"{area:.1f}" for area in areas.values()) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the simulation and prints its table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", choices=sorted(START))
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rules", default=",".join(RULES))
    given = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = {rule: {} for rule in given.rules.split(",")}
    for seed in range(1, given.seeds + 1):
        for rule in results:
            started = time.monotonic()
            results[rule][str(seed)] = simulate(given.data, given.data_dir, given.workdir, rule, seed)
            told = " ".join(f"{score:.1f}" for score in results[rule][str(seed)])
            print(f"{given.data}, seed {seed}, {rule}: {told} ({time.monotonic() - started:.0f} s)", flush=True)
            (given.workdir / f"{given.data}.json").write_text(json.dumps(results, indent=1))
    text = table(results, START[given.data])
    (given.workdir / f"{given.data}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
