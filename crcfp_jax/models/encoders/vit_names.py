"""Names of a transformer's tensors: timm's, and those of Hugging Face, DINOv2 and DINOv3 made timm's."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from crcfp_jax.models.encoders.family import torch_leaf
from crcfp_jax.models.encoders.vit import Architecture

NO_PLACE = (r"head\..*", r"fc_norm\..*", r"(.*\.)?mask_token", r"rope.*", r".*\.bias_mask", r"pooler\..*")
_PARTS = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}

# What others call a tensor -> timm's name, in this order, at the end of the name.
_RENAMED = tuple(
    (re.compile(rf"(^|\.){pattern}$"), rf"\g<1>{name}")
    for pattern, name in (
        # DINOv2 in several chunks of blocks; DINOv3; timm's DINOv3
        (r"blocks\.\d+\.(\d+\..+)", r"blocks.\g<2>"),
        (r"(?:embeddings\.register_tokens|register_tokens|storage_tokens)", "reg_token"),
        (r"(blocks\.\d+)\.gamma_([12])", r"\g<2>.ls\g<3>.gamma"),
        (r"(blocks\.\d+)\.mlp\.w12\.(\w+)", r"\g<2>.mlp.fc1.\g<3>"),
        (r"(blocks\.\d+)\.mlp\.w3\.(\w+)", r"\g<2>.mlp.fc2.\g<3>"),
        # Hugging Face: DINOv2, then DINOv3
        (r"embeddings\.cls_token", "cls_token"),
        (r"embeddings\.mask_token", "mask_token"),
        (r"embeddings\.position_embeddings", "pos_embed"),
        (r"embeddings\.patch_embeddings\.(?:projection\.)?(\w+)", r"patch_embed.proj.\g<2>"),
        (r"(?:encoder\.)?layer\.(\d+)\.(.+)", r"blocks.\g<2>.\g<3>"),
        (r"(blocks\.\d+)\.attention\.attention\.(\w+)\.(\w+)", r"\g<2>.attn.\g<3>.\g<4>"),
        (r"(blocks\.\d+)\.attention\.output\.dense\.(\w+)", r"\g<2>.attn.proj.\g<3>"),
        (r"(blocks\.\d+)\.attention\.o_proj\.(\w+)", r"\g<2>.attn.proj.\g<3>"),
        (r"(blocks\.\d+)\.attention\.(\w)_proj\.(\w+)", r"\g<2>.attn.\g<3>.\g<4>"),
        (r"(blocks\.\d+)\.layer_scale([12])\.lambda1", r"\g<2>.ls\g<3>.gamma"),
        (r"(blocks\.\d+)\.mlp\.(?:weights_in|up_proj)\.(\w+)", r"\g<2>.mlp.fc1.\g<3>"),
        (r"(blocks\.\d+)\.mlp\.(?:weights_out|down_proj)\.(\w+)", r"\g<2>.mlp.fc2.\g<3>"),
        (r"layernorm\.(\w+)", r"norm.\g<2>"),
    )
)
# Halves of a gated network that a file keeps apart: the gate's, the other's.
_HALVES = (("mlp.gate_proj", "mlp.fc1"), ("mlp.fc1_g", "mlp.fc1_x"), ("mlp.w1", "mlp.w2"))
_THIRDS = (("query", "key", "value"), ("q", "k", "v"), ("q_proj", "k_proj", "v_proj"))


def timm_name(collection: str, path: tuple[str, ...]) -> str:
    """('params', ('vit', 'block3', 'qkv', 'kernel')) to 'blocks.3.attn.qkv.weight'; '' for what timm's files lack."""
    if path[0] != "vit" or path[-1].startswith("lora_"):
        return ""
    _, *layers, leaf = path
    match layers:
        case []:
            return leaf
        case [block] if block.startswith("block"):
            return f"blocks.{block.removeprefix('block')}.{leaf}.gamma"
        case [block, part]:
            layer = f"blocks.{block.removeprefix('block')}.{_PARTS.get(part, part)}"
        case ["patch_embed"]:
            layer = "patch_embed.proj"
        case [layer]:
            pass
    return f"{layer}.{torch_leaf(collection, leaf)}"


def as_timm(tensors: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, np.ndarray]:
    """A file's tensors by timm's names and in timm's shapes; what has another name keeps it.

    Queries, keys and values that are kept apart become one, and so do the halves of a gated network. A bias that DINOv3
    has none of is 0. The class token's position joins the token where the architecture has none for it.
    """
    found: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)
        found[name] = tensor
    for thirds in _THIRDS:
        _join(found, [f"attn.{third}" for third in thirds], "attn.qkv")
    for halves in _HALVES:
        _join(found, halves, "mlp.fc1")
    for name in [name for name in found if name.endswith("attn.qkv.weight")]:
        bias = name.removesuffix("weight") + "bias"
        if not architecture.grid and bias not in found:
            found[bias] = np.zeros(len(found[name]), np.float32)
    for name in [name for name in found if name.endswith("pos_embed")]:
        token, positions = name.removesuffix("pos_embed") + "cls_token", np.asarray(found[name], np.float32)
        one_more = positions.ndim == 3 and positions.shape[1] == architecture.grid**2 + 1
        if one_more and not architecture.own_positions and token in found:
            found[token] = np.asarray(found[token], np.float32) + positions[:, :1]
            found[name] = positions[:, 1:]
    return found


def _join(found: dict[str, np.ndarray], parts: Sequence[str], whole: str) -> None:
    """Replaces the parts of a layer by the whole; a part without a bias beside one that has it gets zeros."""
    ending = f"{parts[0]}.weight"
    for before in [name.removesuffix(ending) for name in found if name.endswith(ending)]:
        if not all(f"{before}{part}.weight" in found for part in parts):
            continue
        weights = [np.asarray(found.pop(f"{before}{part}.weight"), np.float32) for part in parts]
        biases = [found.pop(f"{before}{part}.bias", None) for part in parts]
        found[f"{before}{whole}.weight"] = np.concatenate(weights)
        if any(bias is not None for bias in biases):
            own = [np.zeros(len(w), np.float32) if b is None else b for w, b in zip(weights, biases, strict=True)]
            found[f"{before}{whole}.bias"] = np.concatenate(own)
