"""The result.json of a picture, which makes its folder of results complete."""

from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.common.json_form import check_form

RESULT = "result.json"
_AREAS = {str: {"mm2": float, "share": float}}
FORM = {
    "input": {"size": (int, int), "microns_per_pixel": float, "identity": {"bytes": int}},
    "settings": {},
    "tissue_share": (float,),
    "areas": _AREAS,
    "regions?": [{"region": int, "name": str, "areas": _AREAS, "not_analysed": {"mm2": float}}],
    "timing": {"seconds": float, "megapixels_per_second": float},
    "output": {"files": [str]},
}


def read_result(path: Path) -> dict[str, Any]:
    """Reads a result.json.

    Raises:
        UserError: it can't be read, or is none of these.
    """
    result = read_json(path)
    check_form(path, result, FORM, remedy="delete its folder, or give another --output")
    return result


def is_result(folder: Path) -> bool:
    """Whether a folder holds results of a picture."""
    if not (folder / RESULT).is_file():
        return False
    try:
        read_result(folder / RESULT)
    except UserError:
        return False
    return True
