"""A network and its variables, ready to give the probabilities of windows."""

import functools

import jax
import numpy as np
from flax.typing import VariableDict
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from crcfp_jax.blending.programs import AXIS, window_mesh
from crcfp_jax.evaluation.windows import Evaluator
from crcfp_jax.models.encoders.pixels import normalise
from crcfp_jax.models.network import Network


@functools.partial(jax.jit, static_argnums=0)
def _probabilities(
    network: Network, variables: VariableDict, windows: UInt8[Array, "n s s 3"]
) -> Float[Array, "n s s c"]:
    images = normalise(windows, network.pixels)
    return jax.nn.softmax(network.apply(variables, images, train=False), axis=-1)


def make_evaluator(
    network: Network, variables: VariableDict, *, side: int, microns_per_pixel: float, batch_size: int, num_classes: int
) -> Evaluator:
    """An evaluator of `variables` (host arrays) on this process's devices.

    Processes evaluate different numbers of images, so nothing here communicates. Evaluators of equal networks share
    one compiled function.

    Args:
        network: without a replica axis.
        side, microns_per_pixel, num_classes: as `Evaluator` has them.
        batch_size: windows a call, raised to a multiple of the devices.
    """
    mesh = window_mesh(jax.local_devices())
    on_device = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))

    def forward(windows: UInt8[np.ndarray, "n s s 3"]) -> Float[Array, "n s s c"]:
        return _probabilities(network, on_device, jax.device_put(windows, NamedSharding(mesh, PartitionSpec(AXIS))))

    return Evaluator(
        forward=forward,
        side=side,
        microns_per_pixel=microns_per_pixel,
        batch_size=batch_size + -batch_size % mesh.size,
        num_classes=num_classes,
        mesh=mesh,
    )
