"""Writes vit_maps.npz: timm's features of small transformers of every kind, on weights drawn from their names.

PYTHONPATH=.:tests/golden python tests/golden/vit_maps.py
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
from random_weights import random_images, random_tensor

from crcfp_jax.models.encoders.vit import ARCHITECTURES

VIT_PATH = Path(__file__).with_suffix(".npz")
SEED = 3
SMALL = {"width": 48, "depth": 4, "heads": 3}
# One of each kind: positions for all tokens and for patches alone, registers, LayerScale, gates, rotary positions.
KINDS = {
    name: dataclasses.replace(ARCHITECTURES[name], **SMALL, **({"hidden": 60} if ARCHITECTURES[name].gated else {}))
    for name in (
        "vit_small_patch8_224", "vit_small_patch16_224", "vit_large_patch16_224.uni", "vit_small_patch14_reg4_dinov2",
        "vit_giant_patch14_dinov2.midnight", "vit_giant_patch14_224.uni2_h", "vit_huge_patch14_224.virchow2",
        "vit_small_patch16_dinov3",
    )
}  # fmt: skip


def sides(architecture):
    """Rows and columns of pixels: a crop that is no square, and for most no grid that positions were learned for."""
    return 6 * architecture.patch, 5 * architecture.patch


def tensors(shapes):
    """Random weights by timm's names; those of LayerScale are of the size of other scales, so that they show."""
    found = {}
    for name, shape in shapes.items():
        drawn = usual(name)
        found[name] = random_tensor(f"{drawn}.weight" if drawn.endswith("gamma") else drawn, tuple(shape), SEED)
    return found


def usual(name):
    """What timm calls a tensor outside of DINOv3."""
    return re.sub(r"\.gamma_([12])$", r".ls\1.gamma", name)


def images(architecture):
    height, width = sides(architecture)
    return random_images(7, 1, height)[:, :, :width]


def timm_form(architecture, **more):
    """timm's module of an architecture."""
    import timm
    import torch
    from timm.layers import SwiGLUPacked
    from timm.models.vision_transformer import VisionTransformer

    a = architecture
    sizes = {"embed_dim": a.width, "depth": a.depth, "num_heads": a.heads, "num_classes": 0, "dynamic_img_size": True}
    if not a.grid:
        return timm.create_model("vit_small_patch16_dinov3", pretrained=False, **sizes, **more).eval()
    gated = {"mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU} if a.gated else {}
    return VisionTransformer(
        img_size=a.grid * a.patch,
        patch_size=a.patch,
        mlp_ratio=(a.hidden * (2 if a.gated else 1) or 4 * a.width) / a.width,
        init_values=1e-5 if a.scaled else None,
        reg_tokens=a.registers,
        no_embed_class=not a.own_positions,
        **sizes,
        **gated,
        **more,
    ).eval()


def timm_maps(architecture, size=None):
    """Normalised tokens of the depths that the encoder takes, channels last, and the weights by timm's names."""
    import torch

    module = timm_form(architecture)
    weights = tensors({name: tensor.shape for name, tensor in module.state_dict().items()})
    module.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in weights.items()})
    seen = images(architecture) if size is None else random_images(7, 1, size)
    with torch.no_grad():
        maps = module.forward_intermediates(
            torch.from_numpy(seen).permute(0, 3, 1, 2),
            indices=list(architecture.depths),
            norm=True,
            intermediates_only=True,
        )
    return [values.permute(0, 2, 3, 1).numpy() for values in maps], weights


if __name__ == "__main__":
    found = {name: np.stack(timm_maps(architecture)[0]) for name, architecture in KINDS.items()}
    np.savez_compressed(VIT_PATH, **found)
