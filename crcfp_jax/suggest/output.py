"""What a command for suggestions leaves behind: rectangles for QuPath, a table and a contact sheet."""

import csv
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.csv_text import cell_text, csv_text
from crcfp_jax.common.drawing import INK, PAPER, legible, save_picture, shortened
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error, write_atomic
from crcfp_jax.slides.writing.legend import legend
from crcfp_jax.suggest.suggestions import Suggestion

FRAME = {"name": "Region*", "color": [0, 153, 255]}  # QuPath's class of a frame in which everything is annotated
NAMESPACE = uuid.UUID("a1d6b8f2-6c1c-5a57-9a5e-0b3c0c5a7d11")
TABLE, SHEET = "suggestions.csv", "suggestions.png"
THUMBNAIL, GAP = 280, 16  # pixels


def geojson(suggestions: Sequence[Suggestion]) -> str:
    """The suggestions of one slide as QuPath's annotations, rectangles named 'suggest 1' and so on."""
    return json.dumps({"type": "FeatureCollection", "features": [_feature(each) for each in suggestions]}, indent=1)


def _feature(each: Suggestion) -> dict:
    left, top, right, bottom = each.left, each.top, each.left + each.width, each.top + each.height
    corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    corners = [[round(x, 2), round(y, 2)] for x, y in corners]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NAMESPACE, f"{each.picture.name} {corners}")),
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": {
            "objectType": "annotation",
            "name": f"suggest {each.rank}",
            "classification": FRAME,
            "measurements": {"uncertainty": round(each.uncertainty, 4), "novelty": round(each.novelty, 4)},
            "metadata": {"ANNOTATION_DESCRIPTION": each.reason},
        },
    }


def table(suggestions: Sequence[Suggestion], microns: Mapping[str, float]) -> bytes:
    """All suggestions as CSV; `microns`: per pixel, by name of the slide."""
    sizes = ["left", "top", "width", "height", "width_microns", "height_microns"]
    rows = [["rank", "input", *sizes, "uncertainty", "novelty", "likely", "second", "reason"]]
    for each in suggestions:
        pixel = microns[each.picture.name]
        box = (each.left, each.top, each.width, each.height, each.width * pixel, each.height * pixel)
        figures = (f"{each.uncertainty:.4f}", f"{each.novelty:.4f}")
        rows.append([each.rank, each.picture.name, *(f"{x:.1f}" for x in box), *figures, *each.likely, each.reason])
    return csv_text(rows)


def sheet(
    suggestions: Sequence[Suggestion],
    pictures: Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], UInt8[np.ndarray, "_ _"]]],
    classes: Sequence[ClassInfo],
) -> UInt8[np.ndarray, "_ _ 3"]:
    """A contact sheet: of each place the picture, what the model says of it, its name and the reason.

    Args:
        suggestions: in the order of their ranks.
        pictures: of each, pixels and predicted labels, at whatever size.
        classes: of the labels.
    """
    width = 2 * THUMBNAIL + GAP
    columns = 2 if len(suggestions) > 1 else 1
    texts = [(f"{each.rank}  {each.picture.name}", *_wrapped(each.reason)) for each in suggestions]
    _, font = legible([word for lines in texts for word in lines], 15)
    line = 22
    tall = max(round(THUMBNAIL * pixels.shape[0] / max(pixels.shape[:2])) for pixels, _ in pictures)
    height = tall + 3 * line + GAP
    rows = -(-len(suggestions) // columns)
    entries = legend([(info.name, tuple(info.colour)) for info in classes], columns * (width + GAP))
    canvas = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP + len(entries)), PAPER)
    canvas.paste(Image.fromarray(entries), (GAP, GAP // 2))
    draw = ImageDraw.Draw(canvas)
    colours = np.array([info.colour for info in classes], np.uint8)
    for number, (lines, (pixels, label)) in enumerate(zip(texts, pictures, strict=True)):
        x = GAP + number % columns * (width + GAP)
        y = GAP + len(entries) + number // columns * (height + GAP)
        laid = (0.5 * pixels + 0.5 * colours[label]).astype(np.uint8)
        for place, picture in enumerate((pixels, laid)):
            factor = THUMBNAIL / max(picture.shape[:2])
            size = [max(1, round(length * factor)) for length in picture.shape[1::-1]]
            image = Image.fromarray(picture).resize(size)
            canvas.paste(image, (x + place * (THUMBNAIL + GAP), y))
        for place, text in enumerate(lines):
            told = shortened(text, float(width), font)
            draw.text((x, y + tall + 6 + place * line), told, fill=INK, font=font)
    return np.asarray(canvas)


def _wrapped(reason: str) -> tuple[str, ...]:
    """What is said, and its figures, on lines of their own."""
    words, _, figures = reason.partition(" (")
    return words, figures.removesuffix(")")


def write_output(
    output: Path,
    earlier: Iterable[Path],
    suggestions: Sequence[Suggestion],
    microns: Mapping[str, float],
    picture: UInt8[np.ndarray, "_ _ 3"],
) -> list[Path]:
    """Writes every file, in the place of the `earlier` ones; returns those for QuPath.

    Raises:
        UserError: the folder can't be written.
    """
    paths = []
    for path in earlier:
        path.unlink(missing_ok=True)
    for name in dict.fromkeys(each.picture.name for each in suggestions):
        path = output / f"{name}.geojson"
        write_atomic(path, geojson([each for each in suggestions if each.picture.name == name]).encode())
        paths.append(path)
    save_picture(output / SHEET, picture)
    write_atomic(output / TABLE, table(suggestions, microns))
    return paths


def earlier_frames(output: Path) -> list[Path]:
    """The files for QuPath of the inputs that an earlier table in the folder names.

    Raises:
        UserError: the table is no longer as it was written, so that what belongs to it can't be told.
    """
    path = output / TABLE
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            inputs = {row["input"] for row in csv.DictReader(file)}
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error
    except (UnicodeDecodeError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is not as it was written: delete the folder, or give another --output") from error
    frames = sorted(output.rglob("*.geojson"))
    return [path for path in frames if cell_text(str(path.relative_to(output).with_suffix(""))) in inputs]
