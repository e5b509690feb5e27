"""What a run learns from: told in one line at its start, and kept as data.json in its folder."""

import dataclasses
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import write_json_atomic
from crcfp_jax.doctor.checks import percent
from crcfp_jax.models.encoders.registry import find_preset
from crcfp_jax.runs.parts import Parts
from data_pipelines.scarcity import Annotated

DATA_FILE = "data.json"


def annotated_classes(parts: Parts) -> list[Annotated]:
    """How much of each class the labelled tiles of a run hold, in the order of the labels.

    Where tiles overlap, what both show is counted twice: training sees it twice.
    """
    shown, patients = parts.labelled_pixels > 0, [record.patient for record in parts.split.labelled]
    return [
        Annotated(
            name=info.name,
            mm2=float(parts.labelled_mm2[:, label].sum()),
            tiles=int(shown[:, label].sum()),
            patients=len({patient for patient, has in zip(patients, shown[:, label], strict=True) if has}),
        )
        for label, info in enumerate(parts.data_set.classes)
    ]


def check_annotated(parts: Parts) -> None:
    """Raises UserError where fewer than two classes are annotated: there is nothing to tell apart."""
    present = [amount.name for amount in annotated_classes(parts) if amount.tiles]
    if len(present) < 2:
        raise UserError(
            f"data set {parts.data_set.name}: {f'only {present[0]}' if present else 'nothing'} is annotated in its "
            f"{len(parts.split.labelled)} labelled tiles, and a network learns to tell classes apart: annotate another "
            "one, or name what no annotation covers when you build it (--unannotated)"
        )


def summary(parts: Parts) -> dict[str, Any]:
    """What data.json holds."""
    return {
        "name": parts.data_set.name,
        "microns_per_pixel": parts.microns_per_pixel,
        "labelled_tiles": len(parts.split.labelled),
        "unlabelled_tiles": len(parts.split.unlabelled),
        "labelled_patients": len({record.patient for record in parts.split.labelled}),
        "classes": [dataclasses.asdict(amount) for amount in annotated_classes(parts)],
    }


def write_summary(parts: Parts, workdir: Path) -> None:
    """Writes data.json: what the labelled tiles hold of each class, for whoever looks at the run alone."""
    write_json_atomic(workdir / DATA_FILE, summary(parts))


def describe(parts: Parts) -> list[str]:
    """What is trained on what, in one line; a second one where no image is without annotation."""
    config, data_set, split = parts.config, parts.data_set, parts.split
    names = ", ".join(info.name for info in data_set.classes)
    crop = config.data.side * parts.microns_per_pixel
    unlabelled = bool(parts.method.sources)
    batch = f"{config.train.batch_size}{f' + {config.train.unlabelled_batch_size}' if unlabelled else ''}"
    told = [
        f"{data_set.name}: {len(data_set.classes)} classes ({names})",
        f"{len(split.labelled)} labelled{f' and {len(split.unlabelled)} unlabelled' if unlabelled else ''} tiles",
        f"{parts.microns_per_pixel:.3g} µm per pixel {_origin(parts)}",
        f"crops of {config.data.side} pixels = {crop:.4g} µm",
        f"{config.train.steps} steps of {batch}",
    ]
    if sampling := parts.sampling():
        pairs = zip(data_set.classes, sampling.shares, strict=True)
        shares = ", ".join(f"{info.name} {percent(share)}" for info, share in pairs)
        told.append(f"labelled crops drawn around pixels of {shares}")
    lines = [", ".join(told)]
    if unlabelled and {record.id for record in split.unlabelled} <= {record.id for record in split.labelled}:
        lines.append(
            "every image is annotated, so the unlabelled images are the same ones: give images that nobody annotated "
            "(for slides of your own: unannotated/), or use config.method=supervised"
        )
    return lines


def _origin(parts: Parts) -> str:
    """Where the pixel size is from."""
    preset = parts.config.model.preset
    if preset and parts.microns_per_pixel in (find_preset(preset)[1].microns_per_pixel or ()):
        return f"as config.model.preset={preset} has seen"
    if parts.config.data.microns_per_pixel > 0:
        return "as config.data.microns_per_pixel says"
    if parts.data_set.network_microns_per_pixel > 0:
        return "as its build chose"
    return f"as config.data.base_size={parts.config.data.base_size} makes it"
