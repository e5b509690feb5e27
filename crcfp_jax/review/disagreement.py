"""Where model and annotation disagree most: places to look at, where annotation errors are found."""

import heapq
import itertools
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from flax.typing import VariableDict
from jaxtyping import Float32, UInt8

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.files import write_atomic
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.evaluation.windows import predict_probabilities
from crcfp_jax.runs.parts import Parts
from data_pipelines.data_set import Record
from data_pipelines.loaders import evaluation_examples
from data_pipelines.source_image import SourceImage

MOST_TILES = 1000  # looked at, evenly spaced over the annotated ones
SHOWN = 12  # places
PER_TILE = 2  # places of a tile, at most
LEAST = 16  # pixels of a place: less is the edge of an outline
NAMESPACE = uuid.UUID("5f0c0d1e-3b1a-5c55-8d53-7f1d4f0b6a21")


@dataclass(frozen=True)
class Place:
    """A connected place of a tile in which the model names another class than the annotation. Boxes in tile pixels."""

    record: Record
    part: str  # 'training', 'validation' or 'test'
    weight: float  # sum over the pixels of how much more the model believes in its own class than in the annotated one
    top: int
    left: int
    height: int
    width: int
    annotated: str
    predicted: str
    confidence: float  # mean probability of the predicted class
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    prediction: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True)
class Disagreement:
    """The places, the worst first, and how many annotated tiles of how many were looked at."""

    places: tuple[Place, ...]
    tiles: int
    of: int


def find_disagreement(parts: Parts, variables: VariableDict) -> Disagreement:
    """Predicts the annotated tiles of a run, those that it learned from too, as its evaluation does.

    Confident disagreement comes first: a model that is sure of another class, though it has learned this tile, has seen
    many others that say so.

    Raises:
        UserError: a tile can't be read.
    """
    split = parts.split
    every = [(record, "training") for record in split.labelled]
    every += [(record, "validation") for record in split.validation] + [(record, "test") for record in split.test]
    chosen = [every[place] for place in evenly_spaced(len(every), MOST_TILES)]
    part_of = {record.id: part for record, part in chosen}
    waiting: list[tuple] = []

    def images():
        for example in evaluation_examples(parts.data_set, [record for record, _ in chosen], threads=2):
            waiting.append(example)
            yield example[1], example[0].microns_per_pixel

    def places() -> Iterator[Place]:
        classes = parts.data_set.classes
        for probabilities in predict_probabilities(parts.evaluator(variables), images()):
            record, image, label = waiting.pop(0)
            yield from places_of_tile(record, part_of[record.id], image, label, probabilities, classes)

    return Disagreement(tuple(heaviest(places())), len(chosen), len(every))


def heaviest(places: Iterable[Place]) -> list[Place]:
    """The places that weigh most, the heaviest first; of equal ones the earlier. Others are not kept meanwhile."""
    best: list[tuple[float, int, Place]] = []
    for number, place in enumerate(places):
        heapq.heappush(best, (place.weight, -number, place))  # no two numbers are equal: places are never compared
        if len(best) > SHOWN:
            heapq.heappop(best)
    return [place for _, _, place in sorted(best, key=lambda entry: entry[:2], reverse=True)]


def places_of_tile(
    record: Record,
    part: str,
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    probabilities: Float32[np.ndarray, "h w c"],
    classes: Sequence[ClassInfo],
) -> list[Place]:
    """The connected places of a tile, of one annotated and one predicted class each; the heaviest two."""
    prediction = probabilities.argmax(-1).astype(np.uint8)
    wrong = (label != IGNORED) & (prediction != label)
    truth = np.where(wrong, label, 0)
    of_truth = np.take_along_axis(probabilities, truth[..., None].astype(np.int64), -1)[..., 0]
    of_model = probabilities.max(-1)
    found = []
    for code in np.unique(label[wrong].astype(np.int64) * 256 + prediction[wrong]).tolist():
        annotated, predicted = divmod(code, 256)
        mask = (wrong & (label == annotated) & (prediction == predicted)).astype(np.uint8)
        count, numbers, figures, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        weights = np.bincount(numbers.ravel(), weights=(of_model - of_truth).ravel(), minlength=count)
        sure = np.bincount(numbers.ravel(), weights=of_model.ravel(), minlength=count)
        for number in range(1, count):
            left, top, width, height, area = figures[number].tolist()
            if area >= LEAST:
                box, names = (top, left, height, width), (classes[annotated].name, classes[predicted].name)
                confidence = float(sure[number] / area)
                found.append(
                    Place(record, part, float(weights[number]), *box, *names, confidence, image, label, prediction)
                )
    return sorted(found, key=lambda place: -place.weight)[:PER_TILE]


def slide_box(place: Place, images: Mapping[str, SourceImage]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a place in pixels of the image that its tile was cut from.

    `images`: of the data set; one that tells of none has tiles of its images' own pixels.
    """
    source = images.get(place.record.image)
    factor = 1.0 if source is None else place.record.microns_per_pixel / source.microns_per_pixel
    left, top = place.record.x + place.left * factor, place.record.y + place.top * factor
    return left, top, left + place.width * factor, top + place.height * factor


def write_geojson(folder: Path, places: Sequence[Place], images: Mapping[str, SourceImage]) -> Mapping[str, Path]:
    """Writes a rectangle a place for QuPath, one file an image, in the place of earlier ones.

    Returns:
        The file of each image.

    Raises:
        UserError: the folder can't be written.
    """
    for old in folder.glob("*.geojson") if folder.is_dir() else ():
        old.unlink()
    features: dict[str, list[dict]] = {}
    for rank, place in enumerate(places, 1):
        left, top, right, bottom = (round(value, 2) for value in slide_box(place, images))
        corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        features.setdefault(place.record.image, []).append(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(NAMESPACE, f"{place.record.image} {corners}")),
                "geometry": {"type": "Polygon", "coordinates": [corners]},
                "properties": {
                    "objectType": "annotation",
                    "name": f"disagree {rank}: {place.annotated} -> {place.predicted}",
                    "classification": {"name": "Ignore*", "color": [180, 180, 180]},
                    "measurements": {"confidence": round(place.confidence, 4)},
                },
            }
        )
    paths: dict[str, Path] = {}
    for image, own in features.items():
        paths[image] = _free_path(folder / (re.sub(r"[^\w.-]+", "_", image) + ".geojson"), paths.values())
        write_atomic(paths[image], json.dumps({"type": "FeatureCollection", "features": own}, indent=1).encode())
    return paths


def _free_path(path: Path, taken: Iterable[Path]) -> Path:
    """The path, numbered where another image has it, also where only the case of letters tells them apart."""
    names = {other.name.casefold() for other in taken}
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if each.name.casefold() not in names)
