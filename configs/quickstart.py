"""CRCFP on the embedded synthetic tissue, labels of one hospital in eight, on two CPU cores.

./launch.sh --config configs/quickstart.py
"""

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default, small, small_pretrained, tiny


def get_config(variant: str = ""):
    """The small settings on tiles of 256 pixels; `:small_pretrained` from ImageNet weights, `:tiny` for grids of many
    runs, `:full` the paper's settings."""
    match variant:
        case "":
            c = small()
            c.data.base_size = 256  # the tiles' own size: 0.75 µm per pixel
            c.train.steps = 500
            c.train.picture_every = 125
            c.evaluation.every = 125
        case "tiny":
            c = tiny()
            c.data.base_size = 256
        case "small_pretrained":
            c = small_pretrained()
            c.data.base_size = 256
        case "full":
            c = default()
        case _:
            raise UserError(f"configs/quickstart.py:{variant} is unknown; known variants: full, small_pretrained, tiny")
    c.data.name = "synthetic"
    return c
