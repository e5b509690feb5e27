"""Depthwise convolution: every channel has a kernel of its own and sees no other channel.

On a CPU, XLA's grouped convolution takes 20 to 50 times as long as sums of shifted images do, and its gradients more
than that. On a GPU or TPU it is the right form.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float

from crcfp_jax.models.layers.convolution import pad, plain_convolution, vary_like
from crcfp_jax.models.layers.forms import plain_forms_wanted
from crcfp_jax.models.layers.padding import Length, Padding

# Normal with variance 2 / kernel area, as TensorFlow's and timm's EfficientNets.
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class DepthwiseConvolution(nn.Module):
    """A square depthwise convolution without bias; as many channels come out as go in.

    The kernel is kept as [height, width, 1, channels] in float32; on a CPU products are summed in float32 too.
    """

    size: int = 3  # kernel height and width, odd
    stride: int = 1
    dilation: int = 1
    padding: Padding = "torch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Float[Array, "*streams b h w c"]) -> Float[Array, "*streams b out_h out_w c"]:
        kernel = self.param("kernel", KERNEL_INIT, (self.size, self.size, 1, inputs.shape[-1]))
        images = inputs.astype(self.dtype).reshape(-1, *inputs.shape[-3:])
        outputs = depthwise_convolve(images, kernel, self.stride, self.dilation, self.padding)
        return outputs.reshape(*inputs.shape[:-3], *outputs.shape[1:])


def depthwise_convolve(
    inputs: Float[Array, "n h w c"],
    kernel: Float[Array, "size size 1 c"],
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "torch",
) -> Float[Array, "n out_h out_w c"]:
    """Convolves each channel with its own kernel, in the type of `inputs`; the output has ceil(h / stride) rows.

    Traced with symbols for the shape, as for an exported model, it has both forms, and what runs is chosen when the
    platform is known.
    """
    settings = {"stride": stride, "dilation": dilation, "padding": padding}
    grouped = functools.partial(plain_convolution, **settings, groups=inputs.shape[-1])
    if plain_forms_wanted():
        return grouped(inputs, kernel)

    def shifted(inputs, kernel, total):
        return total(pad(inputs, kernel.shape[0], **settings), kernel, stride, dilation)

    if any(map(is_symbolic_dim, inputs.shape)):
        form = functools.partial(shifted, total=_shifted_sum)
        return lax.platform_dependent(inputs, kernel, cpu=form, default=grouped)
    if jax.default_backend() == "cpu":
        return shifted(inputs, vary_like(kernel, inputs), sum_of_shifts)
    return grouped(inputs, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def sum_of_shifts(
    padded: Float[Array, "n h w c"], kernel: Float[Array, "size size 1 c"], stride: int, dilation: int
) -> Float[Array, "n out_h out_w c"]:
    """A depthwise convolution without padding as one product for each kernel position, summed in float32.

    Its own derivative, because XLA reduces the products of the kernel's gradient without vector instructions.
    """
    return _shifted_sum(padded, kernel, stride, dilation)


def _forward(padded, kernel, stride, dilation):
    return sum_of_shifts(padded, kernel, stride, dilation), (padded, kernel)


def _backward(stride, dilation, saved, gradient):
    padded, kernel = saved
    of_inputs = _input_gradient(padded.shape, kernel, gradient, stride, dilation)
    return of_inputs, _kernel_gradient(padded, kernel.shape, gradient, stride, dilation)


sum_of_shifts.defvjp(_forward, _backward)


def _shifted_sum(padded, kernel, stride, dilation):
    size = kernel.shape[0]
    lengths = [length - dilation * (size - 1) for length in padded.shape[1:3]]
    # Else XLA takes the padding into every term of the sum, which costs six times as much, and more to compile.
    padded = lax.optimization_barrier(padded)
    kernel = kernel.astype(jnp.float32)
    total = 0.0
    for row in range(size):
        for column in range(size):
            seen = _shift(padded, row * dilation, column * dilation, lengths, stride)
            total += seen.astype(jnp.float32) * kernel[row, column].reshape(1, 1, 1, -1)
    return total.astype(padded.dtype)


def _shift(padded, top: int, left: int, lengths: list[Length], stride: int):
    """Every `stride`-th of the rows and columns from `top` and `left` on."""
    starts = (top, left)
    if any(map(is_symbolic_dim, padded.shape)):
        # A slice has to be proven to lie inside: impossible, or minutes, with symbols. To this end, not to the array's,
        # the number of rows is the same symbolic expression as a convolution's.
        cut = [
            (-start, start + length - whole, 0)
            for start, length, whole in zip(starts, lengths, padded.shape[1:3], strict=True)
        ]
        padded = lax.pad(padded, jnp.zeros((), padded.dtype), ((0, 0, 0), *cut, (0, 0, 0)))
        starts = (0, 0)
    rows, columns = (
        slice(start, start + (length - 1) // stride * stride + 1, stride)
        for start, length in zip(starts, lengths, strict=True)
    )
    return padded[:, rows, columns]


def _input_gradient(shape, kernel, gradient, stride, dilation):
    """Spreads the gradient to the places of the windows, and sums it over the windows that see a place."""
    reach = dilation * (kernel.shape[0] - 1)
    borders = [
        (reach, length - (stride * (count - 1) + 1), stride - 1)
        for length, count in zip(shape[1:3], gradient.shape[1:3], strict=True)
    ]
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), *borders, (0, 0, 0)))
    return _shifted_sum(spread, kernel[::-1, ::-1], 1, dilation)


def _kernel_gradient(padded, shape, gradient, stride, dilation):
    """Adds the products up row by row, position by position in a row, and at the end over the row.

    So each step adds arrays of [width, channels] that stay in the cache, and XLA uses vector instructions for it.
    """
    size = shape[0]
    count, height, width, channels = gradient.shape
    reach = stride * (width - 1) + 1

    def add_row(number, sums):
        image, row = number // height, number % height
        caused = lax.dynamic_slice(gradient, (image, row, 0, 0), (1, 1, width, channels))[0, 0].astype(jnp.float32)
        added = []
        for place in range(size):
            start = (image, row * stride + place * dilation, 0, 0)
            seen = lax.dynamic_slice(padded, start, (1, 1, *padded.shape[2:]))[0, 0]
            for column in range(0, size * dilation, dilation):
                added.append(sums[len(added)] + seen[column : column + reach : stride].astype(jnp.float32) * caused)
        return tuple(added)

    nothing = vary_like(jnp.zeros((width, channels), jnp.float32), gradient)
    sums = lax.fori_loop(0, count * height, add_row, (nothing,) * size**2)
    return jnp.stack([jnp.sum(part, axis=0) for part in sums]).reshape(shape)
