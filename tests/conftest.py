"""Strict modes and four CPU devices, set before JAX starts."""

import os
from pathlib import Path

from quick_compilation import FLAGS

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))  # of commands too
if os.environ["JAX_PLATFORMS"] == "cpu":
    given = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{given} --xla_force_host_platform_device_count=4 {FLAGS}"

from jaxtyping import install_import_hook

# Shapes in signatures are contracts: under pytest every call is checked against them.
install_import_hook(
    ["crcfp_jax", "data_pipelines.annotations", "data_pipelines.reading", "data_pipelines.tiling"], "beartype.beartype"
)

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)

REAL_DATA = Path(os.environ.get("CRCFP_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def real_data():
    """The folder of real images (MoNuSeg, a BCSS region, a slide) next to the checkout, or $CRCFP_REAL_DATA."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set CRCFP_REAL_DATA to a folder that holds it")
    return REAL_DATA


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder that holds the synthetic data set, built once."""
    from data_pipelines.build import build

    folder = tmp_path_factory.mktemp("data")
    build("synthetic", None, folder)
    return folder
