"""Trains a method, resumes where the run folder holds a run, and evaluates on the test split.

python -m crcfp_jax.main --config configs/bcss.py [--workdir W] [--config.fraction=1/8 --config.seed=1 ...]
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from crcfp_jax.common.command import run_main
from crcfp_jax.common.config_flag import parse_flags
from crcfp_jax.runs.host_memory import keep_freed_memory

FLAGS = flags.FlagValues()
config_flags.DEFINE_config_file(
    "config", help_string="Config file, e.g. configs/bcss.py or configs/bcss.py:small", flag_values=FLAGS
)
flags.DEFINE_string("workdir", None, "Run folder; by default runs/<config>-<method>-...", flag_values=FLAGS)
flags.DEFINE_bool(
    "previous_checkpoint", False, "Leave out the newest checkpoint and resume from the one before.", flag_values=FLAGS
)


def default_workdir(config_file: str, config: ConfigDict) -> Path:
    """runs/<config>[-<data>]-<method>-<fraction>[-by-<unit>][-fold<k>of<n>]-seed<seed>: one for each run of a grid.

    Slides of one's own, which no recipe is named after, are told apart by the name of their data set. Runs that differ
    in anything else need a --workdir of their own.
    """
    from data_pipelines.recipes import find_recipe

    file, _, variant = config_file.partition(":")
    own = config.data.name if find_recipe(config.data.name) is None else ""
    name = "-".join(filter(None, (Path(file).stem, variant, own)))
    unit = "" if config.data.split_unit == "default" else f"-by-{config.data.split_unit}"
    fold = f"-fold{config.data.fold}of{config.data.folds}" if config.data.folds else ""
    return Path("runs") / f"{name}-{config.method}-{config.fraction.replace('/', '_')}{unit}{fold}-seed{config.seed}"


def main() -> int:
    """Runs the command line; returns the exit code."""
    parse_flags(FLAGS, sys.argv[1:])
    keep_freed_memory()
    # Importing JAX takes seconds: not before the flags are right.
    from crcfp_jax.training.parallel import lost_process_as_user_error, start_processes

    start_processes()
    with lost_process_as_user_error():
        return _train()


def _train() -> int:
    from crcfp_jax.evaluation.result import print_result
    from crcfp_jax.runs.interruption import Interrupted
    from crcfp_jax.runs.loop import Trainer
    from crcfp_jax.runs.presets import chosen_config

    config = chosen_config(FLAGS)
    workdir = Path(FLAGS.workdir) if FLAGS.workdir else default_workdir(FLAGS["config"].config_filename, config)
    _build_what_needs_no_download(config.data.name, config.data.dir)
    trainer = Trainer(config, workdir, previous_checkpoint=FLAGS.previous_checkpoint)
    try:
        trainer.run()
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return 143  # the shell's code for SIGTERM
    result = trainer.finish()
    if trainer.main_process:
        _write_review(workdir)
    _wait_for_all("run reviewed")
    if not trainer.main_process:
        return 0
    if result is None:
        print(f"data set {config.data.name} in {config.data.dir} has no test images: trained, not evaluated")
        print(f"curves, and where model and annotation disagree: {workdir / 'review.html'}")
        return 0
    title = f"{config.method}, {config.data.name} {config.fraction}, seed {config.seed}: {result['images']} test images"
    print_result(result, trainer.parts.data_set.classes, title=title)
    print(f"mIoU {result['mean_iou']:.2f}; figures and pictures are in {workdir}, all on one page in review.html")
    return 0


def _write_review(workdir: Path) -> None:
    """Writes review.html; the run is finished and stands without it."""
    from crcfp_jax.common.command import user_line
    from crcfp_jax.review.write import write_review

    try:
        write_review(workdir)
    except Exception as error:
        line = user_line(error) or f"a defect of crcfp-jax ({type(error).__name__}: {error})"
        again = f"python -m crcfp_jax.review {workdir}"
        print(f"warning: review.html was not written: {line}; to try again: {again}", file=sys.stderr)


def _build_what_needs_no_download(name: str, data_dir: str) -> None:
    """Builds a data set where it is missing and its recipe makes it from nothing."""
    import jax

    from data_pipelines.build import build
    from data_pipelines.data_set import is_built
    from data_pipelines.recipes import builds_itself

    if not builds_itself(name):
        return
    if jax.process_index() == 0 and not is_built(data_dir, name):
        build(name, None, data_dir)
    _wait_for_all("data set built")


def _wait_for_all(reason: str) -> None:
    """Waits until every process of the run is here: one that ends earlier gives the others up after minutes."""
    import jax

    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(reason)


if __name__ == "__main__":
    run_main(main)
