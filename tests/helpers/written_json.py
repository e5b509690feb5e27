"""What the commands write as JSON, a small one of each kind."""

import json

from crcfp_jax.portable_model.card import card_digest

CLASSES = ["background", "gland"]
AREA = {"pixels": 2, "mm2": 5e-7, "share": 1.0}
CARD = {
    "format": 1, "name": "m", "method": "crcfp", "classes": [{"name": name, "colour": [1, 2, 3]} for name in CLASSES],
    "microns_per_pixel": 1.0, "window": 96, "overlap": 0.25, "stride": 4, "output_stride": 16, "uncertainty": True,
    "embedding": True, "data": {"microns_per_pixel": 0.5}, "versions": {"jax": "0.10"},
    "files": {"model.jaxexport": {"sha256": "0" * 64, "bytes": 3}},
}  # fmt: skip
RESULT = {
    "input": {"size": [3, 4], "microns_per_pixel": 0.5, "notes": [], "identity": {"bytes": 1}}, "settings": {},
    "output": {"files": ["mask.png"]},
    "tissue_share": 0.5, "areas": dict.fromkeys(CLASSES, AREA),
    "regions": [{"region": 1, "name": "", "areas": {"gland": AREA}, "not_analysed": {"pixels": 0, "mm2": 0.0}}],
    "timing": {"seconds": 2.0, "megapixels_per_second": 1},
}  # fmt: skip
DATA = {
    "name": "glas", "microns_per_pixel": 1.0, "labelled_tiles": 8, "unlabelled_tiles": 7, "labelled_patients": 8,
    "classes": [{"name": name, "mm2": 0.5, "tiles": 8, "patients": 8} for name in CLASSES],
}  # fmt: skip
METRICS = {"step": 10, "loss/supervised": 0.5, "loss/total": 0.6, "pseudo_labels/background": 0.3, "mean_iou": None}
GRID = {
    "table": 4, "data": "synthetic", "scale": "tiny", "settings": ["--config.train.steps=6"],
    "runs": [{"name": "cac-1_4-seed1", "system": "cac", "fraction": "1/4", "seed": 1, "value": None}],
    "commands": ["python -m crcfp_jax.tables 4"],
}  # fmt: skip
PLAN = {
    "config": "own.py", "data": "lab", "folds": 2, "seed": 1, "methods": ["crcfp"], "commands": ["python -m"],
    "patients": [["P1"], ["P2", "P3"]], "classes": CLASSES, "settings": {"method": "crcfp"},
}  # fmt: skip


def write_card(folder, content=CARD):
    """Writes a model's card, signed."""
    (folder / "card.json").write_text(json.dumps(content | {"card_sha256": card_digest(content)}))
