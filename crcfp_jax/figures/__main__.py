"""The paper's figures from finished runs, each as PNG, SVG and the numbers behind it.

python -m crcfp_jax.figures W [W ...] --output F [--only negatives,clusters] [--fraction 1/8] [--seed 1]
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from crcfp_jax.common.command import ArgumentParser, run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.figures.runs import MissingRuns, compare, find_runs

# Where each figure is drawn; imported when it is due, since most of them start JAX.
FIGURES = {
    "supervised_vs_semi": "gains",
    "negatives": "curves",
    "classifiers": "curves",
    "lengths": "curves",
    "methods_predictions": "predictions",
    "clusters": "clusters",
    "embeddings": "umaps",
}
PACKAGES = {"matplotlib": tuple(FIGURES), "umap": ("embeddings",)}  # package -> figures that need it


def chosen(only: str | None) -> list[str]:
    """Names of the figures to draw; UserError for one that isn't known."""
    names = list(FIGURES) if only is None else [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in FIGURES]
    if unknown or not names:
        raise UserError(f"--only {only}: {', '.join(unknown) or 'no name'}; known figures: {', '.join(FIGURES)}")
    return names


def check_packages(names: Sequence[str], find: Callable[[str], object] = importlib.util.find_spec) -> None:
    """Raises UserError where a package of the extra 'figures' that these figures need is missing."""
    missing = [package for package, users in PACKAGES.items() if set(users) & set(names) and find(package) is None]
    if missing:
        raise UserError(
            f"figures need {' and '.join(missing).replace('umap', 'umap-learn')}: "
            "pip install 'crcfp-jax[figures]' (or ./launch.sh install figures)"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the paper's figures from finished runs; docs/figures.md says what each of them shows."""
    parser = ArgumentParser(prog="python -m crcfp_jax.figures", description=main.__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="W", help="folder of a grid (crcfp_jax.tables) or run")
    parser.add_argument("--output", type=Path, required=True, metavar="F", help="folder for the figures")
    parser.add_argument("--only", metavar="NAME,...", help=f"some of {', '.join(FIGURES)}")
    parser.add_argument(
        "--fraction", help="of the runs that are compared (default: the smallest that all systems have)"
    )
    parser.add_argument("--seed", type=int, help="of the runs that are compared (default: likewise)")
    options = parser.parse_args(arguments)
    names = chosen(options.only)
    check_packages(names)
    runs, unfinished = find_runs(options.paths)
    comparison = compare(runs, options.fraction, options.seed)
    if unfinished:
        print(f"{len(runs)} runs are finished, {len(unfinished)} are not and take no part: {', '.join(unfinished)}")
    print(f"compared: {', '.join(comparison.runs)}, fraction {comparison.fraction}, seed {comparison.seed}")
    lengths = {name: run.steps for name, run in comparison.runs.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {steps} steps" for name, steps in lengths.items())
        print(f"note: they were trained for different numbers of steps, which differ by that too: {told}")
    draw(names, runs, comparison, options.output)


def draw(names, runs, comparison, folder: Path) -> None:
    """Draws and saves figures, one after the other, telling of each; those that the runs don't give are skipped.

    Raises:
        UserError: a run can't be opened, after the other figures are drawn; or no figure can be drawn.
    """
    from crcfp_jax.figures.output import save

    skipped, failed = [], []
    for name in names:
        figure = getattr(importlib.import_module(f"crcfp_jax.figures.{FIGURES[name]}"), name)
        try:
            files = save(figure(runs, comparison), folder, name)
        except MissingRuns as reason:
            skipped.append(f"{name} {reason}")
            print(f"{name}: skipped, {reason}", flush=True)
        except UserError as error:
            failed.append(f"{name}: {error}")
        else:
            print(f"{name}: {folder / name}.{{{','.join(file.suffix[1:] for file in files)}}}", flush=True)
    if failed:
        raise UserError("; ".join(failed))
    if len(skipped) == len(names):
        raise UserError(f"no figure can be drawn: {'; '.join(skipped)}")


if __name__ == "__main__":
    run_main(main)
