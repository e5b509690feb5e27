"""Slides of your own: a few annotated, the others not; the class names, colours and pixel size are those of the build.

study/annotated/ holds images with their annotations, study/unannotated/ images that nobody annotated.

./launch.sh build folder --raw_dir study --data_dir data
python -m crcfp_jax.main --config configs/own.py --config.data.name=study

On two CPU cores `configs/own.py:small`, or, from ImageNet weights after `./launch.sh install weights`,
`configs/own.py:small_pretrained`. After annotating more and building again, a run in a new folder goes on from the
model that you have:

python -m crcfp_jax.main --config configs/own.py --config.data.name=study --workdir runs/second \
  --config.model.initial=runs/own-study-crcfp-1_1-seed1
"""

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default, small, small_pretrained, tiny


def get_config(variant: str = ""):
    """A ResNet-50 from ImageNet weights; `:small` and `:tiny` networks for two CPU cores, from random weights, so that
    they need nothing but this checkout, `:small_pretrained` an EfficientNet-Lite0 from the ImageNet weights of a
    package: 71.4 against 65.6 mIoU on GlaS, at 1.3 times the time a step (docs/results/encoders.md).

    A handful of slides is learned by heart long before the paper's 8000 steps, so half of them are made. Objects are
    seen at a known magnification, so less scale is drawn than the paper draws. No patient can be spared for validation.
    """
    match variant:
        case "":
            c = default()
            c.train.steps = 4000
        case "small" | "small_pretrained":
            c = small() if variant == "small" else small_pretrained()
            c.data.side = 128
            c.train.steps = 900
            c.train.picture_every = 300
        case "tiny":
            c = tiny()
        case _:
            raise UserError(f"configs/own.py:{variant} is unknown; known variants: small, small_pretrained, tiny")
    c.fraction = "1/1"
    c.data.name = "study"
    c.data.sampling = "classes"
    c.data.labelled_scale = (0.7, 1.4)
    c.data.unlabelled_scale = (0.7, 1.4)
    c.evaluation.selection = "last"
    return c
