"""From a run folder to a model folder: content, agreement, and what may not happen on the way."""

import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_run
from PIL import Image
from random_network import with_noise

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from crcfp_jax import export as exporting
from crcfp_jax.common.command import run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.lock import Lock
from crcfp_jax.evaluation.windows import predict_probabilities
from crcfp_jax.export import export_run, main
from crcfp_jax.portable_model import agreement
from crcfp_jax.portable_model.card_text import card_text
from crcfp_jax.portable_model.describe_run import describe_run
from crcfp_jax.portable_model.folder import load_model
from crcfp_jax.predict import main as predict_main
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.runs.parts import assemble
from crcfp_jax.runs.restore import restore_variables
from crcfp_jax.runs.settings import settings
from crcfp_jax.training.state import create_state
from data_pipelines.loaders import evaluation_examples
from data_pipelines.recipes import all_recipes
from data_pipelines.splits import split_hash


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir):
    """A run folder of CRCFP with a checkpoint of step 0, whose weights and statistics are random."""
    config = tiny_run.get_config()
    config.data.dir = str(data_dir)
    config.model.dtype = "bfloat16"
    parts = assemble(config)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = create_state(parts.network(), parts.method, config, parts.optimizer, sharding=sharding)
    state = state.replace(params=with_noise(state.params), batch_stats=with_noise(state.batch_stats))
    workdir = tmp_path_factory.mktemp("run")
    checkpoints = Checkpoints(workdir)
    checkpoints.save(state, state.batch_stats, {}, settings(parts))
    checkpoints.close()
    rows = {info.name: dict.fromkeys(("iou", "dice", "precision", "recall"), 61.5) for info in parts.data_set.classes}
    rows["other"]["recall"] = None
    result = {
        "mean_iou": 61.5, "mean_dice": 70.0, "accuracy": 80.25, "per_class": rows, "confusion_matrix": [[1]],
        "images": 7, "step": 0, "versions": {"jax": "0.1"},
    }  # fmt: skip
    (workdir / "config.json").write_text(json.dumps(settings(parts)))
    (workdir / "result.json").write_text(json.dumps(result))
    return workdir


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    """The model folder that the command makes of the run."""
    output = tmp_path_factory.mktemp("models") / "tissue"
    main(["--workdir", str(run), "--output", str(output), "--onnx", "--licence", "CC BY 4.0"])
    return output


def test_card(model, run):
    card = json.loads((model / "card.json").read_text())
    parts, _, _ = restore_variables(run)
    assert (card["format"], card["name"], card["step"], card["selection"]) == (1, "tissue", 0, "last")
    assert card["classes"][0] == {"name": "tumour", "colour": [200, 30, 30]} and len(card["classes"]) == 5
    # Tiles of 256 pixels of 0.75 µm, scaled to 64 pixels (tiny_run).
    assert (
        (card["microns_per_pixel"], card["data"]["microns_per_pixel"]) == (parts.microns_per_pixel, 0.75) == (3.0, 0.75)
    )
    assert (card["window"], card["overlap"], card["stride"], card["uncertainty"]) == (32, 0.25, 4, True)
    assert card["classifiers"] == 1 + 3 * 2 and card["training_dtype"] == "bfloat16"
    assert card["data"]["fingerprint"] == parts.data_set.fingerprint
    assert card["data"]["split_hash"] == split_hash(parts.split)
    assert card["data"]["tiles"]["labelled"] == len(parts.split.labelled)
    assert card["data"]["tiles"]["unlabelled"] == len(parts.split.unlabelled)
    assert card["data"]["hospitals"]["labelled"] == sorted({record.hospital for record in parts.split.labelled})
    assert card["metrics"]["mean_iou"] == 61.5 and card["training_versions"] == {"jax": "0.1"}
    assert card["licence"]["model"] == "CC BY 4.0"
    assert set(card["files"]) >= {"model.jaxexport", "model.onnx", "params/manifest.ocdbt"}
    assert not {"card.json", "README.md"} & set(card["files"])


def test_forms_agree(model):
    found = json.loads((model / "card.json").read_text())["agreement"]
    assert found["images"] == "9 images of the test split"
    for form in ("model.jaxexport", "model.onnx"):
        assert 0 <= found["differences"][form]["probabilities"] <= found["limit"] == 1e-4
        assert 0 <= found["differences"][form]["uncertainty"] <= 1e-4
    assert 1e-4 < found["training_dtype"]["bfloat16"]["probabilities"] < 0.5  # rounding to 8 bits shows


