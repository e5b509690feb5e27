"""A study of the user's own: slides and images with annotations, and others without (docs/own_slides.md)."""

from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from data_pipelines.reading.slide import INSTALL
from data_pipelines.recipes import FoundSources, Recipe
from data_pipelines.study.options import OPTIONS
from data_pipelines.units import Splits


def find_sources(recipe: Recipe, raw_dir: Path, built: Any, **options: Any) -> FoundSources:
    """Looks at the study; see `study.look.look`."""
    try:
        from data_pipelines.study.look import look
    except ImportError as error:  # of the extra 'slides', which other recipes don't need
        raise UserError(f"building a folder needs a missing package ({error}): {INSTALL}") from error
    return look(recipe, raw_dir, built, **options)


RECIPE = Recipe(
    name="folder",
    description="Your own slides and images: RAW_DIR/annotated with annotations, RAW_DIR/unannotated without.",
    licence="",
    classes=(),
    microns_per_pixel=1.0,
    splits=Splits(),
    find_sources=find_sources,
    download=(
        "put images with their annotations (slide1.svs with slide1.geojson, or region7.png with region7_mask.png) into"
        " RAW_DIR/annotated, and images without any into RAW_DIR/unannotated"
    ),
    options=OPTIONS,
    grows=True,
    png_level=1,  # tiles grow by 7 %, a build takes a third of the time
)
