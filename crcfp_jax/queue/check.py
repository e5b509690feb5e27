"""What a queue can know of its runs before the first one starts. No device is touched here."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from crcfp_jax.common.config_flag import parse_flags
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.models.encoders.sources import find_file
from crcfp_jax.queue.folder import SHARED
from crcfp_jax.runs.presets import chosen_config
from crcfp_jax.runs.settings import check_resumable
from data_pipelines.data_set import is_built
from data_pipelines.recipes import builds_itself


def load_config(file: str, changes: Mapping[str, str]) -> ConfigDict:
    """A config file with its variant, changed as the command line of `crcfp_jax.main` would.

    Raises:
        UserError: unknown variant or key, or a value of the wrong type.
    """
    arguments = ["--config", file, *(f"--config.{key}={value}" for key, value in changes.items())]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["", *arguments])
    parse_flags(values, arguments)
    return chosen_config(values)


def data_ready(name: str, data_dir: str, *, build: bool) -> bool:
    """Whether the data set can be opened, once it is built where that is allowed; one that needs a download always."""
    if not builds_itself(name) or is_built(data_dir, name):
        return True  # a missing one is told by whoever opens it
    if build:
        from data_pipelines.build import build as build_data_set  # slow to import, and rarely needed

        build_data_set(name, None, data_dir)
    return build


def fetch_weights(configs: Iterable[ConfigDict]) -> None:
    """Downloads the pretrained weights that runs start from, where they come from a hub.

    Raises:
        UserError: there is no such file.
    """
    models = {(config.model.backbone, config.model.pretrained): config.model for config in configs}
    for _, model in sorted(models.items(), key=lambda item: item[0]):
        if model.pretrained:
            find_file(model)


def check_run_folder(path: Path, current: Mapping[str, Any], whole: str) -> None:
    """Raises UserError where a run folder holds a run with other settings than `current`; see `check_settings`."""
    if (path / "config.json").is_file():
        check_settings(read_json(path / "config.json"), current, path, whole)


def check_settings(stored: dict[str, Any], current: Mapping[str, Any], path: Path, whole: str) -> None:
    """Raises UserError where what is stored in `path` has other settings than `current`; `whole`: what it is part of.

    Settings that may change in one run, but not between runs that are compared, are among them.
    """
    check_resumable(stored, dict(current), path)
    for key in sorted(SHARED):
        section, name = key.split(".")
        was, now = stored[section][name], current[section][name]
        if was != now:
            raise UserError(
                f"{path} holds a run with config.{key}={was!r}, not {now!r}; the runs of a {whole} must agree on it: "
                "give another --workdir"
            )
