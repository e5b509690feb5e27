"""Scoring: every labelled pixel of a split once, over all processes of a run."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Int64, UInt32

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.evaluation.metrics import confusion_matrix, summary
from crcfp_jax.evaluation.pictures import Sample
from crcfp_jax.evaluation.windows import Evaluator, predict_classes
from data_pipelines import loaders
from data_pipelines.data_set import DataSet, Record


def evaluate(
    evaluator: Evaluator,
    data_set: DataSet,
    records: Sequence[Record],
    *,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 8,
    samples: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], list[Sample]]:
    """Figures over all records, which the processes share, each labelled pixel counted once.

    Every process of the run has to call it, with the same records; all get the same figures.

    Args:
      samples: how many examples to return for pictures, evenly spaced over this process's share.
      advance: called after each image of this process.

    Returns:
      `metrics.summary` plus `images`, the number of tiles, and `per_image`: of every source image, in the order of the
      records, its name, its patient, and the confusion matrix over its tiles; and the samples.

    Raises:
      UserError: no record, or not a single labelled pixel.
    """
    if not records:
        raise UserError(f"data set {data_set.name}: nothing to evaluate, the split holds no image")
    share = len(range(process_index, len(records), process_count))
    wanted = set(evenly_spaced(share, samples))
    places: dict[tuple[str, str], int] = {}  # (image, patient) -> row of `confusions`; the same in every process
    for record in records:
        places.setdefault((record.image, record.patient), len(places))
    confusions = np.zeros((len(places), evaluator.num_classes, evaluator.num_classes), np.int64)
    kept, count = [], 0
    examples: Iterable[tuple] = ()
    if share:
        examples = loaders.evaluation_examples(
            data_set, records, process_index=process_index, process_count=process_count, threads=threads
        )
    for (record, image, label), prediction in _with_predictions(evaluator, examples):
        place = places[record.image, record.patient]
        confusions[place] += confusion_matrix(label, prediction, evaluator.num_classes)
        if count in wanted:
            kept.append(Sample(record.id, image, label, prediction))
        count += 1
        advance()

    totals = sum_over_processes(np.append(confusions.reshape(-1), count))
    confusions, count = totals[:-1].reshape(confusions.shape), int(totals[-1])
    if count != len(records):
        raise RuntimeError(f"{count} images evaluated, {len(records)} expected")
    if not confusions.any():
        raise UserError(f"data set {data_set.name}: all pixels to evaluate are labelled {IGNORED} (ignored)")
    per_image = [
        {"image": image, "patient": patient, "confusion_matrix": confusions[place].tolist()}
        for (image, patient), place in places.items()
    ]
    figures = summary(confusions.sum(0), [info.name for info in data_set.classes])
    return figures | {"images": count, "per_image": per_image}, kept


def _with_predictions(evaluator: Evaluator, examples: Iterable[tuple]) -> Iterator[tuple[tuple, np.ndarray]]:
    """Pairs each (record, image, label) with its predicted classes, holding only the examples under way."""
    under_way: deque[tuple] = deque()

    def images() -> Iterator[tuple[np.ndarray, float]]:
        for record, image, label in examples:
            under_way.append((record, image, label))
            yield image, record.microns_per_pixel

    for prediction in predict_classes(evaluator, images()):
        yield under_way.popleft(), prediction


def sum_over_processes(counts: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """Adds up non-negative counts over all processes of the run, exactly; every process has to call it."""
    if jax.process_count() == 1:
        return counts
    return add_halves(multihost_utils.process_allgather(split_halves(counts)))


def split_halves(counts: Int64[np.ndarray, "*shape"]) -> UInt32[np.ndarray, "2 *shape"]:
    """Low and high 32 bits: JAX moves no 64-bit integers unless x64 is enabled, and would cut them off silently."""
    return np.stack([counts & 0xFFFFFFFF, counts >> 32]).astype(np.uint32)


def add_halves(halves: UInt32[np.ndarray, "processes 2 *shape"]) -> Int64[np.ndarray, "*shape"]:
    """Sum over the processes of what `split_halves` took apart."""
    low, high = halves.astype(np.int64).sum(0)
    return low + (high << 32)
