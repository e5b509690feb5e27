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
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.settings import value_at
from crcfp_jax.methods.context import Context
from crcfp_jax.methods.mean_teacher import ema_update
from crcfp_jax.methods.mixing import mix
from crcfp_jax.methods.reduction import Heads, Metrics
from crcfp_jax.methods.systems.definition import LABELLED, Method
from crcfp_jax.models.network import Network
from crcfp_jax.training.objective import losses, weight
from crcfp_jax.training.optimizer import learning_rate
from crcfp_jax.training.parameter_groups import hold_frozen, keep_frozen, read_groups
from crcfp_jax.training.state import TrainState
from crcfp_jax.training.streams import check_statistics, draw_boxes, draw_dropout, draw_streams, encode_streams

TrainStep = Callable[[TrainState, Mapping[str, Array], Key[Array, ""]], tuple[TrainState, Metrics]]


def check_step(config: ConfigDict, method: Method, context_stride: int) -> None:
    """Raises UserError where the settings of the step don't fit together."""
    check_statistics(config.model)
    if method.teacher_decay and config.model.statistics == "joint":
        raise UserError(
            f"config.model.statistics='joint' can't be combined with config.method={method.name!r}: its teacher sees "
            "no labelled crops to be normalised with; use 'per_stream'"
        )
    if term := method.needing("bank"):
        key = term.keys["negatives"]
        maps = len(term.pushes) * config.train.unlabelled_batch_size
        cells = (config.data.side // context_stride) ** 2
        negatives = value_at(config, key)
        if negatives < maps or negatives % maps or negatives // maps > cells:
            raise UserError(
                f"config.{key}={negatives} can't be drawn evenly from {maps} maps of {cells} cells: "
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
    schedule, groups = learning_rate(config), read_groups(config)
    of_teacher = [stream.name for stream in method.streams if stream.teacher]

    def train_step(state: TrainState, batch: Mapping[str, Array], key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        images = draw_streams(method, batch, key, config, network.pixels, axis_name)
        counts = {name: len(own) for name, own in images.items()}
        cells = config.data.side // network.context_stride
        boxes = draw_boxes(method, counts, key, cells, config.strong_view.cutmix, axis_name)
        images |= {name: mix(own, images[name], axis_name) for name, own in boxes.items()}
        dropout = draw_dropout(method, counts, key, axis_name)
        teacher, seen_by_teacher = None, {}
        if of_teacher:
            teacher = Heads(network, state.teacher, axis_name)
            taught = encode_streams(network, state.teacher, {name: images.pop(name) for name in of_teacher})
            seen_by_teacher, teacher_stats = taught

        def loss_function(params):
            params = hold_frozen(groups, params)
            if axis_name is not None:
                params = jax.lax.pcast(params, axis_name, to="varying")
            variables = {"params": params, "batch_stats": state.batch_stats}
            encoded = encode_streams(
                network,
                variables,
                images,
                dropout,
                joint=config.model.statistics == "joint",
                kept=LABELLED.name if config.model.running_streams == "labelled" else None,
            )
            context = Context(
                method=method,
                config=config,
                heads=Heads(network, variables, axis_name),
                teacher=teacher,
                features=encoded.features | seen_by_teacher,
                batch=batch,
                key=key,
                boxes=boxes,
                bank=state.bank,
            )
            found, metrics, bank = losses(context)
            total = sum(weight(term, config, state.step) * found[term.name] for term in method.all_terms)
            metrics |= {f"loss/{name}": loss for name, loss in found.items()} | {"loss/total": total}
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
        if of_teacher:
            decay = value_at(config, method.teacher_decay)
            # What is frozen is the same in both: an encoder of a billion parameters need not be averaged.
            old = state.teacher["params"]
            moved = keep_frozen(groups, old, ema_update(old, params, decay, state.step))
            state = state.replace(teacher={"params": moved, "batch_stats": teacher_stats})
        new_state = state.replace(
            step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state, bank=bank
        )
        return new_state, metrics

    return train_step
