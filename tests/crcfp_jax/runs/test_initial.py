"""A run that starts from another's model: which weights are carried over, by hand and in real runs."""

import json

import jax
import numpy as np
import pytest
import tiny_run
from tiny import tiny_config

from crcfp_jax.common.errors import UserError
from crcfp_jax.runs import initial
from crcfp_jax.runs.initial import carry_over, class_names
from crcfp_jax.runs.loop import Trainer
from crcfp_jax.runs.restore import restore_variables
from crcfp_jax.runs.settings import keep_pixels
from crcfp_jax.training.parallel import local_copy


def variables(start, classes, *, auxiliary=("dropout",), count=2, width=3, projector=True):
    """A network of one layer and its heads; every value is a whole number of its own, from `start` on."""
    numbers = iter(range(start, 10**6))

    def array(*shape):
        return np.array([next(numbers) for _ in range(int(np.prod(shape)))], np.float32).reshape(shape)

    params = {
        "backbone": {"kernel": array(2, width)},
        "classifier": {"logits": {"kernel": array(width, classes), "bias": array(classes)}},
    }
    if projector:
        params["projector"] = {"kernel": array(width, 2)}
    if auxiliary:
        params["auxiliary"] = {
            kind: {"kernel": array(count, width, classes), "bias": array(count, classes)} for kind in auxiliary
        }
    return {"params": params, "batch_stats": {"backbone": {"mean": array(width)}}}


def test_classes_are_matched_by_name():
    old, random = variables(0, 3), variables(1000, 3)
    found, fresh = carry_over(old, random, ["tumour", "fat", "stroma"], ["stroma", "necrosis", "tumour"], ValueError)
    assert fresh == []
    logits, before, new = (tree["params"]["classifier"]["logits"] for tree in (found, old, random))
    np.testing.assert_array_equal(
        logits["kernel"].T, [before["kernel"][:, 2], new["kernel"][:, 1], before["kernel"][:, 0]]
    )
    np.testing.assert_array_equal(logits["bias"], [before["bias"][2], new["bias"][1], before["bias"][0]])
    kernel, before, new = (tree["params"]["auxiliary"]["dropout"]["kernel"] for tree in (found, old, random))
    np.testing.assert_array_equal(kernel[1], np.stack([before[1, :, 2], new[1, :, 1], before[1, :, 0]], axis=-1))
    for group in ("backbone", "projector"):
        np.testing.assert_array_equal(found["params"][group]["kernel"], old["params"][group]["kernel"])
    np.testing.assert_array_equal(found["batch_stats"]["backbone"]["mean"], old["batch_stats"]["backbone"]["mean"])
    np.testing.assert_array_equal(
        random["params"]["classifier"]["logits"]["bias"], variables(1000, 3)["params"]["classifier"]["logits"]["bias"]
    )


def test_more_classes_than_before():
    old, random = variables(0, 2), variables(1000, 3)
    found, _ = carry_over(old, random, ["a", "b"], ["a", "b", "c"], ValueError)
    bias = found["params"]["classifier"]["logits"]["bias"]
    np.testing.assert_array_equal(bias[:2], old["params"]["classifier"]["logits"]["bias"])
    assert bias[2] == random["params"]["classifier"]["logits"]["bias"][2]


def test_heads_of_another_method_stay_random():
    supervised = variables(0, 2, auxiliary=(), projector=False)
    random = variables(1000, 2, auxiliary=("dropout", "vat"))
    found, fresh = carry_over(supervised, random, ["a", "b"], ["a", "b"], ValueError)
    assert fresh == ["projector", "dropout", "vat"]
    assert found["params"]["projector"] is not None and found["params"]["auxiliary"]["vat"]["bias"][0, 0] >= 1000
    _, fresh = carry_over(random, supervised, ["a", "b"], ["a", "b"], ValueError)
    assert fresh == []
    _, fresh = carry_over(variables(0, 2, count=3), variables(0, 2), ["a", "b"], ["a", "b"], ValueError)
    assert fresh == ["dropout"]  # another number of classifiers


def test_another_network_is_a_misfit():
    with pytest.raises(ValueError, match="backbone/kernel"):
        carry_over(variables(0, 2, width=4), variables(0, 2), ["a", "b"], ["a", "b"], ValueError)
    other = variables(0, 2)
    other["params"]["backbone"]["bias"] = np.zeros(2)
    with pytest.raises(ValueError, match="backbone/bias"):
        carry_over(other, variables(0, 2), ["a", "b"], ["a", "b"], ValueError)


def test_a_folder_tells_its_classes_by_what_it_has(tmp_path):
    with pytest.raises(UserError, match=r"doesn't tell its classes, having neither data\.json nor result\.json"):
        class_names(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"per_class": {"b": {}, "a": {}}}))
    assert class_names(tmp_path) == ["b", "a"]
    (tmp_path / "data.json").write_text(json.dumps({"classes": [{"name": "c"}]}))
    assert class_names(tmp_path) == ["c"]


