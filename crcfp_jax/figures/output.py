"""A drawing's files: PNG, SVG, and the numbers behind it, each whole or not at all."""

import csv
import io
from pathlib import Path

import numpy as np

from crcfp_jax.common.files import to_json_types, write_atomic, write_json_atomic
from crcfp_jax.figures.style import Drawing, styled


@styled
def save(drawing: Drawing, folder: Path, name: str) -> list[Path]:
    """Writes `name`.png (300 dpi), .svg and, for what the drawing holds, .csv, .json and .npz.

    Raises:
        UserError: the disk is full or the folder unwritable.
    """
    written = []
    for ending, options in (("png", {"pil_kwargs": {"optimize": True}}), ("svg", {"metadata": {"Date": None}})):
        buffer = io.BytesIO()
        drawing.figure.savefig(buffer, format=ending, **options)
        written.append(folder / f"{name}.{ending}")
        write_atomic(written[-1], buffer.getvalue())
    if drawing.rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(drawing.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(to_json_types(list(drawing.rows)))
        written.append(folder / f"{name}.csv")
        write_atomic(written[-1], text.getvalue().encode())
    if drawing.numbers:
        written.append(folder / f"{name}.json")
        write_json_atomic(written[-1], drawing.numbers)
    if drawing.arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **drawing.arrays)
        written.append(folder / f"{name}.npz")
        write_atomic(written[-1], buffer.getvalue())
    return written
