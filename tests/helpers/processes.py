"""Commands as a user starts them, in processes of their own."""

import os
import sys
from pathlib import Path

from quick_compilation import FLAGS

ROOT = Path(__file__).parents[2]
TINY_RUN = Path(__file__).with_name("tiny_run.py")


def command(module, *arguments):
    return [sys.executable, "-m", f"crcfp_jax.{module}", *map(str, arguments)]


def environment(devices=1, **extra):
    """A user's environment: no warnings made errors, no type checks; `devices` CPU devices, quick compilation."""
    flags = f"--xla_force_host_platform_device_count={devices} {FLAGS}"
    cache = str(ROOT / ".jax_cache")
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache} | extra
