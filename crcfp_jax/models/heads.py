"""Heads on the shared features: classifier, projector, auxiliary classifiers."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from crcfp_jax.models.perturbations import PERTURBATIONS

# PyTorch's default for convolutions: uniform within 1 / sqrt(inputs). Biases start at 0.
HEAD_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
STACKED_HEAD_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", batch_axis=(0,))
SMALLEST_NORM = 1e-12  # PyTorch's `normalize`: shorter vectors are divided by this instead


class Classifier(nn.Module):
    """A 1x1 convolution to class logits in float32."""

    num_classes: int

    @nn.compact
    def __call__(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w num_classes"]:
        return nn.Dense(self.num_classes, kernel_init=HEAD_INIT, name="logits")(features.astype(jnp.float32))


class Projector(nn.Module):
    """Two 1x1 convolutions with a ReLU between (paper), then division by the Euclidean norm; float32 out."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w features"]:
        x = nn.Dense(self.features, kernel_init=HEAD_INIT, dtype=self.dtype, name="hidden")(features)
        x = nn.Dense(self.features, kernel_init=HEAD_INIT, name="embedding")(nn.relu(x).astype(jnp.float32))
        squared_norm = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(jnp.maximum(squared_norm, SMALLEST_NORM**2))


class PerturbedClassifiers(nn.Module):
    """K classifiers of the same kind of perturbation, each with its own parameters and its own draw."""

    perturbation: str  # a key of PERTURBATIONS
    num_classes: int
    count: int  # K

    @nn.compact
    def __call__(
        self, features: Float[Array, "b h w c"], keys: Key[Array, "count b"]
    ) -> Float[Array, "count b h w num_classes"]:
        kernels = self.param("kernel", STACKED_HEAD_INIT, (self.count, features.shape[-1], self.num_classes))
        biases = self.param("bias", nn.initializers.zeros, (self.count, self.num_classes))
        perturb = jax.vmap(PERTURBATIONS[self.perturbation])

        # Perturbed copies are as large as the features: they are made again for the gradient, one at a time.
        @jax.checkpoint
        def classify(kernel, bias, example_keys):
            logits = perturb(features, example_keys).astype(jnp.float32) @ kernel
            return logits + bias.reshape(1, 1, 1, -1)

        return jax.lax.map(lambda arguments: classify(*arguments), (kernels, biases, keys))


class AuxiliaryClassifiers(nn.Module):
    """K classifiers for each kind of perturbation, all of them given the same features."""

    perturbations: tuple[str, ...]
    num_classes: int
    count: int  # K

    @nn.compact
    def __call__(
        self, features: Float[Array, "b h w c"], keys: Key[Array, " b"]
    ) -> Float[Array, "n b h w num_classes"]:
        """Takes one key an example; returns the logits of perturbation p and classifier k at index p * K + k."""
        logits = []
        for index, name in enumerate(self.perturbations):
            draws = jnp.arange(index * self.count, (index + 1) * self.count)
            draw_keys = jax.vmap(lambda draw: jax.vmap(jax.random.fold_in, (0, None))(keys, draw))(draws)
            logits.append(PerturbedClassifiers(name, self.num_classes, self.count, name=name)(features, draw_keys))
        return jnp.concatenate(logits, axis=0)
