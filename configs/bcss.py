"""BCSS: five tissue classes, labels from some of the hospitals (paper, Table 1).

python -m data_pipelines.build bcss --raw_dir RAW --data_dir data
python -m crcfp_jax.main --config configs/bcss.py --config.fraction=1/8 --config.seed=1
"""

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default, release, small, small_pretrained, tiny


def get_config(variant: str = ""):
    """The paper's settings; `:release` those of its authors' code, `:small` a network for two CPU cores,
    `:small_pretrained` one from ImageNet weights, `:tiny` one for grids of many runs."""
    match variant:
        case "":
            c = default()
        case "small" | "small_pretrained":
            c = small() if variant == "small" else small_pretrained()
            c.data.base_size = 192  # tiles of 512 pixels at 0.25 µm per pixel: 0.67 µm per pixel
        case "tiny":
            c = tiny()
            c.data.base_size = 192
        case "release":
            c = release()
            c.train.batch_size = 10
            c.train.unlabelled_batch_size = 10
        case _:
            known = "release, small, small_pretrained, tiny"
            raise UserError(f"configs/bcss.py:{variant} is unknown; known variants: {known}")
    c.data.name = "bcss"
    return c
