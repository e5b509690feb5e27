"""Published weights: pixel statistics, licence, and the pixel sizes of what they were trained on.

Sources: the cards on the hub and the publishers' code, July 2026. Lunit's statistics are those of its release notes,
not those that its copies on the hub declare; kaiko's and TIAToolbox's those of their own code. Where a card states a
magnification, 20x counts as 0.5 µm per pixel. Hibou's pixel size is nowhere stated: 0.5 is what its users take.
"""

from collections.abc import Mapping

from crcfp_jax.models.encoders.family import Published
from crcfp_jax.models.encoders.pixels import IMAGENET, Pixels

LUNIT = Pixels((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))
PLAIN = Pixels((0.0,) * 3, (1.0,) * 3)  # from 0 to 1, whatever copies of TIAToolbox's weights declare
HALF = Pixels((0.5,) * 3, (0.5,) * 3)
BIOPTIMUS = Pixels((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
HIBOU = Pixels((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))

NO_DERIVATIVES = "CC BY-NC-ND 4.0"

FROM_20X, ALL_MAGNIFICATIONS = (0.5, 0.5), (0.25, 2.0)
BIN = "pytorch_model.bin"


def _weights(
    source: str,
    preset: str,
    backbone: str,
    pixels: Pixels,
    licence: str,
    remark: str,
    *,
    microns_per_pixel: tuple[float, float] | None = None,
    gated: bool = False,
    file: str = "",
) -> tuple[str, Published]:
    """A row of a table: the value of config.model.pretrained, and what is known of these weights."""
    return source, Published(
        pixels,
        licence,
        remark,
        preset=preset,
        backbone=backbone,
        gated=gated,
        microns_per_pixel=microns_per_pixel,
        file=file,
    )


def _lunit(backbone: str, tag: str, preset: str, method: str) -> tuple[str, Published]:
    remark = f"{method} on 19 million tiles of TCGA; Lunit"
    return _weights(
        f"1aurent/{backbone}.lunit_{tag}", f"lunit_{preset}", backbone, LUNIT, "Lunit's, non-commercial", remark,
        microns_per_pixel=(0.25, 0.5),
    )  # fmt: skip


def _kaiko(size: str, patch: int) -> tuple[str, Published]:
    backbone = f"vit_{size}_patch{patch}_224"
    return _weights(
        f"1aurent/{backbone}.kaiko_ai_towards_large_pathology_fms", f"kaiko_{size[0]}{patch}", backbone, HALF,
        "kaiko's, non-commercial", "DINO on slides of TCGA; kaiko", microns_per_pixel=ALL_MAGNIFICATIONS,
    )  # fmt: skip


RESNETS: Mapping[str, Published] = dict(
    (
        *(
            _weights(
                f"timm/{name}.tv_in1k", f"{name}_imagenet", name, IMAGENET, "BSD-3-Clause", "ImageNet-1k; torchvision's"
            )
            for name in ("resnet18", "resnet34", "resnet50", "resnet101")
        ),
        _lunit("resnet50", "swav", "swav", "SwAV"),
        _lunit("resnet50", "bt", "bt", "Barlow Twins"),
        _lunit("resnet50", "mocov2", "mocov2", "MoCo v2"),
        _weights(
            "1aurent/resnet50.tiatoolbox-kather100k", "kather100k", "resnet50", PLAIN,
            "CC BY 4.0", "nine tissues of NCT-CRC-HE-100K; TIAToolbox", microns_per_pixel=FROM_20X,
        ),
    )
)  # fmt: skip
TRANSFORMERS: Mapping[str, Published] = dict(
    (
        _lunit("vit_small_patch8_224", "dino", "dino_s8", "DINO"),
        _lunit("vit_small_patch16_224", "dino", "dino_s16", "DINO"),
        _kaiko("small", 8),
        _kaiko("small", 16),
        _kaiko("base", 8),
        _kaiko("base", 16),
        *(
            _weights(
                f"timm/vit_{size}_patch14_reg4_dinov2.lvd142m", f"dinov2_{size[0]}14",
                f"vit_{size}_patch14_reg4_dinov2", IMAGENET, "Apache-2.0", "DINOv2 on natural images; Meta",
            )
            for size in ("small", "base", "large")
        ),
        *(
            _weights(
                f"timm/vit_{size}_patch16_dinov3.lvd1689m", f"dinov3_{size[0]}16",
                f"vit_{size}_patch16_dinov3", IMAGENET, "DINOv3 License", "DINOv3 on natural images; Meta",
            )
            for size in ("small", "base", "large")
        ),
        _weights(
            "prov-gigapath/prov-gigapath-flash", "gigapath_flash", "vit_small_patch16_224.gigapath_flash", IMAGENET,
            "Apache-2.0, for research", "distilled from Prov-GigaPath; Providence", file=BIN,
            microns_per_pixel=FROM_20X, gated=True,
        ),
        _weights(
            "histai/hibou-b", "hibou_b", "vit_base_patch14_reg4_dinov2.hibou_b", HIBOU,
            "Apache-2.0", "DINOv2 on 1.1 million slides; HistAI", microns_per_pixel=FROM_20X, gated=True,
        ),
        _weights(
            "histai/hibou-L", "hibou_l", "vit_large_patch14_reg4_dinov2.hibou_l", HIBOU,
            "Apache-2.0", "DINOv2 on 1.1 million slides; HistAI", microns_per_pixel=FROM_20X, gated=True,
        ),
        _weights(
            "bioptimus/H-optimus-0", "h_optimus_0", "vit_giant_patch14_reg4_dinov2.hoptimus0", BIOPTIMUS,
            "Apache-2.0", "DINOv2 on 500,000 slides; Bioptimus", file=BIN, microns_per_pixel=FROM_20X, gated=True,
        ),
        _weights(
            "bioptimus/H0-mini", "h0_mini", "vit_base_patch14_reg4_dinov2.h0_mini", BIOPTIMUS,
            NO_DERIVATIVES, "distilled from H-optimus-0 on 43 million tiles of TCGA; Bioptimus and Owkin",
            microns_per_pixel=FROM_20X, gated=True,
        ),
        _weights(
            "owkin/phikon-v2", "phikon_v2", "vit_large_patch16_224.phikon_v2", IMAGENET,
            "Owkin's, non-commercial", "DINOv2 on 456 million tiles of public slides; Owkin",
            microns_per_pixel=FROM_20X,
        ),
        _weights(
            "MahmoodLab/UNI", "uni", "vit_large_patch16_224.uni", IMAGENET,
            NO_DERIVATIVES, "DINOv2 on 100,000 slides; Mahmood Lab", file=BIN, microns_per_pixel=FROM_20X, gated=True,
        ),
        _weights(
            "MahmoodLab/UNI2-h", "uni2_h", "vit_giant_patch14_224.uni2_h", IMAGENET,
            NO_DERIVATIVES, "DINOv2 on 350,000 slides, H&E and IHC; Mahmood Lab", file=BIN,
            microns_per_pixel=FROM_20X, gated=True,
        ),
        _weights(
            "paige-ai/Virchow2", "virchow2", "vit_huge_patch14_224.virchow2", IMAGENET,
            NO_DERIVATIVES, "DINOv2 on 3.1 million slides, H&E and IHC; Paige", microns_per_pixel=ALL_MAGNIFICATIONS,
            gated=True,
        ),
        _weights(
            "kaiko-ai/midnight", "midnight", "vit_giant_patch14_dinov2.midnight", HALF,
            "MIT", "DINOv2 on 12,000 slides of TCGA; kaiko", microns_per_pixel=ALL_MAGNIFICATIONS,
        ),
    )
)  # fmt: skip
