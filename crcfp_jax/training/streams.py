"""One pass of the encoder over the labelled and the unlabelled streams, and what it does to the running statistics."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import VariableDict
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.layers.normalisation import pool_statistics
from crcfp_jax.models.network import Network


class Encoded(NamedTuple):
    """Features of every stream, and the running statistics after the pass."""

    labelled: Float[Array, "b h w c"]
    streams: dict[str, Float[Array, "u h w c"]]
    batch_stats: Any


def check_statistics(settings: ConfigDict) -> None:
    """Raises UserError where the normalisation policies of `config.model` don't fit together."""
    if settings.statistics == "joint" and settings.running_streams != "all":
        raise UserError(
            "config.model.running_streams='labelled' needs config.model.statistics='per_stream': joint statistics are "
            "of all streams"
        )


def encode_streams(
    network: Network,
    variables: VariableDict,
    labelled: Float[Array, "b s s 3"],
    streams: dict[str, Float[Array, "u s s 3"]],
    settings: ConfigDict,
) -> Encoded:
    """Encodes all streams of a step in one or two convolution batches.

    Args:
        labelled: normalised labelled crops.
        streams: normalised unlabelled images by stream; may be empty.
        settings: `config.model`. `statistics='per_stream'` normalises every stream by its own batch statistics (the
            release makes separate passes); 'joint' normalises all of them together. `running_streams` says which
            streams feed the running statistics of a per-stream pass: those of 'all' streams together, their
            variance with what the streams' means differ by.
    """

    def encode(images: Float[Array, "*streams n s s 3"]) -> tuple[Float[Array, "*streams n h w c"], Any]:
        features, updated = network.apply(variables, images, train=True, mutable=["batch_stats"], method="encode")
        return features, updated.get("batch_stats", {})

    if not streams:
        features, batch_stats = encode(labelled)
        return Encoded(features, {}, batch_stats)
    images = [labelled, *streams.values()]
    if settings.statistics == "joint":
        features, batch_stats = encode(jnp.concatenate(images))
        first, *rest = split_like(features, images)
        return Encoded(first, dict(zip(streams, rest, strict=True)), batch_stats)

    # With a leading stream axis the network keeps each stream's statistics apart in one large convolution batch.
    if labelled.shape == images[1].shape:
        features, stats = encode(jnp.stack(images))
        (first, *rest), own_stats = features, jax.tree.map(lambda x: x[0], stats)
    else:
        first, own_stats = encode(labelled)
        rest, stats = encode(jnp.stack(images[1:]))
        stats = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), own_stats, stats)
    batch_stats = pool_statistics(stats, network.momentum) if settings.running_streams == "all" else own_stats
    return Encoded(first, dict(zip(streams, rest, strict=True)), batch_stats)


def split_like(joined: Array, parts: Sequence[Array]) -> list[Array]:
    """Takes apart along the first axis what was concatenated from arrays as long as `parts`."""
    return jnp.split(joined, np.cumsum([len(part) for part in parts[:-1]]).tolist())