def test_loaded_model_is_the_one_that_is_evaluated(model, run):
    parts, variables, _ = restore_variables(run)
    parts.config.model.dtype = "float32"
    evaluator = parts.evaluator(variables)
    sizes = {"side": 32, "microns_per_pixel": 3.0}
    (windows, odd) = agreement.sample_batches(parts.data_set, parts.split.test, **sizes, patch=1)
    assert windows.shape == (8, 32, 32, 3) and odd.shape == (1, 41, 27, 3)
    _, in_patches = agreement.sample_batches(parts.data_set, parts.split.test, **sizes, patch=16)
    assert in_patches.shape == (1, 48, 32, 3)
    assert len(np.unique(windows.reshape(8, -1), axis=0)) == 8
    expected = np.asarray(evaluator.forward(windows))
    loaded = load_model(model)
    assert "projector" not in loaded.variables["params"] and "auxiliary" in loaded.variables["params"]
    start = loaded.predictor(jax.local_devices(), uncertainty=False)
    np.testing.assert_allclose(start(windows)["probabilities"], expected, atol=1e-5)


def test_predict_writes_the_classes_that_evaluation_measures(model, run, tmp_path, monkeypatch):
    """Test tiles of the run through both, in float32, on one device in batches of one size, which round alike."""
    devices = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda *_, **__: devices)
    parts, variables, _ = restore_variables(run)
    parts.config.model.dtype = "float32"
    parts.config.evaluation.batch_size = 16
    evaluator = parts.evaluator(variables)
    examples = list(evaluation_examples(parts.data_set, parts.split.test[:3], threads=1))
    paths = [tmp_path / f"{record.id}.png" for record, _, _ in examples]
    for path, (_, image, _) in zip(paths, examples, strict=True):
        Image.fromarray(image).save(path)
    words = ["--mpp", 0.75, "--everything", "--batch_size", 16, "--formats", "mask"]
    assert predict_main([str(word) for word in ("--model", model, "--output", tmp_path / "out", *words, *paths)]) == 0
    found = predict_probabilities(evaluator, ((image, record.microns_per_pixel) for record, image, _ in examples))
    for path, probabilities in zip(paths, found, strict=True):
        mask = np.asarray(Image.open(tmp_path / "out" / path.name / "mask.png"))
        best = np.sort(probabilities, axis=-1)
        clear = best[..., -1] - best[..., -2] > 1e-5  # the network and its export are two programs
        assert mask.shape == (256, 256) and len(np.unique(mask)) > 1 and clear.mean() > 0.999
        np.testing.assert_array_equal(probabilities.argmax(-1)[clear], mask[clear])


def test_text(model):
    text = (model / "README.md").read_text()
    assert "| 0 | tumour | `#c81e1e` |" in text and "Of this model: CC BY 4.0.\n" in text
    assert "**3 µm per pixel**: the training images, of 0.75 µm per pixel, were scaled to it" in text
    assert "| tumour | 61.5 | 61.5 | 61.5 | 61.5 |" in text and "| other | 61.5 | 61.5 | 61.5 | - |" in text
    assert "On the 7 test tiles of synthetic" in text and "They hold for these images only" in text
    assert "Research only. Not for diagnosis" in text
    assert "None" not in text and max(map(len, text.splitlines())) < 600


