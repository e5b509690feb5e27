"""The streams of a step: how they are augmented, and one pass of the encoder over them, with its running statistics."""

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import VariableDict
from jaxtyping import Array, Bool, Float, Key
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.methods import mixing
from crcfp_jax.methods.randomness import Purpose, draw_purposes, example_keys
from crcfp_jax.methods.systems.definition import LABELLED, Method
from crcfp_jax.models.encoders.pixels import Pixels, normalise
from crcfp_jax.models.layers.channel_dropout import ALL, HALF, OTHER_HALF, ChannelDropout
from crcfp_jax.models.layers.normalisation import pool_statistics
from crcfp_jax.models.network import Network
from crcfp_jax.training.augment import augment, weakened

MODES = {"": ALL, "half": HALF, "other_half": OTHER_HALF}  # of `Stream.dropout`


class Encoded(NamedTuple):
    """Features [images, h, w, c] of every stream, and the running statistics after the pass."""

    features: dict[str, Array]
    batch_stats: Any


def check_statistics(settings: ConfigDict) -> None:
    """Raises UserError where the normalisation policies of `config.model` don't fit together."""
    if settings.statistics == "joint" and settings.running_streams != "all":
        raise UserError(
            "config.model.running_streams='labelled' needs config.model.statistics='per_stream': joint statistics are "
            "of all streams"
        )


def draw_streams(
    method: Method,
    batch: Mapping[str, Array],
    key: Key[Array, ""],
    config: ConfigDict,
    pixels: Pixels,
    axis_name: str | None,
) -> dict[str, Float[Array, "_ s s 3"]]:
    """Augments and normalises the labelled crops and every stream of a method; equal augmentation is one call.

    Args:
        key: of the step.
        config: all settings, of which those of the augmentations are read.
        pixels: statistics that the encoder expects.

    Returns:
        Images by stream, the labelled crops' first.
    """
    labelled = dataclasses.replace(LABELLED, augmentation="strong" if config.augment.labelled else "none")
    streams = (labelled, *method.streams)
    purposes, drawn = draw_purposes(streams), {}
    strengths = {"strong": config.augment, "weak": weakened(config.augment), "strong_view": config.strong_view}
    for strength, settings in strengths.items():
        chosen = [stream for stream in streams if stream.augmentation == strength]
        if chosen:
            images = [batch[stream.source] for stream in chosen]
            keys = [
                example_keys(key, purposes[stream.name], len(own), axis_name)
                for stream, own in zip(chosen, images, strict=True)
            ]
            varied = augment(jnp.concatenate(keys), jnp.concatenate(images), settings, pixels)
            drawn |= zip([stream.name for stream in chosen], split_like(varied, images), strict=True)
    plain = {
        stream.name: normalise(batch[stream.source], pixels) for stream in streams if stream.augmentation == "none"
    }
    return {stream.name: (drawn | plain)[stream.name] for stream in streams}


def draw_boxes(
    method: Method,
    counts: Mapping[str, int],
    key: Key[Array, ""],
    cells: int,
    probability: float,
    axis_name: str | None,
) -> dict[str, Bool[Array, "_ {cells} {cells}"]]:
    """Where the images of every stream with CutMix come from the next ones: boxes of cells of the context stride.

    Args:
        counts: of the images of each stream on this replica.
        cells: along a side.
        probability: of a box.
    """
    return {
        stream.name: mixing.draw_boxes(
            example_keys(key, Purpose.CUTMIX + number, counts[stream.name], axis_name), cells, probability
        )
        for number, stream in enumerate(method.streams)
        if stream.cutmix
    }


def draw_dropout(
    method: Method, counts: Mapping[str, int], key: Key[Array, ""], axis_name: str | None
) -> dict[str, ChannelDropout]:
    """What every stream that learns lacks; nothing where no stream of the method lacks anything.

    Args:
        counts: as `draw_boxes` takes them.
    """
    if not any(stream.dropout for stream in method.streams):
        return {}
    return {
        stream.name: ChannelDropout(
            example_keys(key, Purpose.DROPOUT, counts[stream.name], axis_name),
            jnp.full(counts[stream.name], MODES[stream.dropout]),
        )
        for stream in (LABELLED, *method.streams)
        if not stream.teacher
    }


def encode_streams(
    network: Network,
    variables: VariableDict,
    streams: Mapping[str, Float[Array, "_ s s 3"]],
    dropout: Mapping[str, ChannelDropout] | None = None,
    *,
    joint: bool = False,
    kept: str | None = None,
) -> Encoded:
    """Encodes all streams of a step, those with as many images each in one convolution batch.

    Args:
        streams: normalised images by stream.
        dropout: of all of them, or of none.
        joint: normalise all streams together, instead of each by its own batch statistics (as the release, which makes
            separate passes).
        kept: the stream that feeds the running statistics; None: all streams together, their variance with what the
            streams' means differ by.
    """

    def encode(
        names: Sequence[str], join: Callable[[Sequence[Array]], Array]
    ) -> tuple[Float[Array, "*streams n h w c"], Any]:
        images = join([streams[name] for name in names])
        dropped = jax.tree.map(lambda *own: join(own), *(dropout[name] for name in names)) if dropout else None
        features, updated = network.apply(
            variables, images, train=True, dropout=dropped, mutable=["batch_stats"], method="encode"
        )
        return features, updated.get("batch_stats", {})

    names = list(streams)
    if len(names) == 1:
        features, batch_stats = encode(names, lambda own: own[0])
        return Encoded({names[0]: features}, batch_stats)
    if joint:
        features, batch_stats = encode(names, jnp.concatenate)
        return Encoded(dict(zip(names, split_like(features, list(streams.values())), strict=True)), batch_stats)

    # With a leading stream axis the network keeps each stream's statistics apart in one large convolution batch.
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        groups.setdefault(streams[name].shape, []).append(name)
    found, stats = {}, []
    for group in groups.values():
        features, updated = encode(group, jnp.stack)
        found |= dict(zip(group, features, strict=True))
        if kept in group:
            of_kept = jax.tree.map(operator.itemgetter(group.index(kept)), updated)
        stats.append(updated)
    if kept is not None:
        return Encoded(found, of_kept)
    together = jax.tree.map(lambda *own: jnp.concatenate(own), *stats)
    return Encoded(found, pool_statistics(together, network.momentum))


def split_like(joined: Array, parts: Sequence[Array]) -> list[Array]:
    """Takes apart along the first axis what was concatenated from arrays as long as `parts`."""
    return jnp.split(joined, np.cumsum([len(part) for part in parts[:-1]]).tolist())
