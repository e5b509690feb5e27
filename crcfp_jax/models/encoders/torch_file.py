"""Tables of tensors from PyTorch's files, without PyTorch: the zip format, and the one before it (torch < 1.6).

Formats: torch/serialization.py of PyTorch. Tensors are views of the file until somebody copies them.
"""

import io
import mmap
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crcfp_jax.models.encoders.pickle_table import DamagedFile, Global, PickleReader, Placeholder
from crcfp_jax.models.encoders.stored_tensor import DTYPES, STORAGES, Storage, StoredTensor, is_whole, stored_tensor

ZIP_MAGIC = b"PK\x03\x04"
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # the first pickle of the old format
PROTOCOL_VERSION = 1001  # the second
PICKLE_START = b"\x80"


@dataclass(frozen=True)
class TensorTables:
    """The tensors of a file by name, in tables by the key that each lies under; '' is the top."""

    tables: dict[str, dict[str, np.ndarray]]
    others: list[str]  # keys of what is no table of tensors: counters, optimisers, settings


def read_torch_file(path: Path) -> TensorTables:
    """Reads what `torch.save` wrote: a table of tensors, or tables one level down.

    Raises:
        DamagedFile: the file is neither of the two formats, is cut short, contradicts itself, or holds no table.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        if not size:
            raise DamagedFile("it is empty")
        content = _Content(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last view of it
    reader = _ZipFile(content) if content[: len(ZIP_MAGIC)] == ZIP_MAGIC else _OldFile(content)
    found = reader.read()
    if not isinstance(found, dict):
        kind = found.kind if isinstance(found, Placeholder) else type(found).__name__
        raise DamagedFile(
            f"it holds one object ({kind[:80]}) in the place of a table of tensors, as state_dict() gives"
        )
    tables = {"": _tensors(found)} | {key: _tensors(value) for key, value in found.items() if isinstance(value, dict)}
    tables = {key: table for key, table in tables.items() if table and isinstance(key, str)}
    reader.load(tensor.storage for table in tables.values() for tensor in table.values())
    others = [
        key if isinstance(key, str) else "what a number stands for"
        for key, value in found.items()
        if key not in tables and not isinstance(value, StoredTensor)
    ]
    return TensorTables(
        {key: {name: tensor.array(size) for name, tensor in table.items()} for key, table in tables.items()}, others
    )


def _tensors(values: dict) -> dict[str, StoredTensor]:
    return {key: value for key, value in values.items() if isinstance(value, StoredTensor) and isinstance(key, str)}


class _Content(mmap.mmap):
    """A file in memory, of which no read is longer than what is left."""

    def seekable(self) -> bool:  # which zipfile asks for, and mmap lacks before Python 3.13
        return True


class _File:
    """What the two formats share: how tensors and their storages are told of."""

    def __init__(self, content: mmap.mmap):
        self._content = content
        self._storages: dict[str, Storage] = {}
        self._copies = len(content)  # elements that may still be copied on reading

    def _storage(self, identity: Any) -> Any:
        """The object of a persistent id: ('storage', type, key, location, elements, ...) or ('module', class, ...)."""
        if isinstance(identity, tuple) and len(identity) > 1 and identity[0] == "module":
            return identity[1]
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise DamagedFile("it refers to something that is no storage")
        kind, key, count = identity[1], identity[2], identity[4]
        name = kind.name.rpartition(".")[2].removeprefix("_") if isinstance(kind, Global) else ""
        if name not in STORAGES:
            raise DamagedFile(f"it stores numbers of a kind that is not known here ({name[:40] or 'nameless'})")
        if not isinstance(key, str) or not is_whole(count) or count < 0:
            raise DamagedFile("it has a storage without a proper name or length")
        storage = Storage(key, np.dtype(DTYPES[STORAGES[name]]), count)
        known = self._storages.setdefault(key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise DamagedFile("it tells of the same storage in two ways")
        if len(identity) > 5 and identity[5] is not None:
            raise DamagedFile("it has views of storages, which only old versions of PyTorch wrote")
        return known

    def _call(self, name: str, arguments: tuple) -> Any:
        match name:
            case "collections.OrderedDict" if not arguments:
                return {}
            case "collections.OrderedDict" if isinstance(arguments[0], list):  # Python 2
                self._copies -= len(arguments[0])
                if self._copies < 0:
                    raise DamagedFile("it says the same over and over")
                return _from_pairs(arguments[0])
            case "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" if len(arguments) >= 4:
                return stored_tensor(*arguments[:4])
            case "torch._utils._rebuild_tensor_v3" if len(arguments) >= 7:
                return stored_tensor(*arguments[:4], arguments[6])
            case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" if arguments:
                return arguments[0]
            case "torch._tensor._rebuild_from_type_v2" if len(arguments) >= 3:
                function, inner = arguments[0], arguments[2]
                # Once: what is within is a plain tensor's own function.
                if isinstance(function, Global) and isinstance(inner, tuple) and function.name != name:
                    return self._call(function.name, inner)
            case "torch.Size" if arguments:
                return arguments[0]
        return Placeholder(name)

    def _reader(self, file: Any) -> PickleReader:
        return PickleReader(file, self._call, self._storage)


class _ZipFile(_File):
    def read(self) -> Any:
        try:
            self._archive = zipfile.ZipFile(self._content)
            self._entries = {entry.filename: entry for entry in self._archive.infolist()}
        except Exception as error:  # whatever a damaged archive leads zipfile to
            raise DamagedFile(f"its zip archive is damaged ({type(error).__name__})") from error
        roots = [name.removesuffix("data.pkl") for name in self._entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise DamagedFile("it is a zip archive, but none that torch.save has written")
        self._root, self._left = roots[0], len(self._content)
        if self._root + "byteorder" in self._entries and self._entry("byteorder") != b"little":
            raise DamagedFile("it was written by a machine of another byte order")
        return self._reader(io.BytesIO(self._entry("data.pkl"))).read()

    def load(self, storages: Iterable[Storage]) -> None:
        """Reads the values of storages that have none yet."""
        for storage in storages:
            if storage.values is not None:
                continue
            values = self._entry(f"data/{storage.key}")
            if len(values) != storage.count * storage.dtype.itemsize:
                raise DamagedFile(f"storage {storage.key[:40]} in it has another length than it should")
            storage.values = np.frombuffer(values, storage.dtype)

    def _entry(self, name: str) -> bytes:
        entry = self._entries.get(self._root + name)
        if entry is None:
            raise DamagedFile(f"it lacks {name[:80]}")
        self._left -= entry.file_size
        # torch.save packs nothing: what is larger than the file wants to fill the memory.
        if entry.compress_type != zipfile.ZIP_STORED or self._left < 0:
            raise DamagedFile(f"{name[:80]} in it is compressed or larger than the file")
        try:
            return self._archive.read(entry)
        except Exception as error:  # as above
            raise DamagedFile(f"{name[:80]} in it is damaged ({type(error).__name__})") from error


class _OldFile(_File):
    def read(self) -> Any:
        if self._content[:1] != PICKLE_START:
            raise DamagedFile("it is no file of tensors")
        reader = self._reader(self._content)
        if reader.read() != MAGIC_NUMBER or reader.read() != PROTOCOL_VERSION:
            raise DamagedFile("it is a pickle, but none that torch.save has written")
        system = reader.read()
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise DamagedFile("it was written by a machine of another byte order")
        found, keys = reader.read(), reader.read()
        # Anything but text may be nested without end, and is not to be written out.
        proper = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not proper or len(set(keys)) != len(keys):
            raise DamagedFile("it has no proper list of storages")
        for key in keys:
            storage = self._storages.get(key)
            count = int.from_bytes(self._content.read(8), "little")
            if storage is None or count != storage.count:
                raise DamagedFile("it stores what nothing tells of")
            start, length = self._content.tell(), count * storage.dtype.itemsize
            if start + length > len(self._content):
                raise DamagedFile("it is cut short")
            storage.values = np.frombuffer(self._content, storage.dtype, count, start)
            self._content.seek(start + length)
        return found

    def load(self, storages: Iterable[Storage]) -> None:
        """Nothing: all values are there."""


def _from_pairs(items: list) -> dict:
    pairs = [item for item in items if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)]
    return dict(pairs)
