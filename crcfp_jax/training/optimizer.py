"""Optimiser: SGD with momentum (paper) or AdamW, polynomial decay, one learning rate per parameter group."""

import jax
import optax
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """Polynomial decay per iteration, lr * (1 - step / steps) ** power (paper, section 4)."""
    settings = config.optimizer
    return optax.polynomial_schedule(settings.learning_rate, 0.0, settings.poly_power, config.train.steps)


def _scale_heads(multiplier: float) -> optax.GradientTransformation:
    """Multiplies the updates of every top-level parameter group but the backbone (release)."""

    def scale(updates, params):
        del params
        return {
            group: values if group == "backbone" else jax.tree.map(lambda x: x * multiplier, values)
            for group, values in updates.items()
        }

    return optax.stateless(scale)


def _decay_kernels(weight_decay: float) -> optax.GradientTransformation:
    """Adds `weight_decay` times the parameter to the update of everything named 'kernel'."""

    def decay(updates, params):
        def add(path, update, parameter):
            return update + weight_decay * parameter if path[-1].key == "kernel" else update

        return jax.tree.map_with_path(add, updates, params)

    return optax.stateless(decay)


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Builds the optimiser of `config.optimizer`.

    SGD follows torch: weight decay joins the gradient before the momentum, on every parameter. AdamW decays kernels
    alone: what is added to an activation, or scales a normalised one, has no size to be kept small.

    Raises:
        UserError: unknown optimiser name.
    """
    settings = config.optimizer
    match settings.name:
        case "sgd":
            direction = (optax.add_decayed_weights(settings.weight_decay), optax.trace(settings.momentum))
        case "adamw":
            direction = (optax.scale_by_adam(b1=settings.momentum), _decay_kernels(settings.weight_decay))
        case unknown:
            raise UserError(f"config.optimizer.name={unknown!r} is unknown; known optimisers: sgd, adamw")
    return optax.chain(
        *direction,
        _scale_heads(settings.head_multiplier),
        optax.scale_by_learning_rate(learning_rate(config)),
    )
