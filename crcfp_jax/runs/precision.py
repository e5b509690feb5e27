"""What activations are computed in, where the settings leave it to the processor: `config.model.dtype=auto`."""

from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.models.network import AUTO, DTYPES

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")  # products of bfloat16, as Linux names them on x86 and on ARM


def settle_dtype(config: ConfigDict, workdir: Path | None = None) -> tuple[ConfigDict, list[str]]:
    """The settings with what 'auto' comes to, and a line that says so; others as they are, and none.

    A run in `workdir` goes on in what it began in, on any machine. The processes of a run follow the first.
    """
    if config.model.dtype != AUTO:
        return config, []
    dtype = _stored(workdir / "config.json") if workdir is not None else None
    why = "as the run began"
    if dtype is None:
        dtype, why = fitting_dtype(jax.default_backend(), CPUINFO.read_text() if CPUINFO.is_file() else "")
    if jax.process_count() > 1:
        names = list(DTYPES)
        dtype = names[int(multihost_utils.broadcast_one_to_all(np.int32(names.index(dtype))))]
    config = config.copy_and_resolve_references()
    config.model.dtype = dtype
    return config, [f"computes in {dtype}, {why} (config.model.dtype={AUTO})"]


def fitting_dtype(platform: str, cpuinfo: str) -> tuple[str, str]:
    """What is fastest on a platform of JAX, and why; `cpuinfo`: the text of /proc/cpuinfo, '' where there is none.

    A CPU without products of bfloat16 converts before and after each, which costs more than it saves.
    """
    if platform != "cpu":
        return "bfloat16", f"on a {platform.upper()}"
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    words = {word for key, _, value in lines if key.strip() in ("flags", "Features") for word in value.split()}
    found = next((name for name in INSTRUCTIONS if name in words), None)
    if found is None:
        return "float32", "this processor having no instructions for bfloat16"
    return "bfloat16", f"this processor having instructions for it, {found}"


def _stored(path: Path) -> str | None:
    """What the run of a config.json computes in; None where there is none or it is damaged."""
    try:
        dtype = read_json(path)["model"]["dtype"] if path.is_file() else None
    except (UserError, KeyError, TypeError):  # damaged: the checkpoint's own settings decide whether the run goes on
        return None
    return dtype if dtype in DTYPES else None
