"""A method: the classes that a mean teacher names, learned on strongly altered versions (after Lee 2013).

In the package METHOD is a file in crcfp_jax/methods/systems and two lines of its registry, the function a file in
crcfp_jax/methods/terms and two lines of its registry, SETTINGS the section "pseudo_labels" of crcfp_jax/config.py.
Then: --config.method=pseudo_labels, in the tables and figures too.
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
    name="pseudo_labels",
    description="two strongly augmented versions of a crop are predicted as the teacher predicts the weak one",
    variants=(Variant("pseudo_labels", title="Pseudo-labels", label="Pseudo-labels"),),
    streams=(
        Stream("weak", "view_a", "weak", teacher=True),
        Stream("strong_1", "view_a"),
        Stream("strong_2", "view_a"),
    ),
    terms=(
        Term(
            "pseudo_labels",
            ("weak", "strong_1", "strong_2"),
            weight="pseudo_labels.weight",
            meaning="the student should name the teacher's class where the teacher is sure",
            keys={"accept": "pseudo_labels.threshold"},
        ),
    ),
    predictions="weak",
    confidence="pseudo_labels.threshold",
    teacher_decay="pseudo_labels.teacher_decay",
)


def pseudo_labels(context: Context, term: Term) -> Outcome:
    """Cross-entropy of the strong versions with the teacher's class, over the pixels of which the teacher is sure."""
    weak, *strong = term.streams
    probabilities = jax.nn.softmax(context.logits(weak), axis=-1)
    sure = jnp.max(probabilities, axis=-1) > context.setting(term, "accept")
    logits = jnp.stack([context.logits(stream) for stream in strong])
    target = jnp.broadcast_to(jnp.argmax(probabilities, axis=-1), logits.shape[:-1])
    values = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return Outcome(context.heads.mean(values, jnp.broadcast_to(sure, values.shape)))
