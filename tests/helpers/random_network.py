"""A small network with parameters and statistics unlike those of initialisation."""

import jax
import jax.numpy as jnp
import numpy as np

from crcfp_jax.models.network import Network


def random_network(**settings):
    """The network, with three classes, and its variables on the host."""
    network = Network(
        **{"num_classes": 3, "backbone": "resnet18", "width": 4, "decoder_width": 16, "projection_dim": 8} | settings
    )
    key = jax.random.key(0)
    initialise = jax.jit(lambda key: network.init(key, jnp.zeros((1, 32, 32, 3)), key[None], method="initialise"))
    return network, with_noise({"batch_stats": {}} | initialise(key))


def with_noise(variables):
    """Variables, as host arrays, each off by up to 0.1: enough for every one to count."""
    generator = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: (np.asarray(leaf) + generator.uniform(-0.1, 0.1, leaf.shape)).astype(np.float32), variables
    )


def random_images(*shape):
    """Images, uint8 [..., 3]."""
    return np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
