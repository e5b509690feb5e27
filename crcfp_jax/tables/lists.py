"""Which labelled shares and seeds a data set's split lists know."""

from pathlib import Path

import data_pipelines
from crcfp_jax.files import read_json
from data_pipelines.errors import UserError
from data_pipelines.splits import ALL


def split_lists(name: str, unit: str) -> tuple[str, dict, Path]:
    """The name of the split unit ('default' resolved), its lists, and the file that they stand in.

    Raises:
        UserError: the data set isn't split by this unit.
    """
    path = Path(data_pipelines.__file__).parent / "splits" / f"{name}.json"
    lists = read_json(path)
    unit = lists["default"] if unit == "default" else unit
    if unit not in lists["units"]:
        raise UserError(
            f"config.data.split_unit={unit!r} is unknown for {name}; known: default, {', '.join(lists['units'])}"
        )
    return unit, lists["units"][unit], path


def check_split(name: str, unit: str, fraction: str, seed: int) -> None:
    """Raises UserError where a data set has no lists for a fraction, or for a seed although it has some for others."""
    unit, lists, path = split_lists(name, unit)
    if fraction not in lists["fractions"]:
        known = ", ".join(lists["fractions"])
        raise UserError(f"--fractions {fraction} is not in {path} for {name} by {unit}; known: {known}")
    released = lists["labelled"]
    if released and fraction != ALL and str(seed) not in released:
        raise UserError(
            f"--seeds {seed}: {path} lists labelled {unit}s for the seeds {', '.join(released)} only: choose from these"
        )
