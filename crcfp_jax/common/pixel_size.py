"""What a pixel of a microscope's picture can measure."""

PLAUSIBLE = (0.05, 20.0)  # µm: no microscope's pixels are smaller or larger, a screen's 72 dpi are 353
ALIKE = 0.02  # relative difference between two sizes that nobody needs to know of


def differ(one: float, other: float) -> bool:
    """Whether two sizes of a pixel, in the same unit, are so different that a user should know of it."""
    return abs(one / other - 1) > ALIKE
