"""Feature perturbations guided by the prediction: cutout, context masking, object masking (CCT: Ouali et al. 2020).

CCT's objects are what its classifier takes for foreground. With two classes (nuclei) that is class 1. Tissue has no
background: with more classes every connected region of one predicted class is an object to cut from, and the masks
divide an example into one predicted class, drawn anew each time, and the rest.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

MOST_CLASSES = 256  # labels are bytes
CUT_SHARE = 0.4  # of the sides of an object's box (CCT's release: erase)


class Objects(NamedTuple):
    """What the classifier sees in one example; found once, used by every guided perturbation."""

    classes: Int[Array, "h w"]  # predicted
    foreground: Bool[Array, "h w"]  # cells that belong to an object
    component: Int[Array, "h w"]  # number of the connected region: the number, row by row, of its first cell


def find_objects(logits: Float[Array, "h w k"]) -> Objects:
    """The objects in the prediction of one example, without gradient."""
    classes = jnp.argmax(jax.lax.stop_gradient(logits), axis=-1).astype(jnp.int32)
    foreground = classes == 1 if logits.shape[-1] == 2 else jnp.ones_like(classes, dtype=bool)
    return Objects(classes, foreground, connected_components(classes))


def connected_components(classes: Int[Array, "h w"]) -> Int[Array, "h w"]:
    """Numbers the regions of equal value, neighbours being the eight around a cell.

    Every cell takes the least number among its like neighbours', then follows the number to that cell's own, until
    nothing changes: about as many rounds as the logarithm of a region's extent, more for winding ones.
    """
    height, width = classes.shape
    # Adding zero times the classes gives the start the replica-varying type that the loop ends with.
    numbers = jnp.arange(height * width, dtype=jnp.int32).reshape(height, width) + 0 * classes
    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]

    def shifted(values, dy, dx, fill):
        padded = jnp.pad(values, 1, constant_values=fill)
        return jax.lax.dynamic_slice(padded, (1 + dy, 1 + dx), (height, width))

    alike = [shifted(classes, dy, dx, -1) == classes for dy, dx in shifts]

    def spread(carry):
        numbers, _ = carry
        new = numbers
        for like, (dy, dx) in zip(alike, shifts, strict=True):
            new = jnp.minimum(new, jnp.where(like, shifted(numbers, dy, dx, height * width), height * width))
        new = new.reshape(-1)[new]
        return new, jnp.any(new != numbers)

    numbers, _ = jax.lax.while_loop(lambda carry: carry[1], spread, (numbers, jnp.any(numbers >= 0)))
    return numbers


def guided_cutout(features: Float[Array, "h w c"], key: Key[Array, ""], objects: Objects) -> Float[Array, "h w c"]:
    """Zeroes a rectangle inside the bounding box of every object, 0.4 of its sides long, at a place drawn evenly.

    Objects of a box under three cells a side lose nothing (0.4 of it is less than a cell).
    """
    height, width = objects.classes.shape
    count = height * width
    numbers = objects.component.reshape(-1)
    rows, columns = (axis.reshape(-1) for axis in jnp.mgrid[:height, :width])
    present = jax.ops.segment_max(objects.foreground.reshape(-1).astype(jnp.int32), numbers, count) > 0
    corners = []
    for places, draw in zip((rows, columns), jax.random.uniform(key, (2, count)), strict=True):
        first, last = jax.ops.segment_min(places, numbers, count), jax.ops.segment_max(places, numbers, count)
        extent = jnp.where(present, last - first + 1, 0)
        cut = jnp.floor(CUT_SHARE * extent).astype(jnp.int32)
        start = jnp.where(present, first, 0) + jnp.floor(draw * (extent - cut + 1)).astype(jnp.int32)
        corners.append((start, start + cut))
    (top, bottom), (left, right) = corners
    # Any number of rectangles at once: steps up and down at their corners, summed along both axes.
    steps = jnp.zeros((height + 2, width + 2), jnp.int32)
    for row, column, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        steps = steps.at[row, column].add(jnp.where(present, sign, 0))
    covered = jnp.cumsum(jnp.cumsum(steps, axis=0), axis=1)[:height, :width]
    return _masked(features, covered == 0)


def context_masking(features: Float[Array, "h w c"], key: Key[Array, ""], objects: Objects) -> Float[Array, "h w c"]:
    """Zeroes everything but the object."""
    return _masked(features, object_mask(key, objects))


def object_masking(features: Float[Array, "h w c"], key: Key[Array, ""], objects: Objects) -> Float[Array, "h w c"]:
    """Zeroes the object."""
    return _masked(features, ~object_mask(key, objects))


def object_mask(key: Key[Array, ""], objects: Objects) -> Bool[Array, "h w"]:
    """Cells of the object: the foreground, or those of one class drawn evenly from the predicted ones."""
    flat = objects.classes.reshape(-1)
    order = jnp.arange(flat.size)
    score = jax.random.uniform(key, flat.shape)
    # The first cell of each class speaks for it, so that a class counts once, however large it is.
    first = jax.ops.segment_min(order, flat, MOST_CLASSES)[flat] == order
    drawn = flat[jnp.argmax(jnp.where(first, score, -1.0))]
    return jnp.where(jnp.all(objects.foreground), objects.classes == drawn, objects.foreground)


def _masked(features: Float[Array, "h w c"], kept: Bool[Array, "h w"]) -> Float[Array, "h w c"]:
    return features * kept[..., None].astype(features.dtype)


GUIDED = {"guided_cutout": guided_cutout, "context_masking": context_masking, "object_masking": object_masking}
