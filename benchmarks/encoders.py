"""What a step costs with each encoder for small machines, and its depthwise convolutions beside other forms.

    python benchmarks/encoders.py [--steps 20]

Steps: supervised, 8 crops of 128 pixels, output stride 16, v3+ decoder of 128 channels, AdamW, float32, random input
on the device (`crcfp_jax.bench`). Convolutions: the depthwise ones of EfficientNet-Lite0 on 8 crops of 128 pixels,
forward and both gradients, as sums of shifted images (what training uses on a CPU), as XLA's grouped convolution, and
in PyTorch with channels last. Needs PyTorch for the last.
"""

import argparse
import os
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from crcfp_jax.bench import Bench, seconds_per_call
from crcfp_jax.config import small
from crcfp_jax.models.layers.depthwise import depthwise_convolve
from crcfp_jax.runs.versions import versions

IMAGES, SIDE = 8, 128
ENCODERS = (("resnet18", 32), ("resnet18", 64), ("efficientnet_lite0", 64))  # and width of a ResNet's stem
# Of EfficientNet-Lite0 at output stride 16: side of the input, channels, kernel, stride, dilation, how many of them.
DEPTHWISE = (
    (64, 32, 3, 1, 1, 1),
    (64, 96, 3, 2, 1, 1), (32, 144, 3, 1, 1, 1),
    (32, 144, 5, 2, 1, 1), (16, 240, 5, 1, 1, 1),
    (16, 240, 3, 2, 1, 1), (8, 480, 3, 1, 1, 2),
    (8, 480, 5, 1, 1, 1), (8, 672, 5, 1, 1, 2),
    (8, 672, 5, 1, 1, 1), (8, 1152, 5, 1, 2, 3),
    (8, 1152, 3, 1, 2, 1),
)  # fmt: skip


def measure_steps(count: int) -> Table:
    table = Table(title=f"supervised step, {IMAGES} crops of {SIDE} px, stride 16, v3+ of 128 channels, float32")
    for column in ("encoder", "width", "parameters, M", "median s", "least s", "steps/s", "working memory, GiB"):
        table.add_column(column, justify="left" if column == "encoder" else "right")
    for backbone, width in ENCODERS:
        config = small()
        config.method = "supervised"
        config.data.side = SIDE
        config.model.backbone, config.model.width, config.model.decoder_width = backbone, width, 128
        config.train.batch_size = IMAGES
        bench = Bench(config, random_input=True, classes=2)
        size = sum(leaf.size for leaf in jax.tree.leaves(bench.state.params)) / 1e6
        times = seconds_per_call(bench.step_alone, count)
        median = statistics.median(times)
        memory = bench.memory()["step, temporary"]
        row = (f"{size:.1f}", f"{median:.3f}", f"{min(times):.3f}", f"{1 / median:.2f}", f"{memory:.2f}")
        table.add_row(backbone, str(width), *row)
    return table


def least_ms(call, count: int) -> float:
    """Least time of a call that returns when its work is done, after one that is not counted."""
    call()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def grouped(inputs, kernel, stride, dilation):
    return jax.lax.conv_general_dilated(
        inputs, kernel, (stride, stride), "SAME", rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=inputs.shape[-1],
    )  # fmt: skip


def in_jax(form, inputs, kernel, stride, dilation):
    """A call that runs a form forward and back."""
    gradient = jnp.ones_like(form(inputs, kernel, stride, dilation))
    both = jax.jit(lambda x, w, g: jax.vjp(lambda x, w: form(x, w, stride, dilation), x, w)[1](g))
    return lambda: jax.block_until_ready(both(inputs, kernel, gradient))


def in_torch(inputs, kernel, stride, dilation):
    x = torch.from_numpy(np.array(inputs)).permute(0, 3, 1, 2).requires_grad_()  # channels last in memory
    w = torch.from_numpy(np.array(kernel)).permute(3, 2, 0, 1).contiguous().requires_grad_()
    padding = dilation * (kernel.shape[0] // 2)

    def call():
        outputs = F.conv2d(x, w, stride=stride, padding=padding, dilation=dilation, groups=x.shape[1])
        outputs.backward(torch.ones_like(outputs))

    return call


def measure_depthwise() -> Table:
    table = Table(title=f"depthwise convolution, {IMAGES} images, forward and gradients, least ms")
    columns = ("input", "kernel", "stride", "dilation", "how many", "shifted sums", "XLA grouped", "PyTorch")
    for column in columns:
        table.add_column(column, justify="right")
    totals = np.zeros(3)
    rng = np.random.default_rng(0)
    for side, channels, size, stride, dilation, number in DEPTHWISE:
        inputs = jnp.asarray(rng.standard_normal((IMAGES, side, side, channels), np.float32))
        kernel = jnp.asarray(rng.standard_normal((size, size, 1, channels), np.float32))
        shifted = lambda x, w, s, d: depthwise_convolve(x, w, s, d, "same")  # noqa: E731
        found = (
            least_ms(in_jax(shifted, inputs, kernel, stride, dilation), 20),
            least_ms(in_jax(grouped, inputs, kernel, stride, dilation), 3),
            least_ms(in_torch(inputs, kernel, stride, dilation), 20),
        )
        totals += number * np.array(found)
        where = (f"{side} x {side} x {channels}", f"{size} x {size}", str(stride), str(dilation), str(number))
        table.add_row(*where, *(f"{value:.1f}" for value in found))
    table.add_row("all of them", "", "", "", "", *(f"{value:.1f}" for value in totals))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="steps measured")
    options = parser.parse_args()
    console = Console()
    console.print(measure_steps(options.steps))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    console.print(measure_depthwise())
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()), f"torch {torch.__version__}")


if __name__ == "__main__":
    main()
