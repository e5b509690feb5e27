"""The page: self-contained HTML that opens without a network."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.words import METRICS
from crcfp_jax.review.figures import Intervals

QUALITY = 85  # of JPEG
FADED = 0.45  # share of a class's colour over the image


def text(value: Any) -> str:
    """Any value as text of HTML."""
    return html.escape(str(value))


def picture(pixels: UInt8[np.ndarray, "_ _ 3"], told: str, *, least: int = 0) -> str:
    """Pixels as an image within the page, enlarged to `least` pixels along its longer side."""
    image = Image.fromarray(pixels)
    if max(image.size) < least:
        factor = least / max(image.size)
        image = image.resize([round(length * factor) for length in image.size])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return _image("image/jpeg", buffer.getvalue(), told)


def stored_picture(content: bytes, told: str) -> str:
    """A PNG file as an image within the page."""
    return _image("image/png", content, told)


def _image(kind: str, content: bytes, told: str) -> str:
    """An image within the page; `told`: what it shows, for those who don't see it."""
    return f'<img alt="{text(told)}" src="data:{kind};base64,{base64.b64encode(content).decode()}">'


def laid_over(
    image: UInt8[np.ndarray, "h w 3"], label: UInt8[np.ndarray, "h w"], classes: Sequence[ClassInfo]
) -> UInt8[np.ndarray, "h w 3"]:
    """An image with the colours of a label over it; unknown pixels stay."""
    table = np.zeros((256, 3), np.float32)
    table[: len(classes)] = [info.colour for info in classes]
    mixed = image * (1 - FADED) + table[label] * FADED
    return np.where((label == IGNORED)[..., None], image, mixed).astype(np.uint8)


def scrolled(content: str) -> str:
    """What keeps its size, however narrow the window is, and scrolls in a box of its own."""
    return f'<div class="scroll" tabindex="0">{content}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, of_words: bool = False) -> str:
    """A table that scrolls within the page; cells are HTML. Those of figures are aligned at the right."""
    top = "".join(f"<th>{text(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    kind = ' class="words"' if of_words else ""
    return scrolled(f"<table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>")


def captioned(image: str, caption: str) -> str:
    """An image with its caption below."""
    return f"<figure>{image}<figcaption>{text(caption)}</figcaption></figure>"


def listed(items: Iterable[str]) -> str:
    """A list; items are HTML."""
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def swatch(info: ClassInfo) -> str:
    """A class's name beside its colour."""
    return f'<i style="background:rgb{tuple(info.colour)}"></i>{text(info.name)}'


def headline(result: Mapping[str, Any], found: Intervals) -> str:
    """The three figures, large, each with its interval."""
    cells = []
    for key, name in METRICS.items():
        value = "-" if result[key] is None else f"{result[key]:.1f}"
        between = f"{found.of[key][0]:.1f} to {found.of[key][1]:.1f}" if key in found.of else ""
        cells.append(f"<div><b>{value}</b><span>{text(name)}</span><small>{between}</small></div>")
    told = found.why_none or f"Below each figure its 95 % interval over {found.patients} patients."
    return (
        f'<div class="figures">{"".join(cells)}</div><p class="faint">In percent, on the test images. {text(told)}</p>'
    )


def class_table(result: Mapping[str, Any], found: Intervals, classes: Sequence[ClassInfo]) -> str:
    """Figures of each class, and the confusion matrix as shares of each true class."""
    colours = {info.name: info for info in classes}
    rows = []
    for name, row in result["per_class"].items():
        between = "{:.1f} to {:.1f}".format(*found.of_classes[name]) if name in found.of_classes else "-"
        figures = ["-" if row[key] is None else f"{row[key]:.1f}" for key in ("iou", "dice", "precision", "recall")]
        shown = swatch(colours[name]) if name in colours else text(name)
        rows.append([shown, figures[0], between, *figures[1:], f"{row['support']:,}"])
    head = ("class", "IoU", "95 % interval", "Dice", "precision", "recall", "pixels")
    counts = np.array(result["confusion_matrix"], np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = list(result["per_class"])
    cells = [
        [text(name), *(f'<span class="heat" style="--share:{share:.3f}">{100 * share:.1f}</span>' for share in row)]
        for name, row in zip(names, shares, strict=True)
    ]
    return table(head, rows) + "<h3>What each true class is taken for, %</h3>" + table(["true", *names], cells)


def section(title: str, *parts: str) -> str:
    """A part of the page."""
    return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>\n"


def page(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """The whole page."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title><style>{STYLE}</style></head><body>
<header><h1>{text(title)}</h1><p class="faint">{text(subtitle)}</p></header>
{"".join(sections)}</body></html>
"""


STYLE = """
:root{color-scheme:light dark;--line:#8884;--accent:#0072B2;
--faint:light-dark(#5f6368,#a3a8ae);--warn:light-dark(#a34a06,#f2a65a)}
body{font:16px/1.5 system-ui,sans-serif;max-width:1180px;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.2rem;margin:0 0 .5rem}h3{font-size:1rem;margin:1rem 0 .3rem}
section{border-top:1px solid var(--line);padding:1rem 0}
.faint{color:var(--faint);margin:.2rem 0}.warn{color:var(--warn)}
.figures{display:flex;flex-wrap:wrap;gap:2rem}
.figures div{display:flex;flex-direction:column}.figures b{font-size:2.2rem;line-height:1.1}
.figures small{color:var(--faint)}
.scroll{overflow-x:auto;margin:.3rem 0 .8rem}.scroll img{max-width:none}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.2rem .7rem;border-bottom:1px solid var(--line);overflow-wrap:normal}
th{white-space:nowrap}
th:first-child,td:first-child{text-align:left;min-width:6rem}
.words th,.words td{text-align:left}
i{display:inline-block;width:.9em;height:.9em;margin-right:.4em;vertical-align:-.1em;border:1px solid var(--line)}
.heat{display:block;padding:0 .3rem;
background:color-mix(in srgb,var(--accent) calc(var(--share)*55%),transparent)}
.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:1rem}
figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:var(--faint)}svg line{stroke:var(--line)}
svg polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}
.names{display:flex;flex-wrap:wrap;gap:0 1rem;margin:.2rem 0;font-size:.85rem}
img{max-width:100%;height:auto;display:block;border:1px solid var(--line);box-sizing:border-box}
.places{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:1.2rem}
.trio{display:grid;grid-template-columns:repeat(3,1fr);gap:.3rem}.trio img{width:100%}
.trio figcaption{font-weight:400;font-size:.85rem;color:var(--faint)}
.places h3{margin:0 0 .2rem}.places p{margin:.2rem 0}
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.3rem 0}
ul{margin:.3rem 0;padding-left:1.2rem}code{font-size:.9em}
"""
