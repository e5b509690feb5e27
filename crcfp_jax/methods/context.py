"""What a term's function is given, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Int, Key, Shaped
from ml_collections import ConfigDict

from crcfp_jax.common.settings import value_at
from crcfp_jax.methods.bank import Bank
from crcfp_jax.methods.mixing import mix
from crcfp_jax.methods.reduction import Heads, Metrics
from crcfp_jax.methods.systems.definition import Method, Term


@dataclass(frozen=True)
class Outcome:
    """What a term's function gives back: its loss, what it tells, and the bank where it changed it."""

    loss: Float[Array, ""]
    metrics: Metrics = field(default_factory=dict)
    bank: Bank | None = None


@dataclass(frozen=True)
class Context:
    """A step, as the functions of the terms see it.

    Attributes:
        method: that is trained.
        config: all settings; read while tracing.
        heads: with the parameters that learn.
        teacher: heads with the teacher's parameters, which carry no gradient; None where there is no teacher.
        features: of every stream by its name, the teacher's included: [u, h, w, c] at the feature stride.
        batch: as the loaders make it.
        key: of the step; `randomness.example_keys` makes one an example of it.
        bank: before the term; None where no term of the method needs it.
        boxes: of the streams with CutMix, where their images come from the next ones.
    """

    method: Method
    config: ConfigDict
    heads: Heads
    teacher: Heads | None
    features: Mapping[str, Float[Array, "u h w c"]]
    batch: Mapping[str, Array]
    key: Key[Array, ""]
    bank: Bank | None = None
    boxes: Mapping[str, Bool[Array, "u rows columns"]] = field(default_factory=dict)
    _logits: dict[str, Any] = field(default_factory=dict)  # computed once, for all terms

    def heads_of(self, stream: str) -> Heads:
        """The heads that look at a stream: the teacher's or those that learn."""
        return self.teacher if any(own.name == stream and own.teacher for own in self.method.streams) else self.heads

    def logits(self, stream: str) -> Float[Array, "u h w k"]:
        """Of the classifier on a stream's features; the teacher's without gradient."""
        if stream not in self._logits:
            heads = self.heads_of(stream)
            logits = heads.apply("classify", self.features[stream])
            self._logits[stream] = jax.lax.stop_gradient(logits) if heads is self.teacher else logits
        return self._logits[stream]

    def by_teacher(self, stream: str) -> bool:
        """Whether the teacher looks at a stream."""
        return self.heads_of(stream) is self.teacher

    def mixed_as(self, stream: str, values: Shaped[Array, "u h w *c"]) -> Shaped[Array, "u h w *c"]:
        """What is known of the unmixed images, mixed as the images of a stream are."""
        return mix(self.boxes[stream], values, self.heads.axis_name) if stream in self.boxes else values

    def overlap(self, rows: int) -> tuple[Int[Array, "u 2"], Bool[Array, "u 2"]]:
        """`offset` and `flip` as `losses.contrastive.align` takes them, for maps of so many rows."""
        cells = self.config.data.side // self.heads.network.context_stride
        return self.batch["offset"] * (rows // cells), self.batch["flip"]

    @property
    def confidence(self) -> float:
        """The probability above which a prediction is reported as confident."""
        return value_at(self.config, self.method.confidence)

    def setting(self, term: Term, role: str, default: Any = None) -> Any:
        """The value of the setting that plays a role in a term; `default` where it names none."""
        return value_at(self.config, term.keys[role]) if role in term.keys else default


TermFunction = Callable[[Context, Term], Outcome]
