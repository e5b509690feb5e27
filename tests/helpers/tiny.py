"""A network, settings and a batch small enough to compile and run in seconds."""

import jax
import numpy as np
import tiny_run

from crcfp_jax.methods.systems.registry import find_method
from crcfp_jax.runs.parts import build_learner
from crcfp_jax.training.state import create_state

CLASSES = 3


def num_classes(config):
    """Classes that the tests of a method use."""
    return find_method(config.method).classes or CLASSES


def tiny_config(**changes):
    """The settings of tiny_run with larger batches; `changes` are dotted keys with '__' for dots."""
    c = tiny_run.get_config()
    c.contrastive.threshold = 0.0
    c.contrastive.chunk = 16
    c.train.batch_size = 4
    c.train.unlabelled_batch_size = 4
    c.train.steps = 10
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return c


def tiny_parts(config, axis_name=None):
    """(network, method, optimizer) of a config, with the heads that its method uses."""
    learner = build_learner(config, num_classes(config))
    return learner.network(axis_name), learner.method, learner.optimizer


def tiny_state(config, sharding=None):
    """A fresh state on one device, or as `sharding` says."""
    network, method, optimizer = tiny_parts(config)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return create_state(network, method, config, optimizer, sharding=sharding)


def tiny_batch(config, seed=0):
    """The inputs of the config's method: smooth random images, shaped as the loaders make them, on the host."""
    rng = np.random.default_rng(seed)
    side, b, u = config.data.side, config.train.batch_size, config.train.unlabelled_batch_size

    def images(count):
        coarse = rng.integers(0, 256, (count, side // 8, side // 8, 3), dtype=np.uint8)
        return np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)

    label = rng.integers(0, num_classes(config), (b, side, side), dtype=np.uint8)
    label[:, :3] = 255
    batch = {"image": images(b), "label": label}
    batch |= {name: images(u) for name in ("unlabelled", "view_a", "view_b")}
    batch |= {"offset": rng.integers(-2, 3, (u, 2)).astype(np.int32), "flip": rng.random((u, 2)) < 0.5}
    return {key: batch[key] for key in find_method(config.method).inputs}
