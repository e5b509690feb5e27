"""Heads on the shared features: classifier, projector, auxiliary classifiers."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from crcfp_jax.models.perturbations.adversarial import vat
from crcfp_jax.models.perturbations.guided import GUIDED, Objects, find_objects
from crcfp_jax.models.perturbations.simple import PERTURBATIONS

VAT = "vat"
KINDS = (*PERTURBATIONS, *GUIDED, VAT)  # of perturbation

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
    hidden: int = 0  # channels between the two; 0: as many as `features` (paper)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w features"]:
        hidden = self.hidden or self.features
        x = nn.Dense(hidden, kernel_init=HEAD_INIT, dtype=self.dtype, name="hidden")(features)
        x = nn.Dense(self.features, kernel_init=HEAD_INIT, name="embedding")(nn.relu(x).astype(jnp.float32))
        squared_norm = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(jnp.maximum(squared_norm, SMALLEST_NORM**2))


class PerturbedClassifiers(nn.Module):
    """K classifiers of the same kind of perturbation, each with its own parameters and its own draw."""

    perturbation: str  # one of KINDS
    num_classes: int
    count: int  # K

    @nn.compact
    def __call__(
        self, features: Float[Array, "b h w c"], keys: Key[Array, "count b"], objects: Objects | None
    ) -> Float[Array, "count b h w num_classes"]:
        kernels = self.param("kernel", STACKED_HEAD_INIT, (self.count, features.shape[-1], self.num_classes))
        biases = self.param("bias", nn.initializers.zeros, (self.count, self.num_classes))

        def perturb(example_keys, kernel, bias):
            if self.perturbation in GUIDED:
                return jax.vmap(GUIDED[self.perturbation])(features, example_keys, objects)
            if self.perturbation == VAT:
                own = functools.partial(_logits, kernel=kernel, bias=bias)
                return jax.vmap(functools.partial(vat, classify=own))(features, example_keys)
            return jax.vmap(PERTURBATIONS[self.perturbation])(features, example_keys)

        # Perturbed copies are as large as the features: they are made again for the gradient, one at a time.
        @jax.checkpoint
        def classify(kernel, bias, example_keys):
            return _logits(perturb(example_keys, kernel, bias).astype(jnp.float32), kernel=kernel, bias=bias)

        return jax.lax.map(lambda arguments: classify(*arguments), (kernels, biases, keys))


def _logits(
    features: Float[Array, "*b h w c"], *, kernel: Float[Array, "c k"], bias: Float[Array, " k"]
) -> Float[Array, "*b h w k"]:
    return features @ kernel + bias.reshape(*(1,) * (features.ndim - 1), -1)


class AuxiliaryClassifiers(nn.Module):
    """Some classifiers for each kind of perturbation, all of them given the same features."""

    perturbations: tuple[tuple[str, int], ...]  # (one of KINDS, number of classifiers)
    num_classes: int

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "b h w c"],
        keys: Key[Array, " b"],
        logits: Float[Array, "b h w num_classes"],
    ) -> Float[Array, "n b h w num_classes"]:
        """Takes one key an example, and the main classifier's logits, which guide some of the perturbations.

        Returns the logits kind by kind, each classifier's in its turn.
        """
        guided = any(name in GUIDED for name, _ in self.perturbations)
        objects = jax.vmap(find_objects)(logits) if guided else None
        results, first = [], 0
        for name, count in self.perturbations:
            draws = jnp.arange(first, first + count)
            first += count
            draw_keys = jax.vmap(lambda draw: jax.vmap(jax.random.fold_in, (0, None))(keys, draw))(draws)
            classifiers = PerturbedClassifiers(name, self.num_classes, count, name=name)
            results.append(classifiers(features, draw_keys, objects))
        return jnp.concatenate(results, axis=0)
