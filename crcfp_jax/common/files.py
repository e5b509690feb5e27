"""Files that are either whole or absent, and file system faults told in one line."""

import errno
import json
import math
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up: free some space or choose another folder",
    errno.EACCES: "permission denied: change the folder's permissions or choose another folder",
    errno.EPERM: "operation not permitted: change the folder's permissions or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EFBIG: "a file would be larger than the limit (ulimit -f) or the file system allows: choose another folder",
}
# Whose words mean a file whoever says them; a device has permissions too.
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def is_user_fixable(error: OSError) -> bool:
    """Whether a file system fault is one that the user can mend: a full disk, a quota, a permission."""
    return error.errno in _ADVICE


def describe_os_error(error: OSError, path: str | os.PathLike | None = None) -> str:
    """One line that names the path (by default the error's own) and says what to do."""
    path = path if path is not None else error.filename
    reason = _ADVICE.get(error.errno, error.strerror or str(error))
    return f"{os.fsdecode(path)}: {reason}" if path is not None else reason


def told_by_a_library(text: str, numbers: Collection[int] = tuple(_ADVICE)) -> str | None:
    """What to do about a file system fault of which only the system's own words are left; None: there are none.

    Args:
        text: of an error.
        numbers: of the faults that it can be about.
    """
    return next((_ADVICE[number] for number in numbers if os.strerror(number) in text), None)


@contextmanager
def user_error_on_write(path: str | os.PathLike) -> Iterator[None]:
    """Turns every `OSError` of the block, which writes `path`, into a `UserError` that names the path."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {describe_os_error(error, path)}") from error


def link_or_copy(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """A second name of a file that nobody changes in place, or a copy where the disk has no such thing."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def check_space(folder: str | os.PathLike, size: int, *, what: str, option: str) -> None:
    """Raises UserError where `size` bytes don't fit on the disk of a folder that exists.

    Libraries, run into a full disk, say so in hundreds of lines; here it is told before anything is written.

    Args:
        folder: what the user knows of the place.
        size: bytes that are needed at least.
        what: takes them, such as 'the model'.
        option: of the command line, that chooses another folder.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"{os.fsdecode(folder)}: {what} takes at least {-(-size // 2**20)} MiB and the disk has {free // 2**20} "
            f"MiB free: make space or choose another {option}"
        )


def visible_files(folder: Path) -> list[Path]:
    """The files in a folder and below it, also where a link leads, sorted; hidden folders are left out.

    What vanishes meanwhile is left out too. A folder that several links lead to is looked into once, so that a link to
    a folder above itself ends.

    Raises:
        UserError: a folder can't be read.
    """

    def tell(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise UserError(f"cannot read {describe_os_error(error, error.filename)}") from error

    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=tell):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in names]
    return sorted(found)


def write_atomic(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file so that readers see the old content or the new one, never a part; makes its folder.

    Raises:
      UserError: the disk is full or the folder unwritable; the old content is then still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with user_error_on_write(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def write_text_atomic(path: str | os.PathLike, text: str) -> None:
    """Writes UTF-8, with an escape for what it can't say, as file names may hold; see `write_atomic`."""
    write_atomic(path, text.encode(errors="backslashreplace"))


def to_json_types(value: Any) -> Any:
    """NumPy and JAX scalars and arrays as Python's; NaN and infinity, which JSON lacks, as None."""
    if isinstance(value, Mapping):
        return {str(key): to_json_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_types(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return to_json_types(value.__array__().tolist()) if hasattr(value, "__array__") else str(value)


def write_json_atomic(path: str | os.PathLike, content: Any) -> None:
    """Writes `to_json_types(content)` as indented JSON; see `write_atomic`."""
    write_atomic(path, (json.dumps(to_json_types(content), indent=2, allow_nan=False) + "\n").encode())


def check_regular(path: str | os.PathLike) -> None:
    """Raises UserError for a pipe, a socket or a device, of which reading may wait or go on for ever.

    One that is missing, or can't be looked at, is left to what opens it.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{os.fsdecode(path)} is a pipe, socket or device, not a file: save what it gives as a file")


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of a regular file; OSError where it can't be read, see also `check_regular`."""
    check_regular(path)
    return Path(path).read_bytes()


def read_text(path: str | os.PathLike) -> str:
    """A regular file's text, of UTF-8 with line ends of any kind; OSError or UnicodeDecodeError where it is none."""
    return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
      UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(read_bytes(path).decode())
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{os.fsdecode(path)} is not a JSON file ({error}): delete or restore it") from error


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line that a killed process left without its end is left out.

    Raises:
      UserError: no such file, or another line is not JSON of numbers with a step.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError as error:
        folder, name = os.path.split(os.fsdecode(path))
        raise UserError(f"{folder} is not a run folder (no {name}): give the --workdir of a run") from error
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error
    lines = []
    for number, text in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            line = json.loads(text)
            figures = [value for value in line.values() if value is not None]
            whole = isinstance(line["step"], int) and all(isinstance(value, int | float) for value in figures)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise UserError(f"{os.fsdecode(path)}: line {number} is damaged; delete that line")
        lines.append(line)
    return lines
