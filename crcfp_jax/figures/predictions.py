"""The systems' predictions side by side on the same test images, errors in colour (paper, Fig. 5 and 6)."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.evaluation.metrics import accuracy, confusion_matrix, mean_iou
from crcfp_jax.evaluation.pictures import colourise
from crcfp_jax.figures.choice import Example, predictions, shown_examples
from crcfp_jax.figures.models import restore
from crcfp_jax.figures.runs import SUPERVISED, SYSTEMS, Comparison, MissingRuns, Run
from crcfp_jax.figures.style import HATCH_PATTERN, Drawing, hatched, look, picture_grid, rgb, styled, swatch
from crcfp_jax.methods.systems.palette import BLUE, VERMILION

LINE, GAP = 0.14, 0.05  # inches: height of a line of text, space between pictures


@dataclass(frozen=True)
class Compared:
    """A test image and the systems' predictions of it."""

    example: Example
    predictions: dict[str, UInt8[np.ndarray, "h w"]]

    def figures(self, system: str, num_classes: int) -> tuple[float, float]:
        """mIoU and accuracy of a system on this image, percent."""
        confusion = confusion_matrix(self.example.label, self.predictions[system], num_classes)
        return 100 * mean_iou(confusion), 100 * accuracy(confusion)


def error_colours(
    example: Example, prediction: UInt8[np.ndarray, "h w"], classes: Sequence[ClassInfo]
) -> Float[np.ndarray, "h w 3"]:
    """The faded input with wrong pixels in the colour of the class wrongly predicted.

    Of two classes the second is what is looked for: false positives are vermilion, false negatives blue.
    """
    grey = cv2.cvtColor(example.image, cv2.COLOR_RGB2GRAY) / 255.0
    picture = np.repeat((0.8 + 0.2 * grey)[..., None], 3, axis=-1)
    if len(classes) == 2:
        palette = np.asarray([to_rgb(BLUE), to_rgb(VERMILION)])
    else:
        palette = np.asarray([rgb(info.colour) for info in classes])
    wrong = (prediction != example.label) & (example.label != IGNORED)
    picture[wrong] = palette[prediction[wrong]]
    return picture


@styled
def draw_predictions(compared: Sequence[Compared], classes: Sequence[ClassInfo]) -> Figure:
    """Two rows an image: input and the systems' predictions; truth and their errors, mIoU and accuracy below."""
    systems = list(compared[0].predictions)
    heights = [height / width for c in compared for height, width in [c.example.label.shape] * 2]
    entries = _legend(classes, any((c.example.label == IGNORED).any() for c in compared))
    lines = -(-len(entries) // (1 + len(systems)))
    per_line = -(-len(entries) // lines)
    titles = ["input", *(textwrap.fill(look(system).label, 10, break_long_words=False) for system in systems)]
    figure, axes = picture_grid(
        heights,
        [GAP, 0.24] * len(compared),
        1 + len(systems),
        left=0.22,
        top=0.08 + LINE * max(title.count("\n") + 1 for title in titles),
        bottom=0.05 + 0.19 * lines,
        gap=GAP,
    )
    for title, cell in zip(titles, axes[0], strict=True):
        cell.set_title(title, pad=4)
    for number, one in enumerate(compared):
        upper, lower = axes[2 * number : 2 * number + 2]
        upper[0].imshow(one.example.image)
        lower[0].imshow(colourise(one.example.label, classes))
        upper[0].set_ylabel(f"image {number + 1}", labelpad=3)
        lower[0].set_ylabel("truth, errors", labelpad=3)
        lower[0].set_xlabel("mIoU | acc. %", labelpad=2)
        for system, above, below in zip(systems, upper[1:], lower[1:], strict=True):
            above.imshow(colourise(one.predictions[system], classes))
            below.imshow(error_colours(one.example, one.predictions[system], classes))
            below.set_xlabel("{:.1f} | {:.1f}".format(*one.figures(system, len(classes))), labelpad=2)
        for cell in lower:
            hatched(cell, one.example.label == IGNORED)
    figure.legend(
        handles=entries, loc="lower center", ncols=per_line, handlelength=1.4, columnspacing=1.2, borderaxespad=0.1
    )
    return figure


def _legend(classes: Sequence[ClassInfo], ignored: bool) -> list[Patch]:
    entries = [swatch(rgb(info.colour), info.name) for info in classes]
    if len(classes) == 2:
        entries += [swatch(VERMILION, "false positive"), swatch(BLUE, "false negative")]
    return entries + [swatch("white", "does not count", HATCH_PATTERN)] * ignored


def methods_predictions(_: Sequence[Run], comparison: Comparison) -> Drawing:
    """Predictions of all systems of the comparison; MissingRuns where there is one only."""
    if len(comparison.runs) < 2:
        raise MissingRuns(
            f"needs finished runs of two systems with fraction {comparison.fraction} and seed {comparison.seed}"
        )
    reference = restore(comparison.first((*SUPERVISED, *SYSTEMS), "supervised"))
    examples, classes = shown_examples(reference), reference.parts.data_set.classes
    found = {system: predictions(restore(run), examples) for system, run in comparison.runs.items()}
    compared = [
        Compared(example, {system: found[system][number] for system in found})
        for number, example in enumerate(examples)
    ]
    numbers = {
        "fraction": comparison.fraction,
        "seed": comparison.seed,
        "classes": [info.name for info in classes],
        "images": [
            {
                "id": one.example.record.id,
                "systems": {
                    system: dict(zip(("mean_iou", "accuracy"), one.figures(system, len(classes)), strict=True))
                    for system in found
                },
            }
            for one in compared
        ],
    }
    arrays = {}
    for number, one in enumerate(compared, start=1):
        arrays |= {f"image_{number}": one.example.image, f"truth_{number}": one.example.label}
        arrays |= {f"{system}_{number}": prediction for system, prediction in one.predictions.items()}
    return Drawing(draw_predictions(compared, classes), numbers=numbers, arrays=arrays)
