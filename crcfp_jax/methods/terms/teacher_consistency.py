"""Consistency with a mean teacher (Tarvainen and Valpola 2017)."""

import jax

from crcfp_jax.losses.consistency import squared_error
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.systems.definition import Term


def teacher_consistency(context: Context, term: Term) -> Outcome:
    """Squared error between the student's probabilities on its stream and the teacher's on the teacher's stream."""
    student, teacher = term.streams
    target = jax.nn.softmax(context.logits(teacher), axis=-1)
    return Outcome(context.heads.mean(*squared_error(target, context.logits(student)[None])))
