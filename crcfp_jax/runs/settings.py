"""The settings of a run folder, and what may change when it is resumed."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.config import CHANGEABLE, default
from crcfp_jax.methods.systems.registry import METHODS
from crcfp_jax.models.encoders.pixels import IMAGENET
from crcfp_jax.models.network import AUTO
from crcfp_jax.runs.parts import Parts
from data_pipelines.splits import split_hash

OF_THE_DATA = ("data_fingerprint", "split_hash")  # beside the settings


def settings(parts: Parts) -> dict:
    """The settings as JSON, with the data set's fingerprint and the split's hash: what a checkpoint remembers.

    The pixel statistics are told in numbers, also where they are those of the weights, and what is evaluated by its
    name: a run that goes on without its pretrained file, or under another version, goes on as before.
    """
    values, pixels = json.loads(parts.config.to_json()), parts.network().pixels
    values["model"] |= {"pixel_mean": list(pixels.mean), "pixel_deviation": list(pixels.deviation)}
    values["evaluation"]["model"] = parts.inference_model
    return values | {"data_fingerprint": parts.data_set.fingerprint, "split_hash": split_hash(parts.split)}


def keep_pixels(config: ConfigDict, workdir: Path) -> ConfigDict:
    """The settings of a run that may go on in `workdir`, with the pixel statistics that its weights have had so far.

    They are the run's own or, where it is new, those of the run that `config.model.initial` names; the name of the
    pretrained weights that this one goes back to comes with them. Otherwise `config.model.pretrained` may be another
    one by now. Statistics that the settings give themselves stay.
    """
    stored = workdir / "config.json"
    goes_on = stored.is_file() and any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*"))
    if not goes_on and config.model.initial:
        stored = Path(config.model.initial) / "config.json"
    elif not goes_on:
        return config
    try:
        model = _in_present_terms(read_json(stored)).get("model", {})
    except UserError:  # damaged: the checkpoint's own settings decide whether the run goes on
        return config
    config = config.copy_and_resolve_references()
    if config.model.initial:
        config.model.pretrained = model.get("pretrained", config.model.pretrained)
        config.model.preset = model.get("preset", "")
    if config.model.pixel_mean or config.model.pixel_deviation:
        return config
    config.model.pixel_mean = tuple(model.get("pixel_mean", ()))
    config.model.pixel_deviation = tuple(model.get("pixel_deviation", ()))
    return config


def load_config(values: dict, source: Path) -> ConfigDict:
    """The locked settings from their JSON, read from `source`; keys that it lacks have their default.

    Raises:
        UserError: a key that this version doesn't know, or a method whose name means another one now.
    """
    check_scheme(values, source)
    config = default()
    stored = {key: value for key, value in _in_present_terms(values).items() if key not in OF_THE_DATA}
    unknown = sorted(_flat(stored).keys() - _flat(config.to_dict()).keys())
    if unknown:
        raise UserError(f"{source}: config.{unknown[0]} is unknown to this version: it was written by another one")
    config.update(stored)
    return config


def check_rules(stored: dict, folder: Path) -> None:
    """Refuses to train on with what an older version trained by rules that the settings don't tell of.

    Raises:
        UserError: feature dropout, running variance and weight decay, or scheme 2, were others, or a teacher lacked
            batch statistics.
    """
    check_scheme(stored, folder)
    method = METHODS.get(stored.get("method"))
    if method is not None and method.teacher_decay and "model" not in stored.get("evaluation", {}):
        raise UserError(
            f"{folder} was trained by an older version, whose teacher had no batch statistics to go on with: `python "
            f"-m crcfp_jax.evaluate --workdir {folder}` evaluates it as it is; to train, give another --workdir"
        )
    if is_older(stored):
        raise UserError(
            f"{folder} was trained by an older version, by other rules (feature dropout, running variance, weight "
            f"decay): `python -m crcfp_jax.evaluate --workdir {folder}` evaluates it as it is; to train, give another "
            "--workdir"
        )


def is_older(stored: dict) -> bool:
    """Whether settings are of a version before scheme 2 and the rules of training were the paper's."""
    return "whole_view_scale" not in stored.get("data", {})


