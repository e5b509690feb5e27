"""CRCFP: semi-supervised semantic segmentation of histology images, in JAX and Flax."""
