"""A method: weak-to-strong consistency, as FixMatch (Sohn et al. 2020), with a mean teacher.

In the package METHOD is a file in crcfp_jax/methods/systems and two lines of its registry, the function a file in
crcfp_jax/methods/terms and two lines of its registry, SETTINGS the section "weak_to_strong" of crcfp_jax/config.py.
Then: --config.method=weak_to_strong, in the tables and figures too.
"""

import jax
import jax.numpy as jnp
import optax

from crcfp_jax.common.rules import not_negative, share
from crcfp_jax.common.settings_table import Key
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.systems.definition import Method, Stream, Term, Variant

SETTINGS = {
    "weight": Key(1.0, not_negative),
    "threshold": Key(0.95, share),  # confidence of the teacher that lets a pixel count
    "teacher_decay": Key(0.99, share),  # share of its old parameters that the teacher keeps at a step
}

METHOD = Method(
    name="weak_to_strong",
    description="two strongly augmented versions of a crop are predicted as the teacher predicts the weak one",
    variants=(Variant("weak_to_strong", title="Weak to strong", label="Weak to strong"),),
    streams=(
        Stream("weak", "view_a", "weak", teacher=True),
        Stream("strong_1", "view_a"),
        Stream("strong_2", "view_a"),
    ),
    terms=(
        Term(
            "weak_to_strong",
            ("weak", "strong_1", "strong_2"),
            weight="weak_to_strong.weight",
            meaning="the student should name the teacher's class where the teacher is sure",
            keys={"accept": "weak_to_strong.threshold"},
        ),
    ),
    predictions="weak",
    confidence="weak_to_strong.threshold",
    teacher_decay="weak_to_strong.teacher_decay",
)


def weak_to_strong(context: Context, term: Term) -> Outcome:
    """Cross-entropy of the strong versions with the teacher's class, over the pixels of which the teacher is sure."""
    weak, *strong = term.streams
    probabilities = jax.nn.softmax(context.logits(weak), axis=-1)
    sure = jnp.max(probabilities, axis=-1) > context.setting(term, "accept")
    logits = jnp.stack([context.logits(stream) for stream in strong])
    target = jnp.broadcast_to(jnp.argmax(probabilities, axis=-1), logits.shape[:-1])
    values = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return Outcome(context.heads.mean(values, jnp.broadcast_to(sure, values.shape)))
