"""What can be known to fail before the first fold starts, told at once. No device is touched here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from crcfp_jax.crossvalidate.folder import CrossValidationFolder
from crcfp_jax.crossvalidate.plan import Plan
from crcfp_jax.queue.check import check_run_folder, data_ready, fetch_weights, load_config
from crcfp_jax.queue.folder import FINISHED
from crcfp_jax.runs.parts import assemble
from crcfp_jax.runs.settings import settings
from crcfp_jax.training.step import check_step
from data_pipelines.data_set import DataSet, open_data_set
from data_pipelines.folds import annotated_patients, deal_folds

FOLDS = 5


def open_data(config: ConfigDict) -> DataSet:
    """The data set of a config, built first where it is made from nothing."""
    data_ready(config.data.name, config.data.dir, build=True)
    return open_data_set(config.data.dir, config.data.name)


def number_of_folds(data_set: DataSet, wanted: int | None) -> tuple[int, list[str]]:
    """How many folds to make, and lines that the user should see.

    Five unless told otherwise, or one a patient where there are fewer.
    """
    if wanted is not None:
        return wanted, []
    patients = len(annotated_patients(data_set))
    if 1 < patients < FOLDS:
        return patients, [f"{patients} annotated patients: {patients} folds of one patient each"]
    return FOLDS, []


def check_runs(plan: Plan, folder: CrossValidationFolder) -> tuple[dict[str, int], dict[str, Any]]:
    """Checks every run as far as that is possible without a device, and fetches the weights they start from.

    Returns:
        Name of a run -> the steps it takes; and what plan.json says of the data and the settings.

    Raises:
        UserError: for the first thing that would make a run fail, or a folder that belongs to other settings.
    """
    base = assemble(load_config(plan.config_file, plan.base_settings(0)))
    current = settings(base)
    folder.check(current)
    configs = {run: load_config(plan.config_file, plan.run_settings(run)) for run in plan.runs}
    for run, config in configs.items():
        parts = assemble(config)
        check_step(config, parts.method, parts.network().context_stride)
        check_run_folder(folder.run(run.name), settings(parts), "cross-validation")
    fetch_weights(config for run, config in configs.items() if folder.state(run.name) != FINISHED)
    steps = {run.name: config.train.steps for run, config in configs.items()}
    return steps, _describe(plan, base.data_set, current)


def _describe(plan: Plan, data_set: DataSet, current: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "config": Path(plan.config_file.partition(":")[0]).name + "".join(plan.config_file.partition(":")[1:]),
        "data": data_set.name,
        "folds": plan.folds,
        "seed": plan.seed,
        "patients": deal_folds(data_set, plan.folds, plan.seed),
        "classes": [info.name for info in data_set.classes],
        "settings": current,
    }
