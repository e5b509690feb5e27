"""Prepares a data set once: `python -m data_pipelines.build {synthetic|bcss|monuseg} --raw_dir R --data_dir D`.

The data set is built in a hidden folder beside its place and moved there whole by one rename, so what stands in its
place is finished; an older one stays until then. What a killed build left behind is removed by the next one.
"""

import argparse
import contextlib
import importlib
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from crcfp_jax.common.command import run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error
from crcfp_jax.common.lock import Lock
from crcfp_jax.common.progress import progress_bar
from crcfp_jax.common.staging import is_moved_away, recover_staged, staged_folder
from data_pipelines.data_set import (
    INDEX,
    SPLITS,
    VERSION,
    DataSet,
    build_command,
    data_set_path,
    is_built,
    open_data_set,
    write_index,
)

RECIPES = ("synthetic", "bcss", "monuseg")  # modules of data_pipelines.builders
CLASS_MAPS = ("paper", "release")


def build(
    name: str,
    raw_dir: str | os.PathLike | None,
    data_dir: str | os.PathLike,
    *,
    skip_bad: bool = False,
    class_map: str = "paper",
    unannotated_ok: bool = False,
    overwrite: bool = False,
) -> DataSet:
    """Builds a data set, or opens it where it is built already with the same options.

    Args:
      name: one of RECIPES.
      raw_dir: folder with the unpacked download; None for synthetic data.
      data_dir: folder that holds built data sets; made if missing.
      skip_bad: leave out unusable files and list them (`DataSet.skipped`), instead of stopping at the first.
      class_map: bcss: 'paper' ignores the codes 0 and 7; 'release' makes them 'other', as the authors' release does.
      unannotated_ok: bcss: an image without a mask gives unlabelled tiles instead of an error.
      overwrite: build again even where it is built.

    Raises:
      UserError: unknown name or option, raw data missing or unusable, another build running, folder not writable.
    """
    from data_pipelines.builders.base import Options  # with the recipes: TFDS loads only when something is built

    if name not in RECIPES:
        raise UserError(f"unknown data set {name!r}; known: {', '.join(RECIPES)}")
    if class_map not in CLASS_MAPS:
        raise UserError(f"unknown class map {class_map!r}; known: {', '.join(CLASS_MAPS)}")
    recipe = importlib.import_module(f"data_pipelines.builders.{name}").RECIPE
    options = Options(class_map=class_map, unannotated_ok=unannotated_ok)
    for option, value in asdict(options).items():
        if option not in recipe.options and value != getattr(Options(), option):
            raise UserError(f"--{option} does not apply to data set {name}; leave it out")
    chosen = {option: getattr(options, option) for option in recipe.options}
    path = data_set_path(data_dir, name)
    if not overwrite:
        if is_moved_away(path):  # by a build that was killed before its own was in place
            with _lock(data_dir, name) as lock:
                if lock.take():
                    recover_staged(path, INDEX)
        if is_built(data_dir, name):
            return _open_built(data_dir, name, chosen)

    raw = None
    if recipe.needs_raw:
        raw = _raw_folder(recipe, raw_dir, data_dir)
    try:
        found = recipe.find_sources(raw, options)
    except OSError as error:
        raise UserError(f"can't read {describe_os_error(error, error.filename or raw_dir)}") from error
    if found.missing or not (found.sources or found.faults):
        raise UserError(_what_to_download(recipe, raw_dir, data_dir, found.missing or f"no images in {raw_dir}"))
    if found.faults and not skip_bad:
        more = f" ({len(found.faults)} such faults in all)" if len(found.faults) > 1 else ""
        raise UserError(f"{found.faults[0]}{more}; mend it, or leave it out with --skip_bad")
    if not found.sources:
        raise UserError(f"nothing usable in {raw_dir}; first fault: {found.faults[0]}")
    try:
        Path(data_dir).mkdir(parents=True, exist_ok=True)
        with _lock(data_dir, name) as lock:
            if not lock.take():
                raise UserError(f"another build of {name} is running in {data_dir}; wait until it has finished")
            if is_built(data_dir, name) and not overwrite:  # by another process, since it was last looked for
                return _open_built(data_dir, name, chosen)
            with staged_folder(path, INDEX) as folder:
                _store(recipe, found, folder, chosen, skip_bad)
    except OSError as error:
        raise UserError(f"can't write the data set to --data_dir {describe_os_error(error, data_dir)}") from error
    return open_data_set(data_dir, name)


def _lock(data_dir: str | os.PathLike, name: str) -> Lock:
    """The lock of a data set's builds; held by its process, it ends with that."""
    return Lock(Path(data_dir) / f".{name}.lock")


def _open_built(data_dir: str | os.PathLike, name: str, options: dict) -> DataSet:
    """Opens what is built; raises UserError where that was with other options."""
    data_set = open_data_set(data_dir, name)
    for option, value in options.items():
        if (built := data_set.options.get(option)) != value:
            raise UserError(
                f"{data_set.path} was built with {option}={built}, not {value}; add --overwrite to build it again"
            )
    return data_set


