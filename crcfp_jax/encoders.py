"""Lists the published encoders: what `config.model.preset` takes, under which licence, and what each costs.

python -m crcfp_jax.encoders [--side 224] [NAME ...]
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from crcfp_jax.common.command import ArgumentParser, run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.progress import Display
from crcfp_jax.models.encoders.registry import PRESETS, crop_step, find_family, find_preset, usual_stride


class Cost(NamedTuple):
    """What an encoder costs, from its traced program, in bfloat16."""

    parameters: int
    operations: float  # of a crop forward, floating point
    kept: int  # bytes a crop keeps for the gradient of all parameters


def crop_side(backbone: str, side: int) -> int:
    """The least side of a training crop, in pixels, that is at least `side`."""
    step = crop_step(backbone)
    return -(-side // step) * step


def cost(backbone: str, side: int) -> Cost:
    """The cost of an encoder, for a crop of `side` pixels; nothing is computed.

    Args:
        backbone: of a preset.
        side: that the encoder takes.
    """
    import jax
    import jax.numpy as jnp

    from crcfp_jax.models.encoders.family import EncoderOptions
    from crcfp_jax.models.layers.normalisation import Normalisation

    family, dtype = find_family(backbone), jnp.bfloat16
    options = EncoderOptions(
        backbone, usual_stride(backbone), family.width or 64, Normalisation(dtype=dtype), False, dtype
    )
    encoder = family.build(options, "backbone")

    def crops(count: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, side, side, 3), dtype)

    variables = jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x, train=False), crops(1))

    def kept(variables, images):
        def features(params):
            return encoder.apply(variables | {"params": params}, images, train=True, mutable=["batch_stats"])[0]

        return jax.tree.leaves(jax.vjp(features, variables["params"])[1])

    def size(count: int) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.eval_shape(kept, variables, crops(count)))

    forward = jax.jit(lambda variables, images: encoder.apply(variables, images, train=False))
    return Cost(
        sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        forward.lower(variables, crops(1)).cost_analysis()["flops"],
        size(2) - size(1),  # without what is kept once a batch, such as parameters
    )


def origins(names: Sequence[str]) -> Table:
    """Where each preset's weights come from."""
    found = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "config.model.pretrained", "trained on; by"):
        found.add_column(column, overflow="fold")
    for name in names:
        source, published = find_preset(name)
        found.add_row(name, source, published.remark)
    return found


def costs(names: Sequence[str], side: int, told: Callable[[str], None]) -> Table:
    """What each preset costs, and under which licence it is; `told` hears which one is traced next."""
    found = Table(
        caption=f"Of a crop of {side} pixels, or the next whole number of patches. GFLOP: forward. MiB: kept for the "
        "gradient of all parameters, in bfloat16; of a frozen encoder next to nothing. µm: pixel sizes of the training "
        "images, - of natural ones. *: the hub asks for an agreement first.",
        box=None,
        padding=(0, 2, 0, 0),
    )
    found.add_column("name", no_wrap=True)
    for column in ("parameters", "GFLOP", "MiB", "µm"):
        found.add_column(column, justify="right", no_wrap=True)
    found.add_column("licence", overflow="fold")
    known: dict[str, Cost] = {}
    for name in names:
        published = find_preset(name)[1]
        backbone, pixels = published.backbone, published.microns_per_pixel
        if backbone not in known:
            told(name)
            known[backbone] = cost(backbone, crop_side(backbone, side))
        own = known[backbone]
        found.add_row(
            name,
            f"{own.parameters / 1e6:.1f} M",
            f"{own.operations / 1e9:.1f}",
            f"{own.kept / 2**20:.0f}",
            "-" if pixels is None else " to ".join(f"{value:g}" for value in dict.fromkeys(pixels)),
            published.licence + "*" * published.gated,
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    parser = ArgumentParser(
        prog="python -m crcfp_jax.encoders",
        description="Lists the published encoders that --config.model.preset=NAME starts from.",
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of them; by default all")
    parser.add_argument("--side", type=int, default=224, metavar="PIXELS", help="of a crop; default %(default)s")
    options = parser.parse_args(arguments)
    if options.side < 1:
        raise UserError(f"--side {options.side}: give a number of pixels above 0")
    # Nothing is computed. JAX would take a GPU's memory all the same, and counts no operations of a program for one.
    os.environ["JAX_PLATFORMS"] = "cpu"
    names = options.names or list(PRESETS)
    for name in names:
        find_preset(name)
    console = Console()
    console.print(origins(names))
    with Display(console=console, transient=True) as display:
        found = costs(names, options.side, lambda name: display.note(f"tracing {name}"))
    console.print()
    console.print(found)
    return 0


if __name__ == "__main__":
    run_main(main)
