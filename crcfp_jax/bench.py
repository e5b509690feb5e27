"""Times input alone, step alone and both together, with compile time, operations and memory; always under shard_map.

python -m crcfp_jax.bench --config configs/quickstart.py [--steps 20] [--random_input] [--config.key=value ...]
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.sharding import AxisType
from ml_collections import ConfigDict, config_flags
from rich.console import Console
from rich.table import Table

from crcfp_jax.common.command import run_main
from crcfp_jax.common.config_flag import parse_flags
from crcfp_jax.runs.host_memory import keep_freed_memory
from crcfp_jax.runs.parts import assemble, build_learner
from crcfp_jax.runs.precision import settle_dtype
from crcfp_jax.runs.presets import chosen_config
from crcfp_jax.runs.versions import versions
from crcfp_jax.training import parallel
from crcfp_jax.training.state import create_state
from crcfp_jax.training.step import make_train_step
from data_pipelines.loaders import training_loader

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file("config", help_string="Config file, as for crcfp_jax.main.", flag_values=FLAGS)
flags.DEFINE_integer("steps", 20, "Steps measured, after two that are not.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_bool(
    "random_input", False, "Random images; the data set need not be built, input is not timed.", flag_values=FLAGS
)
flags.DEFINE_integer("classes", 5, "Classes of random input.", flag_values=FLAGS)

WARM_UP = 2  # calls before the clock counts


def random_batch(config: ConfigDict, sources: tuple[str, ...], stride: int, classes: int) -> dict[str, np.ndarray]:
    """A batch of the shapes that the loaders make, on the host, filled at random."""
    rng = np.random.default_rng(config.seed)
    side, b, u = config.data.side, config.train.batch_size, config.train.unlabelled_batch_size
    batch = {
        "image": rng.integers(0, 256, (b, side, side, 3), dtype=np.uint8),
        "label": rng.integers(0, classes, (b, side, side), dtype=np.uint8),
    }
    if sources:
        batch |= {name: rng.integers(0, 256, (u, side, side, 3), dtype=np.uint8) for name in sources}
        cells = max(1, side // stride // 4)
        batch |= {"offset": rng.integers(-cells, cells + 1, (u, 2), dtype=np.int32), "flip": rng.random((u, 2)) < 0.5}
    return batch


def seconds_per_call(call: Callable[[], Any], count: int) -> list[float]:
    """Wall-clock seconds of each of `count` calls, after `WARM_UP` more."""
    times = []
    for number in range(WARM_UP + count):
        start = time.perf_counter()
        call()
        if number >= WARM_UP:
            times.append(time.perf_counter() - start)
    return times


def count_operations(step: parallel.Step, state: Any, batch: parallel.Batch, key: jax.Array) -> float | None:
    """Floating-point operations of a per-replica step on a whole batch, as XLA counts them; None where it can't.

    As traced for one device of the CPU backend: what is compiled for a GPU calls cuDNN and cuBLAS, whose operations XLA
    doesn't count. The body of a loop counts once.
    """
    try:
        device = jax.local_devices(backend="cpu")[:1]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        return None
    mesh = jax.make_mesh((1,), (parallel.AXIS,), axis_types=(AxisType.Auto,), devices=device)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, batch, key))
    cost = parallel.parallelise(step, mesh, "shard_map").lower(*shapes).cost_analysis()
    return (cost or {}).get("flops")


def rate_line(operations: float | None, seconds: float) -> str:
    """What a step computes, and how much of it a second.

    Args:
        operations: of a step; None: not known.
        seconds: of a step.
    """
    if operations is None:
        return "operations of a step: not known, as XLA gives no count here"
    return f"operations of a step: {operations / 1e12:.4g} TFLOP, {operations / 1e12 / seconds:.4g} TFLOP/s"


class Bench:
    """The compiled step of a config, with what it is fed."""

    def __init__(self, config: ConfigDict, *, random_input: bool, classes: int):
        """Builds and compiles the step.

        Raises:
            UserError: settings that can't be used, or a data set that isn't built.
        """
        self.config = config
        self.mesh = parallel.make_mesh()
        self.parts = build_learner(config, classes) if random_input else assemble(config)
        with_unlabelled = bool(self.parts.method.sources)
        parallel.check_batch_sizes(config, jax.device_count(), with_unlabelled=with_unlabelled)
        network = self.parts.network(parallel.AXIS)
        self.replica_step = make_train_step(network, self.parts.method, config, self.parts.optimizer, parallel.AXIS)
        step = parallel.parallelise(self.replica_step, self.mesh, "shard_map")
        sharding = parallel.replicated(self.mesh)
        self.state = create_state(
            self.parts.network(), self.parts.method, config, self.parts.optimizer, sharding=sharding
        )
        self.key = parallel.run_key(config.seed, self.mesh)
        if random_input:
            batch = random_batch(config, self.parts.method.sources, network.context_stride, classes)
        else:
            self.loader: Iterator = training_loader(
                self.parts.data_set,
                self.parts.split,
                self.parts.loader_options(),
                sources=self.parts.method.sources,
                sampling=self.parts.sampling(),
            )
            batch = next(self.loader)
        self.batch = self._put(batch)
        start = time.perf_counter()
        self.step = step.lower(self.state, self.batch, self.key).compile()
        self.compile_seconds = time.perf_counter() - start

    def _put(self, batch: Mapping[str, np.ndarray]) -> parallel.Batch:
        """What the method reads of a batch, on the devices."""
        return parallel.global_batch({key: batch[key] for key in self.parts.method.inputs}, self.mesh)

    def step_alone(self) -> None:
        """One step on a batch that is on the device already."""
        self.state, metrics = self.step(self.state, self.batch, self.key)
        jax.block_until_ready(metrics)

    def input_alone(self) -> None:
        """One batch, made and put on the device."""
        jax.block_until_ready(self._put(next(self.loader)))

    def both(self) -> None:
        """One batch and one step; the next batch is made while the device computes."""
        batch = self._put(next(self.loader))
        self.state, metrics = self.step(self.state, batch, self.key)
        jax.block_until_ready(metrics)

    def memory(self) -> dict[str, float]:
        """GiB of the step's working memory, of the state, and the greatest so far on device and host."""
        analysis = self.step.memory_analysis()
        found = {
            "step, temporary": analysis.temp_size_in_bytes,
            "state and batch": analysis.argument_size_in_bytes,
            "process, greatest": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        statistics_of_device = jax.local_devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in statistics_of_device:
            found["device, greatest"] = statistics_of_device["peak_bytes_in_use"]
        return {name: size / 2**30 for name, size in found.items()}


def main() -> None:
    """Measures and prints a table."""
    parse_flags(FLAGS, sys.argv[1:])
    keep_freed_memory()
    (config, told), count = settle_dtype(chosen_config(FLAGS)), FLAGS.steps
    bench = Bench(config, random_input=FLAGS.random_input, classes=FLAGS.classes)
    measured = {"step alone": seconds_per_call(bench.step_alone, count)}
    if not FLAGS.random_input:
        measured["input alone"] = seconds_per_call(bench.input_alone, count)
        measured["both"] = seconds_per_call(bench.both, count)

    train = config.train
    title = f"{config.method}, {config.model.backbone} {config.model.decoder}, {config.data.side} px, "
    title += f"{train.batch_size} + {train.unlabelled_batch_size}, {config.model.dtype}"
    table = Table(title=title)
    for column in ("", "median s", "least s", "batches/s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, times in measured.items():
        median = statistics.median(times)
        table.add_row(name, f"{median:.4f}", f"{min(times):.4f}", f"{1 / median:.2f}")
    table.add_row("compile", f"{bench.compile_seconds:.1f}", "", "")
    console = Console()
    console.print(table)
    for line in told:
        console.print(line, highlight=False)
    operations = count_operations(bench.replica_step, bench.state, bench.batch, bench.key)
    console.print(rate_line(operations, statistics.median(measured["step alone"])), highlight=False)
    memory = ", ".join(f"{name} {size:.2f}" for name, size in bench.memory().items())
    console.print(f"memory, GiB: {memory}", highlight=False, soft_wrap=True)
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()), highlight=False)


if __name__ == "__main__":
    run_main(main)
