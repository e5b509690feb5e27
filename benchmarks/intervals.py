"""How often intervals over patients hold the truth, by simulated patients that a model does unequally well on.

    python benchmarks/intervals.py [--repeats 500]

Patients differ in size (log-normal), in what their tissue is made of (Dirichlet) and in how much of each class is
found (beta); what is missed goes to the other classes evenly. The truth is the figure of a hundred thousand patients.
Columns: percentiles of the bootstrap, mIoU by `bootstrap_interval`, difference of two methods by
`bootstrap_difference`, and mIoU where five folds have models that differ, too; each with the median width in points.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from crcfp_jax.evaluation.intervals import bootstrap_difference, bootstrap_interval
from crcfp_jax.evaluation.metrics import mean_iou

PIXELS = 10**6
DRAWS = 300
FOLDS = 5
FOLD_EFFECT = 0.3  # standard deviation, on the logit's scale, of how much a fold's model finds


@dataclass(frozen=True)
class Study:
    """What patients are like."""

    name: str
    classes: int
    size: float  # standard deviation of the logarithm of a patient's pixels
    found: float  # mean share of a class's pixels that are found
    likeness: float  # of patients: the sum of the beta's parameters
    rare: bool = False  # the last class is in two of five patients


STUDIES = (
    Study("two classes, alike in size", 2, 0.3, 0.85, 8),
    Study("four classes, unlike in size", 4, 1.0, 0.85, 8),
    Study("a good model that fails on some", 2, 0.7, 0.95, 4),
    Study("four classes, one of them rare", 4, 0.7, 0.8, 8, rare=True),
)


def simulate(study: Study, count: int, generator: np.random.Generator, *, folds: int = 0) -> list[np.ndarray]:
    """Confusion matrices int64 [count, c, c] of two methods on the same patients; the second finds a little more."""
    c = study.classes
    sizes = PIXELS * np.exp(generator.normal(0, study.size, count))
    mixture = generator.dirichlet(np.full(c, 2.0), count)
    if study.rare:
        mixture[:, -1] *= generator.random(count) < 0.4
        mixture /= mixture.sum(1, keepdims=True)
    found = generator.beta(study.found * study.likeness, (1 - study.found) * study.likeness, (count, c))
    found = logit(np.clip(found, 1e-4, 1 - 1e-4))
    if folds:
        found += generator.normal(0, FOLD_EFFECT, folds)[np.arange(count) % folds][:, None]
    matrices = []
    for gain in (0.0, 0.2):
        own = expit(found + gain + generator.normal(0, 0.3, (count, c)))
        shares = own[..., None] * np.eye(c) + (1 - own[..., None]) * (1 - np.eye(c)) / (c - 1)
        matrices.append(np.round((sizes[:, None] * mixture)[..., None] * shares).astype(np.int64))
    return matrices


def percentiles(confusions: np.ndarray, generator: np.random.Generator) -> tuple[float, float]:
    """The interval that is too narrow."""
    count = len(confusions)
    weights = generator.multinomial(count, np.full(count, 1 / count), DRAWS)
    return tuple(np.quantile([mean_iou(np.tensordot(row, confusions, 1)) for row in weights], (0.025, 0.975)))


def row(study: Study, count: int, repeats: int) -> str:
    """A line of the table: how many of 100 intervals hold the truth, and their width."""
    generator = np.random.default_rng(count)
    many = simulate(study, 100_000, generator)
    truth, second = (mean_iou(matrices.sum(0)) for matrices in many)
    # Each patient with a fold of its own: the mean over models, too.
    over_models = mean_iou(simulate(study, 100_000, generator, folds=100_000)[0].sum(0))
    held: dict[str, list[tuple[bool, float]]] = {}
    for seed in range(repeats):
        first, other = simulate(study, count, generator)
        folded = simulate(study, count, generator, folds=FOLDS)[0]
        for name, ends, aim in (
            ("percentiles", percentiles(first, generator), truth),
            ("interval", bootstrap_interval(first, mean_iou, draws=DRAWS, seed=seed), truth),
            ("difference", bootstrap_difference(other, first, mean_iou, draws=DRAWS, seed=seed), second - truth),
            ("models differ", bootstrap_interval(folded, mean_iou, draws=DRAWS, seed=seed), over_models),
        ):
            held.setdefault(name, []).append((ends[0] <= aim <= ends[1], 100 * (ends[1] - ends[0])))
    cells = [
        f"{100 * np.mean([hit for hit, _ in found]):.0f} ({np.median([width for _, width in found]):.0f})"
        for found in held.values()
    ]
    return f"| {study.name} | {count} | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--repeats", type=int, default=500)
    repeats = parser.parse_args().repeats
    print("| patients | n | percentiles | interval | difference | models differ |\n|---|---:|---:|---:|---:|---:|")
    for study in STUDIES:
        for count in (3, 5, 8, 20):
            print(row(study, count, repeats), flush=True)


if __name__ == "__main__":
    main()
