"""What a step tells of its unlabelled images, on a map of four cells."""

import jax.numpy as jnp
import numpy as np

from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.cells import ContrastedCells
from crcfp_jax.methods.pseudo_label_metrics import agreement, contrast_metrics, prediction_metrics
from crcfp_jax.methods.reduction import Heads
from crcfp_jax.models.network import Network

HEADS = Heads(Network(num_classes=3, backbone="resnet18"), {}, None)
# Probabilities 0.8, 0.1, 0.1 (class 0), twice 0.6, 0.2, 0.2 (class 1), and 0.1, 0.1, 0.8 (class 2).
PROBABILITIES = np.array([[[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]], [[0.2, 0.6, 0.2], [0.1, 0.1, 0.8]]], np.float32)
LOGITS = jnp.log(jnp.asarray(PROBABILITIES))[None]


def test_predictions_by_class():
    metrics = prediction_metrics(HEADS, LOGITS, 0.75)
    np.testing.assert_allclose(metrics["pseudo_labels"], [0.25, 0.5, 0.25])
    np.testing.assert_allclose(metrics["confident"], [0.25, 0, 0.25])
    np.testing.assert_allclose(metrics["share/confident"], 0.5)
    np.testing.assert_allclose(
        metrics["entropy"], -np.mean(np.sum(PROBABILITIES * np.log(PROBABILITIES), -1)), rtol=1e-6
    )


def test_agreement_is_over_all_auxiliary_classifiers():
    other = LOGITS.at[0, 0, 0].set(jnp.asarray([0.0, 1.0, 0.0]))  # wrong in one cell of four
    np.testing.assert_allclose(agreement(HEADS, LOGITS, jnp.stack([LOGITS, other])), 7 / 8)


def test_accepted_positives_and_bank_by_class():
    labels = jnp.asarray([[[[0, 1]]], [[[2, 1]]]], jnp.int32)  # both views of one image of two cells
    accepted = jnp.asarray([[[[True, False]]], [[[True, True]]]])
    bank = banks.push(banks.empty(4, 2), jnp.ones((3, 2)), jnp.asarray([2, 2, 0]))
    metrics = contrast_metrics(HEADS, ContrastedCells(jnp.zeros((2, 1, 1, 2, 3)), labels, accepted), bank)
    np.testing.assert_allclose(metrics["positives"], [0.25, 0.25, 0.25])
    np.testing.assert_allclose(metrics["share/positive_pairs"], 0.75)
    np.testing.assert_allclose(metrics["bank"], [0.25, 0, 0.5])
    np.testing.assert_allclose(metrics["share/bank_filled"], 0.75)
