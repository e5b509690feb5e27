"""Cross-patch contrast (CDCL, Wu et al. 2022): nuclei against background, where the pseudo-labels are clear."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def clear_cells(labels: Int[Array, "u h w"], patch: int, clear: float) -> Bool[Array, "u h w"]:
    """Cells that have the pseudo-label of the patch they lie in, where that patch is clearly of one class.

    Args:
        labels: pseudo-labels, 0 (background) or 1 (foreground).
        patch: cells along a patch's side; patches at the lower and right edge are smaller where it doesn't divide them.
        clear: least share of a patch's cells with the same pseudo-label, above 0.5.
    """
    height, width = labels.shape[1:]
    foreground = _patch_sums((labels == 1).astype(jnp.int32), patch)
    cells = _patch_sums(jnp.ones_like(labels), patch)
    share = foreground / cells
    of_patch = jnp.where(share >= clear, 1, jnp.where(share <= 1 - clear, 0, -1))
    of_cell = jnp.repeat(jnp.repeat(of_patch, patch, axis=1), patch, axis=2)[:, :height, :width]
    return of_cell == labels


def _patch_sums(values: Int[Array, "u h w"], patch: int) -> Int[Array, "u rows columns"]:
    height, width = values.shape[1:]
    padded = jnp.pad(values, ((0, 0), (0, -height % patch), (0, -width % patch)))
    rows, columns = padded.shape[1] // patch, padded.shape[2] // patch
    return jnp.sum(padded.reshape(len(values), rows, patch, columns, patch), axis=(2, 4))
