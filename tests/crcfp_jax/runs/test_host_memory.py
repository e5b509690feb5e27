"""Freed memory that the process keeps, counted in pages that the system has to give."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from crcfp_jax.runs.host_memory import keep_freed_memory
keep_freed_memory()
from concurrent.futures import ThreadPoolExecutor
import numpy as np
def faults(_=None):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
with ThreadPoolExecutor(1) as pool:
    print(pool.submit(faults).result())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize(("platforms", "kept"), [("cpu", True), ("cuda", False)])
def test_memory_is_taken_from_the_system_once(platforms, kept):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"JAX_PLATFORMS": platforms, "GLIBC_TUNABLES": "", "NUMPY_MADVISE_HUGEPAGE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    pages = 2**27 // os.sysconf("SC_PAGE_SIZE")
    for count in map(int, done.stdout.split()):  # again, and in another thread
        assert count < 100 if kept else count > 0.9 * pages


BOUND = """
from crcfp_jax.runs import host_memory
host_memory.keep_freed_memory()
import numpy as np
host_memory.GROWTH = 2**26
memory = host_memory.KeptMemory()
print(memory.trim_if_grown(), memory.trim_if_grown(), memory.trim_if_grown())
most = host_memory._resident()
holes = [np.ones(2**25) for _ in range(8)]  # 256 MB each
pins = [bytes(2**20) for _ in range(8)]
del holes
before = host_memory._resident()
print(memory.trim_if_grown(), memory.trim_if_grown())
print(before - host_memory._resident() > 7 * 2**28, host_memory._resident() < most + 2**26)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_is_kept_is_bounded():
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": ""}
    done = subprocess.run([sys.executable, "-c", BOUND], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False", "True", "False", "True", "True"]
