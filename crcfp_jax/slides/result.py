"""The result.json of a picture, which makes its folder of results complete."""

from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json

RESULT = "result.json"


def read_result(path: Path) -> dict[str, Any]:
    """Reads a result.json.

    Raises:
        UserError: it can't be read, or is none of these.
    """
    result = read_json(path)
    try:
        given, timing = result["input"], result["timing"]
        height, width = given["size"]
        numbers = [height, width, given["microns_per_pixel"], timing["seconds"], timing["megapixels_per_second"]]
        regions = result.get("regions", [])
        areas = [result["areas"], *(region["areas"] for region in regions)]
        numbers += [area[key] for part in areas for area in part.values() for key in ("mm2", "share")]
        numbers += [number for region in regions for number in (region["region"], region["not_analysed"]["mm2"])]
        numbers += [] if result["tissue_share"] is None else [result["tissue_share"]]
        whole = isinstance(result["settings"], dict) and all(isinstance(number, int | float) for number in numbers)
        whole = whole and all(isinstance(region["name"], str) for region in regions)
        if not whole or not given["identity"]:
            raise TypeError
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no result of crcfp-jax: give another --output") from error
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
