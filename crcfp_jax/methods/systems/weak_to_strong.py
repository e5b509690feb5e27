"""Consistency with a mean teacher.

Of its probabilities (Tarvainen and Valpola 2017), or of its sure classes in views that are altered strongly (FixMatch:
Sohn et al. 2020; UniMatch V2: Yang et al. 2025).
"""

from crcfp_jax.methods.systems.definition import Method, Stream, Term, Variant
from crcfp_jax.methods.systems.palette import PURPLE

WEAK = Stream("weak", "view_a", "weak", teacher=True)
REPEATS = "the student should name the teacher's class where the teacher is sure"
KEYS = {"accept": "weak_to_strong.threshold"}

MEAN_TEACHER = Method(
    name="mean_teacher",
    description="consistency with a mean teacher that sees other colours",
    variants=(Variant("mean_teacher", "Mean teacher", "Mean teacher", colour=PURPLE, marker="P"),),
    streams=(Stream("altered", "view_a"), WEAK),
    terms=(
        Term(
            "teacher_consistency",
            ("altered", "weak"),
            "mean_teacher.weight",
            "the student should repeat the teacher's probabilities",
            ramp="mean_teacher.ramp_up",
        ),
    ),
    predictions="weak",
    teacher_decay="mean_teacher.teacher_decay",
    inference="teacher",
)
FIXMATCH = Method(
    name="fixmatch",
    description="a strong view is predicted as the mean teacher predicts the weak one, where it is sure",
    variants=(Variant("fixmatch", "FixMatch, mean teacher", "FixMatch", colour=PURPLE, marker="P"),),
    streams=(WEAK, Stream("strong", "view_a", "strong_view")),
    terms=(Term("weak_to_strong", ("weak", "strong"), "weak_to_strong.weight", REPEATS, keys=KEYS),),
    predictions="weak",
    confidence="weak_to_strong.threshold",
    teacher_decay="weak_to_strong.teacher_decay",
    inference="teacher",
)
UNIMATCH = Method(
    name="unimatch",
    description="two strong views with CutMix and complementary channels, predicted as the mean teacher predicts",
    variants=(Variant("unimatch", "UniMatch V2", "UniMatch V2", colour=PURPLE, marker="P"),),
    streams=(
        WEAK,
        Stream("strong_1", "view_a", "strong_view", cutmix=True, dropout="half"),
        Stream("strong_2", "view_a", "strong_view", cutmix=True, dropout="other_half"),
    ),
    terms=(Term("weak_to_strong", ("weak", "strong_1", "strong_2"), "weak_to_strong.weight", REPEATS, keys=KEYS),),
    predictions="weak",
    confidence="weak_to_strong.threshold",
    teacher_decay="weak_to_strong.teacher_decay",
    inference="teacher",
)
