"""The convolution that every layer of the network uses."""

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float

from crcfp_jax.models.layers.forms import plain_forms_wanted
from crcfp_jax.models.layers.padding import Padding, pads

# As torchvision's ResNet: normal with variance 2 / (output channels * kernel area), not truncated.
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
CACHE = 4 * 2**20  # bytes of a running sum that is kept in a CPU's cache; measured, not critical
FEW = 8  # input channels, too few for a matrix product for each kernel position


class Convolution(nn.Module):
    """A square convolution without bias.

    Paddings differ where the stride is 2: with the wrong one, pretrained weights would be off by a pixel.
    The kernel is kept as [height, width, input, output] in float32 and cast to `dtype` for the computation.
    """

    features: int  # output channels
    size: int = 1  # kernel height and width
    stride: int = 1
    dilation: int = 1
    padding: Padding = "torch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Float[Array, "*streams b h w c"]) -> Float[Array, "*streams b out_h out_w features"]:
        kernel = self.param("kernel", KERNEL_INIT, (self.size, self.size, inputs.shape[-1], self.features))
        images = inputs.astype(self.dtype).reshape(-1, *inputs.shape[-3:])
        outputs = convolve(images, kernel, self.stride, self.dilation, self.padding)
        return outputs.reshape(*inputs.shape[:-3], *outputs.shape[1:])


def convolve(
    inputs: Float[Array, "n h w c"],
    kernel: Float[Array, "size size c features"],
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "torch",
) -> Float[Array, "n out_h out_w features"]:
    """Convolves in the type of `inputs`; the output has ceil(h / stride) rows.

    On a GPU or TPU this is XLA's convolution (cuDNN). On a CPU some convolutions run faster as matrix products: XLA
    computes bfloat16 convolutions in float32, but bfloat16 products at twice that speed where the processor has
    instructions for them, and its dilated convolutions multiply all of the padding. A kernel's gradient, which XLA has
    as a convolution by an image, is always products there: two to seven times as fast. Traced with symbols for the
    shape, as for an exported model, it has both forms, and what runs is chosen when the platform and the shape are
    known.
    """
    size = kernel.shape[0]
    as_products = size == 1 or (stride == 1 and (dilation > 1 or inputs.dtype == jnp.bfloat16))
    convolution = functools.partial(plain_convolution, stride=stride, dilation=dilation, padding=padding)
    products = functools.partial(_products, stride=stride, dilation=dilation)
    if as_products and _symbolic(inputs.shape) and not plain_forms_wanted():
        return lax.platform_dependent(inputs, kernel, cpu=products, default=convolution)
    if plain_forms_wanted() or _symbolic(inputs.shape) or jax.default_backend() != "cpu":
        return convolution(inputs, kernel)
    if as_products:
        return products(inputs, vary_like(kernel, inputs))
    if inputs.shape[-1] <= FEW:
        return convolution(inputs, kernel)
    return convolution_on_cpu(inputs, vary_like(kernel, inputs), stride, dilation, padding)


