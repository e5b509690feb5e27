"""Which classes are annotated too little to be learned."""

from collections.abc import Sequence
from dataclasses import dataclass

# Of the network's pixels: a square of 141. A decoder that classifies cells of 16 pixels has 78 examples in it, most of
# them beside one another, so alike; a stroke of 20 pixels' width has to be a thousand long. It is a warning, no limit:
# on synthetic tissue of one staining, which varies little, 1,500 pixels gave a class 70 to 77 IoU.
LEAST_PIXELS = 20_000
LEAST_TILES = 3  # a class seen in one or two places is learned as these places
LEAST_PATIENTS = 2  # staining and scanner differ from patient to patient; of one, nothing can be held out to check it


@dataclass(frozen=True)
class Annotated:
    """How much of a class is annotated: its area, and the tiles and patients in which some of it is."""

    name: str
    mm2: float
    tiles: int
    patients: int


def scarce_classes(
    amounts: Sequence[Annotated], *, microns_per_pixel: float, patients: int | None = None
) -> dict[str, str]:
    """Says of each class that is annotated too little how little it is, and what to do.

    Args:
        amounts: of every class of the data set.
        microns_per_pixel: of the network's pixels.
        patients: annotated ones altogether. A class in one patient is scarce where there are others; by default, and
            where there is one only, patients are not judged.

    Returns:
        Name of each scarce class -> one sentence, in the order of `amounts`; empty where all have enough.
    """
    found = {}
    for amount in amounts:
        pixels = amount.mm2 * (1000 / microns_per_pixel) ** 2
        if not pixels:
            found[amount.name] = (
                f"Class {amount.name} has no annotated pixel, so it can't be learned: annotate some of it, or leave "
                "the class out."
            )
            continue
        of_several = patients is not None and patients >= LEAST_PATIENTS
        reasons = []
        if pixels < LEAST_PIXELS:
            reasons.append(f"{amount.mm2:.2g} mm² ({pixels:,.0f} pixels of {microns_per_pixel:.3g} µm)")
        if amount.tiles < LEAST_TILES:
            reasons.append(f"{amount.tiles} tile{'s' * (amount.tiles != 1)}")
        if of_several and amount.patients < LEAST_PATIENTS:
            reasons.append(f"{amount.patients} of {patients} patients")
        if reasons:
            found[amount.name] = (
                f"Class {amount.name} has little annotation: {', '.join(reasons)}. Annotate more of it, at other "
                f"places{' and on other patients' * of_several}."
            )
    return found