def test_images_are_seen_as_the_initial_run_saw_them(tmp_path):
    model = {"decoder_width": 32, "pixel_mean": [0.7, 0.5, 0.6], "pixel_deviation": [0.2] * 3, "pretrained": "lunit"}
    (tmp_path / "W").mkdir()
    (tmp_path / "W" / "config.json").write_text(json.dumps({"data": {"whole_view_scale": 0.8}, "model": model}))
    config = tiny_config(model__pretrained="another", model__initial=str(tmp_path / "W"))
    kept = keep_pixels(config, tmp_path / "new").model
    assert (kept.pixel_mean, kept.pixel_deviation, kept.pretrained) == ((0.7, 0.5, 0.6), (0.2,) * 3, "lunit")
    own = tiny_config(model__pixel_mean=(0.1,) * 3, model__initial=str(tmp_path / "W"))
    assert keep_pixels(own, tmp_path / "new").model.pixel_mean == (0.1,) * 3
    # Gone on with, the run has its own, and no longer needs W.
    (tmp_path / "new" / "checkpoints" / "4").mkdir(parents=True)
    stored = {"data": {"whole_view_scale": 0.8}, "model": model | {"pixel_mean": [0.3] * 3}}
    (tmp_path / "new" / "config.json").write_text(json.dumps(stored))
    assert keep_pixels(config, tmp_path / "new").model.pixel_mean == (0.3,) * 3


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A supervised run of four steps on five classes."""
    folder = tmp_path_factory.mktemp("trained") / "W"
    trainer = Trainer(run_config(data_dir, method="supervised", data__sampling="classes"), folder)
    trainer.run()
    trainer.checkpoints.close()
    return folder


def run_config(data_dir, **changes):
    config = tiny_run.get_config()
    config.data.dir, config.train.steps = str(data_dir), 4
    config.train.batch_size = config.train.unlabelled_batch_size = 4
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


def test_a_run_starts_from_another_and_goes_on_without_it(trained, data_dir, tmp_path):
    config = run_config(data_dir, model__initial=str(trained), model__pretrained="timm/not-read")
    trainer = Trainer(config, tmp_path / "run")
    told = [note for note in trainer.notes if note.startswith("starts from")]
    heads = "dropout, feature_dropout, feature_noise, projector"
    assert told == [f"starts from {trained} (step 4): 5 of 5 classes carried over; random at first: {heads}"]
    _, before, _ = restore_variables(trained)
    start = local_copy(trainer.state.variables)
    for group in ("backbone", "decoder", "classifier"):
        jax.tree.map(np.testing.assert_array_equal, start["params"][group], before["params"][group])
    jax.tree.map(np.testing.assert_array_equal, start["batch_stats"], before["batch_stats"])
    assert int(local_copy(trainer.state.step)) == 0
    trainer.run()
    trainer.checkpoints.close()
    config.model.initial = str(tmp_path / "gone")
    resumed = Trainer(config, tmp_path / "run")
    assert "resumed from step 4" in resumed.notes


def test_a_run_of_another_network_is_told_by_its_setting(trained, data_dir, tmp_path):
    with pytest.raises(UserError) as caught:
        Trainer(run_config(data_dir, model__initial=str(trained), model__width=16), tmp_path / "run")
    assert str(caught.value) == (
        f"config.model.initial={str(trained)!r} was trained with config.model.width=8, and this run has 16: give the "
        "same, or another run"
    )
    assert not (tmp_path / "run" / "config.json").exists()


def test_what_is_no_run_folder_is_told(data_dir, tmp_path):
    config = run_config(data_dir, model__initial=str(tmp_path / "no"))
    with pytest.raises(UserError, match=r"no' has no config\.json: give the run folder that a training wrote"):
        Trainer(config, tmp_path / "run")
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "card.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no config\.json: give the run folder that this model was exported from"):
        Trainer(config, tmp_path / "run")


def test_a_run_without_a_checkpoint_is_told(trained, data_dir, tmp_path):
    (tmp_path / "W").mkdir()
    for name in ("config.json", "data.json"):
        (tmp_path / "W" / name).write_bytes((trained / name).read_bytes())
    with pytest.raises(UserError, match="holds no checkpoint: train first"):
        Trainer(run_config(data_dir, model__initial=str(tmp_path / "W")), tmp_path / "run")


def test_names_are_those_of_the_network(data_dir):
    assert {initial.CLASSIFIER, initial.AUXILIARY, initial.PROJECTOR} <= set(groups(data_dir))


def groups(data_dir):
    from crcfp_jax.runs.parts import assemble
    from crcfp_jax.training.state import initialise_variables

    network = assemble(run_config(data_dir)).network()
    return jax.eval_shape(lambda key: initialise_variables(network, key, 32), jax.random.key(0))["params"]
