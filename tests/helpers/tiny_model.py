"""A model folder of a network of eight channels with random weights, made without a training run."""

import jax
import numpy as np

from crcfp_jax.common.files import write_atomic, write_json_atomic
from crcfp_jax.models.network import Network
from crcfp_jax.portable_model.artifact import export_network, inference_variables
from crcfp_jax.portable_model.card import ARTIFACT, CARD, PARAMETERS, card_digest, describe_files
from crcfp_jax.portable_model.folder import write_variables
from crcfp_jax.training.state import initialise_variables

CLASSES = [("tumour", (200, 30, 30)), ("stroma", (240, 170, 200)), ("other", (120, 200, 120))]
SIDE = 32
MICRONS = 1.0  # per network pixel


def make_model(
    folder, *, classes=CLASSES, perturbations=(("dropout", 2),), side=SIDE, microns_per_pixel=MICRONS, embedding=True
):
    """Writes a model folder whose predictions vary from place to place; returns the folder."""
    network = Network(
        num_classes=len(classes),
        backbone="resnet18",
        decoder="v3plus",
        output_stride=16,
        width=8,
        decoder_width=32,
        projection_dim=0,
        perturbations=perturbations,
    )
    variables = inference_variables(jax.jit(lambda key: initialise_variables(network, key, side))(jax.random.key(0)))
    variables = jax.tree.map(np.array, variables)
    kernel = variables["params"]["classifier"]["logits"]["kernel"]
    kernel[:] = 20 * (kernel - kernel.mean(0))  # near-equal probabilities, or one class alone, would hide faults
    folder.mkdir(parents=True)
    write_variables(folder / PARAMETERS, variables)
    write_atomic(folder / ARTIFACT, export_network(network, variables))
    card = {
        "format": 1,
        "name": folder.name,
        "method": "crcfp" if perturbations else "supervised",
        "classes": [{"name": name, "colour": list(colour)} for name, colour in classes],
        "microns_per_pixel": microns_per_pixel,
        "window": side,
        "overlap": 0.25,
        "stride": 4,
        "uncertainty": bool(perturbations),
        "embedding": embedding,
        "data": {"microns_per_pixel": microns_per_pixel},
        "versions": {"jax": jax.__version__},
    }
    card["files"] = describe_files(folder)
    card["card_sha256"] = card_digest(card)
    write_json_atomic(folder / CARD, card)
    return folder
