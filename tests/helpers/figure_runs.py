"""Run folders written by hand: settings and figures of merit, no checkpoint."""

import json

from crcfp_jax.config import default

CLASSES = ("background", "nuclei")


def write_run(folder, method="crcfp", fraction="1/8", seed=1, score=50.0, finished=True, **settings):
    """A run folder; `settings` as 'contrastive.negatives' etc.; `score` is the mIoU, its classes are 10 off it."""
    config = default()
    config.update({"method": method, "fraction": fraction, "seed": seed})
    config.update_from_flattened_dict(settings)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json())
    if finished:
        rows = {name: {"iou": score + shift} for name, shift in zip(CLASSES, (10.0, -10.0), strict=True)}
        result = {"mean_iou": score, "mean_dice": score, "accuracy": score, "per_class": rows}
        (folder / "result.json").write_text(json.dumps(result))
    return folder
