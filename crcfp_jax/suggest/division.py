"""How a slide is divided into places to suggest, and these into what a window shows."""

from dataclasses import dataclass
from functools import cached_property

from crcfp_jax.slides.plan import SlidePlan


@dataclass(frozen=True)
class Axis:
    """One axis of a slide, as the network sees it, in equal parts of at most a window; places hold several parts."""

    edges: tuple[int, ...]  # of the parts
    side: int  # of a window
    group: int  # parts of a place, at most

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.edges) - 1

    def place(self, part: int) -> int:
        """The place that a part belongs to."""
        return part * -(-self.parts // self.group) // self.parts

    @cached_property
    def extents(self) -> dict[int, tuple[int, int]]:
        """First and last + 1 pixel of each place."""
        found: dict[int, tuple[int, int]] = {}
        for part in range(self.parts):
            first, _ = found.get(self.place(part), (self.edges[part], 0))
            found[self.place(part)] = first, self.edges[part + 1]
        return found

    def window(self, part: int) -> tuple[int, int, slice]:
        """Start and length of what is read for a part, a whole window where there is one, and the part in it."""
        start = max(0, min(self.edges[part], self.edges[-1] - self.side))
        length = min(self.side, self.edges[-1] - start)
        return start, length, slice(self.edges[part] - start, self.edges[part + 1] - start)


def divide(plan: SlidePlan, group: int) -> tuple[Axis, Axis]:
    """Rows and columns of a slide, in places of at most `group` windows."""
    side = plan.tiling.side
    down, across = (Axis(_edges(length, -(-length // side)), side, group) for length in plan.view.size)
    return down, across


def _edges(length: int, parts: int) -> tuple[int, ...]:
    return tuple(round(length * part / parts) for part in range(parts + 1))
