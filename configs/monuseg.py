"""MoNuSeg: nuclei against background, labels of some of the 480 training crops (paper, Table 2).

python -m data_pipelines.build monuseg --raw_dir RAW --data_dir data
python -m crcfp_jax.main --config configs/monuseg.py --config.fraction=1/32 --config.seed=1
"""

from crcfp_jax.config import default
from data_pipelines.errors import UserError


def get_config(variant: str = ""):
    """The paper's settings; `:small` a network for two CPU cores."""
    c = default()
    c.fraction = "1/32"
    c.data.name = "monuseg"
    match variant:
        case "":
            pass
        case "small":
            c.data.side = 96
            c.data.base_size = 128  # about 20x
            c.data.threads = 2
            c.data.prefetch = 32
            c.data.labelled_scale = (0.75, 1.5)
            c.data.unlabelled_scale = (0.8, 1.5)
            c.data.flips = "both"
            c.model.backbone = "resnet18"
            c.model.decoder = "v3plus"
            c.model.output_stride = 16
            c.model.width = 32
            c.model.pretrained = ""
            c.model.dtype = "float32"
            c.weights.warmup = 0.2
            c.optimizer.name = "adamw"
            c.optimizer.learning_rate = 0.001
            c.optimizer.head_multiplier = 1.0
            c.train.steps = 600
            c.train.picture_every = 200
            c.checkpoint.every = 100
            c.evaluation.batch_size = 32
        case _:
            raise UserError(f"configs/monuseg.py:{variant} is unknown; known variants: small")
    return c
