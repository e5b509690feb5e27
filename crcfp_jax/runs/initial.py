"""A new run that begins with what another one has learned: `config.model.initial`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from flax import traverse_util
from flax.typing import VariableDict
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.runs.data_summary import DATA_FILE
from crcfp_jax.runs.parts import Parts, build_learner
from crcfp_jax.runs.restore import selected_variables
from crcfp_jax.runs.settings import load_config

OF_THE_SHAPES = (  # the settings of `config.model` that decide which parameters there are
    "backbone", "width", "decoder", "decoder_width", "normalisation", "projection_dim", "projection_hidden",
)  # fmt: skip
CLASSIFIER, AUXILIARY, PROJECTOR = "classifier", "auxiliary", "projector"  # groups of parameters


def load_initial(parts: Parts, random: VariableDict) -> tuple[VariableDict, list[str]]:
    """The variables of another run's selected checkpoint, as far as this run's network has them.

    Classes are matched by name: a classifier's weights for a class that both runs have are carried over, those for a
    new class stay random. So do heads that the other run's method had not.

    Args:
        parts: of this run; its `config.model.initial` names the other's folder.
        random: variables of this run's network, host arrays; not changed.

    Returns:
        The variables, and a line for the user.

    Raises:
        UserError: no such run, or one of another network.
    """
    folder = Path(parts.config.model.initial)
    if not (folder / "config.json").is_file():
        wanted = "that this model was exported from" if (folder / "card.json").is_file() else "that a training wrote"
        raise UserError(f"config.model.initial={str(folder)!r} has no config.json: give the run folder {wanted}")
    config = load_config(read_json(folder / "config.json"), folder / "config.json")
    before, now = class_names(folder), [info.name for info in parts.data_set.classes]
    trained, step = selected_variables(folder, build_learner(config, len(before)))
    variables, fresh = carry_over(trained, random, before, now, _misfit(folder, config.model, parts.config.model))
    lists = {
        "new": [name for name in now if name not in before],
        "no longer there": [name for name in before if name not in now],
        "random at first": fresh,
    }
    kept = len(now) - len(lists["new"])
    told = [f"starts from {folder} (step {step}): {kept} of {len(now)} classes carried over"]
    told += [f"{what}: {', '.join(names)}" for what, names in lists.items() if names]
    return variables, ["; ".join(told)]


def class_names(workdir: Path) -> list[str]:
    """Names of the classes that a run was trained on, in the order of their labels, by what its folder holds.

    Raises:
        UserError: the folder doesn't tell.
    """
    if (workdir / DATA_FILE).is_file():
        return [entry["name"] for entry in read_json(workdir / DATA_FILE)["classes"]]
    if (workdir / "result.json").is_file():  # of a version that wrote no data.json
        return list(read_json(workdir / "result.json")["per_class"])
    raise UserError(
        f"{workdir} doesn't tell its classes, having neither {DATA_FILE} nor result.json: run its command again, which "
        "writes them"
    )


def carry_over(
    trained: VariableDict,
    random: VariableDict,
    before: Sequence[str],
    now: Sequence[str],
    misfit: Callable[[str], Exception],
) -> tuple[VariableDict, list[str]]:
    """`random` with what `trained` has of it.

    Args:
        trained: {'params', 'batch_stats'} of a network for the classes `before`, host arrays.
        random: likewise of a network for the classes `now`.
        misfit: makes the error, of the name of a parameter that only one has or that has two shapes.

    Returns:
        The variables, and which heads stayed random.
    """
    places = [now.index(name) for name in now if name in before]
    sources = [before.index(name) for name in now if name in before]
    variables, fresh = {}, {}
    for collection in ("params", "batch_stats"):
        old, new = (traverse_util.flatten_dict(tree[collection]) for tree in (trained, random))
        if strange := sorted(path for path in old.keys() ^ new.keys() if path[0] not in (PROJECTOR, AUXILIARY)):
            raise misfit("/".join(strange[0]))
        for path, leaf in new.items():
            group, stored = path[0], old.get(path)
            if stored is None or (group == AUXILIARY and len(stored) != len(leaf)):
                fresh[path[1] if group == AUXILIARY else group] = None
                continue
            new[path] = np.array(leaf)
            if group in (CLASSIFIER, AUXILIARY) and stored.shape[:-1] == leaf.shape[:-1]:
                new[path][..., places] = stored[..., sources]
            elif stored.shape == leaf.shape:
                new[path] = stored
            else:
                raise misfit("/".join(path))
        variables[collection] = traverse_util.unflatten_dict(new)
    return variables, list(fresh)


def _misfit(folder: Path, before: ConfigDict, now: ConfigDict) -> Callable[[str], Exception]:
    """Makes the error for a run of another network: by the first setting that differs."""

    def misfit(parameter: str) -> Exception:
        for key in OF_THE_SHAPES:
            if before[key] != now[key]:
                return UserError(
                    f"config.model.initial={str(folder)!r} was trained with config.model.{key}={before[key]!r}, and "
                    f"this run has {now[key]!r}: give the same, or another run"
                )
        return UserError(f"config.model.initial={str(folder)!r} has another network: its {parameter} doesn't fit")

    return misfit
