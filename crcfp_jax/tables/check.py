"""What can be known to fail before the first run starts, told at once. No device is touched here."""

from collections.abc import Mapping
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from crcfp_jax.common.command import parse_flags
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.models.encoders.sources import find_file
from crcfp_jax.runs.parts import assemble, build_learner
from crcfp_jax.runs.settings import check_resumable, settings
from crcfp_jax.tables.definitions import METHOD_OF, Data, Table
from crcfp_jax.tables.folder import FINISHED, SHARED, GridFolder
from crcfp_jax.tables.grid import Grid, allowed_negatives, base_settings, config_file
from crcfp_jax.training.step import check_step
from data_pipelines.about import SPLITS_FILE
from data_pipelines.data_set import is_built, open_data_set
from data_pipelines.recipes import builds_itself, find_recipe
from data_pipelines.splits import ALL
from data_pipelines.units import Unit


def load_config(file: str, changes: Mapping[str, str]) -> ConfigDict:
    """A config file with its variant, changed as the command line of `crcfp_jax.main` would.

    Raises:
        UserError: unknown variant or key, or a value of the wrong type.
    """
    arguments = ["--config", file, *(f"--config.{key}={value}" for key, value in changes.items())]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["", *arguments])
    parse_flags(values, arguments)
    return values["config"].value


def sweep_values(table: Table, data: Data, scale: str, user: Mapping[str, str]) -> tuple[list[int | None], list[str]]:
    """The values that the table's sweep takes, [None] without one, and lines that say what was changed and why.

    Raises:
        UserError: settings that can't be used, or so small a batch that no value is left.
    """
    if table.sweep is None:
        return [None], []
    method = METHOD_OF[table.systems[0]]
    contrast = method.needing("bank")
    if contrast is None or table.sweep.key != contrast.keys["negatives"]:
        return list(table.sweep.values), []
    config = load_config(config_file(data, scale), base_settings(table, scale, user) | {"method": method.name})
    stride = build_learner(config, data.classes).network().context_stride
    maps, cells = len(contrast.pushes) * config.train.unlabelled_batch_size, (config.data.side // stride) ** 2
    if maps <= 0 or cells <= 0:
        raise UserError(
            f"config.train.unlabelled_batch_size={config.train.unlabelled_batch_size} and "
            f"config.data.side={config.data.side} leave no negatives to draw: raise them"
        )
    values, notes = allowed_negatives(table.sweep.values, maps, cells)
    if not values:
        raise UserError(
            f"none of the table's numbers of negatives can be drawn from {maps} maps of {cells} cells: raise "
            "config.data.side"
        )
    return list(values), notes


def check_runs(grid: Grid, folder: GridFolder, *, build: bool) -> dict[str, int]:
    """Checks every run of a grid as far as that is possible without a device.

    Args:
        build: build a data set that needs no download where it is missing, and fetch pretrained weights, once
            everything else is right. Without it, what needs them is not checked.

    Returns:
        Name of a run -> the steps it takes.

    Raises:
        UserError: for the first thing that would make a run fail, or a run folder that belongs to other settings.
    """
    configs = {run: load_config(grid.config_file, grid.run_settings(run)) for run in grid.runs}
    data = next(iter(configs.values())).data  # the same for all runs
    unit, place = _split_unit(data.name, data.dir, data.split_unit)
    for run, config in configs.items():
        _check_split(unit, place, run.fraction, run.seed)
        learner = build_learner(config, grid.data.classes)
        check_step(config, learner.method, learner.network().context_stride)
    if _data_ready(grid.data.name, data.dir, build=build):
        for run, config in configs.items():
            parts = assemble(config)
            if not parts.split.test:
                raise UserError(f"{parts.data_set.path} has no test images to evaluate on: build the complete data set")
            _check_run_folder(folder.run(run.name), settings(parts))
    if build:
        open_runs = [config for run, config in configs.items() if folder.state(run.name) != FINISHED]
        models = {(config.model.backbone, config.model.pretrained): config.model for config in open_runs}
        for _, model in sorted(models.items(), key=lambda item: item[0]):
            if model.pretrained:
                find_file(model)  # downloads it, where it comes from the hub
    return {run.name: config.train.steps for run, config in configs.items()}


def _split_unit(name: str, data_dir: str, unit: str) -> tuple[Unit, str]:
    """A data set's split unit, and where it stands: in the data set where that is built, else in its recipe."""
    if is_built(data_dir, name):
        data_set = open_data_set(data_dir, name)
        return data_set.splits.find(unit, name), str(data_set.path / SPLITS_FILE)
    return find_recipe(name).splits.find(unit, name), f"the recipe {name}"


def _check_split(unit: Unit, place: str, fraction: str, seed: int) -> None:
    """Raises UserError where a unit has no such fraction, or no list for a seed although it has some for others."""
    if fraction not in unit.fractions:
        known = ", ".join(unit.fractions)
        raise UserError(f"--fractions {fraction} is not in {place} by {unit.name}; known: {known}")
    if unit.labelled and fraction != ALL and str(seed) not in unit.labelled:
        raise UserError(
            f"--seeds {seed}: {place} lists labelled {unit.name}s for the seeds {', '.join(unit.labelled)} only: "
            "choose from these"
        )


def _data_ready(name: str, data_dir: str, *, build: bool) -> bool:
    """Whether the data set can be opened, once it is built where that is allowed; one that needs a download always."""
    if not builds_itself(name) or is_built(data_dir, name):
        return True  # a missing one is told by whoever opens it
    if build:
        from data_pipelines.build import build as build_data_set  # slow to import, and rarely needed

        build_data_set(name, None, data_dir)
    return build


def _check_run_folder(path: Path, current: dict) -> None:
    """Raises UserError where a run folder holds a run with other settings than `current`."""
    if not (path / "config.json").is_file():
        return
    stored = read_json(path / "config.json")
    check_resumable(stored, current, path)
    for key in sorted(SHARED):  # may change in one run, but not between the runs of a table
        section, name = key.split(".")
        was, now = stored[section][name], current[section][name]
        if was != now:
            raise UserError(
                f"{path} holds a run with config.{key}={was!r}, not {now!r}; the runs of a table must agree on it: "
                "give another --workdir"
            )
