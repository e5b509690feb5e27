"""Tensors as views of storages: the way PyTorch's files keep them."""

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from crcfp_jax.models.encoders.pickle_table import DamagedFile, Global, Placeholder

MOST_AXES = 32

DTYPES = {
    "float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16,
    "uint8": np.uint8, "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64, "bool": np.bool_,
    "complex64": np.complex64, "complex128": np.complex128, "uint16": np.uint16, "uint32": np.uint32,
    "uint64": np.uint64,
}  # fmt: skip
STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "ByteStorage": "uint8", "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32",
    "LongStorage": "int64", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}  # fmt: skip


@dataclass
class Storage:
    """A row of numbers that tensors are views of."""

    key: str
    dtype: np.dtype
    count: int  # elements
    values: np.ndarray | None = None  # [count], once it has been read


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """Where a tensor lies in its storage; `array` looks there."""

    storage: Storage
    first: int  # elements from the storage's start
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements
    dtype: np.dtype

    def array(self, most_elements: int) -> np.ndarray:
        """A read-only view of the values, which must lie within the storage and be at most `most_elements`.

        Raises:
            DamagedFile: they don't.
        """
        axes = (*self.shape, *self.strides, self.first)
        if len(self.shape) != len(self.strides) or len(self.shape) > MOST_AXES or any(n < 0 for n in axes):
            raise DamagedFile("a tensor in it has no proper shape")
        if self.storage.values is None:
            raise DamagedFile(f"storage {self.storage.key[:40]} in it is missing")
        if math.prod(self.shape) > most_elements:
            raise DamagedFile("a tensor in it is larger than the file")
        try:
            values = self.storage.values.view(self.dtype)
            if not math.prod(self.shape):
                return np.empty(0, self.dtype).reshape(self.shape)
        except ValueError as error:
            raise DamagedFile("a tensor in it does not fit its storage") from error
        last = self.first + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if last >= len(values):
            raise DamagedFile("a tensor in it reaches beyond what is stored")
        # A stride counts where there is more than one element only, and may be any number elsewhere.
        strides = [stride * values.itemsize if n > 1 else 0 for n, stride in zip(self.shape, self.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(values[self.first :], self.shape, strides, writeable=False)


def stored_tensor(storage: Any, first: Any, shape: Any, strides: Any, dtype: Any = None) -> StoredTensor | Placeholder:
    """A tensor from what a pickle says of it; a `Placeholder` for a kind of tensor that is not known here.

    Args:
        storage, first, shape, strides: as `StoredTensor` has them; nothing has been checked.
        dtype: the `Global` of a type, where it is not the storage's.

    Raises:
        DamagedFile: the shape is none.
    """
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        return Placeholder("a tensor without a storage")
    if not all(map(is_whole, (first, *shape, *strides))):
        raise DamagedFile("a tensor in it has no proper shape")
    kind = storage.dtype
    if dtype is not None:
        name = dtype.name.removeprefix("torch.") if isinstance(dtype, Global) else ""
        if name not in DTYPES:
            return Placeholder(f"a tensor of {name[:40]}")
        kind = np.dtype(DTYPES[name])
    return StoredTensor(storage, first, shape, strides, kind)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)
