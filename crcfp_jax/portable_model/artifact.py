"""The portable form of a network: one function from images to outputs, traced once for all shapes and platforms."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.typing import VariableDict
from jax import export
from jaxtyping import Array, Float, UInt8

from crcfp_jax.models.encoders.pixels import normalise
from crcfp_jax.models.layers.resize import resize_bilinear
from crcfp_jax.models.network import Network, resize_logits

PLATFORMS = ("cpu", "cuda", "tpu")


def network_outputs(
    network: Network, variables: VariableDict, images: UInt8[Array, "b h w 3"], *, embedding: bool = False
) -> dict[str, Array]:
    """What an exported model gives for a batch of RGB images of any size.

    Returns:
        'probabilities', float32 [b, h, w, c], of the classes; 'uncertainty', float32 [b, h, w] from 0 to 1, the
        `disagreement` of the main and the auxiliary classifiers on the unperturbed features, for networks that have
        auxiliary classifiers; and, with `embedding`, 'embedding', float32 [b, d], the mean over the image of the
        features that the classifier takes, of length 1: how alike two images are to the network.
    """
    height, width = images.shape[1:3]
    features = network.apply(variables, normalise(images, network.pixels), train=False, method="encode")
    logits = network.apply(variables, features, method="classify")
    outputs = {"probabilities": jax.nn.softmax(resize_logits(logits, height, width), axis=-1)}
    if embedding:
        mean = features.mean((1, 2), dtype=jnp.float32)
        outputs["embedding"] = mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
    if network.perturbations:
        others = _auxiliary_logits(variables["params"]["auxiliary"], features.astype(jnp.float32))
        uncertainty = disagreement(jax.nn.softmax(jnp.concatenate([logits[None], others]), axis=-1))
        outputs["uncertainty"] = jnp.squeeze(resize_bilinear(uncertainty[..., None], height, width), axis=-1)
    return outputs


def disagreement(probabilities: Float[Array, "n *positions c"]) -> Float[Array, "*positions"]:
    """How often two of n classifiers, each drawing a class by its own probabilities, draw different ones.

        (1 - mean over the pairs i != j of sum over the classes p_i p_j) * c / (c - 1)

    0: all are sure of the same class. 1: nothing is known, or each is sure of another class. What all doubt together
    counts: the divergence of the classifiers alone leaves it out, and does not tell where errors are.

    Args:
        probabilities: of each classifier, over c classes.
    """
    count, classes = probabilities.shape[0], probabilities.shape[-1]
    of_pairs = jnp.square(jnp.sum(probabilities, axis=0)) - jnp.sum(jnp.square(probabilities), axis=0)
    same = jnp.sum(of_pairs, axis=-1) / (count * (count - 1))
    return jnp.clip((1 - same) * (classes / (classes - 1)), 0.0, 1.0)


def _auxiliary_logits(
    parameters: Mapping[str, Any], features: Float[Array, "b h w features"]
) -> Float[Array, "n b h w c"]:
    """Logits of the auxiliary classifiers of all kinds, without their perturbations."""
    kernels = jnp.concatenate([parameters[kind]["kernel"] for kind in sorted(parameters)])
    biases = jnp.concatenate([parameters[kind]["bias"] for kind in sorted(parameters)])
    return jnp.einsum("bhwf,nfc->nbhwc", features, kernels) + biases[:, None, None, None, :]


def inference_variables(variables: VariableDict) -> VariableDict:
    """The variables that `network_outputs` uses: without the projector."""
    params = {group: values for group, values in variables["params"].items() if group != "projector"}
    return {"params": params, "batch_stats": variables["batch_stats"]}


def in_float32(network: Network) -> Network:
    """The network as it is exported."""
    return network.clone(dtype=jnp.float32, rematerialise=False)


def export_network(network: Network, variables: VariableDict) -> bytes:
    """Traces `network_outputs` in float32 for any batch size, height and width, of whole patches where it has such.

    The artifact holds no weights: they are its first argument, and their shapes are its template (`read_template`).

    Args:
        network: of any dtype.
        variables: of `inference_variables`; their values are not looked at.
    """
    network = in_float32(network)

    def function(variables: VariableDict, images: UInt8[Array, "b h w 3"]) -> dict[str, Array]:
        return network_outputs(network, variables, images, embedding=True)

    patch = network.patch
    batch, height, width = export.symbolic_shape(f"b, {patch}*h, {patch}*w" if patch > 1 else "b, h, w")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    images = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)
    return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(shapes, images).serialize())
