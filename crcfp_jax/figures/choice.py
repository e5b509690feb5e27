"""Which test images are shown: by rules, never by hand."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.evaluation.metrics import confusion_matrix, mean_iou
from crcfp_jax.evaluation.windows import predict_classes
from crcfp_jax.figures.models import Model
from crcfp_jax.figures.runs import MissingRuns
from data_pipelines import geometry
from data_pipelines.data_set import Record
from data_pipelines.loaders import evaluation_examples
from data_pipelines.reading.resample import to_size

MOST = 200  # test images that are looked at, evenly spread over the split
LEAST_SHARE = 0.02  # of the labelled pixels, that two classes must have for an image to show a boundary
SHOWN = 3  # images in a figure


@dataclass(frozen=True, eq=False)
class Example:
    """A test image with its labels."""

    record: Record
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


def class_shares(label: UInt8[np.ndarray, "..."]) -> Float[np.ndarray, "256"]:
    """Shares of the labelled pixels by class number; zeros where nothing is labelled."""
    counts = np.bincount(label.reshape(-1), minlength=256).astype(np.float64)
    counts[IGNORED] = 0.0
    return counts / max(counts.sum(), 1.0)


def mixed(label: UInt8[np.ndarray, "h w"]) -> bool:
    """Whether at least two classes have `LEAST_SHARE` of the labelled pixels each."""
    return int((class_shares(label) >= LEAST_SHARE).sum()) >= 2


def by_difficulty(scores: Sequence[float], count: int) -> list[int]:
    """Places of `count` scores, evenly spread over their ranks, the lowest first: of three, ranks 1/6, 1/2 and 5/6."""
    order = np.argsort(np.asarray(scores), kind="stable")
    ranks = ((np.arange(min(count, len(order))) + 0.5) / min(count, len(order)) * len(order)).astype(int)
    return order[ranks].tolist()


def read(model: Model, records: Sequence[Record]) -> list[Example]:
    """Decodes test images."""
    threads = model.parts.config.data.threads
    return [Example(*example) for example in evaluation_examples(model.parts.data_set, records, threads=threads)]


@functools.cache
def mixed_examples(model: Model) -> list[Example]:
    """Up to `MOST` test images, evenly spread over the split, that show at least two classes.

    Raises:
        MissingRuns: none does.
    """
    test = model.parts.split.test
    examples = [e for e in read(model, [test[place] for place in evenly_spaced(len(test), MOST)]) if mixed(e.label)]
    if not examples:
        raise MissingRuns(f"no test image of {model.parts.data_set.path} shows two classes")
    return examples


def predictions(model: Model, examples: Sequence[Example]) -> list[UInt8[np.ndarray, "_ _"]]:
    """Predicted classes of whole images, as evaluation predicts them."""
    return list(predict_classes(model.evaluator, ((e.image, e.record.microns_per_pixel) for e in examples)))


def at_size(example: Example, size: tuple[int, int]) -> Example:
    """The image at another height and width, resampled as evaluation does it, with its labels."""
    _, label = geometry.resize(example.image, example.label, *size)
    return Example(example.record, to_size(example.image, size), label)


@functools.cache
def shown_examples(model: Model) -> list[Example]:
    """`SHOWN` of the mixed test images, evenly spread over their mIoU by this model, the hardest first."""
    return choose(mixed_examples(model), lambda examples: predictions(model, examples), model.parts.num_classes)


def choose(examples: Sequence[Example], predict_classes: Callable, num_classes: int) -> list[Example]:
    """`SHOWN` examples, evenly spread over the mIoU of `predict_classes`'s predictions, the hardest first."""
    found = predict_classes(examples)
    pairs = zip(examples, found, strict=True)
    scores = [mean_iou(confusion_matrix(example.label, prediction, num_classes)) for example, prediction in pairs]
    return [examples[place] for place in by_difficulty(scores, SHOWN)]