def test_programs_of_the_text_run_without_this_project(model, tmp_path):
    programs = re.findall(r"```python\n(.*?)```", (model / "README.md").read_text(), re.DOTALL)
    assert len(programs) == 2
    block = "import sys; sys.modules['crcfp_jax'] = sys.modules['flax'] = None\n"
    environment = os.environ | {"PYTHONPATH": "", "PYTHONWARNINGS": "error"}
    environment.pop("XLA_FLAGS", None)
    stored = [tmp_path / "jax.npy", tmp_path / "onnx.npy"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", f"{block}{program}\nnp.save({str(path)!r}, probabilities)"],
            cwd=model, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for program, path in zip(programs, stored, strict=True)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert all(output.startswith("[[[") for output, _ in outputs)
    first, second = map(np.load, stored)
    assert first.shape == second.shape == (1, 32, 32, 5)
    np.testing.assert_allclose(first, second, atol=1e-4)


def refused(*arguments, **options):
    with pytest.raises(UserError) as error:
        export_run(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_nothing_is_replaced_unasked(model, run, tmp_path):
    assert f"{model} holds a model: give --overwrite to replace it" in refused(run, model)
    (tmp_path / "thesis.tex").write_text("")
    assert f"{tmp_path} is in the way and is not a model folder" in refused(run, tmp_path, overwrite=True)
    assert "is in the way" in refused(run, tmp_path / "thesis.tex", overwrite=True)


def test_forms_that_disagree_leave_nothing(model, run, tmp_path, monkeypatch):
    traced = (model / "model.jaxexport").read_bytes()
    monkeypatch.setattr(exporting, "export_network", lambda network, variables: traced)
    monkeypatch.setattr(agreement, "compare", lambda forms, batches: {"model.jaxexport": {"uncertainty": 2e-4}})
    message = refused(run, tmp_path / "model")
    assert message.startswith(f"{tmp_path / 'model'}: uncertainty of model.jaxexport is up to 2.0e-04 off")
    assert list(tmp_path.iterdir()) == []


def test_differences(tmp_path):
    images = [np.zeros((1, 2, 2, 3), np.uint8)]

    def form(*values):
        return lambda images: {"probabilities": np.float32(values)}

    forms = {"network": form(0.5, 0.5), "near": form(0.5, 0.25), "broken": form(np.nan, 0.5)}
    found = agreement.compare(forms, images)
    assert found == {"near": {"probabilities": 0.25}, "broken": {"probabilities": np.inf}}
    with pytest.raises(UserError, match=r": probabilities of near is up to 2.5e-01 off the network's"):
        agreement.check(found, tmp_path)


def test_unfinished_runs(run, tmp_path, capsys):
    assert "is not a run folder (no config.json)" in refused(tmp_path, tmp_path / "model")
    copied = shutil.copytree(run, tmp_path / "run")
    result = json.loads((copied / "result.json").read_text())
    (copied / "result.json").write_text(json.dumps(result | {"step": 8}))
    assert "is of step 8, the selected checkpoint of step 0" in refused(copied, tmp_path / "model")
    (copied / "result.json").unlink()
    with pytest.raises(SystemExit):
        run_main(lambda: main(["--workdir", str(copied), "--output", str(tmp_path / "model")]))
    assert capsys.readouterr().err == (
        f"error: {copied} has no result.json, so training has not ended: run its command again to finish it\n"
    )
    assert not (tmp_path / "model").exists()


def test_full_disk_and_folders_that_cannot_be_written(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert f"cannot write {tmp_path / 'file'}: File exists" in refused(run, tmp_path / "file" / "model")
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert f"{tmp_path}: the model takes at least 1" in refused(run, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize("operation", ["mkdir", "open"])
def test_an_output_without_permission_is_told(run, tmp_path, monkeypatch, operation):
    forbidden, function = tmp_path / "models", {"mkdir": os.mkdir, "open": open}[operation]
    if operation == "open":
        forbidden.mkdir()

    def refuse(path, *arguments, **options):
        if str(path).startswith(str(forbidden)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return function(path, *arguments, **options)

    monkeypatch.setattr(*{"mkdir": (os, "mkdir"), "open": ("builtins.open",)}[operation], refuse)
    assert refused(run, forbidden / "model") == (
        f"cannot write {forbidden}: permission denied: change the folder's permissions or choose another folder"
    )


def test_a_data_set_that_vanishes_is_what_is_told(run, tmp_path, monkeypatch):
    data = restore_variables(run)[0].data_set.path

    def vanish(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(data / "features.json"))

    monkeypatch.setattr(agreement, "sample_batches", vanish)
    assert refused(run, tmp_path / "model") == f"cannot read {data}: No such file or directory"
    assert list(tmp_path.iterdir()) == []


def test_without_test_images_the_step_tells_whether_training_has_ended(run):
    parts, _, step = restore_variables(run)
    parts = dataclasses.replace(parts, split=dataclasses.replace(parts.split, test=()))
    with pytest.raises(UserError) as error:
        exporting._read_result(run, parts, step)
    assert str(error.value) == f"{run} is at step 0 of 12: run its training command again to finish it"
    parts.config.train.steps = 0
    assert exporting._read_result(run, parts, step) is None


def export_into(output, content, *, overwrite=False):
    with exporting._output_folder(output, overwrite=overwrite) as folder:
        assert list(folder.iterdir()) == [] and (overwrite or not output.exists())
        (folder / "card.json").write_text(content)
        if content == "broken":
            raise RuntimeError


def test_folder_takes_its_place_whole(tmp_path):
    output = tmp_path / "model"
    (tmp_path / ".model.part" / "params").mkdir(parents=True)  # of a killed export
    export_into(output, "new")
    with pytest.raises(UserError, match="holds a model: give --overwrite"):
        export_into(output, "newer")
    export_into(output, "newer", overwrite=True)
    with pytest.raises(RuntimeError):
        export_into(output, "broken", overwrite=True)
    assert (output / "card.json").read_text() == "newer"
    os.rename(output, tmp_path / ".model.old")  # killed between the two renames
    with pytest.raises(UserError, match="holds a model: give --overwrite"):
        export_into(output, "newest")
    assert (output / "card.json").read_text() == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_one_export_at_a_time(tmp_path):
    with Lock(tmp_path / ".model.lock") as other:
        assert other.take()
        with pytest.raises(UserError, match=r"model is being exported by another process: wait for it"):
            export_into(tmp_path / "model", "new")
        assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]
    export_into(tmp_path / "model", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_packages_of_the_extra(monkeypatch):
    monkeypatch.setattr(exporting, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(UserError, match=r"--onnx needs no_such_package: pip install 'crcfp-jax\[onnx\]'"):
        main(["--workdir", "W", "--output", "M", "--onnx"])


def test_the_licence_of_the_data_is_in_the_card(model):
    licences = {name: recipe.licence for name, recipe in all_recipes().items() if not recipe.grows}
    assert all(licences.values()) and "CC BY-NC-SA 4.0" in licences["monuseg"]
    card = json.loads((model / "card.json").read_text())
    assert card["licence"]["data"] == licences["synthetic"]
    assert card["data"]["split_unit"] == "hospital"


def test_the_card_names_the_weights_of_a_preset_by_their_source(run):
    parts, _, step = restore_variables(run)
    config = parts.config.copy_and_resolve_references()
    config.model.preset, config.model.pretrained = "resnet18_imagenet", "/home/jane/weights.pth"
    card = describe_run(dataclasses.replace(parts, config=config), step, None, name="x", licence=None)
    assert card["licence"]["pretrained"] == card["pretrained"] == "timm/resnet18.tv_in1k"
    assert card["licence"]["pretrained_terms"] == "BSD-3-Clause (ImageNet-1k; torchvision's)"
    assert "jane" not in json.dumps(card)


def test_a_run_older_than_the_pixel_size_opens_at_the_scale_that_it_had(run, tmp_path):
    shutil.copytree(run, tmp_path / "old")
    stored = json.loads((run / "config.json").read_text())
    del stored["data"]["microns_per_pixel"], stored["data"]["whole_view_scale"]
    stored["data"]["whole_view_share"] = 0.47
    (tmp_path / "old" / "config.json").write_text(json.dumps(stored))
    parts, variables, _ = restore_variables(tmp_path / "old")
    assert parts.microns_per_pixel == 0.75 * 256 / 64
    assert parts.config.data.whole_view_scale == 32 / (0.47 * 64)
    jax.tree.map(np.testing.assert_array_equal, variables, restore_variables(run)[1])


def test_the_card_tells_of_a_cross_validation_and_of_no_patient(model, run):
    parts, step = restore_variables(run)[::2]
    result = json.loads((run / "result.json").read_text()) | {"per_image": [{"image": "slide1", "patient": "Jane"}]}
    tested = {
        "folds": 5, "patients": 8, "level": 0.95, "mean_iou": 65.34, "mean_dice": 78.0,
        "intervals": {"mean_iou": [58.01, 71.98], "mean_dice": None},
    }  # fmt: skip
    plain = describe_run(parts, step, result, name="x", licence=None)
    assert "crossvalidation" not in plain and "Jane" not in json.dumps(plain)
    card = describe_run(parts, step, None, name="x", licence=None, crossvalidation=tested)
    text = card_text(json.loads((model / "card.json").read_text()) | card)
    assert "Cross-validated: mIoU 65.3 (95% interval 58.0 to 72.0), Dice 78.0. Of 5 models of the same" in text
    assert "each of the 8 annotated patients was tested by one that had not seen it" in text


def test_the_card_tells_the_range_of_resolutions_trained_on(model, run):
    parts, _, _ = restore_variables(run)
    finer = tuple(dataclasses.replace(record, microns_per_pixel=0.25) for record in parts.split.labelled)
    mixed = dataclasses.replace(parts, split=dataclasses.replace(parts.split, labelled=finer), microns_per_pixel=1.25)
    card = json.loads((model / "card.json").read_text()) | describe_run(mixed, 0, None, name="mixed", licence=None)
    assert card["microns_per_pixel"] == 1.25
    assert (card["data"]["finest_microns_per_pixel"], card["data"]["microns_per_pixel"]) == (0.25, 0.75)
    assert "**1.25 µm per pixel**: the training images, of 0.25 to 0.75 µm per pixel" in card_text(card)


def test_names_that_mean_something_in_markdown_stay_names(model):
    card = json.loads((model / "card.json").read_text())
    card["classes"][0]["name"] = "Tumör | <b>a & b</b>"
    assert "| 0 | Tumör \\| &lt;b&gt;a &amp; b&lt;/b&gt; |" in card_text(card)