def _raw_folder(recipe, raw_dir: str | os.PathLike | None, data_dir: str | os.PathLike) -> Path:
    """Returns the raw folder, which holds something; raises UserError with what to download otherwise."""
    if raw_dir is None:
        raise UserError(_what_to_download(recipe, None, data_dir, "--raw_dir is not given"))
    if not Path(raw_dir).is_dir():
        raise UserError(_what_to_download(recipe, raw_dir, data_dir, f"raw folder {raw_dir} does not exist"))
    if not any(Path(raw_dir).iterdir()):
        raise UserError(_what_to_download(recipe, raw_dir, data_dir, f"raw folder {raw_dir} is empty"))
    return Path(raw_dir)


def _what_to_download(recipe, raw_dir, data_dir, problem: str) -> str:
    return f"{problem}: {recipe.download}; then run: {build_command(recipe.name, data_dir, raw_dir or 'RAW_DIR')}"


def _store(recipe, found, folder: Path, options: dict, skip_bad: bool) -> None:
    """Writes the array_record files and the index into an empty folder."""
    import tensorflow_datasets as tfds

    from data_pipelines.builders.base import TissueBuilder

    tfds.disable_progress_bar()
    columns, console = (TimeElapsedColumn(), TimeRemainingColumn()), Console(stderr=True)
    with progress_bar(recipe.name, len(found.sources), *columns, console=console) as advance:

        def on_source(source) -> None:
            advance(name=f"{source.split} {source.name}")

        builder = TissueBuilder(recipe, found, folder / "tfds", skip_bad=skip_bad, on_source=on_source)
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces downloads that there are not
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
    for file in (folder / "tfds" / recipe.name / VERSION).iterdir():  # TFDS has a layout of its own
        file.rename(folder / file.name)
    shutil.rmtree(folder / "tfds")
    collected = builder.collected
    skipped = [*found.faults, *collected.skipped]
    for split in {source.split for source in found.sources}:
        if split not in collected.pixels:
            raise UserError(f"nothing usable is left of the {split} split of {recipe.name}; first fault: {skipped[0]}")
    index = {
        "name": recipe.name,
        "version": VERSION,
        "classes": [{"name": info.name, "colour": info.colour} for info in recipe.classes],
        "microns_per_pixel": recipe.microns_per_pixel,
        "options": options,
        "pixels": {split: counts.tolist() for split, counts in collected.pixels.items()},
        "skipped": skipped,
        "content": collected.digest.hexdigest(),
    }
    if collected.notes:  # else the index, and so the fingerprint, is that of builds from before there were notes
        index["notes"] = collected.notes
    write_index(folder, index, collected.records)


def print_summary(data_set: DataSet, console: Console) -> None:
    """Prints tiles per split and hospital, and the share of every class in the annotated pixels."""
    table = Table("split", "hospitals", "images", "tiles", "annotated", title=f"{data_set.name}: tiles")
    lines = []
    for split in SPLITS:
        records = [record for record in data_set.records if record.split == split]
        if not records:
            continue
        hospitals = sorted({record.hospital for record in records})
        counts = (len(hospitals), len({record.image for record in records}), len(records))
        table.add_row(split, *map(str, (*counts, sum(record.annotated for record in records))))
        tiles = (f"{hospital} {sum(record.hospital == hospital for record in records)}" for hospital in hospitals)
        lines.append(f"{split} tiles per hospital: {', '.join(tiles)}")
    console.print(table)
    console.print("\n".join(lines))
    shares = Table("class", *data_set.pixels, title="share of the annotated pixels, %")
    for label, info in enumerate(data_set.classes):
        row = (100 * counts[label] / max(1, sum(counts)) for counts in data_set.pixels.values())
        shares.add_row(info.name, *(f"{share:.2f}" for share in row))
    console.print(shares)
    if data_set.notes:
        console.print("notes:", *data_set.notes, sep="\n  ", markup=False)
    if data_set.skipped:
        console.print(f"{len(data_set.skipped)} left out:", *data_set.skipped, sep="\n  ", markup=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds a data set, or finds it built, and prints what it holds."""
    parser = argparse.ArgumentParser(prog="python -m data_pipelines.build", description="Prepares a data set once.")
    parser.add_argument("name", help=f"data set: {', '.join(RECIPES)}")
    parser.add_argument("--raw_dir", help="folder with the unpacked download (synthetic needs none)")
    parser.add_argument("--data_dir", required=True, help="folder that holds built data sets")
    parser.add_argument("--skip_bad", action="store_true", help="leave out unusable files, list them and go on")
    parser.add_argument("--class_map", default="paper", help="bcss: paper (codes 0 and 7 ignored) or release (other)")
    parser.add_argument("--unannotated_ok", action="store_true", help="bcss: images without mask as unlabelled tiles")
    parser.add_argument("--overwrite", action="store_true", help="build again even where it is built")
    flags = parser.parse_args(arguments)
    console = Console()
    built = is_built(flags.data_dir, flags.name) and not flags.overwrite
    data_set = build(**vars(flags))
    state = "already built" if built else "built"
    console.print(f"{state}: {data_set.path} ({len(data_set.records)} tiles, fingerprint {data_set.fingerprint})")
    print_summary(data_set, console)


if __name__ == "__main__":
    run_main(main)
