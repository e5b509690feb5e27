"""Published weights as files: safetensors or either format of PyTorch, told apart by what is in them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error
from crcfp_jax.models.encoders.pickle_table import DamagedFile
from crcfp_jax.models.encoders.torch_file import PICKLE_START, ZIP_MAGIC, read_torch_file

SUFFIXES = (".safetensors", ".pth", ".pt", ".torch", ".bin", ".ckpt")
# Where a checkpoint has several tables of tensors, the first of these is taken: a teacher is its student's average.
USUAL_KEYS = (
    "state_dict", "model_state_dict", "model_state", "teacher", "model_ema", "ema", "model", "module", "net",
    "network", "encoder", "backbone", "student",
)  # fmt: skip
# First bytes of what is downloaded by mistake.
MISTAKES = {b"version https://git-lfs": "a pointer of Git LFS (git lfs pull fetches the file)", b"<": "a web page"}


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file."""

    tensors: dict[str, np.ndarray]  # by name; views of the file
    left_out: str  # what the file holds beside them, in words; '' where there is nothing


def read_tensors(path: Path) -> WeightFile:
    """Reads the tensors of a file, whatever its name; no code in it is run, and PyTorch is not needed.

    Raises:
        UserError: the file can't be read, is damaged, or holds no table of tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(32)
        # First, as the length of safetensors' header, of which a pickle has no likeness, may begin as any other kind.
        if start[4:9] == b"\0\0\0\0{":
            return WeightFile(_read_safetensors(path), "")
        if start.startswith((ZIP_MAGIC, PICKLE_START)):
            return _choose_table(path)
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error
    except SafetensorError as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}); download it again") from error
    except DamagedFile as error:
        raise UserError(
            f"{path} can't be used as weights: {error}; download it again, or save the model's state_dict() anew"
        ) from error
    kind = next((kind for mistake, kind in MISTAKES.items() if start.lstrip().startswith(mistake)), "something else")
    raise UserError(f"{path} is {kind}: give a file of weights ({', '.join(SUFFIXES)})")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (AttributeError, KeyError, TypeError) as error:  # how the library says that NumPy lacks a type
        raise UserError(f"{path} stores numbers of a kind that is not known here: save it anew as float32") from error


def _choose_table(path: Path) -> WeightFile:
    found = read_torch_file(path)
    usual = [key for key in USUAL_KEYS if key in found.tables]
    keys = usual or ([""] if "" in found.tables else list(found.tables))
    if not keys:
        raise DamagedFile("it holds no table of tensors")
    if not usual and len(keys) > 1:
        raise UserError(
            f"{path} holds tables of tensors under {list_names(keys)}: save the one that is meant as a file of its own"
        )
    chosen = keys[0]
    beside = [key or "tensors at its top" for key in found.tables if key != chosen] + found.others
    left_out = f"{list_names(beside)} beside {chosen!r}" if chosen and beside else list_names(found.others)
    return WeightFile(found.tables[chosen], left_out)


def list_names(names: list[str], most: int = 4) -> str:
    """Names for a message, shortened where they are many or long."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:60] for name in names[:most]) + more
