"""Heads of a network whose features are the compared vectors themselves."""

import jax.numpy as jnp

from crcfp_jax.methods.reduction import Heads


def use_vectors(monkeypatch, scale=1.0):
    """The classifier's logit of class 1 is `scale` times a vector's first number, that of class 0 is 0."""

    def apply(self, method, x):
        match method:
            case "context":
                return x
            case "project":
                return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
            case "classify":
                return jnp.stack([jnp.zeros_like(x[..., 0]), scale * x[..., 0]], axis=-1)

    monkeypatch.setattr(Heads, "apply", apply)
