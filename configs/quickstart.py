"""CRCFP on the embedded synthetic tissue, labels of one hospital in eight, on two CPU cores.

./launch.sh --config configs/quickstart.py
"""

from crcfp_jax.config import small


def get_config():
    """The small settings on tiles of 256 pixels."""
    c = small()
    c.data.name = "synthetic"
    c.data.base_size = 256  # the tiles' own size
    c.data.whole_view_share = 0.47  # seen at 0.8 of base_size, as in the paper: 96 / (0.8 * 256)
    c.train.steps = 500
    c.train.picture_every = 125
    c.evaluation.every = 125
    return c
