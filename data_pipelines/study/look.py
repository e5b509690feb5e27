"""Looks at a study's folder and says what will be stored: everything but the pixels of tiles is decided here."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from crcfp_jax.common.classes import ClassInfo
from data_pipelines.annotations.table import ClassTable, read_class_table, same_name
from data_pipelines.data_set import DataSet
from data_pipelines.recipes import FoundSources, Recipe, Source
from data_pipelines.source_image import SourceImage
from data_pipelines.study.check import Checked, write_check
from data_pipelines.study.cutting import Cutting, annotated_sources, unlabelled_sources
from data_pipelines.study.drawing import read_drawing
from data_pipelines.study.files import CLASS_TABLE, ROLES, find_files
from data_pipelines.study.labelled import Labelled, choose_study_classes
from data_pipelines.study.mask_image import read_masks
from data_pipelines.study.opened import Opened, at_once, check_unchanged, open_images
from data_pipelines.study.options import StudyOptions, parse_options
from data_pipelines.study.patients import find_belongings
from data_pipelines.study.pixel_size import choose_pixel_size
from data_pipelines.units import Splits, Unit

SHARES = (1, 2, 4, 8)  # of the annotated patients: fractions 1/1, 1/2 ... for comparisons


def look(recipe: Recipe, raw_dir: Path, built: DataSet | None, **given: Any) -> FoundSources:
    """Finds images, annotations, patients, classes and the pixel size.

    A study that has been built keeps its pixel size, unless another one is given: it grows by a few annotations at a
    time, and a model that has learned goes on learning.

    Raises:
        UserError: an option or a table that can't be used, or a study from which nothing can be learned.
    """
    options = parse_options(given)
    files = find_files(raw_dir)
    if not any(image.role == "annotated" for image in files.images) and not files.faults:
        return FoundSources((), missing=f"{raw_dir}/annotated holds no image")
    belongings = find_belongings(raw_dir, files.images, options.patient_pattern)
    opened, faults, notes = open_images(files.images, belongings.of, options.mpp)
    opened, both = _on_one_side(opened)
    table = read_class_table(raw_dir / CLASS_TABLE) if (raw_dir / CLASS_TABLE).is_file() else None
    labelled, more = _read_annotations([each for each in opened if each.image.annotation], table, options)
    faults = [*files.faults, *belongings.faults, *both, *faults, *more]
    told = [f"{name}: {note}" for name, found in labelled.items() for note in found.notes]
    notes = [*files.notes, *belongings.notes, *notes, *told]
    opened = [each for each in opened if not each.image.annotation or each.image.name in labelled]
    if not labelled:
        return FoundSources((), tuple(faults), missing="" if faults else f"{raw_dir}/annotated holds no image")
    classes, remarks = choose_study_classes(labelled, table, options)
    pixel, reason = _pixel_size(opened, labelled, options, built)
    notes += [*remarks, f"the network's pixels measure {pixel:.3g} µm: {reason}", f"patients: {belongings.source}"]
    study = _Study(raw_dir, opened, labelled, classes, pixel, options)
    patients = len({each.belonging.patient for each in opened if each.image.role == "annotated"})
    return FoundSources(
        sources=tuple(study.sources()),
        faults=tuple(faults),
        recipe=dataclasses.replace(recipe, classes=classes, microns_per_pixel=pixel, splits=_splits(patients)),
        images={each.image.name: study.describe(each) for each in opened},
        network_microns_per_pixel=pixel,
        notes=tuple(notes),
        extras=partial(_write_check, study, recipe.name),
    )


def _on_one_side(opened: Sequence[Opened]) -> tuple[list[Opened], list[str]]:
    """The images without those for training of a patient of the test part; a fault for each of these."""
    tested = {each.belonging.patient: each.image.path for each in opened if each.image.role == "test"}
    kept, faults = [], []
    for each in opened:
        patient = each.belonging.patient
        if each.image.role != "test" and patient in tested:
            also = f"{each.image.path} and {tested[patient]} are both of patient {patient}"
            faults.append(f"{also}, who can't train and test: move one")
        else:
            kept.append(each)
    return kept, faults


def _read_annotations(
    opened: Sequence[Opened], table: ClassTable | None, options: StudyOptions
) -> tuple[dict[str, Labelled], list[str]]:
    """What is annotated, by name of the image; and faults, one line each."""
    drawn = [each for each in opened if not each.image.is_mask]
    found = at_once(lambda each: read_drawing(each, table, options), drawn)
    drawings = {each.image.name: drawing for each, (drawing, _) in zip(drawn, found, strict=True) if drawing}
    masks, faults = read_masks([each for each in opened if each.image.is_mask], table, options)
    return drawings | masks, [*(fault for _, fault in found if fault), *faults]


def _splits(patients: int) -> Splits:
    """Labels are given to patients."""
    fractions = {f"1/{share}": patients // share for share in reversed(SHARES) if patients >= share}
    return Splits((Unit("patient", fractions),), source="drawn by rule for every seed")


def _pixel_size(
    opened: Sequence[Opened], labelled: dict[str, Labelled], options: StudyOptions, built: DataSet | None
) -> tuple[float, str]:
    if options.microns_per_pixel:
        return options.microns_per_pixel, "as --microns_per_pixel says"
    if built is not None and built.network_microns_per_pixel:
        return built.network_microns_per_pixel, "as when the study was built before"
    diameters: dict[str, list[float]] = {}
    for each in opened:
        if each.image.name in labelled:
            for name, pixels in labelled[each.image.name].diameters.items():
                diameters.setdefault(name, []).extend(each.microns * diameter for diameter in pixels)
    return choose_pixel_size(diameters, [each.microns for each in opened])


@dataclasses.dataclass(frozen=True)
class _Study:
    """Everything that has been found."""

    raw_dir: Path
    opened: Sequence[Opened]
    labelled: dict[str, Labelled]
    classes: tuple[ClassInfo, ...]
    microns: float
    options: StudyOptions

    def sources(self) -> Iterator[Source]:
        """Image by image, annotated tiles before unlabelled ones."""
        most = self.options.tiles_per_slide
        for each in self.opened:
            cutting, cells, truth, key = self.cutting(each), [], None, ""
            changed = self._changed(each)
            if labelled := self.labelled.get(each.image.name):
                boxes = labelled.boxes
                cells = cutting.all_cells if boxes is None else cutting.cells_within(boxes)
                truth, key = partial(labelled.truth, self.classes), self._truth_key(labelled)
                yield from annotated_sources(cutting, cells, truth, key, changed)
            # Of a small image that is annotated anywhere, nothing is left.
            if most and each.image.role != "test" and not (cells and len(cutting.all_cells) == 1):
                yield from unlabelled_sources(cutting, cells, truth, key, most, changed)

    def cutting(self, each: Opened) -> Cutting:
        """How an image is cut."""
        return Cutting(
            name=each.image.name,
            path=each.image.path,
            split=ROLES[each.image.role],
            size=each.size,
            identity=each.identity,
            own_microns=each.microns,
            microns=self.microns,
            side=self.options.tile,
            patient=each.belonging.patient,
            hospital=each.belonging.hospital,
        )

    def describe(self, each: Opened) -> SourceImage:
        """What the data set tells of an image."""
        drawn = self.labelled[each.image.name].regions if each.image.name in self.labelled else {}
        regions: Counter[str] = Counter()
        for name, count in drawn.items():  # in whatever spelling
            regions[next(info.name for info in self.classes if same_name(info.name) == same_name(name))] += count
        return SourceImage(
            file=each.image.path.relative_to(self.raw_dir).as_posix(),
            role=each.image.role,
            height=each.size[0],
            width=each.size[1],
            microns_per_pixel=each.microns,
            patient=each.belonging.patient,
            hospital=each.belonging.hospital,
            annotation=each.image.annotation.relative_to(self.raw_dir).as_posix() if each.image.annotation else "",
            regions=dict(regions),
        )

    def checked(self) -> Iterator[Checked]:
        """What the page of annotations shows."""
        for each in self.opened:
            if labelled := self.labelled.get(each.image.name):
                cutting = self.cutting(each)
                yield Checked(
                    cutting,
                    partial(labelled.truth, self.classes),
                    cutting.digest("check", self._truth_key(labelled)),
                    tuple(_facts(each, labelled)),
                    labelled.notes,
                )

    def _truth_key(self, labelled: Labelled) -> str:
        """Changes with what is painted: the annotation, and the numbers and colours of classes."""
        return json.dumps([labelled.key, [[info.name, info.colour] for info in self.classes]])

    def _changed(self, each: Opened) -> Callable[[], None]:
        identities = {each.image.path: each.identity}
        if labelled := self.labelled.get(each.image.name):
            identities[each.image.annotation] = labelled.identity
        return partial(check_unchanged, identities)


def _facts(each: Opened, labelled: Labelled) -> Iterator[str]:
    height, width = each.size
    yield f"{width} x {height} pixels of {each.microns:.3g} µm"
    yield f"patient {each.belonging.patient}"
    yield ", ".join(f"{count} {name}" for name, count in labelled.regions.items()) or "a mask"


def _write_check(study: _Study, name: str, folder: Path, previous: Path) -> None:
    write_check(folder, previous, list(study.checked()), study.classes, name)
