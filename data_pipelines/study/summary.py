"""What the build of a study tells on the terminal."""

import shlex
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_pipelines.data_set import DataSet
from data_pipelines.scarcity import Annotated, scarce_classes
from data_pipelines.study.check import PAGE

LOG_WIDTH = 140  # characters, where the output is no terminal, which would be taken for a narrow one
MOST_ROWS = 40  # images in the table; check.html and index.json hold all


def print_study(data_set: DataSet, console: Console) -> None:
    """Prints the images, what is annotated of each class, what is too little, and where to look."""
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    console.print(_image_table(data_set))
    console.print(_class_table(data_set))
    for line in _told(data_set):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _image_table(data_set: DataSet) -> Table:
    table = Table(title=f"{data_set.name}: images", box=None, header_style="bold", pad_edge=False)
    for name in ("image", "part", "patient", "pixels", "µm/px", "annotated mm²", "regions", "tiles", "unlabelled"):
        left = name in ("image", "part", "patient")
        table.add_column(name, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    labelled = Counter(record.image for record in data_set.records if record.annotated)
    unlabelled = Counter(record.image for record in data_set.records if not record.annotated)
    for number, (name, image) in enumerate(data_set.images.items()):
        if number == MOST_ROWS:
            rest = len(data_set.images) - MOST_ROWS
            table.add_row(f"and {rest} more")
            break
        table.add_row(
            escape(name),
            image.role,
            escape(image.patient),
            f"{image.width} x {image.height}",
            f"{image.microns_per_pixel:.3g}",
            f"{sum(image.mm2.values()):.3g}" if image.mm2 else "-",
            str(sum(image.regions.values()) or "-"),
            str(labelled[name] or "-"),
            str(unlabelled[name] or "-"),
        )
    return table


def _class_table(data_set: DataSet) -> Table:
    table = Table(title="annotated for training", box=None, header_style="bold", pad_edge=False)
    table.add_column("class", overflow="fold")
    for name in ("mm²", "share", "regions", "images", "patients"):
        table.add_column(name, justify="right")
    images = [image for image in data_set.images.values() if image.role == "annotated"]
    total = sum(sum(image.mm2.values()) for image in images)
    for info in data_set.classes:
        holding = [image for image in images if image.mm2.get(info.name)]
        mm2 = sum(image.mm2[info.name] for image in holding)
        regions = sum(image.regions.get(info.name, 0) for image in images)
        patients = len({image.patient for image in holding})
        table.add_row(
            escape(info.name),
            f"{mm2:.3g}",
            f"{100 * mm2 / total:.1f} %" if total else "-",
            str(regions or "-"),
            str(len(holding)),
            str(patients),
        )
    return table


def _told(data_set: DataSet) -> Iterator[str]:
    """Lines below the tables."""
    images = list(data_set.images.values())
    tiles = sum(not record.annotated for record in data_set.records)
    annotated = {image.patient for image in images if image.role == "annotated"}
    everyone = {image.patient for image in images}
    test = sum(image.role == "test" for image in images)
    of_test = f" ({test} for testing)" if test else ""
    yield (
        f"{len(images)} images{of_test} of {len(everyone)} patients, {len(annotated)} of them annotated; {tiles} "
        f"unlabelled tiles; the network sees {data_set.network_microns_per_pixel:.3g} µm per pixel"
    )
    yield from scarce(data_set).values()
    if len(annotated) == 1:
        yield (
            "one annotated patient only: no validation and no cross-validation is possible; annotate a second patient "
            "to learn how good a model is"
        )
    yield f"look at every annotation as it was read: {data_set.path / PAGE}"
    yield f"train: python -m crcfp_jax.main --config configs/own.py --config.data.name={data_set.name}" + _dir(data_set)


def _dir(data_set: DataSet) -> str:
    folder = data_set.path.parent.parent
    return "" if folder.as_posix() == "data" else f" {shlex.quote(f'--config.data.dir={folder}')}"


def scarce(data_set: DataSet) -> dict[str, str]:
    """What is annotated too little for training: class -> a sentence; see `scarcity.scarce_classes`."""
    images = [image for image in data_set.images.values() if image.role == "annotated"]
    amounts = []
    for info in data_set.classes:
        own = [image for image in images if info.name in image.tiles]
        mm2, tiles = (sum(getattr(image, what)[info.name] for image in own) for what in ("mm2", "tiles"))
        amounts.append(Annotated(info.name, mm2, tiles, len({image.patient for image in own})))
    return scarce_classes(
        amounts,
        microns_per_pixel=data_set.network_microns_per_pixel,
        patients=len({image.patient for image in images}),
    )
