"""EBHI-SEG: glands against the rest, labels of some of the 228 training patients; not in the paper.

python -m data_pipelines.build ebhi --raw_dir RAW --data_dir data
python -m crcfp_jax.main --config configs/ebhi.py --config.fraction=1/28 --config.seed=1
"""

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default, small, small_pretrained, tiny


def get_config(variant: str = ""):
    """The paper's settings; `:small` a network for two CPU cores, `:small_pretrained` one from ImageNet weights,
    `:tiny` one for grids of many runs.

    Pictures are of one size, 224 pixels, and hold a gland or a few.
    """
    match variant:
        case "":
            c = default()
        case "small" | "small_pretrained":
            c = small() if variant == "small" else small_pretrained()
            c.data.side = 128
            c.data.base_size = 160  # 0.7 µm per pixel
        case "tiny":
            c = tiny()
            c.data.base_size = 96
        case _:
            raise UserError(f"configs/ebhi.py:{variant} is unknown; known variants: small, small_pretrained, tiny")
    c.fraction = "1/28"
    c.data.name = "ebhi"
    return c
