"""CCT, cross-consistency training (Ouali, Hudelot and Tami 2020)."""

from crcfp_jax.methods.systems.definition import Method, Stream, Term, Variant
from crcfp_jax.methods.systems.palette import ORANGE

CCT = Method(
    name="cct",
    description="cross-consistency under seven perturbations",
    variants=(Variant("cct", "CCT", "CCT", colour=ORANGE, marker="p", rank=1),),
    streams=(Stream("view_a", "view_a"),),
    terms=(
        Term(
            "cross_consistency",
            ("view_a",),
            "cct.weight",
            "auxiliary classifiers on perturbed features should repeat the main one's probabilities",
            ramp="cct.ramp_up",
            needs=("perturbations",),
            keys={"perturbations": "cct.perturbations", "classifiers": "cct.classifiers"},
        ),
    ),
    predictions="view_a",
    of_paper=True,
)
