"""Vision transformers against timm, and the names of other files."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from random_weights import random_images
from vit_files import file_shapes, shapes_of
from vit_maps import KINDS, VIT_PATH, images, tensors, timm_form, timm_maps, usual

from crcfp_jax.models.encoders.vit import ARCHITECTURES, VisionTransformer
from crcfp_jax.models.encoders.vit_names import as_timm
from crcfp_jax.models.encoders.weight_files import read_tensors


def parameters(architecture, weights):
    """Weights by timm's names as this module has them."""
    flat = {}
    for name, (path, shape) in shapes_of(architecture).items():
        tensor = weights[name]
        if path[-1] == "kernel":
            tensor = tensor.transpose((2, 3, 1, 0) if tensor.ndim == 4 else (1, 0))
        assert tensor.shape == shape, name
        flat[path] = tensor
    return {"params": traverse_util.unflatten_dict(flat)}


def maps(architecture, weights, seen):
    return jax.jit(VisionTransformer(architecture).apply)(parameters(architecture, weights), seen)


def close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert np.abs(other).max() > 1
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", KINDS)
def test_features_are_those_that_timm_gave(name):
    """On a crop of another size than positions were learned for."""
    architecture = KINDS[name]
    weights = as_timm(tensors(file_shapes(architecture)), architecture)
    with np.load(VIT_PATH) as stored:
        close(maps(architecture, weights, images(architecture)), stored[name])


@pytest.mark.parametrize("patches", [3, 14, 17])
@pytest.mark.parametrize("name", KINDS)
def test_features_are_timms(name, patches):
    pytest.importorskip("timm")
    architecture = KINDS[name]
    side = patches * architecture.patch
    expected, weights = timm_maps(architecture, side)
    close(maps(architecture, as_timm(weights, architecture), random_images(7, 1, side)), expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_timms_parameters(name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    architecture = ARCHITECTURES[name]
    with torch.device("meta"):
        known = {usual(name): tuple(tensor.shape) for name, tensor in timm_form(architecture).state_dict().items()}
    assert file_shapes(architecture) == known


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vit_small_patch16_224", 21.67),
        ("vit_giant_patch14_reg4_dinov2", 1136.5),
        ("vit_giant_patch14_224.uni2_h", 681.4),
        ("vit_huge_patch14_224.virchow2", 631.2),
    ],
)
def test_published_numbers_of_parameters(name, count):
    """In millions; of UNI2-h and Virchow2 as their cards say, of the others timm's without a classifier."""
    total = sum(int(np.prod(shape)) for _, shape in shapes_of(ARCHITECTURES[name]).values()) / 1e6
    assert total == pytest.approx(count, rel=2e-3)


def test_a_crop_of_broken_patches():
    with pytest.raises(ValueError, match="40 x 32 pixels are no whole number of patches of 16"):
        VisionTransformer(KINDS["vit_small_patch16_224"]).init(jax.random.key(0), jnp.zeros((1, 40, 32, 3)))


