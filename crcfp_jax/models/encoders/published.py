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

LUNIT_LICENCE = "Lunit's, non-commercial"
KAIKO_LICENCE = "kaiko's, non-commercial"
NO_DERIVATIVES = "CC BY-NC-ND 4.0"
DINOV3_LICENCE = "DINOv3 License"

FROM_20X, TO_40X, ALL_MAGNIFICATIONS = (0.5, 0.5), (0.25, 0.5), (0.25, 2.0)
BIN = "pytorch_model.bin"


def _kaiko(size: str, patch: int) -> tuple[str, Published]:
    backbone = f"vit_{size}_patch{patch}_224"
    return f"1aurent/{backbone}.kaiko_ai_towards_large_pathology_fms", Published(
        HALF,
        KAIKO_LICENCE,
        "DINO on slides of TCGA; kaiko",
        preset=f"kaiko_{size[0]}{patch}",
        backbone=backbone,
        microns_per_pixel=ALL_MAGNIFICATIONS,
    )


def _lunit(patch: int) -> tuple[str, Published]:
    backbone = f"vit_small_patch{patch}_224"
    return f"1aurent/{backbone}.lunit_dino", Published(
        LUNIT,
        LUNIT_LICENCE,
        "DINO on 19 million tiles of TCGA; Lunit",
        preset=f"lunit_dino_s{patch}",
        backbone=backbone,
        microns_per_pixel=TO_40X,
    )


def _dinov2(size: str) -> tuple[str, Published]:
    backbone = f"vit_{size}_patch14_reg4_dinov2"
    return f"timm/{backbone}.lvd142m", Published(
        IMAGENET, "Apache-2.0", "DINOv2 on natural images; Meta", preset=f"dinov2_{size[0]}14", backbone=backbone
    )


def _dinov3(size: str) -> tuple[str, Published]:
    backbone = f"vit_{size}_patch16_dinov3"
    return f"timm/{backbone}.lvd1689m", Published(
        IMAGENET, DINOV3_LICENCE, "DINOv3 on natural images; Meta", preset=f"dinov3_{size[0]}16", backbone=backbone
    )


def _pathology(
    source: str,
    preset: str,
    backbone: str,
    pixels: Pixels,
    licence: str,
    remark: str,
    *,
    gated: bool = True,
    microns_per_pixel: tuple[float, float] = FROM_20X,
    file: str = "",
) -> tuple[str, Published]:
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


def _torchvision(backbone: str) -> tuple[str, Published]:
    return f"timm/{backbone}.tv_in1k", Published(
        IMAGENET, "BSD-3-Clause", "ImageNet-1k; torchvision's", preset=f"{backbone}_imagenet", backbone=backbone
    )


def _lunit_resnet(method: str, name: str) -> tuple[str, Published]:
    return f"1aurent/resnet50.lunit_{method}", Published(
        LUNIT,
        LUNIT_LICENCE,
        f"{name} on 19 million tiles of TCGA; Lunit",
        preset=f"lunit_{method}",
        backbone="resnet50",
        microns_per_pixel=TO_40X,
    )


RESNETS: Mapping[str, Published] = dict(
    (
        *map(_torchvision, ("resnet18", "resnet34", "resnet50", "resnet101")),
        _lunit_resnet("swav", "SwAV"),
        _lunit_resnet("bt", "Barlow Twins"),
        _lunit_resnet("mocov2", "MoCo v2"),
        _pathology(
            "1aurent/resnet50.tiatoolbox-kather100k", "kather100k", "resnet50", PLAIN,
            "CC BY 4.0", "nine tissues of NCT-CRC-HE-100K; TIAToolbox", gated=False,
        ),
    )
)  # fmt: skip
TRANSFORMERS: Mapping[str, Published] = dict(
    (
        _lunit(8),
        _lunit(16),
        _kaiko("small", 8),
        _kaiko("small", 16),
        _kaiko("base", 8),
        _kaiko("base", 16),
        *map(_dinov2, ("small", "base", "large")),
        *map(_dinov3, ("small", "base", "large")),
        _pathology(
            "prov-gigapath/prov-gigapath-flash", "gigapath_flash", "vit_small_patch16_224.gigapath_flash", IMAGENET,
            "Apache-2.0, for research", "distilled from Prov-GigaPath; Providence", file=BIN,
        ),
        _pathology(
            "histai/hibou-b", "hibou_b", "vit_base_patch14_reg4_dinov2.hibou_b", HIBOU,
            "Apache-2.0", "DINOv2 on 1.1 million slides; HistAI",
        ),
        _pathology(
            "histai/hibou-L", "hibou_l", "vit_large_patch14_reg4_dinov2.hibou_l", HIBOU,
            "Apache-2.0", "DINOv2 on 1.1 million slides; HistAI",
        ),
        _pathology(
            "bioptimus/H-optimus-0", "h_optimus_0", "vit_giant_patch14_reg4_dinov2.hoptimus0", BIOPTIMUS,
            "Apache-2.0", "DINOv2 on 500,000 slides; Bioptimus", file=BIN,
        ),
        _pathology(
            "bioptimus/H0-mini", "h0_mini", "vit_base_patch14_reg4_dinov2.h0_mini", BIOPTIMUS,
            NO_DERIVATIVES, "distilled from H-optimus-0 on 43 million tiles of TCGA; Bioptimus and Owkin",
        ),
        _pathology(
            "owkin/phikon-v2", "phikon_v2", "vit_large_patch16_224.phikon_v2", IMAGENET,
            "Owkin's, non-commercial", "DINOv2 on 456 million tiles of public slides; Owkin", gated=False,
        ),
        _pathology(
            "MahmoodLab/UNI", "uni", "vit_large_patch16_224.uni", IMAGENET,
            NO_DERIVATIVES, "DINOv2 on 100,000 slides; Mahmood Lab", file=BIN,
        ),
        _pathology(
            "MahmoodLab/UNI2-h", "uni2_h", "vit_giant_patch14_224.uni2_h", IMAGENET,
            NO_DERIVATIVES, "DINOv2 on 350,000 slides, H&E and IHC; Mahmood Lab", file=BIN,
        ),
        _pathology(
            "paige-ai/Virchow2", "virchow2", "vit_huge_patch14_224.virchow2", IMAGENET,
            NO_DERIVATIVES, "DINOv2 on 3.1 million slides, H&E and IHC; Paige", microns_per_pixel=ALL_MAGNIFICATIONS,
        ),
        _pathology(
            "kaiko-ai/midnight", "midnight", "vit_giant_patch14_dinov2.midnight", HALF,
            "MIT", "DINOv2 on 12,000 slides of TCGA; kaiko", gated=False, microns_per_pixel=ALL_MAGNIFICATIONS,
        ),
    )
)  # fmt: skip
