"""On a GPU: the same step as on a CPU, and the paper's full size. JAX_PLATFORMS=cuda,cpu python -m pytest -m gpu"""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from random_network import random_images, random_network
from tiny import CLASSES, tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.bench import random_batch
from crcfp_jax.config import default
from crcfp_jax.portable_model.artifact import export_network
from crcfp_jax.training.step import make_train_step

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu():
    """The first GPU."""
    try:
        return jax.devices("gpu")[0]
    except RuntimeError:
        pytest.skip("no GPU; where there is one: JAX_PLATFORMS=cuda,cpu python -m pytest -m gpu")


def full_size(**changes):
    """The paper's settings: ResNet-50, 320 pixels, 8 + 8 images, bfloat16; from random weights, without warm-up."""
    config = default()
    config.model.pretrained = ""
    config.weights.warmup = 0.0
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


def compiled_step(config, batch, device):
    """The step compiled for one device, the state on it, and the batch on it."""
    network, method, optimizer = tiny_parts(config)
    state = tiny_state(config, jax.sharding.SingleDeviceSharding(device))
    batch = jax.device_put(batch, device)
    step = jax.jit(make_train_step(network, method, config, optimizer), donate_argnums=0)
    return step.lower(state, batch, jax.device_put(jax.random.key(3), device)).compile(), state, batch


def test_a_step_agrees_with_the_cpu(gpu):
    config, results = tiny_config(), []
    for device in (gpu, jax.devices("cpu")[0]):
        with jax.default_matmul_precision("highest"):
            step, state, batch = compiled_step(config, tiny_batch(config), device)
            results.append(jax.device_get(step(state, batch, jax.device_put(jax.random.key(3), device))))

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-3 * np.max(np.abs(b)) + 1e-6)

    jax.tree.map(close, *results)


@pytest.mark.parametrize("decoder", ["v3", "v3plus"])
def test_the_loss_falls_at_full_size(gpu, decoder):
    config = full_size(model__decoder=decoder)
    batch = tiny_batch(config)
    # Labels that can be learned: how red a block of the image is.
    batch["label"] = (batch["image"][..., 0] // 86).astype(np.uint8)
    step, state, batch = compiled_step(config, batch, gpu)
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch, jax.device_put(jax.random.key(3), gpu))
        assert metrics["finite"] == 1
        losses.append(float(metrics["loss/supervised"]))
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


def test_3200_negatives_fit_a_card_of_12_gigabytes(gpu):
    config = full_size(model__rematerialise=True, contrastive__negatives=3200)
    network, method, _ = tiny_parts(config)
    batch = random_batch(config, method.sources, network.context_stride, CLASSES)
    step, state, batch = compiled_step(config, batch, gpu)
    analysis = step.memory_analysis()
    assert analysis.temp_size_in_bytes + analysis.argument_size_in_bytes < 11 * 1e9
    _, metrics = step(state, batch, jax.device_put(jax.random.key(3), gpu))
    assert jnp.isfinite(metrics["loss/contrastive"])


def test_an_exported_network_agrees_with_the_cpu(gpu):
    """The artifact has a form of its own for each platform; this runs the one that no CPU runs."""
    network, variables = random_network(decoder="v3plus", output_stride=16, projection_dim=0)
    artifact = jax.export.deserialize(bytearray(export_network(network, variables)))
    found = []
    for device in (gpu, jax.devices("cpu")[0]):
        placed = jax.device_put((variables, random_images(2, 64, 96)), device)
        found.append(np.asarray(jax.jit(artifact.call)(*placed)["probabilities"]))
    assert np.abs(found[0] - found[1]).max() < 0.02  # a GPU rounds factors to 10 bits (TF32) by default
