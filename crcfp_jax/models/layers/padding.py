"""How a convolution's input is padded: as PyTorch does, or as TensorFlow does."""

from typing import Any, Literal

Padding = Literal["torch", "same"]
Length = int | Any  # pixels; a symbolic expression while a network is exported for any shape


def pads(length: Length, *, size: int, stride: int, dilation: int, padding: Padding) -> tuple[Length, Length]:
    """Rows of zeros before and after `length` rows; the output then has ceil(length / stride) rows.

    'torch' puts `dilation * (size - 1) // 2` on both sides. 'same' is TensorFlow's SAME, one less before where the
    stride is 2 and the length is even. Both add `dilation * (size - 1)` rows in all, though no window may reach the
    last one: so the number of outputs is one expression for every length.

    Args:
        size: of the kernel, odd.
        stride: 1 or 2.
    """
    reach = dilation * (size - 1) // 2
    if padding == "torch" or stride == 1 or size == 1:
        return reach, reach
    before = reach - 1 + length % 2
    return before, 2 * reach - before
