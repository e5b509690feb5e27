"""BCSS: five tissue classes, labels from some of the hospitals (paper, Table 1).

python -m data_pipelines.build bcss --raw_dir RAW --data_dir data
python -m crcfp_jax.main --config configs/bcss.py --config.fraction=1/8 --config.seed=1
"""

from crcfp_jax.config import default
from data_pipelines.errors import UserError


def get_config(variant: str = ""):
    """The paper's settings; `:release` those of its authors' code, `:small` a network for two CPU cores."""
    c = default()
    c.data.name = "bcss"
    match variant:
        case "":
            pass
        case "small":
            c.data.side = 96
            c.data.base_size = 192  # tiles of 512 pixels at 0.25 MPP: about 0.67 MPP
            c.data.threads = 2
            c.data.prefetch = 32
            c.data.flips = "both"
            c.model.backbone = "resnet18"
            c.model.decoder = "v3plus"
            c.model.output_stride = 16
            c.model.width = 32
            c.model.pretrained = ""
            c.model.dtype = "float32"
            c.optimizer.name = "adamw"
            c.optimizer.head_multiplier = 1.0
            c.train.steps = 600
            c.train.picture_every = 200
            c.checkpoint.every = 100
            c.evaluation.batch_size = 32
        case "release":
            c.model.decoder = "v3plus"
            c.model.output_stride = 16
            c.contrastive.filter = "release"
            c.cross_consistency.classifiers = 6
            c.cross_consistency.threshold = 0.75
            c.weights.warmup = 0.0
            c.augment.labelled = False
            c.train.batch_size = 10
            c.train.unlabelled_batch_size = 10
        case _:
            raise UserError(f"configs/bcss.py:{variant} is unknown; known variants: release, small")
    return c
