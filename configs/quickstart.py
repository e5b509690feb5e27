"""CRCFP on the embedded synthetic tissue, from random weights, on two CPU cores.

./launch.sh --config configs/quickstart.py
"""

from crcfp_jax.config import default


def get_config(variant: str = ""):
    """Settings that train a small network in minutes."""
    del variant
    c = default()
    c.fraction = "1/8"
    c.data.name = "synthetic"
    c.data.side = 96
    c.data.base_size = 256  # the tiles' own size
    c.data.threads = 2
    c.data.prefetch = 32
    c.data.labelled_scale = (0.7, 1.5)
    c.data.unlabelled_scale = (0.7, 1.5)
    c.data.flips = "both"
    # A small network from random weights learns too slowly under the strengths that suit a pretrained ResNet-50.
    c.augment.brightness = 0.2
    c.augment.contrast = 0.2
    c.augment.saturation = 0.2
    c.augment.hue = 0.03
    c.augment.grey_probability = 0.0
    c.augment.blur_probability = 0.0
    c.model.backbone = "resnet18"
    c.model.decoder = "v3plus"
    c.model.output_stride = 16
    c.model.width = 32
    c.model.pretrained = ""
    c.model.dtype = "float32"
    c.weights.warmup = 0.2
    c.contrastive.negatives = 1200
    c.optimizer.name = "adamw"
    c.optimizer.learning_rate = 0.001
    c.optimizer.head_multiplier = 1.0
    c.optimizer.weight_decay = 1e-4
    c.train.steps = 500
    c.train.log_every = 10
    c.train.picture_every = 250
    c.checkpoint.every = 100
    c.evaluation.every = 100
    c.evaluation.batch_size = 32
    return c
