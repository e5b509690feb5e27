"""The systems as data: which loss terms a method has, how strongly they count, and from when on.

A term that a method lacks does not exist in its compiled step: no forward pass, no parameters, no memory.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.heads import KINDS

# What each method adds to the supervised term. Schemes 1-3 of the paper (section 5.2, Table 4) add one term each:
# context, then entropy, then cross-consistency; CAC (Lai et al. 2021) is scheme 1 under its own name.
TERMS: dict[str, tuple[str, ...]] = {
    "supervised": (),
    "cct": ("cross_consistency",),
    "cac": ("contrastive",),
    "cdcl": ("cross_patch", "teacher_consistency", "entropy"),
    "crcfp_s1": ("contrastive",),
    "crcfp_s2": ("contrastive", "entropy"),
    "crcfp": ("contrastive", "cross_consistency", "entropy"),
}
BINARY = ("cdcl",)  # methods that know foreground and background only
OF_ONE_VIEW = ("cross_consistency", "entropy", "cross_patch", "teacher_consistency")  # terms that need no second view
OF_THE_TEACHER = ("cross_patch", "teacher_consistency")
STEEPNESS = 5.0  # of the ramp exp(-5 (1 - t)^2) (Laine and Aila 2017; CCT's release)


@dataclasses.dataclass(frozen=True)
class Method:
    """What one training step optimises.

    Attributes:
        name: a key of `TERMS`.
        weights: factor of each loss term in the total; its keys are the terms that exist.
        warmup_steps: steps at the start in which only the supervised term counts; the same for every method.
        main_view: stream that the terms of a single view look at: 'unlabelled', the whole image (paper), or 'view_a', a
            crop scaled and flipped at random as the labelled ones are (CCT and CDCL, which have no other view).
        ramp_steps: steps after these until the other terms have their full weight; 0: at once.
        perturbations: kinds of perturbation, and auxiliary classifiers of each.
        negatives: features pushed into the memory bank a step; 0: no bank.
        target_threshold: confidence of the main classifier from which on auxiliary classifiers are held against it.
        teacher_decay: share of the old parameters that the mean teacher keeps at an update, or None: no teacher.

    Any terms can be combined, but for the two contrasts, which would fill one memory bank with vectors of two kinds.
    """

    name: str
    weights: Mapping[str, float | jax.Array]
    warmup_steps: int
    main_view: str = "unlabelled"
    ramp_steps: int = 0
    perturbations: tuple[tuple[str, int], ...] = ()
    negatives: int = 0
    target_threshold: float = 0.0
    teacher_decay: float | None = None

    def __post_init__(self):
        if self.has("contrastive") and self.has("cross_patch"):
            raise ValueError(f"method {self.name}: 'contrastive' and 'cross_patch' can't share the memory bank")
        if self.has("contrastive", "cross_patch") != bool(self.negatives):
            raise ValueError(f"method {self.name}: a contrast, and nothing else, needs negatives")
        if self.has(*OF_THE_TEACHER) != (self.teacher_decay is not None):
            raise ValueError(f"method {self.name}: {' and '.join(OF_THE_TEACHER)}, and nothing else, need a teacher")
        if self.has("cross_consistency") != bool(self.perturbations):
            raise ValueError(f"method {self.name}: cross-consistency, and nothing else, needs perturbations")

    def has(self, *terms: str) -> bool:
        """Whether any of these terms exists in this method."""
        return any(term in self.weights for term in terms)

    @property
    def streams(self) -> tuple[str, ...]:
        """Keys of the batch that hold the unlabelled images this method looks at."""
        views = ("view_a", "view_b") if self.has("contrastive") else ()
        return ((self.main_view,) if self.has(*OF_ONE_VIEW) else ()) + views

    @property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the batch that a step of this method reads."""
        return ("image", "label", *self.streams, *(("offset", "flip") if self.has("contrastive") else ()))

    def ramp(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The share of their weights that all terms but the supervised one have at a step."""
        done = step - self.warmup_steps
        if not self.ramp_steps:
            return (done >= 0).astype(jnp.float32)
        missing = 1 - jnp.clip(done / self.ramp_steps, 0, 1)
        return jnp.where(done >= 0, jnp.exp(-STEEPNESS * missing**2), 0.0)


def build_method(config: ConfigDict) -> Method:
    """The method that `config.method` names, with its settings.

    Raises:
        UserError: unknown method, or an unknown kind of perturbation.
    """
    if config.method not in TERMS:
        raise UserError(f"config.method={config.method!r} is unknown; known methods: {', '.join(TERMS)}")
    terms = TERMS[config.method]
    steps, weights = config.train.steps, config.weights
    settings = {"weights": {term: weights[term] for term in ("supervised", *terms) if term in weights}}
    if "contrastive" in terms:
        settings |= {"negatives": config.contrastive.negatives}
    match config.method:
        case "cct":
            cct = config.cct
            if len(cct.perturbations) != len(cct.classifiers):
                raise UserError(
                    f"config.cct.classifiers={tuple(cct.classifiers)} has {len(cct.classifiers)} numbers for "
                    f"{len(cct.perturbations)} kinds of config.cct.perturbations: give one number for each"
                )
            _check_kinds("config.cct.perturbations", cct.perturbations)
            settings |= {
                "weights": settings["weights"] | {"cross_consistency": cct.weight},
                "main_view": "view_a",
                "ramp_steps": round(cct.ramp_up * steps),
                "perturbations": tuple(zip(cct.perturbations, cct.classifiers, strict=True)),
            }
        case "cdcl":
            cdcl = config.cdcl
            settings |= {
                "weights": settings["weights"] | {term: cdcl[term] for term in terms},
                "main_view": "view_a",
                "ramp_steps": round(cdcl.ramp_up * steps),
                "negatives": cdcl.negatives,
                "teacher_decay": cdcl.teacher_decay,
            }
        case _ if "cross_consistency" in terms:
            consistency = config.cross_consistency
            _check_kinds("config.cross_consistency.perturbations", consistency.perturbations)
            settings |= {
                "perturbations": tuple((name, consistency.classifiers) for name in consistency.perturbations),
                "target_threshold": consistency.threshold,
            }
    return Method(name=config.method, warmup_steps=round(weights.warmup * steps), **settings)


def check_classes(method: str, num_classes: int) -> None:
    """Raises UserError where a method can't learn that many classes."""
    if method in BINARY and num_classes != 2:
        raise UserError(
            f"config.method={method!r} tells foreground from background and takes data of two classes; this data set "
            f"has {num_classes}: choose another method"
        )


def _check_kinds(key: str, names: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise UserError(f"{key} has {unknown[0]!r}; known are {', '.join(KINDS)}")
    repeated = [name for name in names if list(names).count(name) > 1]
    if repeated:
        raise UserError(f"{key} has {repeated[0]!r} twice: raise its number of classifiers instead")
