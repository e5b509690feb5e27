"""Loading a model folder: no network is needed, and nothing damaged or foreign gets through."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from crcfp_jax.portable_model.card import card_digest, describe_files
from crcfp_jax.portable_model.folder import load_model, read_artifact, write_variables

KERNEL = np.float32([[0.5, 0.1], [-0.2, 0.3], [0.1, 0.9]])


def by_colour(variables, images):
    """Stands in for a network: a pixel's classes from its colour, its uncertainty from its red."""
    colours = images.astype(jnp.float32) / 255
    probabilities = jax.nn.softmax(colours @ variables["params"]["kernel"], axis=-1)
    return {"probabilities": probabilities, "uncertainty": colours[..., 0]}


def write_card(folder, **changes):
    """Writes the card of the files that are there."""
    card = {
        "format": 1,
        "name": "colours",
        "method": "by hand",
        "classes": [{"name": "dark", "colour": [1, 2, 3]}, {"name": "bright", "colour": [250, 240, 230]}],
        "microns_per_pixel": 0.5,
        "window": 8,
        "overlap": 0.25,
        "stride": 1,
        "uncertainty": True,
        "data": {"microns_per_pixel": 0.25},
        "versions": {"jax": "0.10.2"},
        "files": describe_files(folder),
    } | changes
    (folder / "card.json").write_text(json.dumps(card | {"card_sha256": card_digest(card)}))


@pytest.fixture(scope="module")
def exported():
    shapes = {"params": {"kernel": jax.ShapeDtypeStruct(KERNEL.shape, jnp.float32)}, "batch_stats": {}}
    images = jax.ShapeDtypeStruct(export.symbolic_shape("b, h, w, 3"), jnp.uint8)
    return export.export(jax.jit(by_colour), platforms=("cpu", "cuda", "tpu"))(shapes, images)


@pytest.fixture(scope="module")
def made(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "model"
    write_variables(folder / "params", {"params": {"kernel": KERNEL}, "batch_stats": {}})
    (folder / "model.jaxexport").write_bytes(exported.serialize())
    write_card(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "model")


def test_card_of_a_loaded_model(made):
    card = load_model(made).card
    assert card.classes == (ClassInfo("dark", (1, 2, 3)), ClassInfo("bright", (250, 240, 230)))
    assert (card.microns_per_pixel, card.data_microns_per_pixel, card.window, card.overlap) == (0.5, 0.25, 8, 0.25)
    assert card.digest == json.loads((made / "card.json").read_text())["card_sha256"] and len(card.digest) == 64


def test_devices_share_a_batch(made):
    model, devices = load_model(made), jax.local_devices()[:2]
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    expected = jax.nn.softmax(images / np.float32(255) @ KERNEL, axis=-1)
    for chosen in (devices, devices[1:]):
        outputs = model.predictor(chosen, uncertainty=True)(images)
        assert outputs.keys() == {"probabilities", "uncertainty"}
        assert all(values.devices() == set(chosen) for values in outputs.values())
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
        np.testing.assert_allclose(outputs["uncertainty"], images[..., 0] / 255, atol=1e-6)
    assert model.predictor(devices, uncertainty=False)(images).keys() == {"probabilities"}


def test_what_is_not_asked_for_is_not_computed(made):
    model = load_model(made)
    with_both, without = (
        jax.jit(lambda variables, images, names=names: {n: model.artifact.call(variables, images)[n] for n in names})
        .lower(model.variables, np.zeros((1, 8, 8, 3), np.uint8))
        .compile()
        .cost_analysis()["bytes accessed"]
        for names in (("probabilities", "uncertainty"), ("probabilities",))
    )
    assert without < with_both


def refused(folder):
    with pytest.raises(UserError) as error:
        load_model(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_and_altered_files(folder):
    artifact = folder / "model.jaxexport"
    content = artifact.read_bytes()
    artifact.write_bytes(content[:-1])
    assert f"{artifact} has {len(content) - 1} bytes instead of {len(content)}: copy the model folder" in refused(
        folder
    )
    artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert f"{artifact} was altered after the export (its SHA-256 differs)" in refused(folder)
    artifact.unlink()
    assert f"{artifact} is missing: copy the model folder again, or export it again" == refused(folder)
    artifact.write_bytes(content)
    (folder / "README.md").write_text("a text that may be edited")
    load_model(folder)
    parameters = next(path for path in sorted((folder / "params").rglob("*")) if path.is_file())
    parameters.unlink()
    assert f"{parameters} is missing" in refused(folder)


def test_altered_card(folder):
    card = folder / "card.json"
    text = card.read_text()
    card.write_text(text.replace('"window": 8', '"window": 9'))
    assert f"{card} was altered after the export" in refused(folder)
    card.write_text("[1]")
    assert f"{card} was altered after the export" in refused(folder)
    card.write_text(text[:-10])
    assert f"{card} is not a JSON file" in refused(folder)
    card.unlink()
    assert refused(folder) == (
        f"{folder} is not a model folder (no card.json): give the --output of python -m crcfp_jax.export"
    )


def test_newer_format(folder):
    write_card(folder, format=2)
    assert refused(folder) == (
        f"{folder} has format 2, and this version of crcfp-jax reads formats up to 1: update crcfp-jax"
    )


def test_artifact_of_a_newer_version(exported, tmp_path):
    path = tmp_path / "model.jaxexport"
    path.write_bytes(dataclasses.replace(exported, calling_convention_version=999).serialize())
    with pytest.raises(UserError) as error:
        read_artifact(path, "9.8.7")
    assert f"{path} was written with jax 9.8.7 and can't be read by jax {jax.__version__} (" in str(error.value)
    assert str(error.value).endswith("install jax 9.8.7, or export the model again with this version")
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match=r"written with jax 9.8.7 and can't be read"):
        read_artifact(path, "9.8.7")


def test_model_without_uncertainty(folder):
    write_card(folder, uncertainty=False)
    with pytest.raises(UserError, match="gives no uncertainty: method by hand has one classifier only"):
        load_model(folder).predictor(jax.local_devices(), uncertainty=True)
