"""The mean teacher of CDCL (Wu et al. 2022): a moving average of the student that looks at the unaltered images."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from ml_collections import ConfigDict

from crcfp_jax.losses.consistency import squared_error
from crcfp_jax.losses.contrastive import directional_contrast
from crcfp_jax.losses.cross_patch import clear_cells
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.contrast import project_cells, push_negatives
from crcfp_jax.methods.pseudo_label_metrics import class_shares
from crcfp_jax.methods.randomness import Purpose
from crcfp_jax.methods.reduction import Heads, Metrics


class TeacherOutput(NamedTuple):
    """What the teacher makes of the unlabelled images, without gradient."""

    logits: Float[Array, "u h w k"]
    projected: Float[Array, "u ch cw d"] | None = None  # unit vectors at the context stride, where asked for
    labels: Int[Array, "u ch cw"] | None = None  # pseudo-labels there


def run_teacher(student: Heads, teacher: Any, images: Float[Array, "u s s 3"], *, vectors: bool) -> TeacherOutput:
    """Runs the teacher on normalised images, by their own batch statistics as the student; those are not kept.

    Args:
        student: heads of the same network, for the replicas' axis.
        teacher: parameters.
        images: normalised.
        vectors: whether a term compares the teacher's vectors; the network has no projector otherwise.
    """
    heads = dataclasses.replace(student, variables=student.variables | {"params": teacher})
    features, _ = heads.network.apply(heads.variables, images, train=True, mutable=["batch_stats"], method="encode")
    teacher_output = TeacherOutput(heads.apply("classify", features))
    if vectors:
        projected, labels, _ = project_cells(heads, features)
        teacher_output = teacher_output._replace(projected=projected, labels=labels)
    return jax.lax.stop_gradient(teacher_output)


def teacher_consistency_term(
    heads: Heads, logits: Float[Array, "u h w k"], teacher_output: TeacherOutput
) -> Float[Array, ""]:
    """Squared error between the student's probabilities on altered images and the teacher's on unaltered ones."""
    return heads.mean(*squared_error(jax.nn.softmax(teacher_output.logits, axis=-1), logits[None]))


def cross_patch_term(
    heads: Heads,
    features: Float[Array, "u h w c"],
    teacher_output: TeacherOutput,
    bank: banks.Bank,
    key: Key[Array, ""],
    config: ConfigDict,
) -> tuple[Float[Array, ""], banks.Bank, Metrics]:
    """Pulls the student's cells to the teacher's at the same place, away from cells of complementary patches.

    Anchors, and the teacher's cells that become negatives, lie in patches that the teacher's pseudo-labels make clearly
    foreground or clearly background, and have the patch's pseudo-label. A negative is of the other class than its
    anchor. The step's own are pushed into the bank first.

    Args:
        features: the student's, of the altered images.
        config: all settings; `cdcl`, and the temperature and chunk of `contrastive`, are used.

    Returns:
        The loss, the bank with this step's negatives, and shares of accepted anchors and filled slots.
    """
    clear = clear_cells(teacher_output.labels, config.cdcl.patch, config.cdcl.clear)
    kept = jnp.where(clear, teacher_output.labels, banks.EMPTY)
    bank = push_negatives(heads, {Purpose.BANK_A: (teacher_output.projected, kept)}, bank, key, config.cdcl.negatives)
    anchors, _, _ = project_cells(heads, features)
    dimension = anchors.shape[-1]
    values = directional_contrast(
        anchors.reshape(-1, dimension),
        teacher_output.projected.reshape(-1, dimension),
        teacher_output.labels.reshape(-1),
        bank.features,
        bank.labels,
        config.contrastive.temperature,
        config.contrastive.chunk,
    )
    num_classes = teacher_output.logits.shape[-1]
    positives = class_shares(heads, teacher_output.labels, clear, num_classes)
    metrics = {"positives": positives, "share/positive_pairs": jnp.sum(positives)}
    return heads.mean(values.reshape(clear.shape), clear), bank, metrics | banks.mix(bank, num_classes)


def ema_update(teacher: Any, params: Any, decay: float, step: Int[Array, ""]) -> Any:
    """The teacher after a step: decay * teacher + (1 - decay) * params, with decay at most 1 - 1 / (step + 1).

    The bound (Tarvainen and Valpola 2017) makes the teacher the plain average of the first steps' parameters, so that
    the random initial ones don't linger.

    Args:
        params: the student's, after the step.
        step: steps done before it.
    """
    decay = jnp.minimum(decay, 1 - 1 / (step + 1.0))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, teacher, params)
