"""The places that are suggested, over all slides, with the reason for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.inputs import Input
from crcfp_jax.suggest.candidates import Candidates
from crcfp_jax.suggest.selection import choose

UNSURE = 0.4  # normalised entropy from which doubt is told as a reason: two classes of five alike have 0.43
NEW = 0.5  # distance from which newness is told: of directions 29 degrees apart


@dataclass(frozen=True)
class Suggestion:
    """A place. Sizes in pixels of the slide at full resolution, as its viewer shows it."""

    rank: int  # from 1
    picture: Input
    left: float
    top: float
    width: float
    height: float
    uncertainty: float  # 0 to 1
    novelty: float  # 0 to 2
    likely: tuple[str, str]  # the two classes that take most of it
    reason: str


def suggest(
    found: Sequence[tuple[Input, Candidates]],
    known: Float[np.ndarray, "m d"] | None,
    classes: Sequence[ClassInfo],
    count: int,
) -> list[Suggestion]:
    """The best places of all slides together, best first; see `selection.choose`.

    Args:
        found: what a model says of each slide.
        known: embeddings of what it was trained on; None: nobody knows.
        classes: of the model.
        count: wanted.
    """
    found = [(picture, candidates) for picture, candidates in found if len(candidates.boxes)]
    places = [(picture, candidates, number) for picture, candidates in found for number in range(len(candidates.boxes))]
    if not places:
        return []
    uncertainty = np.concatenate([candidates.uncertainty for _, candidates in found])
    embedding = np.concatenate([candidates.embedding for _, candidates in found])
    suggestions = []
    for rank, choice in enumerate(choose(uncertainty, embedding, embedding[:0] if known is None else known, count), 1):
        picture, candidates, number = places[choice.candidate]
        first, second = (classes[label].name for label in np.argsort(-candidates.shares[number], kind="stable")[:2])
        doubt = float(candidates.uncertainty[number])
        suggestions.append(
            Suggestion(
                rank,
                picture,
                *candidates.boxes[number].tolist(),
                uncertainty=doubt,
                novelty=choice.novelty,
                likely=(first, second),
                reason=_reason(doubt, choice.novelty, first, second, has_known=known is not None),
            )
        )
    return suggestions


def _reason(doubt: float, novelty: float, first: str, second: str, *, has_known: bool) -> str:
    words = f"unsure between {first} and {second}" if doubt >= UNSURE else f"mostly {first}, some {second}"
    if has_known and novelty >= NEW:
        words += "; unlike what is annotated"
    return f"{words} (entropy {doubt:.2f}, distance {novelty:.2f})"
