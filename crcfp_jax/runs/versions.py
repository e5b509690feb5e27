"""The versions and devices that a result was computed with."""

import importlib.metadata
import platform

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, this project and its numerical libraries, and the devices that compute."""
    found = {"python": platform.python_version(), "crcfp-jax": _version("crcfp-jax")}
    found |= {name: _version(name) for name in PACKAGES}
    devices = jax.devices()
    return found | {"platform": devices[0].platform, "device": f"{len(devices)} x {devices[0].device_kind}"}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout
