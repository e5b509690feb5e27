"""The portable form of a network: one function from images to outputs, traced once for all shapes and platforms."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.typing import VariableDict
from jax import export
from jaxtyping import Array, Float, UInt8

from crcfp_jax.augment import normalise
from crcfp_jax.models.deeplab import resize
from crcfp_jax.models.network import Network, resize_logits

PLATFORMS = ("cpu", "cuda", "tpu")


def predict(network: Network, variables: VariableDict, images: UInt8[Array, "b h w 3"]) -> dict[str, Array]:
    """What an exported model gives for a batch of RGB images of any size.

    Returns:
        'probabilities', float32 [b, h, w, c], of the classes; and 'uncertainty', float32 [b, h, w] from 0 to 1, the
        `disagreement` of the main and the auxiliary classifiers on the unperturbed features, for networks that have
        auxiliary classifiers.
    """
    height, width = images.shape[1:3]
    features = network.apply(variables, normalise(images), train=False, method="encode")
    logits = network.apply(variables, features, method="classify")
    outputs = {"probabilities": jax.nn.softmax(resize_logits(logits, height, width), axis=-1)}
    if network.perturbations:
        others = _auxiliary_logits(variables["params"]["auxiliary"], features.astype(jnp.float32))
        uncertainty = disagreement(jax.nn.softmax(jnp.concatenate([logits[None], others]), axis=-1))
        outputs["uncertainty"] = resize(uncertainty[..., None], height, width)[..., 0]
    return outputs


def disagreement(probabilities: Float[Array, "n *positions c"]) -> Float[Array, "*positions"]:
    """Generalised Jensen-Shannon divergence of n classifiers, as a share of the greatest that is possible.

        (H(mean of p_i) - mean of H(p_i)) / log(min(n, c)),  H(p) = -sum over the classes of p log p

    0: all say the same. 1: each is sure, and no two more than need be agree.

    Args:
        probabilities: of each classifier, over c classes.
    """
    entropy_of_mean = jnp.sum(jax.scipy.special.entr(jnp.mean(probabilities, axis=0)), axis=-1)
    mean_entropy = jnp.mean(jnp.sum(jax.scipy.special.entr(probabilities), axis=-1), axis=0)
    bound = jnp.log(min(probabilities.shape[0], probabilities.shape[-1]))
    return jnp.clip((entropy_of_mean - mean_entropy) / bound, 0.0, 1.0)


def _auxiliary_logits(
    parameters: Mapping[str, Any], features: Float[Array, "b h w features"]
) -> Float[Array, "n b h w c"]:
    """Logits of the auxiliary classifiers of all kinds, without their perturbations."""
    kernels = jnp.concatenate([parameters[kind]["kernel"] for kind in sorted(parameters)])
    biases = jnp.concatenate([parameters[kind]["bias"] for kind in sorted(parameters)])
    return jnp.einsum("bhwf,nfc->nbhwc", features, kernels) + biases[:, None, None, None, :]


def inference_variables(variables: VariableDict) -> VariableDict:
    """The variables that `predict` uses: without the projector."""
    params = {group: values for group, values in variables["params"].items() if group != "projector"}
    return {"params": params, "batch_stats": variables["batch_stats"]}


def in_float32(network: Network) -> Network:
    """The network as it is exported."""
    return network.clone(dtype=jnp.float32, rematerialise=False)


def export_predict(network: Network, variables: VariableDict) -> bytes:
    """Traces `predict` in float32 for any batch size, height and width.

    The artifact holds no weights: they are its first argument, and their shapes are its template (`read_template`).

    Args:
        network: of any dtype.
        variables: of `inference_variables`; their values are not looked at.
    """
    network = in_float32(network)

    def function(variables: VariableDict, images: UInt8[Array, "b h w 3"]) -> dict[str, Array]:
        return predict(network, variables, images)

    batch, height, width = export.symbolic_shape("b, h, w")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    images = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)
    return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(shapes, images).serialize())