def check_scheme(stored: dict, source: Path) -> None:
    """Raises UserError for a run of what an older version called scheme 2."""
    if stored.get("method") == "crcfp_s2" and is_older(stored):
        raise UserError(
            f"{source}: config.method='crcfp_s2' was context and cross-consistency when this run was trained; it is "
            "context and entropy now, as in the paper: train it anew in another folder"
        )


def _in_present_terms(values: dict) -> dict:
    """Stored settings in the words of this version.

    The whole view was a share of a tile's sides, not a scale; the oldest runs flipped left and right only, when there
    was no choice. The learning rate of all but the backbone was a multiple, not a group of parameters. The student was
    evaluated, when there was no choice. The decoder had four times the stem's channels, and every encoder was a ResNet,
    when it had no width of its own.
    """
    data, defaults = {"flips": "horizontal"} | dict(values.get("data", {})), default().data
    if is_older(values):
        share = data.pop("whole_view_share", 1.0)  # the oldest runs have none, and saw the whole tile
        scale = data.get("side", defaults.side) / (share * data.get("base_size", defaults.base_size))
        # The shares of shipped configs were the scale 0.8, rounded to two or three digits.
        data["whole_view_scale"] = 0.8 if abs(scale - 0.8) < 0.005 else scale
    optimizer = dict(values.get("optimizer", {}))
    multiplier = optimizer.pop("head_multiplier", 1.0)
    if multiplier != 1:
        optimizer["groups"] = [["backbone/.*", 1.0], [".*", multiplier]]
    evaluation = {"model": "student"} | dict(values.get("evaluation", {}))
    values = values | {"data": data, "optimizer": optimizer, "evaluation": evaluation}
    if "model" in values and "decoder_width" not in values["model"]:
        model = {"width": default().model.width} | dict(values["model"])
        pixels = {"pixel_mean": list(IMAGENET.mean), "pixel_deviation": list(IMAGENET.deviation)}
        values |= {"model": model | {"decoder_width": 4 * model["width"]} | pixels}
    return values


def _flat(values: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_resumable(stored: dict, current: dict, folder: Path) -> list[str]:
    """Compares the settings of a stored run with the current ones.

    Returns:
        One line for each harmless difference that the user may want to know of.

    Raises:
        UserError: a difference that makes it another run, naming every key.
    """
    old, new = _flat(_in_present_terms(stored)), _flat(current)
    # A setting newer than the run had its default's effect then: defaults of new settings are chosen so.
    defaults = _flat(json.loads(default().to_json()))
    old = {key: defaults[key] for key in new.keys() & defaults.keys()} | old
    differing = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if new.get("model.dtype") == AUTO:  # the run will go on in what it began in
        differing = [key for key in differing if key != "model.dtype"]
    if "split_hash" not in old:  # a run from before it was remembered
        differing = [key for key in differing if key != "split_hash"]
    forbidden = [key for key in differing if key not in CHANGEABLE]
    if "data_fingerprint" in forbidden and "data.name" not in forbidden:
        raise UserError(
            f"{folder} was trained on another build of data set {current['data']['name']!r} "
            f"(data_fingerprint {old['data_fingerprint']}, now {new['data_fingerprint']}): give another --workdir"
        )
    if forbidden == ["split_hash"]:
        raise UserError(
            f"{folder} was trained on another split of data set {current['data']['name']!r}: the lists in its "
            "splits.json were others; restore them, or give another --workdir"
        )
    forbidden = [key for key in forbidden if key != "split_hash"]  # follows from the others
    if forbidden:
        changes = ", ".join(f"config.{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in forbidden)
        raise UserError(f"{folder} holds a run with other settings: {changes}; undo that or give another --workdir")
    if "train.steps" in differing:
        return [
            f"config.train.steps was {old['train.steps']}, now {new['train.steps']}: the learning rate's decay and the "
            "supervised beginning, which are shares of it, are stretched"
        ]
    return []
