"""CRCFP: semi-supervised semantic segmentation of histology images, in JAX and Flax.

The modules of this folder are what can be run; everything else lies in the packages, which import one another in one
direction only: common, data_pipelines, losses and models, methods and evaluation, training, runs, portable_model,
slides. tests/test_layout.py holds that order.
"""

import sys

if sys.argv[:1] == ["-m"]:  # what Python puts there while it looks for the module of `python -m`
    from crcfp_jax.common.command import end_at_interrupt

    end_at_interrupt()
