"""Data parallelism: one per-replica step, run over every device of every process."""

import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.training.state import TrainState

AXIS = "data"
_NAME_BYTES = 128  # bytes of a process's name
_CLOSED = re.compile("Connection (closed|reset) by peer|Broken pipe")
HEARTBEAT_TIMEOUT = 30  # seconds without a sign of life, after which a process is given up and the others end
Batch = Mapping[str, Any]
Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def start_processes() -> None:
    """Joins the processes of a multi-host run; does nothing in a run of one process.

    CRCFP_COORDINATOR (host:port), CRCFP_PROCESSES and CRCFP_PROCESS name them explicitly; CRCFP_DISTRIBUTED=auto lets
    JAX find them (Slurm, TPU slice). `launch.sh` sets these.

    Raises:
        UserError: only some of the three variables are set.
    """
    names = ("CRCFP_COORDINATOR", "CRCFP_PROCESSES", "CRCFP_PROCESS")
    values = [os.environ.get(name) for name in names]
    if all(values):
        coordinator, count, index = values
        for name, value in zip(names[1:], values[1:], strict=True):
            if not value.isdecimal():
                raise UserError(f"{name}={value!r} is not a number")
        # Inside Slurm, JAX would otherwise leave this process one GPU only.
        options = {"cluster_detection_method": "deactivate", "heartbeat_timeout_seconds": HEARTBEAT_TIMEOUT}
        jax.distributed.initialize(coordinator, int(count), int(index), **options)
    elif any(values):
        missing = ", ".join(name for name, value in zip(names, values, strict=True) if not value)
        raise UserError(f"{missing} not set: a run of several processes needs all of {', '.join(names)}")
    elif os.environ.get("CRCFP_DISTRIBUTED") == "auto":
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT)


@contextmanager
def lost_process_as_user_error() -> Iterator[None]:
    """Tells of a process of a run of several that ends while the others are in the block.

    Without it these see a connection that was closed. Where they wait for it instead, as GPUs do, or where the first
    process has ended, JAX ends them after HEARTBEAT_TIMEOUT seconds in words of its own, which name the process.

    Raises:
        UserError: a process has ended.
    """
    if jax.process_count() == 1:
        yield
        return
    names = _process_names()
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # the latter where a function of the host waits for all
        if _CLOSED.search(str(error)) is None:
            raise
        gone = _ended(names)
        which = f"process {gone[0]} ({names[gone[0]]})" if gone else "another process"
        raise UserError(
            f"{which} of this run of {len(names)} has ended: its output says why; start all of them again, and the run "
            "goes on from its last checkpoint"
        ) from error


def _process_names() -> list[str]:
    """Host and number of every process, by its index: 'host:pid'."""
    own = f"{socket.gethostname()}:{os.getpid()}".encode()[-_NAME_BYTES:]
    everyone = multihost_utils.process_allgather(np.frombuffer(own.ljust(_NAME_BYTES, b"\0"), np.uint8))
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in np.asarray(everyone)]


def _ended(names: Sequence[str]) -> list[int]:
    """The processes of this host that are no more; their connections close somewhat before they are gone."""
    for _ in range(20):
        if gone := [number for number, name in enumerate(names) if _has_ended(name)]:
            return gone
        time.sleep(0.1)
    return []


def _has_ended(name: str) -> bool:
    """Whether a process of this host is no more; of other hosts nobody can tell here."""
    host, _, number = name.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    if not os.path.isdir("/proc/self"):
        return False
    try:
        return ") Z " in Path(f"/proc/{number}/stat").read_text()  # not yet waited for
    except OSError:
        return True


def make_mesh() -> Mesh:
    """A one-dimensional mesh over every device of every process."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def check_batch_sizes(config: ConfigDict, devices: int, *, with_unlabelled: bool) -> None:
    """Raises UserError where the devices don't divide a batch evenly; `with_unlabelled`: there is a second one."""
    for key in ("batch_size", "unlabelled_batch_size") if with_unlabelled else ("batch_size",):
        size = config.train[key]
        if size < 1 or size % devices:
            raise UserError(
                f"config.train.{key}={size} is not a positive multiple of the {devices} devices of this run"
            )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole: the train state."""
    return NamedSharding(mesh, PartitionSpec())


def run_key(seed: int, mesh: Mesh) -> jax.Array:
    """The random key of a run, on every device of every process."""
    return jax.jit(lambda: jax.random.key(seed), out_shardings=replicated(mesh))()


def global_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> Batch:
    """Puts each process's local part of a batch on its devices, as one global array per key."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return {key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()}


def local_copy(tree: Any) -> Any:
    """Host copy of a replicated tree, from this process's own devices."""
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)


def parallelise(step: Step, mesh: Mesh, mode: str) -> Step:
    """Compiles a per-replica step for the devices of `mesh`; the state is donated.

    Args:
        step: `(state, batch, key) -> (state, metrics)`, reducing over the axis `AXIS` itself.
        mode: 'shard_map' is `jax.jit` of `jax.shard_map`; 'pmap' is `jax.pmap` of the same function. Same result.

    Raises:
        UserError: 'pmap' in a run of several processes.
    """
    if mode == "pmap":
        return _pmapped(step)
    sharded = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec()),
        out_specs=PartitionSpec(),
    )
    return jax.jit(sharded, donate_argnums=0)


def _pmapped(step: Step) -> Step:
    """`jax.pmap` of the step behind the same interface: global arrays in, a replicated state out."""
    if jax.process_count() > 1:
        raise UserError("config.train.parallel='pmap' runs in one process; use 'shard_map' for several")
    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0)

    def run(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        rows = {name: x.reshape(jax.device_count(), -1, *x.shape[1:]) for name, x in batch.items()}
        return mapped(state, rows, key)

    return run


def replicated_template(tree: Any) -> Any:
    """Shapes, types and shardings of a tree of arrays, to restore one like it."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
