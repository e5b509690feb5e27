"""Folders of results, one a picture: made aside, put in place by one rename, kept apart between processes."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import (
    check_regular,
    describe_os_error,
    link_or_copy,
    user_error_on_write,
    write_json_atomic,
)
from crcfp_jax.common.lock import Lock
from crcfp_jax.common.staging import recover_staged, staged_folder
from crcfp_jax.slides.inputs import Input
from crcfp_jax.slides.result import RESULT, read_result

KEPT = ".kept"  # in a folder that is being made: what a user had put into the one that it will replace
_SAMPLED = 2**20  # bytes at either end of a file that tell it from another


def identity(path: Path) -> dict[str, Any]:
    """What tells a picture from another without reading gigabytes: its size and a digest of its ends."""
    check_regular(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        ends = file.read(_SAMPLED)
        file.seek(max(0, size - _SAMPLED))
        ends += file.read(_SAMPLED)
    return {"bytes": size, "ends_sha256": hashlib.sha256(ends).hexdigest()}


@contextmanager
def _keeping(final: Path, part: Path) -> Iterator[None]:
    """Puts what is no result of ours in `final` into `part` too, as the same files where the disk can do that.

    All that can fail is done before the work of the block, which may be hours of it; a rename is left for the end.
    """
    if not final.is_dir():
        yield
        return
    ours, kept = {RESULT, *read_result(final / RESULT)["output"]["files"]}, part / KEPT
    with user_error_on_write(final):
        kept.mkdir()
        for path in final.iterdir():
            if path.name in ours:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, kept / path.name, symlinks=True, copy_function=link_or_copy)
            else:
                link_or_copy(path, kept / path.name)
    yield
    with user_error_on_write(part):
        for path in kept.iterdir():
            target = part / path.name
            if target.exists():  # ours has taken the name
                target = target.with_stem(f"{target.stem}_before")
            path.rename(target)
        kept.rmdir()


class ResultFolders:
    """The results below one output folder; several processes may work on it at once."""

    def __init__(
        self,
        output: Path,
        settings: Mapping[str, Any],
        *,
        own: Callable[[Input], Mapping[str, Any]] = lambda picture: {},
        overwrite: bool,
    ):
        """Args:
            output: made if it doesn't exist.
            settings: what all results here are made with, JSON.
            own: gives the settings that a picture has besides, JSON.
            overwrite: make results again that are there with other settings or of another picture.

        Raises:
            UserError: the folder can't be written.
        """
        self._output, self._settings, self._own, self._overwrite = output, dict(settings), own, overwrite
        # By name: identity and settings, as the pictures and what belongs to them were before they were read.
        self._begun: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        with Lock(output / ".locks" / ".writable"):
            pass

    def folder(self, picture: Input) -> Path:
        """Where the results of a picture stand once they are complete."""
        return self._output / picture.name

    def finished(self, picture: Input) -> dict[str, Any] | None:
        """The result of a picture that is done; None where it has to be made.

        Raises:
            UserError: what is there is no result, or one of another picture or with other settings and nothing says to
                overwrite it.
        """
        path = self.folder(picture) / RESULT
        if not path.is_file():
            if self.folder(picture).exists():
                raise UserError(f"{self.folder(picture)} is in the way and holds no results: give another --output")
            return None
        result = read_result(path)
        difference = self._difference(result, picture)
        if difference is None:
            return result
        if self._overwrite:
            return None
        raise UserError(f"{path.parent} was made {difference}: give --overwrite or another --output")

    def _difference(self, result: Mapping[str, Any], picture: Input) -> str | None:
        for key, value in self._settings_of(picture).items():
            if (stored := result["settings"].get(key)) != value:
                return f"with {key} {stored!r}, now {value!r}"
        try:
            same = result["input"]["identity"] == identity(picture.path)
        except OSError:
            return None  # the picture has gone; its results are as good as before
        return None if same else f"of another file than {picture.path}"

    def _settings_of(self, picture: Input) -> dict[str, Any]:
        return self._settings | dict(self._own(picture))

    @contextmanager
    def claimed(self, picture: Input) -> Iterator[Path | None]:
        """Gives a folder to write into, or None where another process makes these results or just has.

        Nothing in it is visible; what is hidden is put into place at the end.
        When the block ends, the folder takes its place, which `finish` has made it ready for; when it raises, nothing
        stays behind. What a user has put beside earlier results there, which they don't name, is kept.

        Raises:
            UserError: the picture can't be read, the folder can't be written; or as `finished`.
        """
        final = self.folder(picture)
        with Lock(self._output / ".locks" / picture.name) as lock:
            if not lock.take():
                yield None
                return
            recover_staged(final, RESULT)
            if self.finished(picture) is not None:
                yield None
                return
            try:
                self._begun[picture.name] = identity(picture.path), self._settings_of(picture)
            except OSError as error:
                raise UserError(f"cannot read {describe_os_error(error, picture.path)}") from error
            with staged_folder(final, RESULT) as part, _keeping(final, part):
                yield part

    def finish(self, part: Path, picture: Input, result: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the result that makes a folder complete, and returns it.

        Raises:
            UserError: the picture, or a file of its settings, is not the one that it was when `claimed` began.
        """
        before, settings = self._begun.pop(picture.name)
        try:
            changed = identity(picture.path) != before
        except OSError:
            changed = True
        if changed:
            raise UserError(f"{picture.path} changed while it was predicted: run the command again")
        for key, value in self._settings_of(picture).items():
            if value != settings[key]:
                raise UserError(f"{picture.path}: {key} changed while it was predicted: run the command again")
        result = {
            "input": {"path": str(picture.path.resolve()), "identity": before} | result["input"],
            "settings": settings,
        } | {key: value for key, value in result.items() if key != "input"}
        write_json_atomic(part / RESULT, result)
        return result
