"""What a step minimises: the terms of a method, one after the other, and how strongly each counts."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from crcfp_jax.common.settings import value_at
from crcfp_jax.methods.bank import Bank
from crcfp_jax.methods.context import Context
from crcfp_jax.methods.pseudo_label_metrics import prediction_metrics
from crcfp_jax.methods.reduction import Metrics
from crcfp_jax.methods.systems.definition import SUPERVISED, Term
from crcfp_jax.methods.terms.registry import FUNCTIONS

STEEPNESS = 5.0  # of the ramp exp(-5 (1 - t)^2) (Laine and Aila 2017; CCT's release)


def losses(context: Context) -> tuple[dict[str, Float[Array, ""]], Metrics, Bank | None]:
    """The losses of the method's terms, what they tell, and the bank after them.

    The bank passes from term to term.
    """
    found, metrics = {}, {}
    for term in context.method.all_terms:
        outcome = FUNCTIONS[term.name](context, term)
        found[term.name] = outcome.loss
        metrics |= outcome.metrics
        if outcome.bank is not None:
            context = dataclasses.replace(context, bank=outcome.bank)
    if stream := context.method.predictions:
        metrics |= prediction_metrics(context.heads, context.logits(stream), context.confidence)
    return found, metrics, context.bank


def weight(term: Term, config: ConfigDict, step: Int[Array, ""]) -> Float[Array, ""] | float:
    """A term's factor in the total: the supervised one's always the same, the others' 0 in the supervised beginning."""
    full = value_at(config, term.weight)
    return full if term is SUPERVISED else full * ramp(term, config, step)


def ramp(term: Term, config: ConfigDict, step: Int[Array, ""]) -> Float[Array, ""]:
    """The share of its weight that a term has at a step."""
    steps = config.train.steps
    done = step - round(config.weights.warmup * steps)
    ramp_steps = round(value_at(config, term.ramp) * steps) if term.ramp else 0
    if not ramp_steps:
        return (done >= 0).astype(jnp.float32)
    missing = 1 - jnp.clip(done / ramp_steps, 0, 1)
    return jnp.where(done >= 0, jnp.exp(-STEEPNESS * missing**2), 0.0)
