"""CRCFP (Bashir et al. 2023), and its schemes: each adds one term to the one before (section 5.2, Table 4).

Scheme 1 is the contrast alone, which is CAC (Lai et al. 2021); scheme 2 adds entropy; scheme 3, the paper's method,
adds cross-consistency. The contrast looks at two crops, the other terms at the whole image.
"""

from crcfp_jax.methods.systems.definition import Method, Stream, Term, Variant
from crcfp_jax.methods.systems.palette import GREEN, SKY, VERMILION

WHOLE = Stream("unlabelled", "unlabelled")
CROPS = (Stream("view_a", "view_a"), Stream("view_b", "view_b"))

CONTRAST = Term(
    "contrastive",
    ("view_a", "view_b"),
    "weights.contrastive",
    "a place should look alike in two overlapping crops, and unlike places of other classes",
    needs=("bank", "projector", "overlap"),
    pushes=("view_a", "view_b"),
    keys={"negatives": "contrastive.negatives", "accept": "contrastive.threshold"},
)
CONSISTENCY = Term(
    "cross_consistency",
    ("unlabelled",),
    "weights.cross_consistency",
    "auxiliary classifiers on perturbed features should repeat the main one's probabilities",
    needs=("perturbations",),
    keys={
        "perturbations": "cross_consistency.perturbations",
        "classifiers": "cross_consistency.classifiers",
        "threshold": "cross_consistency.threshold",
    },
)
ENTROPY = Term("entropy", ("unlabelled",), "weights.entropy", "predictions should be decided")

CAC = Method(
    name="cac",
    description="directional contrast of two overlapping crops",
    variants=(Variant("cac", "CAC (= CRCFP scheme 1)", "CAC", colour=SKY, marker="D", rank=4),),
    streams=CROPS,
    terms=(CONTRAST,),
    of_paper=True,
)
SCHEME_1 = Method(
    name="crcfp_s1",
    description="the same as cac",
    variants=(Variant("crcfp_s1", "CRCFP scheme 1", "CRCFP scheme 1", colour=SKY, marker="D", rank=3),),
    streams=CROPS,
    terms=(CONTRAST,),
    of_paper=True,
    same_as="cac",
)
SCHEME_2 = Method(
    name="crcfp_s2",
    description="contrast, entropy",
    variants=(Variant("crcfp_s2", "CRCFP scheme 2", "CRCFP scheme 2", colour=GREEN, marker="X", rank=5),),
    streams=(WHOLE, *CROPS),
    terms=(CONTRAST, ENTROPY),
    predictions="unlabelled",
    of_paper=True,
)
CRCFP = Method(
    name="crcfp",
    description="contrast, entropy, cross-consistency under three perturbations",
    variants=(Variant("crcfp", "CRCFP", "CRCFP", colour=VERMILION, marker="s", rank=6),),
    streams=(WHOLE, *CROPS),
    terms=(CONTRAST, CONSISTENCY, ENTROPY),
    predictions="unlabelled",
    of_paper=True,
)
