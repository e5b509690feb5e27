"""The transformer as an encoder: its maps, what learns in it, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_images, random_tensor
from safetensors.numpy import save_file
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state
from vit_files import file_shapes

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders import vit_adapter
from crcfp_jax.models.encoders.pixels import normalise
from crcfp_jax.models.encoders.pretrained import load_pretrained
from crcfp_jax.models.encoders.vit import ARCHITECTURES
from crcfp_jax.models.layers.normalisation import Normalisation
from crcfp_jax.portable_model.artifact import export_network, inference_variables
from crcfp_jax.runs.parts import build_learner
from crcfp_jax.training.step import make_train_step

KEY = jax.random.key(2)
NAME = "vit_small_patch16_224"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Transformers of four narrow blocks in the place of the large ones."""
    for name, architecture in ARCHITECTURES.items():
        monkeypatch.setitem(ARCHITECTURES, name, dataclasses.replace(architecture, width=24, depth=4, heads=3))


def config_of(backbone=NAME, side=32, **changes):
    own = {"model__backbone": backbone, "model__output_stride": 8, "data__side": side}
    return tiny_config(method="supervised", **own | changes)


@pytest.mark.parametrize(
    ("backbone", "side"), [("vit_small_patch8_224", 40), (NAME, 48), ("vit_small_patch14_reg4_dinov2", 56)]
)
def test_maps_at_strides_of_pixels(backbone, side):
    encoder = vit_adapter.TransformerEncoder(ARCHITECTURES[backbone], Normalisation())
    images = jnp.asarray(random_images(1, 4, side)).reshape(2, 2, side, side, 3)
    variables = encoder.init(KEY, images, train=False)
    maps = encoder.apply(variables, images, train=False)
    assert {stride: values.shape for stride, values in maps.items()} == {
        4: (2, 2, -(-side // 4), -(-side // 4), 64), 8: (2, 2, side // 8, side // 8, 256)
    }  # fmt: skip


def moved(groups, **changes):
    """First parts of the paths, 'vit' and 'lora' told apart, of what a step has changed."""
    config = config_of(optimizer__groups=groups, optimizer__weight_decay=0.0, **changes)
    network, method, optimizer = tiny_parts(config)
    before = tiny_state(config)
    step = jax.jit(make_train_step(network, method, config, optimizer))
    after, metrics = step(before, tiny_batch(config), KEY)
    after, _ = step(after, tiny_batch(config, 1), KEY)  # the second factor of an update of rank r starts at 0
    assert metrics["finite"]
    found = set()
    for (path, old), new in zip(jax.tree.leaves_with_path(before.params), jax.tree.leaves(after.params), strict=True):
        names = [part.key for part in path]
        if np.any(old != new):
            kind = "lora" if names[-1].startswith("lora") else "vit" if "vit" in names else names[0]
            found.add(kind)
    return found


def test_what_learns():
    everything = {"backbone", "decoder", "classifier"}
    assert moved(((".*", 1.0),)) == everything | {"vit"}
    assert moved((("backbone/vit/.*", 0), (".*", 1.0))) == everything
    updates = (("backbone/vit/.*/lora_.*", 1.0), ("backbone/vit/.*", 0), (".*", 1.0))
    assert moved(updates, model__lora_rank=2) == everything | {"lora"}


def test_an_update_of_low_rank_changes_nothing_at_first():
    images = jnp.asarray(random_images(1, 1, 32))
    plain, updated = (tiny_state(config_of(model__lora_rank=rank)).variables for rank in (0, 2))
    params = jax.tree.map_with_path(lambda path, leaf: at(plain["params"], path, leaf), updated["params"])
    first = tiny_parts(config_of())[0].apply(plain, images)
    second = tiny_parts(config_of(model__lora_rank=2))[0].apply({**updated, "params": params}, images)
    np.testing.assert_array_equal(first, second)


def at(tree, path, default):
    """The leaf of another tree at a path, where it has one."""
    for part in path:
        if part.key not in tree:
            return default
        tree = tree[part.key]
    return tree


def write(folder, **changes):
    """A file of weights, with tensors replaced, or left out where None."""
    weights = {name: random_tensor(name, shape, 1) for name, shape in file_shapes(ARCHITECTURES[NAME]).items()}
    weights = {name: value for name, value in (weights | changes).items() if value is not None}
    save_file(weights, folder / "model.safetensors")
    return weights, folder / "model.safetensors"


def test_weights_are_loaded_and_the_rest_stays(tmp_path):
    weights, path = write(tmp_path, **{"head.weight": np.zeros((5, 24), np.float32)})
    config = config_of(model__lora_rank=2, model__pretrained=str(path))
    before = tiny_state(config).variables
    after, notes = load_pretrained(config.model, before)
    vit, own = after["params"]["backbone"]["vit"], before["params"]["backbone"]
    assert notes == []
    np.testing.assert_array_equal(vit["block2"]["qkv"]["kernel"].T, weights["blocks.2.attn.qkv.weight"])
    np.testing.assert_array_equal(vit["pos_embed"], weights["pos_embed"])
    np.testing.assert_array_equal(vit["block2"]["qkv"]["lora_down"], own["vit"]["block2"]["qkv"]["lora_down"])
    np.testing.assert_array_equal(after["params"]["backbone"]["join"]["conv"]["kernel"], own["join"]["conv"]["kernel"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks.3.norm2.bias": None}, r"model\.safetensors has no tensor blocks\.3\.norm2\.bias"),
        ({"blocks.4.norm2.bias": np.zeros(24, np.float32)}, r"tensor blocks\.4\.norm2\.bias has no place"),
        (
            {"pos_embed": np.zeros((1, 257, 24), np.float32)},
            r"tensor pos_embed has shape \(1, 257, 24\), which does not",
        ),
    ],
)
def test_weights_that_do_not_fit(tmp_path, changes, message):
    _, path = write(tmp_path, **changes)
    config = config_of(model__pretrained=str(path))
    with pytest.raises(UserError, match=message):
        load_pretrained(config.model, tiny_state(config).variables)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (config_of(side=40), r"config\.data\.side=40 is no multiple of the 16 pixels .*: take 32 or 48"),
        (tiny_config(model__lora_rank=4), r"config\.model\.lora_rank=4 is for encoders that attend, and .*resnet18"),
        (config_of(model__output_stride=16), r"config\.model\.output_stride is 16; .*patch16_224 has 8"),
    ],
)
def test_settings_that_do_not_fit(config, message):
    with pytest.raises(UserError, match=message):
        build_learner(config, 3).network()


@pytest.mark.parametrize(
    ("backbone", "side"), [("vit_small_patch14_reg4_dinov2", 56), ("vit_small_patch16_dinov3", 32)]
)
def test_the_exported_form_takes_any_whole_number_of_patches(backbone, side):
    config = config_of(backbone, side)
    network, _, _ = tiny_parts(config)
    variables = inference_variables(tiny_state(config).variables)
    exported = jax.export.deserialize(bytearray(export_network(network, variables)))
    images = np.random.default_rng(1).integers(0, 256, (2, 2 * side, side, 3), dtype=np.uint8)
    found = exported.call(variables, images)["probabilities"]
    direct = network.apply(variables, normalise(jnp.asarray(images), network.pixels))
    np.testing.assert_allclose(found, jax.nn.softmax(direct), atol=1e-5)
