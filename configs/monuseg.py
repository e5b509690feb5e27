"""MoNuSeg: nuclei against background, labels of some of the 480 training crops (paper, Table 2).

python -m data_pipelines.build monuseg --raw_dir RAW --data_dir data
python -m crcfp_jax.main --config configs/monuseg.py --config.fraction=1/32 --config.seed=1
"""

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default, release, small, small_pretrained, tiny


def get_config(variant: str = ""):
    """The paper's settings; `:release` those of its authors' code, `:small` a network for two CPU cores,
    `:small_pretrained` one from ImageNet weights, `:tiny` one for grids of many runs."""
    match variant:
        case "":
            c = default()
        case "small":
            c = small()
            c.data.base_size = 192  # crops of 250 pixels at 0.25 µm per pixel: 0.33 µm per pixel
        case "small_pretrained":
            c = small_pretrained()
            c.data.base_size = 250  # as stored: 0.25 µm per pixel
        case "tiny":
            c = tiny()
            c.data.base_size = 192
        case "release":
            c = release()
        case _:
            known = "release, small, small_pretrained, tiny"
            raise UserError(f"configs/monuseg.py:{variant} is unknown; known variants: {known}")
    c.fraction = "1/32"
    c.data.name = "monuseg"
    return c
