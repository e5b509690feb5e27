"""A drawing's files: PNG, SVG, and the numbers behind it, each whole or not at all."""

import io
from pathlib import Path

import numpy as np

from crcfp_jax.common.csv_text import csv_text
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
        written.append(folder / f"{name}.csv")
        columns = list(drawing.rows[0])
        rows = ([row.get(column, "") for column in columns] for row in to_json_types(list(drawing.rows)))
        write_atomic(written[-1], csv_text([columns, *rows]))
    if drawing.numbers:
        written.append(folder / f"{name}.json")
        write_json_atomic(written[-1], drawing.numbers)
    if drawing.arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **drawing.arrays)
        written.append(folder / f"{name}.npz")
        write_atomic(written[-1], buffer.getvalue())
    return written
