"""Prepares a data set once: `python -m data_pipelines.build NAME --raw_dir R --data_dir D`; --help lists the names.

The data set is built in a hidden folder beside its place and moved there whole by one rename, so what stands in its
place is finished; an older one stays until then. What a killed build left behind is removed by the next one.
"""

import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from crcfp_jax.common.command import ArgumentParser, run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error
from crcfp_jax.common.lock import Lock
from crcfp_jax.common.staging import is_moved_away, recover_staged, staged_folder
from data_pipelines.data_set import INDEX, SPLITS, DataSet, build_command, data_set_path, is_built, open_data_set
from data_pipelines.recipes import FoundSources, Recipe, all_recipes, find_recipe
from data_pipelines.storage.reuse import is_unchanged

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a data set of the user's own


def build(
    recipe: str | Recipe,
    raw_dir: str | os.PathLike | None,
    data_dir: str | os.PathLike,
    *,
    skip_bad: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> DataSet:
    """Builds a data set, or opens it where it is built already with the same options.

    Args:
      recipe: of the data set, or its name (see data_pipelines.recipes).
      raw_dir: folder with the unpacked download; None for a recipe that needs none.
      data_dir: folder that holds built data sets; made if missing.
      skip_bad: leave out unusable files and list them (`DataSet.skipped`), instead of stopping at the first.
      overwrite: build again even where it is built.
      options: the recipe's own.

    Raises:
      UserError: unknown name or option, raw data missing or unusable, another build running, folder not writable.
    """
    if isinstance(recipe, str):
        recipe = _known_recipe(recipe)
    chosen = _choose_options(recipe, options)
    if recipe.grows:
        raw = _raw_folder(recipe, raw_dir, data_dir)
        return _build_growing(
            _named(recipe, raw, chosen), raw, data_dir, chosen, skip_bad=skip_bad, overwrite=overwrite
        )
    name = recipe.name
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
    found = _look(recipe, raw, data_dir, chosen, skip_bad=skip_bad)
    with _building(data_dir, name):
        if is_built(data_dir, name) and not overwrite:  # by another process, since it was last looked for
            return _open_built(data_dir, name, chosen)
        from data_pipelines.storage.store import store  # here, because it loads TFDS

        with staged_folder(path, INDEX) as folder:
            store(recipe, found, folder, chosen, skip_bad)
    return open_data_set(data_dir, name)


def _build_growing(
    recipe: Recipe, raw: Path, data_dir: str | os.PathLike, options: dict[str, Any], *, skip_bad: bool, overwrite: bool
) -> DataSet:
    """Builds from a folder that changes: what an earlier build has stored and has not changed is taken from there."""
    path = data_set_path(data_dir, recipe.name)
    with _building(data_dir, recipe.name):
        recover_staged(path, INDEX)
        known = is_built(data_dir, recipe.name) and not overwrite
        built = open_data_set(data_dir, recipe.name) if known else None
        found = _look(recipe, raw, data_dir, options, skip_bad=skip_bad, built=built)
        if built is not None and built.images:
            _check_same_study(built, found)
        if overwrite or not is_unchanged(path, found, options):
            from data_pipelines.storage.store import store  # here, because it loads TFDS

            with staged_folder(path, INDEX) as folder:
                store(found.recipe, found, folder, options, skip_bad, previous=None if overwrite else path)
    return open_data_set(data_dir, recipe.name)


def _check_same_study(built: DataSet, found: FoundSources) -> None:
    """Raises UserError where a study has no image of the one that was built under its name."""
    before, now = ({image.file for image in images.values()} for images in (built.images, found.images))
    if before.isdisjoint(now):
        raise UserError(
            f"{built.path} was built of other images, such as {min(before)}: give this study another --name, or replace"
            " that one with --overwrite"
        )


def _named(recipe: Recipe, raw: Path, options: dict[str, Any]) -> Recipe:
    """A growing recipe under the name of its data set, the option's or the folder's."""
    name = options["name"] or raw.resolve().name
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} can't be a data set's name: give --name, of letters, digits, '-', '_' and '.'")
    if find_recipe(name) is not None:
        raise UserError(f"{name!r} is the name of a known data set: give another one with --name")
    return dataclasses.replace(recipe, name=name)


def _look(
    recipe: Recipe,
    raw: Path | None,
    data_dir: str | os.PathLike,
    options: dict[str, Any],
    *,
    skip_bad: bool,
    built: DataSet | None = None,
) -> FoundSources:
    """Lets a recipe look at its folder; raises UserError where that is of no use."""
    given = (recipe, raw, built) if recipe.grows else (raw,)
    try:
        found = recipe.find_sources(*given, **options)
    except OSError as error:
        raise UserError(f"can't read {describe_os_error(error, error.filename or raw)}") from error
    if found.missing or not (found.sources or found.faults):
        raise UserError(_what_to_download(recipe, raw, data_dir, found.missing or f"no images in {raw}"))
    if found.faults and not skip_bad:
        more = f" ({len(found.faults)} such faults in all)" if len(found.faults) > 1 else ""
        raise UserError(f"{found.faults[0]}{more}; mend it, or leave it out with --skip_bad")
    if not found.sources:
        raise UserError(f"nothing usable in {raw}; first fault: {found.faults[0]}")
    return found


