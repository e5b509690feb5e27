"""What came in through a door is known behind it alone: docs/extending.md, the column of files touched now."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOORS = {
    "efficientnet|efficientnet_lite0": (  # an encoder
        "crcfp_jax/config.py",  # in a comment
        "crcfp_jax/models/encoders/efficientnet.py",
        "crcfp_jax/models/encoders/registry.py",
    ),
    "cdcl|cross_patch": (  # a method and its term
        "crcfp_jax/config.py",
        "crcfp_jax/methods/systems/cdcl.py",
        "crcfp_jax/methods/systems/registry.py",
        "crcfp_jax/methods/terms/cross_patch.py",
        "crcfp_jax/methods/terms/registry.py",
    ),
    "glas": ("crcfp_jax/tables/definitions.py", "data_pipelines/builders/glas.py"),  # a data set
    "AreaWriter|areas.csv": ("crcfp_jax/slides/formats.py", "crcfp_jax/slides/writing/areas.py"),  # a format
}


@pytest.mark.parametrize("names", DOORS)
def test_no_other_file_names_it(names):
    word = re.compile(rf"\b({names})\b")
    files = (path for package in ("crcfp_jax", "data_pipelines") for path in (ROOT / package).rglob("*.py"))
    found = sorted(str(path.relative_to(ROOT)) for path in files if word.search(path.read_text()))
    assert tuple(found) == DOORS[names]
