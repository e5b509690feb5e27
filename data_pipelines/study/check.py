"""`check.html`: every annotated image with its annotations on it: a shift or a wrong class is seen at a glance."""

import html
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.files import link_or_copy, write_atomic, write_text_atomic
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.resample import View
from data_pipelines.study.cutting import Cutting, Truth

PAGE, PICTURES = "check.html", "check"
SIDE = 720  # pixels of a picture
FILL = 0.35  # share of a class's colour over the image
AT_ONCE = 4  # images read


@dataclass(frozen=True)
class Checked:
    """An annotated image for the page."""

    cutting: Cutting
    truth: Callable[[], Truth]
    digest: str  # changes with what its picture shows
    facts: tuple[str, ...]  # a line each: patient, size, what is drawn
    notes: tuple[str, ...]


def write_check(folder: Path, previous: Path, images: Sequence[Checked], classes: Sequence[ClassInfo], title: str):
    """Writes the page and its pictures; those that an older build has are taken from there.

    Raises:
        UserError: an image can't be read, or the disk is full.
    """
    (folder / PICTURES).mkdir(exist_ok=True)

    def draw(image: Checked) -> None:
        for part in ("whole", "detail"):
            name = f"{image.digest}-{part}.jpg"
            if (previous / PICTURES / name).is_file():
                link_or_copy(previous / PICTURES / name, folder / PICTURES / name)
            else:
                break
        else:
            return
        for part, picture in zip(("whole", "detail"), _pictures(image, classes), strict=True):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=85)
            write_atomic(folder / PICTURES / f"{image.digest}-{part}.jpg", buffer.getvalue())

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(draw, images))
    write_text_atomic(folder / PAGE, _page(images, classes, title))


def _pictures(image: Checked, classes: Sequence[ClassInfo]) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The whole image, and the place with most outlines at the stored pixel size."""
    cutting, truth = image.cutting, image.truth()
    with open_slide(cutting.path) as slide:
        whole = View(slide, max(1.0, max(slide.size) / SIDE))
        outlined, label = _draw(whole, (0, 0, *whole.size), slide.size, truth, classes)
        detail = View(slide, cutting.scale)
        side = [min(SIDE, length) for length in detail.size]
        share = [part / length for part, length in zip(side, detail.size, strict=True)]
        window = [max(1, round(part * length)) for part, length in zip(share, whole.size, strict=True)]
        edges = cv2.boxFilter(_edges(label).astype(np.float32), -1, (window[1], window[0]), normalize=False)
        centre = np.unravel_index(edges.argmax(), edges.shape)
        corner = [
            min(max(0, round((place + 0.5) / small * large - part / 2)), large - part)
            for place, small, large, part in zip(centre, whole.size, detail.size, side, strict=True)
        ]
        closer, _ = _draw(detail, (*corner, *side), slide.size, truth, classes)
    return [outlined, closer]


def _draw(view, window, size, truth: Truth, classes: Sequence[ClassInfo]):
    """A window of a view with its classes laid over it, and its label."""
    top, left, height, width = window
    factor = (size[0] / view.size[0], size[1] / view.size[1])
    picture, label = view.read(*window), truth.paint(top, left, height, width, factor)
    table = np.zeros((256, 3), np.float32)
    table[: len(classes)] = [info.colour for info in classes]
    filled = picture * (1 - FILL) + table[label] * FILL
    picture = np.where((label == IGNORED)[..., None], picture, filled)
    picture = np.where(_edges(label)[..., None], table[_strongest(label)], picture)
    return picture.astype(np.uint8), label


def _edges(label: UInt8[np.ndarray, "h w"]) -> np.ndarray:
    """Where a labelled pixel touches one of another label."""
    kernel = np.ones((3, 3), np.uint8)
    return (cv2.dilate(label, kernel) != cv2.erode(label, kernel)) & (_strongest(label) != IGNORED)


def _strongest(label: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The label of each pixel, or of a neighbour where it has none."""
    return np.where(label == IGNORED, cv2.erode(label, np.ones((3, 3), np.uint8)), label)


def _page(images: Sequence[Checked], classes: Sequence[ClassInfo], title: str) -> str:
    swatches = "".join(
        f'<li><span style="background:rgb{tuple(info.colour)}"></span>{html.escape(info.name)}</li>' for info in classes
    )
    blocks = "".join(_block(image) for image in images)
    count = f"{len(images)} annotated image{'s' * (len(images) != 1)}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}: annotations</title><style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{count}. Left the whole image, right the place with most outlines as the network sees it. What has no colour is
unknown: it counts nowhere.</p>
<ul class="legend">{swatches}</ul>
{blocks}</body></html>
"""


def _block(image: Checked) -> str:
    name = html.escape(image.cutting.name)
    facts = "".join(f"<li>{html.escape(fact)}</li>" for fact in image.facts)
    notes = "".join(f'<li class="note">{html.escape(note)}</li>' for note in image.notes)
    pictures = "".join(
        f'<img src="{PICTURES}/{image.digest}-{part}.jpg" alt="{name}, {shown}">'
        for part, shown in (("whole", "whole"), ("detail", "detail"))
    )
    told = f'<ul class="facts">{facts}{notes}</ul>'
    return f'<section><h2>{name}</h2>{told}<div class="pair">{pictures}</div></section>\n'


STYLE = """
:root{color-scheme:light dark;--line:#8884;--note:#b45309}
body{font:16px/1.5 system-ui,sans-serif;max-width:1500px;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.1rem;margin:0;overflow-wrap:anywhere}
section{border-top:1px solid var(--line);padding:1rem 0}
.legend,.facts{list-style:none;padding:0;margin:.3rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}
.legend{position:sticky;top:0;background:Canvas;padding:.4rem 0;z-index:1}
.legend span{display:inline-block;width:1em;height:1em;margin-right:.4em;vertical-align:-.15em}
.legend span{border:1px solid var(--line)}
.facts li{overflow-wrap:anywhere}.note{color:var(--note)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:.6rem;margin-top:.5rem}
img{width:100%;height:auto;display:block;border:1px solid var(--line);box-sizing:border-box}
"""