def plain_convolution(
    inputs: Float[Array, "n h w c"],
    kernel: Float[Array, "size size _ features"],
    stride: int,
    dilation: int,
    padding: Padding,
    groups: int = 1,
) -> Float[Array, "n out_h out_w features"]:
    """XLA's convolution, of channels in groups that don't see one another."""
    size, sides = kernel.shape[0], "VALID"
    if padding == "same" and stride > 1:
        inputs = pad(inputs, size, stride, dilation, padding)
    else:
        sides = (pads(0, size=size, stride=stride, dilation=dilation, padding="torch"),) * 2
    return lax.conv_general_dilated(
        inputs,
        kernel.astype(inputs.dtype),
        window_strides=(stride, stride),
        padding=sides,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolution_on_cpu(
    inputs: Float[Array, "n h w c"],
    kernel: Float[Array, "size size c features"],
    stride: int,
    dilation: int,
    padding: Padding,
) -> Float[Array, "n out_h out_w features"]:
    """XLA's convolution, with matrix products for the gradient of its kernel."""
    return plain_convolution(inputs, kernel, stride, dilation, padding)


def _convolution_forward(inputs, kernel, stride, dilation, padding):
    return convolution_on_cpu(inputs, kernel, stride, dilation, padding), (inputs, kernel)


def _convolution_backward(stride, dilation, padding, saved, gradient):
    inputs, kernel = saved
    transposed = jax.linear_transpose(lambda x: plain_convolution(x, kernel, stride, dilation, padding), inputs)
    padded = pad(inputs, kernel.shape[0], stride, dilation, padding)
    return *transposed(gradient), _padded_kernel_gradient(padded, gradient, kernel.shape[0], stride, dilation)


convolution_on_cpu.defvjp(_convolution_forward, _convolution_backward)


def pad(
    inputs: Float[Array, "n h w c"], size: int, stride: int, dilation: int, padding: Padding
) -> Float[Array, "n padded_h padded_w c"]:
    """Images with the zeros around them that a convolution needs; symbols may stand for their shape."""
    of_kernel = {"size": size, "stride": stride, "dilation": dilation, "padding": padding}
    rows, columns = ((*pads(length, **of_kernel), 0) for length in inputs.shape[1:3])
    return lax.pad(inputs, jnp.zeros((), inputs.dtype), ((0, 0, 0), rows, columns, (0, 0, 0)))


def _products(inputs, kernel, stride, dilation):
    # To this end, not to the image's, the number of rows is the same symbolic expression as a convolution's.
    ends = [(length - 1) // stride * stride + 1 for length in inputs.shape[1:3]]
    return sum_of_products(inputs[:, : ends[0] : stride, : ends[1] : stride], kernel, dilation)


def vary_like(kernel: Array, inputs: Array) -> Array:
    """Types a replicated array as varying over the axes of shard_map that the inputs vary over.

    JAX does that by itself where it differentiates by itself, and adds the gradients of the replicas up in return; a
    derivative of one's own has to take a kernel of the type that its gradient has. Adding a zero that varies does it
    without naming the axes.
    """
    first = lax.stop_gradient(inputs[(0,) * inputs.ndim])
    return kernel + (first > first).astype(kernel.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def sum_of_products(
    inputs: Float[Array, "n h w c"], kernel: Float[Array, "size size c features"], dilation: int
) -> Float[Array, "n h w features"]:
    """Convolution of stride 1 as one matrix product for each kernel position, summed in float32.

    Its own derivative keeps the products of the gradients in the inputs' type; automatic differentiation would make
    them float32. Under `vmap` it is correct but slower: merge the mapped axis with the batch instead.
    """
    return _sum_of_products(inputs, kernel.astype(inputs.dtype), dilation)


def _forward(inputs, kernel, dilation):
    return sum_of_products(inputs, kernel, dilation), (inputs, kernel)


def _backward(dilation, saved, gradient):
    inputs, kernel = saved
    turned = kernel[::-1, ::-1].swapaxes(2, 3).astype(inputs.dtype)
    return _sum_of_products(gradient, turned, dilation), _kernel_gradient(inputs, gradient, kernel.shape[0], dilation)


sum_of_products.defvjp(_forward, _backward)


def _sum_of_products(inputs, kernel, dilation):
    count, height, width, _ = inputs.shape
    size, features = kernel.shape[0], kernel.shape[-1]
    image_by_image = functools.partial(_image_by_image, dilation=dilation)
    if size > 1 and _symbolic(inputs.shape):
        # A comparison of constants once the shape is known: XLA then drops the form that is not chosen.
        too_large = 4.0 * jnp.float32(count) * jnp.float32(height * width) * features > CACHE
        return lax.cond(too_large, image_by_image, functools.partial(_at_once, dilation=dilation), inputs, kernel)
    if size > 1 and count > 1 and 4 * count * height * width * features > CACHE:
        return image_by_image(inputs, kernel)
    return _at_once(inputs, kernel, dilation)


def _image_by_image(inputs, kernel, dilation):
    return lax.map(lambda image: _at_once(image[None], kernel, dilation)[0], inputs)


def _at_once(inputs, kernel, dilation):
    _, height, width, _ = inputs.shape
    size = kernel.shape[0]
    total = _product(inputs, kernel[size // 2, size // 2], ((3,), (0,)))
    for row, column, target, source in _positions(height, width, size, dilation):
        if row == column == size // 2:
            continue
        part = _product(_crop(inputs, *source), kernel[row, column], ((3,), (0,)))
        outside = [(where.start, length - where.stop, 0) for where, length in zip(target, (height, width), strict=True)]
        total += lax.pad(part, jnp.zeros((), part.dtype), ((0, 0, 0), *outside, (0, 0, 0)))
    return total.astype(inputs.dtype)


def _crop(inputs, rows, columns):
    if not _symbolic(inputs.shape):
        return inputs[:, rows, columns]
    # The same, but that a slice has to be proven to lie inside: minutes with symbols for the shape.
    _, height, width, _ = inputs.shape
    rows, columns = (-rows.start, rows.stop - height, 0), (-columns.start, columns.stop - width, 0)
    return lax.pad(inputs, jnp.zeros((), inputs.dtype), ((0, 0, 0), rows, columns, (0, 0, 0)))


def _kernel_gradient(inputs, gradient, size, dilation):
    _, height, width, channels = inputs.shape
    if size == 1:
        return _product(inputs, gradient, ((0, 1, 2), (0, 1, 2))).reshape(1, 1, channels, -1)
    if dilation <= 2:  # few zeros to multiply: whole rows are worth more
        return _padded_kernel_gradient(pad(inputs, size, 1, dilation, "torch"), gradient, size, 1, dilation)
    products = {}
    for row, column, target, source in _positions(height, width, size, dilation):
        seen, caused = inputs[:, source[0], source[1]], gradient[:, target[0], target[1]]
        products[row, column] = _product(caused, seen, ((0, 1, 2), (0, 1, 2)))
    never = jnp.zeros((gradient.shape[-1], channels), jnp.float32)  # positions that see padding only
    rows = [[products.get((row, column), never) for column in range(size)] for row in range(size)]
    return jnp.stack([jnp.stack(row) for row in rows]).swapaxes(2, 3)


def _padded_kernel_gradient(padded, gradient, size, stride, dilation):
    rows, columns = (stride * (count - 1) + 1 for count in gradient.shape[1:3])
    places = range(0, size * dilation, dilation)

    def of(top, left):
        seen = padded[:, top : top + rows : stride, left : left + columns : stride]
        return _product(gradient, seen, ((0, 1, 2), (0, 1, 2)))

    return jnp.stack([jnp.stack([of(top, left) for left in places]) for top in places]).swapaxes(2, 3)


def _symbolic(shape):
    return any(map(is_symbolic_dim, shape))


def _positions(height, width, size, dilation) -> Iterator[tuple[int, int, tuple[slice, slice], tuple[slice, slice]]]:
    """Kernel positions that see any pixel: row, column, the outputs they add to, the inputs these see."""

    def reach(index, length):
        offset = (index - size // 2) * dilation
        seen = length - abs(offset)
        seen = jax.core.max_dim(seen, 0) if is_symbolic_dim(seen) else max(seen, 0)
        ahead, behind = slice(length - seen, length), slice(0, seen)
        return (behind, ahead) if offset > 0 else (ahead, behind)

    for row in range(size):
        for column in range(size):
            (target_rows, source_rows), (target_columns, source_columns) = reach(row, height), reach(column, width)
            if target_rows.start != target_rows.stop and target_columns.start != target_columns.stop:
                yield row, column, (target_rows, target_columns), (source_rows, source_columns)


def _product(left, right, contracted):
    return lax.dot_general(left, right, (contracted, ((), ())), preferred_element_type=jnp.float32)
