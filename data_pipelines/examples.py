"""Training examples: what is drawn of an image, and how it is cut."""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from crcfp_jax.common.errors import UserError
from data_pipelines import geometry, views
from data_pipelines.sampling import draw_start

WHOLE = "unlabelled"
SOURCES = (WHOLE, *views.VIEWS)  # what may be made of an unlabelled image


@dataclass(frozen=True)
class LoaderOptions:
    """How training examples are cut; sizes in network pixels, batch sizes over all processes.

    Raises UserError for batches that the processes don't share evenly, naming the configuration key.
    """

    side: int
    microns_per_pixel: float  # of a network pixel at scale 1
    labelled_scale: tuple[float, float]
    unlabelled_scale: tuple[float, float]
    overlap: tuple[float, float]
    whole_view_scale: float  # at which the whole view is seen
    flips: str  # 'horizontal' or 'both'
    stride: int  # of the features that the two views are compared at
    batch_size: int
    unlabelled_batch_size: int
    seed: int
    threads: int
    prefetch: int  # examples held ready
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.process_index < self.process_count:
            raise ValueError(f"process_index {self.process_index} is not one of {self.process_count} processes")
        for key in ("train.batch_size", "train.unlabelled_batch_size"):
            size = getattr(self, key.split(".")[1])
            if size < 1 or size % self.process_count:
                raise UserError(
                    f"{key} {size} cannot be shared out to {self.process_count} process(es): choose a multiple"
                )


def random_window(
    image: np.ndarray,
    label: np.ndarray | None,
    generator: np.random.Generator,
    *,
    side: int,
    scale: float,
    holds: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Cuts a window of side x side network pixels at a random place; `scale`: network pixels per stored pixel.

    Where the image is smaller than the window it is reflected, at a random place in the window, the label IGNORED.
    With `holds`, (row, column) of a stored pixel, the place is one of those at which the window holds that pixel.
    """
    top, left, window = _draw_window(image.shape, generator, side=side, scale=scale, holds=holds)
    image, label = geometry.crop(image, label, top, left, window, window)
    return geometry.resize(image, label, side, side)


def _draw_window(
    shape: Sequence[int],
    generator: np.random.Generator,
    *,
    side: int,
    scale: float,
    holds: tuple[int, int] | None = None,
) -> tuple[int, int, int]:
    """Top, left and side, in stored pixels, of a window of an image of this shape; see `random_window`."""
    # Cropped before it is resized, which is equivalent but for the crop's rounding to whole pixels of the source.
    window = max(1, round(side / scale))
    top, left = (
        draw_start(length, window, generator, pixel)
        for length, pixel in zip(shape[:2], holds or (None, None), strict=True)
    )
    return top, left, window


def labelled_example(
    image: np.ndarray,
    label: np.ndarray,
    generator: np.random.Generator,
    options: LoaderOptions,
    *,
    scale: float,
    holds: tuple[int, int] | None = None,
) -> dict[str, np.ndarray]:
    """Scales, crops and flips an image [h, w, 3] with its label [h, w] to side x side pixels; see `random_window`.

    `scale`: network pixels per stored pixel at scale 1.
    """
    scale *= generator.uniform(*options.labelled_scale)
    image, label = random_window(image, label, generator, side=options.side, scale=scale, holds=holds)
    horizontal, vertical = (bool(draw) for draw in generator.random(2) < 0.5)
    mirror = functools.partial(geometry.flip, horizontal=horizontal, vertical=vertical and options.flips == "both")
    return {"image": mirror(image), "label": mirror(label)}


def unlabelled_example(
    image: np.ndarray,
    generator: np.random.Generator,
    options: LoaderOptions,
    *,
    scale: float,
    sources: Collection[str] = SOURCES,
) -> dict[str, np.ndarray]:
    """Makes the whole view, side x side pixels, and two overlapping views of an image [h, w, 3].

    The whole view is a window at `whole_view_scale`, at a random place; see `random_window`. It is flipped both ways
    where images are; the two views have a horizontal flip each. `scale`: network pixels per stored pixel at scale 1.
    Only what is in `sources` is made; everything is drawn, so that each has the same pixels without the others.
    """
    side = options.side
    views_scale = scale * generator.uniform(*options.unlabelled_scale)
    vertical = bool(generator.random() < 0.5) and options.flips == "both"  # one flip for all views, which must share it
    top, left, window = _draw_window(image.shape, generator, side=side, scale=scale * options.whole_view_scale)
    example = views.overlapping_views(
        image,
        generator,
        side=side,
        stride=options.stride,
        scale=views_scale,
        overlap=options.overlap,
        read=sources,
        vertical=vertical,
    )
    horizontal = bool(generator.random() < 0.5) and options.flips == "both"
    if WHOLE in sources:
        whole = geometry.crop_mirrored(image, top, left, window, window, vertical=vertical)
        whole, _ = geometry.resize(whole, None, side, side)
        example[WHOLE] = geometry.flip(whole, horizontal=horizontal)
    return example
