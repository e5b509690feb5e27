"""Predictions for images and whole slides with an exported model.

python -m crcfp_jax.predict --model M --output O INPUT...
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from crcfp_jax.common.command import ArgumentParser, run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.runs.host_memory import keep_freed_memory
from crcfp_jax.slides.formats import FORMATS, default_formats
from crcfp_jax.slides.options import LEAST_AREA, parse_formats
from data_pipelines.reading.slide import INSTALL

PACKAGES = {
    "openslide": "openslide-python openslide-bin",
    "tifffile": "tifffile",
    "imagecodecs": "imagecodecs",
    "shapely": "shapely",
}


def make_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(
        prog="python -m crcfp_jax.predict",
        description="Segments images and whole slides. Finished inputs are skipped: the same command goes on.",
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="model folder, made by python -m crcfp_jax.export")
    add("--output", type=Path, required=True, help="folder that gets a folder of results for each input")
    add("inputs", nargs="+", metavar="INPUT", help="image or slide, a pattern in quotes, or a folder of them")
    pixels = parser.add_mutually_exclusive_group()
    pixels.add_argument("--mpp", type=float, help="µm per pixel of the inputs whose files don't say")
    pixels.add_argument("--force_mpp", type=float, help="µm per pixel of all inputs, whatever their files say")
    add("--tile", type=int, help="network pixels of a window's side (default: the model's, that of its training)")
    add("--overlap", type=float, help="share of a window's side that neighbours share (default: the model's)")
    add("--batch_size", type=int, default=16, help="windows a batch on each device (default: 16)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--tissue_only", action="store_true", default=True, help="look at tissue only (default)")
    where.add_argument("--everything", dest="tissue_only", action="store_false", help="look at glass too")
    known = ", ".join(f"{name} ({row.help})" for name, row in FORMATS.items())
    default = ",".join(default_formats())
    add("--formats", default=default, help=f"what to write, of {known}; default: {default}")
    add("--regions", type=Path, help="annotations, or a folder of them named after the inputs: areas in each Region*")
    help_of_area = f"µm² of the smallest region that gets a polygon (default: {LEAST_AREA:g})"
    add("--least_area", type=float, default=LEAST_AREA, help=help_of_area)
    add("--overwrite", action="store_true", help="make results again that are there with other settings")
    return parser


def check_packages(find: Callable[[str], object] = importlib.util.find_spec) -> None:
    """Raises UserError where a package of the extra 'slides' is missing."""
    missing = [package for module, package in PACKAGES.items() if find(module) is None]
    if missing:
        raise UserError(f"predict needs {', '.join(missing)}: {INSTALL}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Predicts every input; 1 where one failed."""
    given = make_parser().parse_args(arguments)
    formats = parse_formats(given.formats)
    check_packages()

    keep_freed_memory()  # XLA takes each batch's anew

    from crcfp_jax.slides.many_slides import predict_all

    return predict_all(given, formats)


if __name__ == "__main__":
    run_main(main)
