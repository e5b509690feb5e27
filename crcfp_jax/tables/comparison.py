"""How far each system lies above the best supervised one, run by run and image by image."""

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from scipy.stats import ttest_rel

from crcfp_jax.evaluation.intervals import bootstrap_difference
from crcfp_jax.evaluation.metrics import by_patient, mean_dice, mean_iou
from crcfp_jax.tables.definitions import METHOD_OF
from crcfp_jax.tables.folder import GridFolder
from crcfp_jax.tables.summary import Cell, Summary

COMPARED = {"mean_dice": mean_dice, "mean_iou": mean_iou}


@dataclass(frozen=True)
class Difference:
    """A system's figure less the best supervised system's, over the seeds that both have finished.

    Attributes:
        mean, deviation: over seeds, in points of a per cent; the same labelled images for both at a seed. A single
            seed has no deviation.
        p: two-sided, of the paired t-test over seeds; None for a single seed, or where all differences are the same.
        interval: 95 %, over test patients (images where these are unknown) drawn anew; all seeds' runs together.
    """

    mean: float
    deviation: float | None
    p: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """A system set against the best supervised one at the same fraction; values are those of the table's sweep."""

    fraction: str
    system: str
    value: int | None
    than: str
    than_value: int | None
    seeds: tuple[int, ...]
    differences: Mapping[str, Difference]  # by metric


def compare(folder: GridFolder, summary: Summary) -> list[Comparison]:
    """Every system of a grid against the best supervised one at its fraction.

    That is the one with the greatest mean Dice over the seeds that all supervised systems have finished, at any value
    of the table's sweep. A fraction without such seeds has none, nor has a system that shares none with it.

    Raises:
        UserError: a result.json is damaged.
    """
    keys = ("fraction", "system", "value", "seed")
    names = {tuple(row[key] for key in keys): row["name"] for row in summary.description["runs"]}

    @functools.cache  # the best one's are read for every other system
    def counts_of(fraction: str, system: str, value: int | None, seed: int) -> Int64[np.ndarray, "n c c"]:
        result = folder.result(names[fraction, system, value, seed])
        return np.stack(list(by_patient(result["per_image"]).values()))

    found = []
    for fraction in dict.fromkeys(cell.fraction for cell in summary.cells):
        cells = [cell for cell in summary.cells if cell.fraction == fraction and _seeds(cell)]
        supervised = [cell for cell in cells if not METHOD_OF[cell.system].terms]
        shared = set.intersection(*map(_seeds, supervised)) if supervised else set()
        if not shared:
            continue
        best = max(supervised, key=lambda cell: sum(cell.figures["mean_dice"][seed] for seed in shared))
        for cell in cells:
            seeds = tuple(sorted(_seeds(cell) & _seeds(best)))
            if cell is best or not seeds:
                continue
            counts = [
                np.sum([counts_of(fraction, one.system, one.value, seed) for seed in seeds], axis=0)
                for one in (cell, best)
            ]
            differences = {metric: _difference(metric, cell, best, seeds, counts) for metric in COMPARED}
            found.append(Comparison(fraction, cell.system, cell.value, best.system, best.value, seeds, differences))
    return found


def _seeds(cell: Cell) -> set[int]:
    return {seed for seed, value in cell.figures["mean_dice"].items() if value is not None}


def _difference(
    metric: str, cell: Cell, best: Cell, seeds: Sequence[int], counts: Sequence[Int64[np.ndarray, "n c c"]]
) -> Difference:
    own, other = ([of.figures[metric][seed] for seed in seeds] for of in (cell, best))
    differences = [one - two for one, two in zip(own, other, strict=True)]
    ends = bootstrap_difference(*counts, COMPARED[metric])
    spread = statistics.stdev(differences) if len(differences) > 1 else None
    return Difference(
        statistics.fmean(differences),
        spread,
        float(ttest_rel(own, other).pvalue) if spread else None,
        None if np.isnan(ends).any() else (100 * ends[0], 100 * ends[1]),
    )
