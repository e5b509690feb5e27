"""The training step: a pure function of state, batch and key, written for one replica of the axis `axis_name`.

Losses are reduced over the replicas inside the differentiated function *and* the gradients are averaged after it; with
one without the other, shard_map's replication rules multiply the gradients by the number of devices.

The parameters are made to vary over the replicas before anything else happens to them. The derivative of that is the
sum of their gradients over the replicas, and so a sum of float32; where a layer's cast to bfloat16 comes first, it is
one of bfloat16.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.methods.definition import Method
from crcfp_jax.methods.mean_teacher import ema_update
from crcfp_jax.methods.objective import unlabelled_terms
from crcfp_jax.methods.pixel_terms import supervised_term
from crcfp_jax.methods.randomness import Purpose, example_keys
from crcfp_jax.methods.reduction import Heads, Metrics
from crcfp_jax.models.encoders.pixels import normalise
from crcfp_jax.models.network import Network
from crcfp_jax.training.augment import augment
from crcfp_jax.training.optimizer import learning_rate
from crcfp_jax.training.parameter_groups import hold_frozen, read_groups
from crcfp_jax.training.state import TrainState
from crcfp_jax.training.streams import check_statistics, encode_streams, split_like

STREAM_PURPOSE = {
    "image": Purpose.IMAGE,
    "unlabelled": Purpose.UNLABELLED,
    "view_a": Purpose.VIEW_A,
    "view_b": Purpose.VIEW_B,
}

TrainStep = Callable[[TrainState, Mapping[str, Array], Key[Array, ""]], tuple[TrainState, Metrics]]


def check_step(config: ConfigDict, method: Method, context_stride: int) -> None:
    """Raises UserError where the settings of the step don't fit together."""
    check_statistics(config.model)
    if method.teacher_decay is not None and config.model.statistics == "joint":
        raise UserError(
            f"config.model.statistics='joint' can't be combined with config.method={method.name!r}: its teacher sees "
            "no labelled crops to be normalised with; use 'per_stream'"
        )
    if method.negatives:
        key, views = ("contrastive", 2) if method.has("contrastive") else ("cdcl", 1)
        maps = views * config.train.unlabelled_batch_size
        cells = (config.data.side // context_stride) ** 2
        negatives = method.negatives
        if negatives < maps or negatives % maps or negatives // maps > cells:
            raise UserError(
                f"config.{key}.negatives={negatives} can't be drawn evenly from {maps} maps of {cells} cells: "
                f"choose a multiple of {maps} up to {maps * cells}"
            )
    if config.data.side % context_stride:
        raise UserError(f"config.data.side={config.data.side} is not a multiple of the feature stride {context_stride}")


def make_train_step(
    network: Network,
    method: Method,
    config: ConfigDict,
    optimizer: optax.GradientTransformation,
    axis_name: str | None = None,
) -> TrainStep:
    """Builds `train_step(state, batch, key) -> (state, metrics)` for `parallelise`.

    Settings are read here, while tracing, never in the compiled step. `key` is the run's key: the step folds it with
    `state.step`. Metrics are scalars, or hold a value a class; `finite` is 1 while loss and gradient are finite.

    Raises:
        UserError: settings that don't fit together.
    """
    check_step(config, method, network.context_stride)
    schedule, groups = learning_rate(config), read_groups(config.optimizer)

    def prepare(key: Key[Array, ""], batch: Mapping[str, Array]) -> tuple[Float[Array, "b s s 3"], dict[str, Array]]:
        """Augments the labelled crops and every unlabelled stream of this method, in one call of the same code."""
        names = (*(("image",) if config.augment.labelled else ()), *method.streams)
        keys = [example_keys(key, STREAM_PURPOSE[name], batch[name].shape[0], axis_name) for name in names]
        images = [batch[name] for name in names]
        streams = {}
        if names:
            varied = augment(jnp.concatenate(keys), jnp.concatenate(images), config.augment)
            streams = dict(zip(names, split_like(varied, images), strict=True))
        labelled = streams.pop("image") if config.augment.labelled else normalise(batch["image"])
        return labelled, streams

    def train_step(state: TrainState, batch: Mapping[str, Array], key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        labelled, streams = prepare(key, batch)

        def loss_function(params):
            params = hold_frozen(groups, params)
            if axis_name is not None:
                params = jax.lax.pcast(params, axis_name, to="varying")
            variables = {"params": params, "batch_stats": state.batch_stats}
            encoded = encode_streams(network, variables, labelled, streams, config.model)
            heads = Heads(network, variables, axis_name)
            losses = {"supervised": supervised_term(heads, encoded.labelled, batch["label"])}
            unlabelled_losses, metrics, bank = unlabelled_terms(
                heads, method, config, encoded.streams, batch, key, bank=state.bank, teacher=state.teacher
            )
            losses |= unlabelled_losses
            ramp = method.ramp(state.step)
            weights = {term: w if term == "supervised" else w * ramp for term, w in method.weights.items()}
            total = sum(weights[term] * loss for term, loss in losses.items())
            metrics |= {f"loss/{term}": loss for term, loss in losses.items()} | {"loss/total": total}
            return total, (metrics, encoded.batch_stats, bank)

        gradients, (metrics, batch_stats, bank) = jax.grad(loss_function, has_aux=True)(state.params)
        if axis_name is not None:
            gradients = jax.lax.pmean(gradients, axis_name)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        norm = optax.tree.norm(gradients)
        metrics |= {
            "gradient_norm": norm,
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "finite": (jnp.isfinite(metrics["loss/total"]) & jnp.isfinite(norm)).astype(jnp.float32),
        }
        params = optax.apply_updates(state.params, updates)
        decay = method.teacher_decay
        new_state = state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            bank=bank,
            teacher=None if decay is None else ema_update(state.teacher, params, decay, state.step),
        )
        return new_state, metrics

    return train_step
