"""EBHI-SEG: 2,226 pictures of colorectal biopsies at 400x, 224 x 224 pixels, glands outlined (Shi et al. 2023).

Pictures are of 342 patients with six diagnoses, of which 71 have several. The data set comes without a test part; here
it is of the third of the patients whose numbers' SHA-256 come first, listed in `ebhi_test.json`. Outlines are coarse,
and 35 masks are of glands alone. Two layouts are accepted: the published one,
`Adenocarcinoma/image/GT2012149-1-400-001.png` beside `Adenocarcinoma/label/` with the same names, and one with
`images/Adenocarcinoma__GT2012149-1-400-001.jpg` beside `masks/`.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from crcfp_jax.common.classes import ClassInfo
from data_pipelines.builders.raw import foreground_tile, pictures_by_stem
from data_pipelines.recipes import FoundSources, Recipe, Source, Tile
from data_pipelines.units import Splits, Unit

TOP = ("EBHI-SEG", "EBHI_SEG")  # the published folder
NAME = re.compile(r".*GT(?:XC)?((?:DC)?\d+)-.+", re.IGNORECASE)  # the patient's number, which may begin with DC
HOSPITAL = "Shengjing"  # China Medical University
TEST = frozenset(json.loads(Path(__file__).with_name("ebhi_test.json").read_text()))
CLASSES = (ClassInfo("background", (235, 235, 235)), ClassInfo("gland", (190, 60, 130)))


def find_sources(raw_dir: Path) -> FoundSources:
    """Pairs pictures and masks by name, in either layout; a source is a patient."""
    folder = next((raw_dir / name for name in TOP if (raw_dir / name).is_dir()), raw_dir)
    if (folder / "images").is_dir():
        images, masks = _pictures(folder / "images", ""), _pictures(folder / "masks", "")
    else:
        diagnoses = [path for path in sorted(folder.iterdir()) if (path / "image").is_dir()]
        images, masks = {}, {}
        for path in diagnoses:
            images |= _pictures(path / "image", f"{path.name}__")
            masks |= _pictures(path / "label", f"{path.name}__")
    for files, what in ((images, "pictures"), (masks, "masks")):
        if not any(NAME.fullmatch(name) for name in files):
            return FoundSources((), missing=f"{folder} holds no {what} of EBHI-SEG")
    faults, pairs = [], {}
    for name in sorted({*images, *masks}):
        paths = [*images.get(name, ()), *masks.get(name, ())]
        if (match := NAME.fullmatch(name)) is None:
            faults.append(f"{paths[0]}: the name should have the form GT2012149-1-400-001")
        elif name not in images:
            faults.append(f"{paths[0]} has no picture beside it")
        elif name not in masks:
            faults.append(f"{paths[0]} has no mask beside it")
        elif len(paths) > 2:
            faults.append(f"{name} is there more than once: {', '.join(map(str, paths))}; remove what is too much")
        else:
            pairs.setdefault(match[1].upper(), []).append((name, *paths))
    sources = [
        Source(patient, "test" if patient in TEST else "train", partial(_tiles, patient, rows))
        for patient, rows in sorted(pairs.items(), key=lambda item: (item[0] in TEST, item[0]))
    ]
    return FoundSources(tuple(sources), tuple(faults))


def _pictures(folder: Path, prefix: str) -> dict[str, list[Path]]:
    return {prefix + name: paths for name, paths in pictures_by_stem(folder).items()}


def _tiles(patient: str, rows: list[tuple[str, Path, Path]]) -> Iterator[Tile]:
    for name, image_path, mask_path in rows:
        yield foreground_tile(image_path, mask_path, name, HOSPITAL, patient)


RECIPE = Recipe(
    name="ebhi",
    description="EBHI-SEG: glands in 2,226 H&E pictures of colorectal biopsies of 342 patients.",
    licence="CC BY 4.0 (Shi et al. 2023, figshare 21540159)",
    classes=CLASSES,
    microns_per_pixel=0.5,  # nowhere stated; a gland of the pictures then measures about 100 µm
    splits=Splits(
        (Unit("patient", {"1/57": 4, "1/28": 8, "1/14": 16, "1/7": 32, "1/1": 228}),),
        source="drawn by rule for every seed",
    ),
    find_sources=find_sources,
    download=(
        "download EBHI-SEG from https://doi.org/10.6084/m9.figshare.21540159 and unpack it into RAW_DIR, so that it "
        f"holds '{TOP[0]}/Adenocarcinoma/image'"
    ),
)