@contextmanager
def _building(data_dir: str | os.PathLike, name: str) -> Iterator[None]:
    """Holds the lock of a data set's builds.

    Raises:
      UserError: another build is running, or the disk can't be written.
    """
    try:
        Path(data_dir).mkdir(parents=True, exist_ok=True)
        with _lock(data_dir, name) as lock:
            if not lock.take():
                raise UserError(f"another build of {name} is running in {data_dir}; wait until it has finished")
            yield
    except OSError as error:
        raise UserError(f"can't write the data set to --data_dir {describe_os_error(error, data_dir)}") from error


def _known_recipe(name: str) -> Recipe:
    recipe = find_recipe(name)
    if recipe is None:
        raise UserError(f"unknown data set {name!r}; known: {', '.join(all_recipes())}")
    return recipe


def _choose_options(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every option of a recipe; raises UserError for an option or a value that it doesn't know."""
    chosen = {option.name: given.get(option.name, option.default) for option in recipe.options}
    if foreign := sorted(given.keys() - chosen.keys()):
        raise UserError(f"--{foreign[0]} does not apply to data set {recipe.name}; leave it out")
    for option in recipe.options:
        if option.choices and chosen[option.name] not in option.choices:
            known = ", ".join(option.choices)
            raise UserError(f"--{option.name} {chosen[option.name]} is unknown for {recipe.name}; known: {known}")
    return chosen


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
    told = f"{problem}: {recipe.download}"
    if find_recipe(recipe.name) is None:
        return told
    return f"{told}; then run: {build_command(recipe.name, data_dir, raw_dir or 'RAW_DIR')}"


def print_summary(data_set: DataSet, console: Console) -> None:
    """Prints tiles per split and hospital, and the share of every class in the annotated pixels; or what a study is."""
    if data_set.images:
        from data_pipelines.study.summary import print_study

        print_study(data_set, console)
    else:
        _print_tiles(data_set, console)
    for unit in data_set.splits.units:
        console.print(f"labels by {unit.name}: {', '.join(unit.fractions)}")
    if data_set.description:
        console.print(data_set.description, markup=False)
    console.print(f"licence: {data_set.licence or 'not stated'}", markup=False)
    if data_set.notes:
        console.print("notes:", *data_set.notes, sep="\n  ", markup=False)
    if data_set.skipped:
        console.print(f"{len(data_set.skipped)} left out:", *data_set.skipped, sep="\n  ", markup=False)


def _print_tiles(data_set: DataSet, console: Console) -> None:
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
    shares = Table(Column("class", overflow="fold"), *data_set.pixels, title="share of the annotated pixels, %")
    for label, info in enumerate(data_set.classes):
        row = (100 * counts[label] / max(1, sum(counts)) for counts in data_set.pixels.values())
        shares.add_row(info.name, *(f"{share:.2f}" for share in row))
    console.print(shares)


def _literal(text: str) -> str:
    return text.replace("%", "%%")  # which argparse would take for a format


def _make_parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m data_pipelines.build", description="Prepares a data set once.")
    names = parser.add_subparsers(dest="recipe", metavar="NAME", required=True, help="a data set, before its flags:")
    for name, recipe in all_recipes().items():
        flags = names.add_parser(name, help=_literal(recipe.description), description=recipe.description)
        if recipe.needs_raw:
            flags.add_argument("--raw_dir", help="folder with the unpacked download")
        flags.add_argument("--data_dir", required=True, help="folder that holds built data sets")
        flags.add_argument("--skip_bad", action="store_true", help="leave out unusable files, list them and go on")
        flags.add_argument("--overwrite", action="store_true", help="build again even where it is built")
        for option in recipe.options:
            kind = (
                {"action": "store_true"} if option.default is False else {"metavar": "|".join(option.choices) or None}
            )
            flags.add_argument(f"--{option.name}", default=option.default, help=_literal(option.help), **kind)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds a data set, or finds it built, and prints what it holds."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] not in ("-h", "--help"):
        if words[0].startswith("-"):
            raise UserError(f"command line: give the data set's name first; known: {', '.join(all_recipes())}")
        _known_recipe(words[0])
    flags, rest = _make_parser().parse_known_args(words)
    if rest:
        raise UserError(f"{rest[0].partition('=')[0]} does not apply to data set {flags.recipe}; leave it out")
    console = Console()
    given = vars(flags)
    recipe, raw_dir = _known_recipe(given.pop("recipe")), given.pop("raw_dir", None)
    name = flags.name or Path(raw_dir or "").resolve().name if recipe.grows else recipe.name
    before = open_data_set(flags.data_dir, name).fingerprint if is_built(flags.data_dir, name) else None
    data_set = build(recipe, raw_dir, **given)
    state = "already built" if data_set.fingerprint == before and not flags.overwrite else "built"
    console.print(f"{state}: {data_set.path} ({len(data_set.records)} tiles, fingerprint {data_set.fingerprint})")
    print_summary(data_set, console)


if __name__ == "__main__":
    run_main(main)
