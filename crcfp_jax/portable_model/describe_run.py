"""What the card of a model says about the run that it comes from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error
from crcfp_jax.models.encoders.registry import find_family, find_preset, find_published, names_a_file
from crcfp_jax.portable_model.card import FORMAT
from crcfp_jax.runs.parts import Parts
from crcfp_jax.runs.versions import versions
from data_pipelines.data_set import DataSet
from data_pipelines.splits import split_hash
from data_pipelines.tiling import OVERLAP

INPUTS = (
    "RGB images, uint8 [batch, height, width, 3], 0 to 255, not normalised, at microns_per_pixel; "
    "windows of `window` pixels a side, as in training"
)
INTENDED_USE = "Research only. Not for diagnosis or any other clinical decision."
NO_LICENCE = "not stated"
MEASURED = ("mean_iou", "mean_dice", "accuracy", "per_class", "confusion_matrix", "images")


def describe_run(
    parts: Parts,
    step: int,
    result: Mapping[str, Any] | None,
    *,
    name: str,
    licence: str | None,
    crossvalidation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The entries of card.json that don't depend on the exported files, as JSON.

    Args:
        parts: of the run.
        step: of the checkpoint that is exported.
        result: the run's result.json, or None where it had no test images.
        name: of the model.
        licence: that the exporter chose, or None.
        crossvalidation: figures of the same settings on patients that were left out, which name none of them.
    """
    config, network, data_set = parts.config, parts.network(), parts.data_set
    family = find_family(config.model.backbone)
    published = find_published(config.model)
    named = config.model.pretrained
    if config.model.preset and names_a_file(named):  # whose path says nothing to others
        named = find_preset(config.model.preset)[0]
    tested = {} if crossvalidation is None else {"crossvalidation": dict(crossvalidation)}
    return tested | {
        "format": FORMAT,
        "name": name,
        "classes": [{"name": info.name, "colour": list(info.colour)} for info in data_set.classes],
        "microns_per_pixel": parts.microns_per_pixel,
        "window": config.data.side,
        "overlap": OVERLAP,
        "stride": network.feature_stride,
        "normalisation": {"mean": list(network.pixels.mean), "deviation": list(network.pixels.deviation)},
        "inputs": INPUTS,
        "method": config.method,
        "backbone": config.model.backbone,
        "decoder": config.model.decoder,
        "output_stride": config.model.output_stride,
        "width": None if family.width is None else config.model.width,
        "decoder_width": config.model.decoder_width,
        "normalisation_layers": config.model.normalisation,
        "inference_model": parts.inference_model,
        "inference_statistics": config.model.inference_statistics,
        "pretrained": named,
        "training_dtype": config.model.dtype,
        "uncertainty": bool(network.perturbations),
        "embedding": True,
        "classifiers": 1 + sum(count for _, count in network.perturbations),
        "data": _describe_data(parts),
        "step": step,
        "selection": config.evaluation.selection,
        "metrics": None if result is None else {key: result[key] for key in MEASURED},
        "versions": versions(),
        "training_versions": None if result is None else result["versions"],
        "licence": {
            "model": licence or NO_LICENCE,
            "stated": licence is not None,
            "data": data_set.licence or NO_LICENCE,
            "pretrained": named or None,
            "pretrained_terms": f"{published.licence} ({published.remark})" if published else None,
        },
        "intended_use": INTENDED_USE,
        "created_with": f"crcfp-jax {versions()['crcfp-jax']}",
    }


@contextmanager
def user_error_on_read(data_set: DataSet) -> Iterator[None]:
    """Turns every `OSError` of the block, which reads tiles, into a `UserError` that names the data set's folder."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, data_set.path)}") from error


def _describe_data(parts: Parts) -> dict[str, Any]:
    config, data_set, split = parts.config, parts.data_set, parts.split
    used = {"labelled": split.labelled, "validation": split.validation, "test": split.test}
    if parts.method.sources:
        used["unlabelled"] = split.unlabelled
    pixels = sorted(record.microns_per_pixel for record in (*split.labelled, *used.get("unlabelled", ())))
    return {
        "name": data_set.name,
        "fingerprint": data_set.fingerprint,
        "microns_per_pixel": pixels[-1],
        "finest_microns_per_pixel": pixels[0],
        "split_unit": data_set.splits.find(config.data.split_unit, data_set.name).name,
        "fraction": config.fraction,
        "seed": config.seed,
        "split_hash": split_hash(split),
        "tiles": {part: len(records) for part, records in used.items()},
        "hospitals": {part: sorted({record.hospital for record in records}) for part, records in used.items()},
    }
