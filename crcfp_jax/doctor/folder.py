"""The doctor and a run folder: reads metrics.jsonl, config.json, data.json and result.json, writes report.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json, read_metrics, write_text_atomic
from crcfp_jax.common.json_form import check_form
from crcfp_jax.doctor.diagnosis import Diagnosis, examine
from crcfp_jax.doctor.render import to_markdown
from crcfp_jax.methods.systems.registry import METHODS

SETTINGS = {"method": str, "fraction": str, "seed": int, "data": {"name": str}, "weights": {"warmup": float}}
SETTINGS |= {"train": {"steps": int}}
CLASS = {"name": str, "mm2": float, "tiles": int, "patients": int}
DATA = {"microns_per_pixel": float, "labelled_patients": (int,), "classes": [CLASS]}


def diagnose(workdir: Path, class_names: Sequence[str] = ()) -> tuple[Diagnosis, str, Mapping[str, Any] | None]:
    """Examines a run folder.

    Args:
        class_names: in the order of their labels; by default those that the folder itself tells of.

    Returns:
        The diagnosis, a title, and what result.json holds (None where the run is not finished).

    Raises:
        UserError: not a run folder, or a damaged file in it.
    """
    rows = read_metrics(workdir / "metrics.jsonl")
    settings = read_json(workdir / "config.json")
    check_form(workdir / "config.json", settings, SETTINGS)
    if settings["method"] not in METHODS:
        known = ", ".join(METHODS)
        raise UserError(
            f"{workdir / 'config.json'}: config.method={settings['method']!r} is unknown to this version, which knows "
            f"{known}"
        )
    result = read_json(workdir / "result.json") if (workdir / "result.json").is_file() else None
    data = read_json(workdir / "data.json") if (workdir / "data.json").is_file() else None
    if data is not None:
        check_form(workdir / "data.json", data, DATA)
    names = list(class_names) or _class_names(rows, result, data)
    title = f"{settings['method']}, {settings['data']['name']} {settings['fraction']}, seed {settings['seed']}"
    return examine(rows, names, settings, data), title, result


def write_report(workdir: Path, class_names: Sequence[str] = ()) -> Diagnosis:
    """Writes report.md into a run folder; arguments and errors are those of `diagnose`."""
    diagnosis, title, result = diagnose(workdir, class_names)
    write_text_atomic(workdir / "report.md", to_markdown(diagnosis, title, result))
    return diagnosis


def _class_names(
    rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None, data: Mapping[str, Any] | None
) -> list[str]:
    if data is not None:
        return [entry["name"] for entry in data["classes"]]
    if result is not None:
        return list(result["per_class"])
    prefix = "pseudo_labels/"
    return list(dict.fromkeys(key.removeprefix(prefix) for row in rows for key in row if key.startswith(prefix)))
