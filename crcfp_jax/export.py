"""Makes a model folder of a finished run: self-contained, and checked against the network that was trained.

python -m crcfp_jax.export --workdir W --output M [--onnx] [--licence TEXT] [--overwrite]
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from crcfp_jax.common.command import ArgumentParser, run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import check_space, read_json, user_error_on_write, write_atomic, write_json_atomic
from crcfp_jax.common.lock import Lock
from crcfp_jax.common.staging import recover_staged, staged_folder
from crcfp_jax.portable_model import agreement
from crcfp_jax.portable_model.artifact import export_network, inference_variables
from crcfp_jax.portable_model.card import ARTIFACT, CARD, KNOWN, ONNX, PARAMETERS, README, card_digest, describe_files
from crcfp_jax.portable_model.card_text import card_text
from crcfp_jax.portable_model.describe_run import describe_run, user_error_on_read
from crcfp_jax.portable_model.folder import write_variables
from crcfp_jax.portable_model.known import known_embeddings, write_known
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.runs.parts import Parts
from crcfp_jax.runs.restore import restore_variables

PACKAGES = ("onnx", "onnxruntime")
ROOM = 2**24  # bytes for everything but weights


def export_run(
    workdir: Path, output: Path, *, onnx: bool = False, licence: str | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Writes a model folder: whole and checked, or not at all.

    Args:
        workdir: folder of a finished run.
        output: the model folder.
        onnx: add an ONNX file (extra `onnx`).
        licence: under which the model is given on, for the card.
        overwrite: replace a model folder that is there.

    Returns:
        The card, as in card.json.

    Raises:
        UserError: no finished run, the output is in the way or can't be written, or the forms disagree.
    """
    output = output.resolve()
    _check_output(output, overwrite=overwrite)
    if not (workdir / "config.json").is_file():
        raise UserError(f"{workdir} is not a run folder (no config.json): give the --workdir of a training run")
    parts, variables, step = restore_variables(workdir)
    result = _read_result(workdir, parts, step)
    tested = workdir / "crossvalidation.json"  # beside a model that was trained on everything
    crossvalidation = read_json(tested) if tested.is_file() else None
    variables = inference_variables(variables)
    with user_error_on_read(parts.data_set):
        card = describe_run(parts, step, result, name=output.name, licence=licence, crossvalidation=crossvalidation)
    with _output_folder(output, overwrite=overwrite) as folder:
        size = (1 + onnx) * sum(leaf.nbytes for leaf in jax.tree.leaves(variables)) + ROOM
        check_space(output.parent, size, what="the model", option="--output")
        with user_error_on_write(output):
            write_variables(folder / PARAMETERS, variables)
        write_atomic(folder / ARTIFACT, export_network(parts.network(), variables))
        with user_error_on_read(parts.data_set):
            known = known_embeddings(parts, variables)
        with user_error_on_write(output):
            write_known(folder / KNOWN, known)
        if onnx:
            from crcfp_jax.portable_model.onnx_model import export_onnx

            write_atomic(folder / ONNX, export_onnx(parts.network(), variables, card))
        card["agreement"] = agreement.measure(folder, parts, variables, output, onnx=onnx)
        with user_error_on_write(output):
            card["files"] = describe_files(folder)
        card["card_sha256"] = card_digest(card)
        write_json_atomic(folder / CARD, card)
        write_atomic(folder / README, card_text(card).encode())
    return card


def _check_output(output: Path, *, overwrite: bool) -> None:
    """Raises UserError where something is in the way that must not be replaced."""
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / CARD).is_file()):
        raise UserError(f"{output} is in the way and is not a model folder: give another --output")
    if any(output.iterdir()) and not overwrite:
        raise UserError(f"{output} holds a model: give --overwrite to replace it, or another --output")


@contextmanager
def _output_folder(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Gives an empty folder that takes the place of `output` when the block ends; see `staged_folder`."""
    with Lock(output.with_name(f".{output.name}.lock")) as lock:
        if not lock.take():
            raise UserError(f"{output} is being exported by another process: wait for it")
        try:
            recover_staged(output, CARD)
            _check_output(output, overwrite=overwrite)  # again: another process may have been faster
            with staged_folder(output, CARD) as folder:
                yield folder
        finally:
            lock.remove()


def _read_result(workdir: Path, parts: Parts, step: int) -> dict[str, Any] | None:
    """The result of the checkpoint that is exported; None for data without test images.

    Raises:
        UserError: training has not ended.
    """
    path = workdir / "result.json"
    if not parts.split.test:
        last, steps = Checkpoints(workdir, read_only=True).steps()[-1], parts.config.train.steps
        if last < steps:
            raise UserError(f"{workdir} is at step {last} of {steps}: run its training command again to finish it")
        return None
    if not path.is_file():
        raise UserError(f"{workdir} has no result.json, so training has not ended: run its command again to finish it")
    result = read_json(path)
    if result["step"] != step:
        raise UserError(
            f"{path} is of step {result['step']}, the selected checkpoint of step {step}: run the training command "
            "again to evaluate it"
        )
    return result


def check_packages() -> None:
    """Raises UserError where a package of the extra 'onnx' is missing."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        packages = ", ".join(missing)
        raise UserError(f"--onnx needs {packages}: pip install 'crcfp-jax[onnx]' (or ./launch.sh install onnx)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports a run and prints how well the written forms agree with the network."""
    parser = ArgumentParser(prog="python -m crcfp_jax.export", description=main.__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--output", type=Path, required=True, help="model folder to make")
    parser.add_argument("--onnx", action="store_true", help="add an ONNX file (needs the extra 'onnx')")
    parser.add_argument("--licence", help="licence under which you give the model on, for its card")
    parser.add_argument("--overwrite", action="store_true", help="replace a model folder that is there")
    options = parser.parse_args(arguments)
    if options.onnx:
        check_packages()
    card = export_run(
        options.workdir, options.output, onnx=options.onnx, licence=options.licence, overwrite=options.overwrite
    )
    print_card(card, options.output)


def print_card(card: Mapping[str, Any], output: Path) -> None:
    """Says what was exported, how well its forms agree, and what to do with it."""
    agreed, size = card["agreement"], sum(entry["bytes"] for entry in card["files"].values())
    print(
        f"{output}: {len(card['classes'])} classes, {card['microns_per_pixel']:.3g} µm per pixel, windows of "
        f"{card['window']} pixels, step {card['step']}, {size / 1e6:.1f} MB"
    )
    for form, differences in (agreed["differences"] | (agreed["training_dtype"] or {})).items():
        figures = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
        print(f"{form} against the network, {agreed['images']}, greatest difference: {figures}")
    if not card["licence"]["stated"]:
        print(f"no licence stated (--licence); data set {card['data']['name']}: {card['licence']['data']}")
    print(f"next: python -m crcfp_jax.predict --model {output} --output RESULTS SLIDE_OR_FOLDER...")


if __name__ == "__main__":
    run_main(main)
