"""CutMix (Yun et al. 2019): a box of an image is pasted over the same place of another.

The other image is the next one of the global batch, so that the result does not depend on the number of devices.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key, Shaped

AREA = (0.02, 0.4)  # of the image, uniform (UniMatch)
ASPECT = (0.3, 1 / 0.3)  # height over width, uniform in its logarithm: tall boxes are as common as wide ones


def draw_boxes(keys: Key[Array, " b"], cells: int, probability: float) -> Bool[Array, "b {cells} {cells}"]:
    """True in a box of each image, nowhere with a probability of 1 - `probability`.

    Args:
        keys: one an image.
        cells: along a side of the image; boxes have whole cells.
    """

    def draw(key):
        drawn, area, aspect, top, left = jax.random.uniform(key, (5,))
        area = AREA[0] + area * (AREA[1] - AREA[0])
        ratio = jnp.exp(jnp.log(ASPECT[0]) + aspect * (jnp.log(ASPECT[1]) - jnp.log(ASPECT[0])))
        inside = drawn < probability
        for axis, (place, side) in enumerate(((top, jnp.sqrt(area * ratio)), (left, jnp.sqrt(area / ratio)))):
            length = jnp.clip(jnp.round(side * cells), 1, cells)
            first = jnp.floor(place * (cells - length + 1))
            index = jnp.arange(cells)
            inside = inside & jnp.expand_dims((index >= first) & (index < first + length), 1 - axis)
        return inside

    return jax.vmap(draw)(keys)


def mix(
    boxes: Bool[Array, "b rows columns"], values: Shaped[Array, "b h w *c"], axis_name: str | None
) -> Shaped[Array, "b h w *c"]:
    """`values` with those of the next example where a box says so; `h` and `w` are multiples of the boxes' cells."""
    along = [size // boxes.shape[axis] for axis, size in ((1, values.shape[1]), (2, values.shape[2]))]
    where = jnp.repeat(jnp.repeat(boxes, along[0], axis=1), along[1], axis=2)
    return jnp.where(where.reshape(*where.shape, *(1,) * (values.ndim - 3)), following(values, axis_name), values)


def following(values: Shaped[Array, "b ..."], axis_name: str | None) -> Shaped[Array, "b ..."]:
    """Every example's next one in the global batch; the first after the last."""
    first = values[:1]
    if axis_name is not None:
        replicas = jax.lax.axis_size(axis_name)
        first = jax.lax.ppermute(first, axis_name, [(replica, (replica - 1) % replicas) for replica in range(replicas)])
    return jnp.concatenate([values[1:], first])
