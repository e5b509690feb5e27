"""Whether the borders of windows show in a prediction: steps of probability across them against steps elsewhere.

    python benchmarks/seams.py --model M PICTURE...

For each picture, which must be larger than a window: the mean absolute difference of neighbouring pixels' probabilities
across the borders of windows, that elsewhere, and their ratio; 1 is no seam. For comparison the same with windows laid
side by side (no overlap).
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from crcfp_jax.blending.batches import Forward
from crcfp_jax.blending.programs import window_mesh
from crcfp_jax.portable_model.card import Card
from crcfp_jax.portable_model.folder import load_model
from crcfp_jax.slides.engine import Engine, Job
from crcfp_jax.slides.strips import slab_height
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.resample import View
from data_pipelines.tiling import Tiling, choose_windows, window_step


def steps(probabilities: np.ndarray, tiling: Tiling) -> tuple[float, float]:
    """Mean absolute step between neighbours, of [h, w, c]: across the borders of windows, and elsewhere."""
    across, elsewhere = [], []
    for axis, origins in ((0, tiling.tops), (1, tiling.lefts)):
        differences = np.abs(np.diff(probabilities, axis=axis))
        borders = [edge for origin in origins for edge in (origin, origin + tiling.side)]
        at_border = np.isin(np.arange(1, probabilities.shape[axis]), borders)
        across.append(np.compress(at_border, differences, axis).ravel())
        elsewhere.append(np.compress(~at_border, differences, axis).ravel())
    return float(np.concatenate(across).mean()), float(np.concatenate(elsewhere).mean())


def predict(
    card: Card, start: Forward, path: Path, microns_per_pixel: float | None, overlap: float
) -> tuple[np.ndarray, Tiling]:
    """Probabilities of a whole picture at the network's pixel size, [h, w, c], and its windows."""
    rows = []
    with open_slide(path) as slide, ThreadPoolExecutor(2) as pool:
        view = View(slide, card.microns_per_pixel / (microns_per_pixel or slide.microns_per_pixel))
        tiling = Tiling(*view.size, card.window, window_step(card.window, overlap))
        job = Job(
            canvas=view,
            tiling=tiling,
            windows=choose_windows(tiling, lambda top, left: True),
            output=view.size,
            channels={"probabilities": len(card.classes)},
            gives=("probabilities",),
            sink=lambda _, arrays: rows.append(arrays["probabilities"]),
            slab_height=slab_height(view.size[1]),
        )
        mesh = window_mesh(jax.local_devices()[:1])
        with Engine(start, mesh=mesh, side=card.window, batch_size=16, pool=pool) as engine:
            timing = engine.send(job)
            engine.flush()
            timing.result()
    return np.concatenate(rows), tiling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--mpp", type=float, help="µm per pixel of the pictures, where they don't say")
    parser.add_argument("pictures", nargs="+", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    card, start = model.card, model.predictor(jax.local_devices()[:1], uncertainty=False)
    print("picture overlap across elsewhere ratio")
    for path in options.pictures:
        for overlap in (card.overlap, 0.0):
            across, elsewhere = steps(*predict(card, start, path, options.mpp, overlap))
            print(f"{path.name} {overlap} {across:.4f} {elsewhere:.4f} {across / elsewhere:.3f}", flush=True)


if __name__ == "__main__":
    main()
