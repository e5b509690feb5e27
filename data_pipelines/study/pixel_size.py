"""The pixel size that a study is seen at, where the user gives none."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

ACROSS = 40  # pixels that a drawn object should measure: nuclei of 10 µm at 0.25 µm, glands of 80 µm at 2 µm
FINEST, COARSEST = 0.25, 2.0  # µm
WITHOUT = 1.0  # µm: where only lines are drawn, nothing tells how large things are
CLOSE = 1.3  # times: images whose pixels are that close to the choice are not resampled for it


def choose_pixel_size(diameters: Mapping[str, Sequence[float]], own: Sequence[float]) -> tuple[float, str]:
    """A pixel size in µm, and why.

    The smallest class sets it: the median diameter of its objects is seen with about 40 pixels, in steps of two
    between 0.25 and 2 µm; finer than the finest image it never is.

    Args:
        diameters: of drawn areas, per class, in µm: of circles of the same area.
        own: pixel sizes of the images, µm.
    """
    medians = {name: median(values) for name, values in diameters.items() if values}
    if medians:
        name = min(medians, key=medians.__getitem__)
        wanted = min(max(medians[name] / ACROSS, FINEST), COARSEST)
        wanted = FINEST * 2 ** round(math.log2(wanted / FINEST))
        reason = f"areas of {name} measure {medians[name]:.3g} µm across"
    else:
        wanted, reason = WITHOUT, "only lines are drawn, which tell no size"
    finest = min(own)
    if max(own) <= finest * 1.02 and max(finest / wanted, wanted / finest) <= CLOSE:
        return finest, f"{reason}; the images' own"
    return max(wanted, finest), reason
