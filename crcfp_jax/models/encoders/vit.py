"""Vision transformers (Dosovitskiy et al. 2021) as timm builds them: those of DINO, DINOv2 and DINOv3.

A name is timm's name of the architecture, with a tag where weights differ from it in more than their values.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.models.layers.attention import attend
from crcfp_jax.models.layers.padding import Length

DEPTHS = 4  # maps, evenly over the blocks, the last one included
ROTARY_BASE = 100.0  # DINOv3


@dataclass(frozen=True)
class Architecture:
    """What tells one transformer from another.

    Attributes:
        patch: pixels along a patch's side.
        width: channels of a token.
        depth: blocks.
        heads: of the attention.
        grid: patches along a side of the images that positions were learned for; 0: rotary positions.
        registers: tokens beside the class token.
        own_positions: whether class and register tokens have positions too.
        hidden: channels between the layers of a block's network; of each half with `gated`.
        gated: SwiGLU in place of GELU.
        scaled: LayerScale.
        epsilon: of the normalisation.
    """

    patch: int
    width: int
    depth: int
    heads: int
    grid: int
    registers: int = 0
    own_positions: bool = True
    hidden: int = 0  # 0: four times the width
    gated: bool = False
    scaled: bool = False
    epsilon: float = 1e-6

    @property
    def prefix(self) -> int:
        """Tokens before the patches'."""
        return 1 + self.registers

    @property
    def positions(self) -> int:
        """Learned positions."""
        return self.grid**2 + self.own_positions * self.prefix if self.grid else 0

    @property
    def depths(self) -> tuple[int, ...]:
        """The blocks whose tokens become maps."""
        return tuple(self.depth * (number + 1) // DEPTHS - 1 for number in range(DEPTHS))


def _dinov2(width: int, depth: int, heads: int, grid: int = 37, registers: int = 4, **other: Any) -> Architecture:
    return Architecture(14, width, depth, heads, grid, registers, own_positions=False, scaled=True, **other)


def _dinov3(width: int, depth: int, heads: int, **other: Any) -> Architecture:
    return Architecture(16, width, depth, heads, 0, 4, scaled=True, epsilon=1e-5, **other)


SMALL, BASE, LARGE = (384, 12, 6), (768, 12, 12), (1024, 24, 16)
GIANT = {"hidden": 4096, "gated": True}  # of 1536 channels

ARCHITECTURES = {
    "vit_small_patch8_224": Architecture(8, *SMALL, 28),
    "vit_small_patch16_224": Architecture(16, *SMALL, 14),
    "vit_small_patch16_224.gigapath_flash": Architecture(16, *SMALL, 14, hidden=1024, gated=True, scaled=True),
    "vit_base_patch8_224": Architecture(8, *BASE, 28),
    "vit_base_patch16_224": Architecture(16, *BASE, 14),
    "vit_large_patch16_224": Architecture(16, *LARGE, 14),
    "vit_large_patch16_224.uni": Architecture(16, *LARGE, 14, scaled=True),
    "vit_large_patch16_224.phikon_v2": Architecture(16, *LARGE, 14, scaled=True),
    "vit_small_patch14_reg4_dinov2": _dinov2(*SMALL),
    "vit_base_patch14_reg4_dinov2": _dinov2(*BASE),
    "vit_base_patch14_reg4_dinov2.hibou_b": _dinov2(*BASE, grid=16, hidden=2048, gated=True),
    "vit_base_patch14_reg4_dinov2.h0_mini": _dinov2(*BASE, grid=16, hidden=2048, gated=True),
    "vit_large_patch14_reg4_dinov2": _dinov2(*LARGE),
    "vit_large_patch14_reg4_dinov2.hibou_l": _dinov2(*LARGE, grid=16, hidden=2736, gated=True),
    "vit_giant_patch14_reg4_dinov2": _dinov2(1536, 40, 24, **GIANT),
    "vit_giant_patch14_reg4_dinov2.hoptimus0": _dinov2(1536, 40, 24, grid=16, **GIANT),
    "vit_giant_patch14_dinov2.midnight": Architecture(14, 1536, 40, 24, 16, scaled=True, **GIANT),
    "vit_giant_patch14_224.uni2_h": _dinov2(1536, 24, 24, grid=16, registers=8, **GIANT),
    "vit_huge_patch14_224.virchow2": Architecture(
        14, 1280, 32, 16, 16, registers=4, hidden=3416, gated=True, scaled=True
    ),
    "vit_small_patch16_dinov3": _dinov3(*SMALL),
    "vit_base_patch16_dinov3": _dinov3(*BASE),
    "vit_large_patch16_dinov3": _dinov3(*LARGE),
}


class VisionTransformer(nn.Module):
    """Images to maps of patches, from several depths."""

    architecture: Architecture
    lora_rank: int = 0  # of the update of each linear layer; 0: none
    rematerialise: bool = False  # keep only the blocks' inputs for the gradient and compute the rest again
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "n h w 3"]) -> tuple[Float[Array, "n rows columns c"], ...]:
        """Normalised images, of a whole number of patches, to the normalised tokens of `Architecture.depths`.

        Raises:
            ValueError: a side is no multiple of the patch.
        """
        a = self.architecture
        if images.shape[1] % a.patch or images.shape[2] % a.patch:
            raise ValueError(
                f"{images.shape[1]} x {images.shape[2]} pixels are no whole number of patches of {a.patch}"
            )
        patches = nn.Conv(a.width, (a.patch,) * 2, (a.patch,) * 2, "VALID", dtype=self.dtype, name="patch_embed")(
            images
        )
        count, rows, columns, _ = patches.shape
        tokens = patches.reshape(count, rows * columns, a.width)
        tokens, rotation = self._place(tokens, rows, columns)
        block = nn.remat(Block) if self.rematerialise else Block
        normalise = nn.LayerNorm(epsilon=a.epsilon, dtype=self.dtype, name="norm")
        maps = []
        for number in range(a.depth):
            tokens = block(a, self.lora_rank, self.dtype, name=f"block{number}")(tokens, rotation)
            if number in a.depths:
                maps.append(normalise(tokens[:, a.prefix :]).reshape(count, rows, columns, a.width))
        return tuple(maps)

    def _place(self, tokens, rows, columns):
        """Class and register tokens before the patches', and positions: added, or as a rotation for the attention."""
        a, normal = self.architecture, nn.initializers.truncated_normal(0.02)
        before = [self.param("cls_token", normal, (1, 1, a.width))]
        if a.registers:
            before.append(self.param("reg_token", normal, (1, a.registers, a.width)))
        before = jnp.broadcast_to(jnp.concatenate(before, axis=1), (tokens.shape[0], a.prefix, a.width)).astype(
            self.dtype
        )
        if not a.grid:
            return jnp.concatenate([before, tokens], axis=1), rotary(rows, columns, a.width // a.heads)
        positions = self.param("pos_embed", normal, (1, a.positions, a.width))
        own = a.prefix * a.own_positions
        placed = tokens + resize_positions(positions[:, own:], a.grid, rows, columns).astype(self.dtype)
        if own:
            before += positions[:, :own].astype(self.dtype)
        return jnp.concatenate([before, placed], axis=1), None


class Block(nn.Module):
    """Attention and a network of two layers, each on normalised tokens and added to them."""

    architecture: Architecture
    lora_rank: int
    dtype: Any

    @nn.compact
    def __call__(self, tokens, rotation):
        a = self.architecture

        def normalise(x, name):
            return nn.LayerNorm(epsilon=a.epsilon, dtype=self.dtype, name=name)(x)

        def linear(x, features, name):
            return Linear(features, self.lora_rank, self.dtype, name=name)(x)

        def scale(x, name):
            if not a.scaled:
                return x
            factors = self.param(name, nn.initializers.constant(1e-5), (a.width,))
            return x * factors.astype(self.dtype).reshape(1, 1, -1)

        qkv = linear(normalise(tokens, "norm1"), 3 * a.width, "qkv")
        query, key, value = jnp.moveaxis(qkv.reshape(*qkv.shape[:2], 3, a.heads, -1), 2, 0)
        if rotation is not None:
            query, key = (rotate(x, rotation, a.prefix) for x in (query, key))
        seen = attend(query, key, value)
        tokens += scale(linear(seen.reshape(tokens.shape), a.width, "proj"), "ls1")
        x = normalise(tokens, "norm2")
        hidden = a.hidden or 4 * a.width
        if a.gated:
            gate, x = jnp.split(linear(x, 2 * hidden, "fc1"), 2, axis=-1)
            x = nn.silu(gate) * x
        else:
            x = nn.gelu(linear(x, hidden, "fc1"), approximate=False)
        return tokens + scale(linear(x, a.width, "fc2"), "ls2")


class Linear(nn.Module):
    """A linear layer, with an update of low rank beside it where a rank is given (LoRA, Hu et al. 2022)."""

    features: int
    rank: int
    dtype: Any

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.truncated_normal(0.02), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = x @ kernel.astype(self.dtype) + bias.astype(self.dtype).reshape(1, 1, -1)
        if self.rank:
            down = self.param("lora_down", nn.initializers.he_uniform(), (x.shape[-1], self.rank))
            up = self.param("lora_up", nn.initializers.zeros, (self.rank, self.features))
            y += (x @ down.astype(self.dtype)) @ up.astype(self.dtype)
        return y


def resize_positions(
    positions: Float[Array, "1 cells c"], grid: int, rows: Length, columns: Length
) -> Float[Array, "1 patches c"]:
    """Learned positions of a square of patches, interpolated to another number of them: cubic, antialiased (timm)."""
    if (rows, columns) == (grid, grid):
        return positions
    width = positions.shape[-1]
    square = positions.reshape(1, grid, grid, width)
    resized = jax.image.resize(square, (1, rows, columns, width), "cubic", antialias=True)
    return resized.reshape(1, rows * columns, width)


def rotary(rows: Length, columns: Length, channels: int) -> tuple[Float[Array, "patches c"], Float[Array, "patches c"]]:
    """Sine and cosine of each patch's angles: DINOv3's rotary positions, from -1 to 1 along both axes."""
    periods = ROTARY_BASE ** (jnp.arange(channels // 4) / (channels // 4))
    places = [(jnp.arange(length) + 0.5) / length * 2 - 1 for length in (rows, columns)]
    down, across = jnp.meshgrid(*places, indexing="ij")
    place = jnp.stack([down.ravel(), across.ravel()], axis=-1)
    angles = 2 * jnp.pi * place[:, :, None] / periods.reshape(1, 1, -1)
    angles = jnp.tile(angles.reshape(rows * columns, -1), (1, 2))
    return jnp.sin(angles), jnp.cos(angles)


def rotate(
    x: Float[Array, "n tokens heads c"],
    rotation: tuple[Float[Array, "patches c"], Float[Array, "patches c"]],
    prefix: int,
) -> Float[Array, "n tokens heads c"]:
    """Turns the patches' queries or keys by their places; the tokens before them stay."""
    sine, cosine = (part[None, :, None].astype(jnp.float32) for part in rotation)
    patches = x[:, prefix:].astype(jnp.float32)
    first, second = jnp.split(patches, 2, axis=-1)
    turned = patches * cosine + jnp.concatenate([-second, first], axis=-1) * sine
    return jnp.concatenate([x[:, :prefix], turned.astype(x.dtype)], axis=1)
