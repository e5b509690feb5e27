"""CDCL, cross-patch dense contrast with a mean teacher (Wu et al. 2022)."""

from crcfp_jax.methods.systems.definition import Method, Stream, Term, Variant
from crcfp_jax.methods.systems.palette import PURPLE

STUDENT, TEACHER = "altered", "unaltered"

CDCL = Method(
    name="cdcl",
    description="consistency with a mean teacher, cross-patch contrast, entropy; two classes only",
    variants=(Variant("cdcl", "CDCL", "CDCL", colour=PURPLE, marker="P", rank=2),),
    streams=(Stream(STUDENT, "view_a"), Stream(TEACHER, "view_a", "none", teacher=True)),
    terms=(
        Term(
            "teacher_consistency",
            (STUDENT, TEACHER),
            "cdcl.teacher_consistency",
            "the student should repeat the teacher's probabilities",
            ramp="cdcl.ramp_up",
        ),
        Term(
            "cross_patch",
            (STUDENT, TEACHER),
            "cdcl.cross_patch",
            "a place should look as it does to the teacher, and unlike places of the other class",
            ramp="cdcl.ramp_up",
            needs=("bank", "projector"),
            pushes=(TEACHER,),
            keys={"negatives": "cdcl.negatives", "accept": "cdcl.clear", "bank_accept": "cdcl.clear"},
        ),
        Term("entropy", (STUDENT,), "cdcl.entropy", "predictions should be decided", ramp="cdcl.ramp_up"),
    ),
    predictions=STUDENT,
    teacher_decay="cdcl.teacher_decay",
    classes=2,
    of_paper=True,
)
