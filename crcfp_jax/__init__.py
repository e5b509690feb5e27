"""CRCFP: semi-supervised semantic segmentation of histology images, in JAX and Flax.

The modules of this folder are what can be run; everything else lies in the packages, which import one another in one
direction only: common, data_pipelines, losses and models, methods and evaluation, training, runs, portable_model,
slides. tests/test_layout.py holds that order.
"""
