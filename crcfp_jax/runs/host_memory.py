"""Memory of the host that a step on a CPU takes anew each time."""

import ctypes
import os
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Lets the process keep memory that it frees, where a CPU is to compute and the C library is glibc.

    XLA takes a step's memory, a gigabyte or so, from malloc and gives it back at the step's end; glibc returns it to
    the system, which hands it out again page by page, each set to zero. That is a fifth to a third of a step. Here one
    heap serves all threads and never shrinks. To be called before JAX starts its threads, which would have heaps of
    their own.
    """
    if sys.platform != "linux" or not _computes_on_cpu():
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):  # -1: the greatest number
        library.mallopt(option, value)


def _computes_on_cpu() -> bool:
    """Whether JAX will take the CPU, as it is told to or finds nothing else; an accelerator's host has many threads."""
    told = os.environ.get("JAX_PLATFORMS")
    return told == "cpu" or not (told or entry_points(group="jax_plugins") or find_spec("libtpu"))
