"""Folders of results, one a picture: made aside, put in place by one rename, kept apart between processes."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crcfp_jax.files import read_json, told_plainly, write_json_atomic
from crcfp_jax.inference.inputs import Input
from crcfp_jax.lock import Lock
from data_pipelines.errors import UserError

RESULT = "result.json"
_SAMPLED = 2**20  # bytes at either end of a file that tell it from another


def identity(path: Path) -> dict[str, Any]:
    """What tells a picture from another without reading gigabytes: its size and a digest of its ends."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        ends = file.read(_SAMPLED)
        file.seek(max(0, size - _SAMPLED))
        ends += file.read(_SAMPLED)
    return {"bytes": size, "ends_sha256": hashlib.sha256(ends).hexdigest()}


class ResultFolders:
    """The results below one output folder; several processes may work on it at once."""

    def __init__(self, output: Path, settings: Mapping[str, Any], *, overwrite: bool):
        """Args:
            output: made if it doesn't exist.
            settings: what all results here are made with, JSON.
            overwrite: make results again that are there with other settings or of another picture.

        Raises:
            UserError: the folder can't be written.
        """
        self._output, self._settings, self._overwrite = output, dict(settings), overwrite
        with Lock(output / ".locks" / ".writable"):
            pass

    def folder(self, picture: Input) -> Path:
        """Where the results of a picture stand once they are complete."""
        return self._output / picture.name

    def finished(self, picture: Input) -> dict[str, Any] | None:
        """The result of a picture that is done; None where it has to be made.

        Raises:
            UserError: there is one of another picture or with other settings, and nothing says to overwrite it.
        """
        path = self.folder(picture) / RESULT
        if not path.is_file():
            if self.folder(picture).exists():
                raise UserError(f"{self.folder(picture)} is in the way and holds no results: give another --output")
            return None
        result = read_json(path)
        difference = self._difference(result, picture)
        if difference is None:
            return result
        if self._overwrite:
            return None
        raise UserError(f"{path.parent} was made {difference}: give --overwrite or another --output")

    def _difference(self, result: Mapping[str, Any], picture: Input) -> str | None:
        stored = result.get("settings", {})
        for key, value in self._settings.items():
            if stored.get(key) != value:
                return f"with {key} {stored.get(key)!r}, now {value!r}"
        try:
            same = result["input"]["identity"] == identity(picture.path)
        except OSError:
            return None  # the picture has gone; its results are as good as before
        return None if same else f"of another file than {picture.path}"

    @contextmanager
    def making(self, picture: Input) -> Iterator[Path | None]:
        """Gives an empty folder to write into, or None while another process makes these results.

        When the block ends, the folder takes its place, which `finish` has made it ready for; when it raises, nothing
        stays behind.
        """
        final = self.folder(picture)
        part = final.with_name(f".{final.name}.part")
        with Lock(self._output / ".locks" / picture.name) as lock:
            if not lock.take():
                yield None
                return
            with told_plainly(part):
                shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
                part.mkdir(parents=True)
            try:
                yield part
                with told_plainly(final):
                    _replace(part, final)
            finally:
                shutil.rmtree(part, ignore_errors=True)

    def finish(self, part: Path, picture: Input, result: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the result that makes a folder complete, and returns it."""
        result = {
            "input": {"path": str(picture.path.resolve()), "identity": identity(picture.path)} | result["input"],
            "settings": self._settings,
        } | {key: value for key, value in result.items() if key != "input"}
        write_json_atomic(part / RESULT, result)
        return result


def _replace(part: Path, final: Path) -> None:
    """Puts a finished folder in place, of an older one if need be; at any moment one of the two can be found."""
    if not final.exists():
        os.rename(part, final)
        return
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    os.rename(final, old)
    os.rename(part, final)
    shutil.rmtree(old)
