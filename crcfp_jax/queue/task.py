"""What a queue does: a training run in its folder."""

from collections.abc import Hashable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Task(Protocol):
    """One training run.

    Attributes:
        name: of its folder, its log and its lock; slashes make folders.
        label: what a line of progress calls it.
        kind: what tells how long it takes, the weightiest first: a run lasts as long as those that agree in most.
    """

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def kind(self) -> tuple[Hashable, ...]: ...
