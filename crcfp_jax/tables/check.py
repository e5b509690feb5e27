"""What can be known to fail before the first run starts, told at once. No device is touched here."""

from collections.abc import Mapping

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.settings import value_at
from crcfp_jax.queue.check import check_run_folder, data_ready, fetch_weights, load_config
from crcfp_jax.queue.folder import FINISHED
from crcfp_jax.runs.parts import assemble, build_learner
from crcfp_jax.runs.settings import settings
from crcfp_jax.tables.definitions import METHOD_OF, Data, Table
from crcfp_jax.tables.folder import GridFolder
from crcfp_jax.tables.grid import Grid, allowed_negatives, base_settings, config_file
from crcfp_jax.training.step import check_step
from data_pipelines.about import SPLITS_FILE
from data_pipelines.data_set import is_built, open_data_set
from data_pipelines.recipes import find_recipe
from data_pipelines.splits import ALL
from data_pipelines.units import Unit


def sweep_values(table: Table, data: Data, scale: str, user: Mapping[str, str]) -> tuple[list[int | None], list[str]]:
    """The values that the table's sweep takes, [None] without one, and lines that say what was changed and why.

    Raises:
        UserError: settings that can't be used, or so small a batch that no value is left.
    """
    if table.sweep is None:
        return [None], []
    if table.sweep.times:
        own = value_at(load_config(config_file(data, scale), base_settings(table, scale, user)), table.sweep.key)
        return [value * own for value in table.sweep.values], []
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
    if data_ready(grid.data.name, data.dir, build=build):
        for run, config in configs.items():
            parts = assemble(config)
            if not parts.split.test:
                raise UserError(f"{parts.data_set.path} has no test images to evaluate on: build the complete data set")
            check_run_folder(folder.run(run.name), settings(parts), "table")
    if build:
        open_runs = [config for run, config in configs.items() if folder.state(run.name) != FINISHED]
        fetch_weights(open_runs)
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
