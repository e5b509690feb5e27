"""Memory of the host that a step on a CPU takes anew each time."""

import ctypes
import os
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
GROWTH = 2**30  # bytes


def keep_freed_memory() -> None:
    """Lets the process keep memory that it frees, where a CPU is to compute and the C library is glibc.

    XLA takes a step's memory, a gigabyte or so, from malloc and gives it back at the step's end; glibc returns it to
    the system, which hands it out again page by page, each set to zero. That is a fifth to a third of a step. Here one
    heap serves all threads and never shrinks. To be called before JAX starts its threads, which would have heaps of
    their own.
    """
    if (library := _library()) is not None:
        for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):  # -1: the greatest number
            library.mallopt(option, value)


class KeptMemory:
    """Bounds what `keep_freed_memory` keeps.

    Where something small has come to lie in the hole that a step's memory has left, the next step's does not fit in and
    the heap grows by another gigabyte: a run of two hours had kept eleven of them.
    """

    def __init__(self) -> None:
        self._library = _library()
        self._steps, self._most = 0, 0.0

    def trim_if_grown(self) -> bool:
        """Called after every step: gives free memory back where there is half as much again, and GROWTH, as at first.

        Returns:
            Whether it did; the next step is slower then.
        """
        if self._library is None:
            return False
        self._steps += 1
        if self._steps <= 2:  # the first step may still be under way after its call
            self._most = 1.5 * _resident() + GROWTH
            return False
        if _resident() <= self._most:
            return False
        self._library.malloc_trim(0)
        self._most = max(self._most, _resident() + GROWTH)  # what is in use can't be given back: not at every step
        return True


def _library() -> ctypes.CDLL | None:
    """The C library, where it is glibc and a CPU is to compute."""
    if sys.platform != "linux" or not _computes_on_cpu():
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def _resident() -> int:
    """Bytes of this process that are in memory, without those of files that it has mapped."""
    with open("/proc/self/statm") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _computes_on_cpu() -> bool:
    """Whether JAX will take the CPU, as it is told to or finds nothing else; an accelerator's host has many threads."""
    told = os.environ.get("JAX_PLATFORMS")
    return told == "cpu" or not (told or entry_points(group="jax_plugins") or find_spec("libtpu"))
