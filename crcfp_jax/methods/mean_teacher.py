"""The mean teacher: a moving average of the network that learns."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


def ema_update(teacher: Any, params: Any, decay: float, step: Int[Array, ""]) -> Any:
    """The teacher's parameters after a step: decay * teacher + (1 - decay) * params, decay at most 1 - 1 / (step + 1).

    The bound (Tarvainen and Valpola 2017) makes the teacher the plain average of the first steps' parameters, so that
    the random initial ones don't linger.

    Args:
        params: the student's, after the step.
        step: steps done before it.
    """
    decay = jnp.minimum(decay, 1 - 1 / (step + 1.0))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, teacher, params)
