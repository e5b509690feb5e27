"""A network, settings and a batch small enough to compile and run in seconds."""

import jax
import numpy as np

from crcfp_jax.config import default
from crcfp_jax.methods import build_method
from crcfp_jax.models.network import build_network
from crcfp_jax.optim import make_optimizer
from crcfp_jax.state import create_state

CLASSES = 3
SIDE = 32


def tiny_config(**changes):
    """Settings of a small ResNet-18 on crops of 32 pixels; `changes` are dotted keys with '__' for dots."""
    c = default()
    c.data.side = SIDE
    c.model.backbone = "resnet18"
    c.model.decoder = "v3plus"
    c.model.output_stride = 16
    c.model.width = 8
    c.model.projection_dim = 8
    c.model.pretrained = ""
    c.model.dtype = "float32"
    c.weights.warmup = 0.0
    c.contrastive.negatives = 32
    c.contrastive.threshold = 0.0
    c.contrastive.chunk = 16
    c.cross_consistency.classifiers = 2
    c.train.batch_size = 4
    c.train.unlabelled_batch_size = 4
    c.train.steps = 10
    c.optimizer.learning_rate = 0.01
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return c


def tiny_parts(config, axis_name=None):
    """(network, method, optimizer) of a config, with the heads that its method uses."""
    method = build_method(config)
    network = build_network(config, CLASSES, axis_name)
    network = network.clone(
        perturbations=network.perturbations if method.has("cross_consistency") else (),
        projection_dim=network.projection_dim if method.has("contrastive") else 0,
    )
    return network, method, make_optimizer(config)


def tiny_state(config, sharding=None):
    """A fresh state on one device, or as `sharding` says."""
    network, method, optimizer = tiny_parts(config)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return create_state(network, method, config, optimizer, sharding=sharding)


def tiny_batch(config, seed=0):
    """A batch of smooth random images as the loaders make it, on the host."""
    rng = np.random.default_rng(seed)
    side, b, u = config.data.side, config.train.batch_size, config.train.unlabelled_batch_size

    def images(count):
        coarse = rng.integers(0, 256, (count, side // 8, side // 8, 3), dtype=np.uint8)
        return np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)

    label = rng.integers(0, CLASSES, (b, side, side), dtype=np.uint8)
    label[:, :3] = 255
    batch = {"image": images(b), "label": label}
    if build_method(config).streams:
        batch |= {name: images(u) for name in ("unlabelled", "view_a", "view_b")}
        batch |= {"offset": rng.integers(-2, 3, (u, 2)).astype(np.int32), "flip": rng.random((u, 2)) < 0.5}
    return batch
