"""Twelve steps of CRCFP on synthetic tissue with a network of eight channels."""

from crcfp_jax.config import default


def get_config():
    c = default()
    c.data.name = "synthetic"
    c.data.side = 32
    c.data.base_size = 64
    c.data.threads = 2
    c.data.prefetch = 8
    c.model.backbone = "resnet18"
    c.model.decoder = "v3plus"
    c.model.output_stride = 16
    c.model.width = 8
    c.model.decoder_width = 32
    c.model.projection_dim = 8
    c.model.pretrained = ""
    c.model.dtype = "float32"
    c.weights.warmup = 0.0
    c.contrastive.negatives = 32
    c.cdcl.negatives = 16
    c.contrastive.threshold = 0.3
    c.cross_consistency.classifiers = 2
    c.optimizer.learning_rate = 0.01
    c.train.steps = 12
    c.train.batch_size = 2
    c.train.unlabelled_batch_size = 2
    c.train.log_every = 1
    c.checkpoint.every = 4
    c.checkpoint.keep = 2
    c.evaluation.every = 8
    c.evaluation.batch_size = 64
    return c
