"""Training on the labelled crops alone: the baseline, in the variants that the paper's tables need."""

from crcfp_jax.methods.systems.definition import Method, Variant
from crcfp_jax.methods.systems.palette import BLACK, GREY, PALE

SUPERVISED_ONLY = Method(
    name="supervised",
    description="cross-entropy on the labelled crops",
    variants=(
        # As in the authors' release: labelled crops are scaled, cropped and flipped, their colours stay.
        Variant(
            "supervised_plain",
            "Supervised, weak augmentation (release)",
            "Supervised, plain",
            {"augment.labelled": "False"},
            PALE,
            "v",
            rank=1,
        ),
        # The paper's DeepLab-v3: its baseline has the methods' augmentation (sections 4.6 and 5).
        Variant(
            "supervised",
            "Supervised, strong augmentation (paper: DeepLab-v3)",
            "Supervised",
            colour=BLACK,
            marker="o",
            rank=3,
        ),
        Variant(
            "supervised_recalibrated",
            "Supervised, strong augmentation, recalibrated statistics",
            "Supervised, recal.",
            {"model.inference_statistics": "recalibrated"},
            GREY,
            "^",
            rank=2,
        ),
    ),
    of_paper=True,
)
