"""The paper's systems as data: which loss terms a method has, and how strongly they count.

A term that a method lacks does not exist in its compiled step: no forward pass, no parameters, no memory.
"""

import dataclasses
from collections.abc import Mapping

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError

# Schemes 1-3 of the paper (Table 4) add one unlabelled term each.
TERMS: dict[str, tuple[str, ...]] = {
    "supervised": (),
    "crcfp_s1": ("contrastive",),
    "crcfp_s2": ("contrastive", "cross_consistency"),
    "crcfp": ("contrastive", "cross_consistency", "entropy"),
}


@dataclasses.dataclass(frozen=True)
class Method:
    """What one training step optimises.

    Attributes:
        name: a key of `TERMS`.
        weights: factor of each loss term in the total; its keys are the terms that exist.
        warmup_steps: steps at the start in which only the supervised term counts.
    """

    name: str
    weights: Mapping[str, float | jax.Array]
    warmup_steps: int

    def has(self, *terms: str) -> bool:
        """Whether any of these terms exists in this method."""
        return any(term in self.weights for term in terms)

    @property
    def streams(self) -> tuple[str, ...]:
        """Keys of the batch that hold the unlabelled images this method looks at."""
        views = ("view_a", "view_b") if self.has("contrastive") else ()
        whole = ("unlabelled",) if self.has("cross_consistency", "entropy") else ()
        return whole + views


def build_method(config: ConfigDict) -> Method:
    """The method that `config.method` names, with the weights of `config.weights`.

    Raises:
        UserError: unknown method.
    """
    if config.method not in TERMS:
        raise UserError(f"config.method={config.method!r} is unknown; known methods: {', '.join(TERMS)}")
    terms = ("supervised", *TERMS[config.method])
    return Method(
        name=config.method,
        weights={term: config.weights[term] for term in terms},
        warmup_steps=round(config.weights.warmup * config.train.steps),
    )
