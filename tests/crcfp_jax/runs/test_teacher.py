"""A run whose teacher is the model that is validated, evaluated and exported."""

import json

import jax
import numpy as np
import pytest
import tiny_run

from crcfp_jax.common.errors import UserError
from crcfp_jax.doctor.folder import diagnose
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.runs.loop import Trainer
from crcfp_jax.runs.parts import build_learner
from crcfp_jax.runs.restore import restore_variables
from crcfp_jax.runs.settings import check_rules
from crcfp_jax.runs.validation import Validator
from crcfp_jax.training.parallel import local_copy

NAME = "unimatch"


@pytest.fixture
def config(data_dir):
    """Eight steps of a method with a teacher that is sure of some places."""
    config = tiny_run.get_config()
    config.method = NAME  # which is evaluated as its teacher
    config.weak_to_strong.threshold = 0.3
    config.data.dir = str(data_dir)
    config.train.batch_size = config.train.unlabelled_batch_size = 4
    config.train.steps = 8
    return config


def test_the_teacher_is_what_a_run_evaluates_and_a_resumed_run_goes_on_to_the_bit(config, tmp_path):
    trainer = Trainer(config, tmp_path)
    trainer.run()
    result, final = trainer.finish(), local_copy(trainer.state)
    assert (result["step"], result["method"]) == (8, NAME)
    parts, variables, step = restore_variables(tmp_path)
    assert step == 8 and parts.config.evaluation.model == "teacher"
    jax.tree.map(np.testing.assert_array_equal, variables, final.teacher)
    student, teacher = (jax.tree.leaves(tree["params"]) for tree in (final.variables, final.teacher))
    assert any(np.any(one != other) for one, other in zip(student, teacher, strict=True))
    trainer.checkpoints.close()

    again = Trainer(config, tmp_path, previous_checkpoint=True)  # from step 4
    assert int(local_copy(again.state.step)) == 4
    again.run()
    jax.tree.map(np.testing.assert_array_equal, local_copy(again.state), final)
    diagnosis, _, _ = diagnose(tmp_path)
    assert {row.label: row.meaning for row in diagnosis.over_time[0].rows}["weak-to-strong"].startswith("the student")


def test_recalibrated_statistics_are_the_teachers(config, tmp_path):
    config.model.inference_statistics = "recalibrated"
    config.model.recalibration_images = 32
    trainer = Trainer(config, tmp_path)
    moved = {**trainer.state.teacher, "params": jax.tree.map(lambda x: 2 * x, trainer.state.teacher["params"])}
    of_teacher = trainer.validator.inference_variables(trainer.state.replace(teacher=moved))
    config.evaluation.model = "student"
    of_student = Validator(trainer.parts, tmp_path).inference_variables(trainer.state)
    jax.tree.map(np.testing.assert_array_equal, of_teacher["params"], moved["params"])
    stem = [local_copy(found["batch_stats"])["backbone"]["bn1"]["mean"] for found in (of_teacher, of_student)]
    np.testing.assert_allclose(stem[0], 2 * stem[1], rtol=1e-4, atol=1e-5)  # of the same images, twice the weights


def test_a_method_without_a_teacher_says_so():
    config = tiny_run.get_config()
    config.evaluation.model = "teacher"
    with pytest.raises(UserError, match=r"^config\.evaluation\.model='teacher': config\.method='crcfp' has no teacher"):
        build_learner(config, 5)
    config.evaluation.model = "both"
    with pytest.raises(
        UserError, match=r"^config\.evaluation\.model='both' is unknown; known: method, student, teacher"
    ):
        build_learner(config, 5)


def test_a_teacher_of_the_time_without_statistics_is_evaluated_and_not_trained_on(config, tmp_path):
    stored = json.loads(config.to_json())
    del stored["evaluation"]["model"]
    with pytest.raises(UserError, match=r"teacher had no batch statistics to go on with: .*evaluates it as it is"):
        check_rules(stored, tmp_path)
    check_rules(stored | {"method": "crcfp"}, tmp_path)
    state = Trainer(config, tmp_path / "new").state
    Checkpoints(tmp_path).save(state.replace(teacher=state.teacher["params"]), state.batch_stats, {}, stored)
    found = Checkpoints(tmp_path, read_only=True).restore_model(0, jax.eval_shape(lambda: state.variables))
    jax.tree.map(np.testing.assert_array_equal, found, local_copy(state.variables))
