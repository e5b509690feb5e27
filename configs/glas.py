"""GlaS: glands against the rest, labels of some of the 85 training images; not in the paper.

python -m data_pipelines.build glas --raw_dir RAW --data_dir data
python -m crcfp_jax.main --config configs/glas.py --config.fraction=1/10 --config.seed=1

`:small`, supervised, 900 steps, seed 1: 65.6 mIoU on the 80 test images, 71.4 with EfficientNet-Lite0 from ImageNet
weights (docs/results/encoders.md). `:small_pretrained`: 74.5 supervised, 78.3 by `--config.method=context_match`, both
in float32 (docs/results/benchmark.md).
"""

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default, small, small_pretrained, tiny


def get_config(variant: str = ""):
    """The paper's settings; `:small` a network for two CPU cores, `:small_pretrained` one from ImageNet weights,
    `:tiny` one for grids of many runs.

    Images are 480 x 324 µm, some less: they differ in extent, so the scale is a pixel size. A gland is 50 to 200 µm.
    """
    match variant:
        case "":
            c = default()
            c.data.microns_per_pixel = 1.0  # a crop of 320 pixels is as high as most images
        case "small":
            c = small()
            c.data.side = 128
            c.data.microns_per_pixel = 2.0  # 256 µm a crop
        case "small_pretrained":
            c = small_pretrained()
            c.data.side = 192
            c.data.microns_per_pixel = 1.0  # what lies between two glands is 10 µm wide
        case "tiny":
            c = tiny()
            c.data.microns_per_pixel = 3.0  # 192 µm a crop
        case _:
            raise UserError(f"configs/glas.py:{variant} is unknown; known variants: small, small_pretrained, tiny")
    c.fraction = "1/10"
    c.data.name = "glas"
    return c
