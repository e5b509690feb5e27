"""The functions of the terms, by their names."""

from crcfp_jax.methods.context import TermFunction
from crcfp_jax.methods.terms.contrastive import contrastive
from crcfp_jax.methods.terms.cross_consistency import cross_consistency
from crcfp_jax.methods.terms.cross_patch import cross_patch
from crcfp_jax.methods.terms.entropy import entropy
from crcfp_jax.methods.terms.supervised import supervised
from crcfp_jax.methods.terms.teacher_consistency import teacher_consistency
from crcfp_jax.methods.terms.teacher_contrast import teacher_contrast
from crcfp_jax.methods.terms.weak_to_strong import weak_to_strong

FUNCTIONS: dict[str, TermFunction] = {
    "supervised": supervised,
    "contrastive": contrastive,
    "cross_consistency": cross_consistency,
    "cross_patch": cross_patch,
    "entropy": entropy,
    "teacher_consistency": teacher_consistency,
    "teacher_contrast": teacher_contrast,
    "weak_to_strong": weak_to_strong,
}
