"""Evaluation: every labelled pixel once, in windows of the training crop's extent.

python -m crcfp_jax.evaluate --workdir W [--split test|validation]
"""

from collections.abc import Sequence
from pathlib import Path

from crcfp_jax.common.command import ArgumentParser, run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.common.progress import progress_bar
from crcfp_jax.evaluation.result import compare_results, print_result
from crcfp_jax.evaluation.scoring import evaluate
from crcfp_jax.runs.restore import restore_for_evaluation
from crcfp_jax.runs.versions import versions


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluates a finished run again and compares with its result.json."""
    parser = ArgumentParser(prog="python -m crcfp_jax.evaluate", description=main.__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="run folder")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    options = parser.parse_args(arguments)
    if not (options.workdir / "config.json").is_file():
        raise UserError(f"{options.workdir} is not a run folder (no config.json): give the --workdir of a training run")

    run = restore_for_evaluation(options.workdir)
    records = run.records.get(options.split)
    if not records:
        raise UserError(f"{options.workdir}: the run has no {options.split} split; choose another --split")
    with progress_bar("evaluating", len(records)) as advance:
        result, _ = evaluate(run.evaluator, run.data_set, records, threads=run.threads, advance=advance)
    print_result(result, run.data_set.classes, title=f"{options.split}, step {run.step}, {result['images']} images")
    stored = options.workdir / "result.json"
    if options.split == "test":
        result |= {"versions": versions()}
        print(compare_results(result, read_json(stored)) if stored.is_file() else f"no {stored} to compare with")


if __name__ == "__main__":
    run_main(main)
