"""Optimiser: SGD with momentum (paper) or AdamW, warm-up and polynomial decay, clipping, groups of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.training.parameter_groups import Group, check_groups, group_of, name_of, read_groups


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """Polynomial decay per iteration, lr * (1 - step / steps) ** power (paper, section 4), after a linear warm-up.

    During the warm-up the decaying rate is multiplied by (step + 1) / warmup_steps: no step is lost at a rate of 0.

    Raises:
        UserError: a warm-up longer than the training.
    """
    settings, steps = config.optimizer, config.train.steps
    decaying = optax.polynomial_schedule(settings.learning_rate, 0.0, settings.poly_power, steps)
    warmup = settings.warmup_steps
    if warmup > steps:
        raise UserError(
            f"config.optimizer.warmup_steps={warmup} is more than config.train.steps={steps}: the learning rate would "
            "never be reached"
        )
    if not warmup:
        return decaying
    return lambda step: decaying(step) * jnp.minimum(1.0, (step + 1) / warmup)


def _scale(groups: tuple[Group, ...]) -> optax.GradientTransformation:
    """Multiplies each update by the multiple of its group."""

    def scale(updates, params):
        del params

        def times(path, update):
            multiple = group_of(groups, path).multiple
            return update if multiple == 1 else update * multiple

        return jax.tree.map_with_path(times, updates)

    return optax.stateless(scale)


def _decay(groups: tuple[Group, ...], settings: ConfigDict) -> optax.GradientTransformation:
    """Adds the weight decay of its group times the parameter to each update."""

    def decay_of(path: tuple) -> float | int:
        own = group_of(groups, path).decay
        if own is not None:
            return own
        everywhere = settings.name == "sgd"
        return settings.weight_decay if everywhere or name_of(path[-1:]) == "kernel" else 0.0

    def decay(updates, params):
        def add(path, update, parameter):
            factor = decay_of(path)
            return update + factor * parameter if factor else update

        return jax.tree.map_with_path(add, updates, params)

    return optax.stateless(decay)


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Builds the optimiser of `config.optimizer`.

    In this order: the gradient is clipped, the optimiser makes a direction of it, and the direction is multiplied by
    the group's multiple and the learning rate. A frozen parameter gets no update and no decay, has no state, and its
    gradient doesn't count in the norm that is clipped.

    SGD follows torch: weight decay joins the gradient before the momentum, on every parameter. AdamW decays kernels
    alone: what is added to an activation, or scales a normalised one, has no size to be kept small. A group that says
    its own weight decay has it on all of its parameters, with either.

    Raises:
        UserError: a warm-up longer than the training; and `init`, where groups and parameters don't fit together.
    """
    settings, groups = config.optimizer, read_groups(config)
    clip = [optax.clip_by_global_norm(settings.clip)] if settings.clip else []
    decay = _decay(groups, settings)
    if settings.name == "sgd":
        direction = (decay, optax.trace(settings.momentum))
    else:
        direction = (optax.scale_by_adam(b1=settings.momentum), decay)
    moving = optax.chain(*clip, *direction, _scale(groups), optax.scale_by_learning_rate(learning_rate(config)))

    def kinds(tree: Any) -> Any:
        return jax.tree.map_with_path(lambda path, _: "moving" if group_of(groups, path).multiple else "frozen", tree)

    # Without frozen parameters the state has no partition: that of older runs hasn't either.
    frozen = any(not group.multiple for group in groups)
    whole = optax.partition({"moving": moving, "frozen": optax.set_to_zero()}, kinds) if frozen else moving

    def init(params: optax.Params) -> optax.OptState:
        check_groups(groups, params)
        return whole.init(params)

    return optax.GradientTransformation(init, whole.update)