def hugging_face(folder, name, **more):
    """A small model of transformers as it is saved, an image, and its normalised tokens of the depths."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    a = KINDS[name]
    rows = a.grid or 6
    sizes = {"hidden_size": a.width, "num_hidden_layers": a.depth, "num_attention_heads": a.heads}
    sizes |= {"patch_size": a.patch, "image_size": rows * a.patch}
    kind = ("Dinov2WithRegisters" if a.registers else "Dinov2") if a.grid else "DINOv3ViT"
    config = getattr(transformers, f"{kind}Config")(**sizes, **more)
    module = getattr(transformers, f"{kind}Model")(config).eval()
    weights = tensors({key: value.shape for key, value in module.state_dict().items()})
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    module.save_pretrained(folder)
    seen = random_images(7, 1, rows * a.patch)
    final = module.layernorm if a.grid else module.norm
    with torch.no_grad():
        states = module(torch.from_numpy(seen).permute(0, 3, 1, 2), output_hidden_states=True).hidden_states
        maps = [final(states[depth + 1])[:, a.prefix :].numpy() for depth in a.depths]
    file = read_tensors(folder / "model.safetensors")
    return file.tensors, seen, [values.reshape(1, rows, rows, -1) for values in maps]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("vit_giant_patch14_dinov2.midnight", {"use_swiglu_ffn": True}),
        ("vit_giant_patch14_224.uni2_h", {"use_swiglu_ffn": True, "num_register_tokens": 8}),  # as Hibou's
        ("vit_small_patch16_dinov3", {"num_register_tokens": 4, "intermediate_size": 192}),
    ],
)
def test_features_are_those_of_hugging_faces_form(tmp_path, name, more):
    weights, seen, expected = hugging_face(tmp_path, name, **more)
    architecture = KINDS[name]
    if architecture.gated:
        hidden = next(len(value) for key, value in weights.items() if key.endswith("weights_in.bias")) // 2
        architecture = dataclasses.replace(architecture, hidden=hidden)
    close(maps(architecture, as_timm(weights, architecture), seen), expected)


def test_other_names_become_timms():
    """Each name on the left is one of a published file; its prefix stays."""
    architecture = KINDS["vit_small_patch14_reg4_dinov2"]
    part, square = np.arange(3.0), np.ones((3, 3))
    given = {
        "backbone.blocks.2.7.norm1.weight": part,  # DINOv2, blocks in chunks
        "embeddings.register_tokens": part,
        "student.storage_tokens": part,
        "blocks.0.mlp.w12.weight": part,
        "encoder.layer.11.layer_scale2.lambda1": part,  # Hugging Face
        "embeddings.patch_embeddings.projection.bias": part,
        "layer.3.attention.q_proj.weight": square,
        "layer.3.attention.k_proj.weight": 2 * square,
        "layer.3.attention.v_proj.weight": 3 * square,
        "layer.3.attention.q_proj.bias": part,
        "layer.3.attention.v_proj.bias": part,
        "layer.3.mlp.gate_proj.weight": square,
        "layer.3.mlp.up_proj.weight": 2 * square,
        "module.blocks.1.gamma_2": part,  # timm's DINOv3
        "head.weight": part,
    }
    found = as_timm(given, architecture)
    assert set(found) == {
        "backbone.blocks.7.norm1.weight", "reg_token", "student.reg_token", "blocks.0.mlp.fc1.weight",
        "blocks.11.ls2.gamma", "patch_embed.proj.bias", "blocks.3.attn.qkv.weight", "blocks.3.attn.qkv.bias",
        "blocks.3.mlp.fc1.weight", "module.blocks.1.ls2.gamma", "head.weight",
    }  # fmt: skip
    np.testing.assert_array_equal(found["blocks.3.attn.qkv.weight"][:, 0], [1, 1, 1, 2, 2, 2, 3, 3, 3])
    np.testing.assert_array_equal(found["blocks.3.attn.qkv.bias"], [0, 1, 2, 0, 0, 0, 0, 1, 2])
    np.testing.assert_array_equal(found["blocks.3.mlp.fc1.weight"][:, 0], [1, 1, 1, 2, 2, 2])


def test_the_class_tokens_position_joins_it_where_there_is_none_for_it():
    architecture = KINDS["vit_small_patch14_reg4_dinov2"]
    positions = np.arange(1 + 37**2, dtype=np.float32).reshape(1, -1, 1) + 5
    found = as_timm({"cls_token": np.ones((1, 1, 1)), "pos_embed": positions}, architecture)
    assert found["cls_token"].item() == 6 and found["pos_embed"].shape == (1, 37**2, 1)
    kept = as_timm({"cls_token": np.ones((1, 1, 1)), "pos_embed": positions[:, :197]}, KINDS["vit_small_patch16_224"])
    assert kept["cls_token"].item() == 1 and kept["pos_embed"].shape == (1, 197, 1)
