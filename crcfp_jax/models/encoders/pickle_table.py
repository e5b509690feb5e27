"""The pickles in PyTorch's files, read as data: nothing that they name is imported, nothing in them runs."""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class DamagedFile(Exception):
    """A file is not what its first bytes say; the message says how, without the file's name."""


@dataclass(frozen=True)
class Global:
    """A name that a pickle refers to, as 'torch._utils._rebuild_tensor_v2'; nothing is looked up."""

    name: str


@dataclass(frozen=True, eq=False)
class Placeholder:
    """What stands where a pickle would have made an object of `kind`, or called it."""

    kind: str


LONGEST_NAME = 1000
_MARK = object()
_KEYS = (str, int, float, bytes, type(None))
_LONGEST_INTEGER = 64  # bits, of a key
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleReader:
    """Reads one pickle after the other from a file.

    Python's own unpickler is not used, even with its look-up of names replaced: a few bytes can make it reserve
    gigabytes. Here, time and memory grow with the file's length alone.

    Args:
        file: with read, readline and tell, at the first pickle; reading beyond its end has to give what is there.
        call: from the name of a global and its arguments to what stands for the result. It is asked for everything that
            the pickle would call or make, and gives a `Placeholder` for what it doesn't know.
        persistent: from a persistent id to the object.
    """

    def __init__(self, file: Any, call: Callable[[str, tuple], Any], persistent: Callable[[Any], Any]):
        self._file, self._call, self._persistent = file, call, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        """The next pickle's object; dicts, lists, tuples and plain values are themselves, sets are lists.

        Raises:
            DamagedFile: no complete pickle.
        """
        self._stack, self._memo = [], {}
        try:
            for opcode, argument, _ in pickletools.genops(self._file):
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, argument)
        except DamagedFile:
            raise
        except Exception as error:  # whatever bytes at random lead to
            raise DamagedFile(f"a pickle in it is damaged ({type(error).__name__})") from error
        raise DamagedFile("a pickle in it has no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(self._take(_TUPLES[name]))]
        elif name == "TUPLE":
            items = self._since_mark()
            stack.append(tuple(items))
        elif name in ("LIST", "FROZENSET"):
            stack.append(self._since_mark())
        elif name == "DICT":
            items = self._since_mark()
            stack.append({})
            self._set_items(items)
        elif name == "APPEND":
            self._append([stack.pop()])
        elif name in ("APPENDS", "ADDITEMS"):
            self._append(self._since_mark())
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._set_items([key, value])
        elif name == "SETITEMS":
            self._set_items(self._since_mark())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._since_mark()
        elif name in ("BINPERSID", "PERSID"):
            stack.append(self._persistent(stack.pop() if name == "BINPERSID" else argument))
        elif name not in ("PROTO", "FRAME"):
            self._make(name, argument)

    def _make(self, name: str, argument: Any) -> None:
        """Operations that import, call or fill objects."""
        stack = self._stack
        if name == "GLOBAL":
            stack.append(Global(argument.replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            if not isinstance(attribute, str) or not isinstance(module, str):
                raise DamagedFile("a pickle in it names a global by something else than text")
            if len(attribute) + len(module) > LONGEST_NAME:  # joined again and again, they would fill the memory
                raise DamagedFile("a pickle in it names a global by too long a text")
            stack.append(Global(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._called(function, arguments))
        elif name == "NEWOBJ_EX":
            _, arguments, function = stack.pop(), stack.pop(), stack.pop()
            stack.append(self._called(function, arguments))
        elif name == "OBJ":
            function, *arguments = self._since_mark()
            stack.append(self._called(function, tuple(arguments)))
        elif name == "INST":
            arguments = tuple(self._since_mark())
            stack.append(self._called(Global(argument.replace(" ", ".", 1)), arguments))
        elif name == "BUILD":
            stack.pop()  # attributes: of a table its version, of anything else nothing that is looked at
        else:
            raise DamagedFile(f"a pickle in it has an operation that is not known here ({name})")

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            return Placeholder("a nameless function's result")
        return self._call(function.name, arguments)

    def _take(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        if len(items) < count or any(item is _MARK for item in items):
            raise DamagedFile("a pickle in it takes more than it has")
        return items

    def _since_mark(self) -> list[Any]:
        items = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _append(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            self._stack[-1].update((key, value) for key, value in pairs if _is_key(key))


def _is_key(key: Any) -> bool:
    """Whether it is kept as a key: not where its hash, made anew each time, may take long (long integers, tuples)."""
    return isinstance(key, _KEYS) and not (isinstance(key, int) and key.bit_length() > _LONGEST_INTEGER)
