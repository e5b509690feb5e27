"""ContextMatch, ours."""

from crcfp_jax.methods.systems.definition import Method, Stream, Term, Variant
from crcfp_jax.methods.systems.palette import PURPLE

STREAMS = (
    Stream("weak", "view_a", "weak", teacher=True),
    Stream("weak_other", "view_b", "weak", teacher=True),
    Stream("strong", "view_a", "strong_view", cutmix=True),
)
CONTEXT_MATCH = Method(
    name="context_match",
    description="a strong view is predicted as the mean teacher predicts it in two contexts, and contrasted with them",
    variants=(Variant("context_match", "ContextMatch", "ContextMatch", colour=PURPLE, marker="P"),),
    streams=STREAMS,
    terms=(
        Term(
            "weak_to_strong",
            ("weak", "weak_other", "strong"),
            "weak_to_strong.weight",
            "the student should name the teacher's class where the teacher is sure",
            needs=("overlap",),
            keys={"accept": "weak_to_strong.threshold"},
        ),
        Term(
            "teacher_contrast",
            ("weak", "weak_other", "strong"),
            "weights.contrastive",
            "a place should look as it does to the teacher in another context",
            needs=("overlap", "bank", "projector"),
            pushes=("weak", "weak_other"),
            keys={
                "accept": "weak_to_strong.threshold",
                "bank_accept": "weak_to_strong.threshold",
                "negatives": "contrastive.negatives",
            },
        ),
    ),
    predictions="weak",
    confidence="weak_to_strong.threshold",
    teacher_decay="weak_to_strong.teacher_decay",
    inference="teacher",
)
