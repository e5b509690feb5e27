"""The methods by name, and the systems that tables and figures make of them, in the order in which they show them."""

from collections.abc import Iterable, Mapping
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.settings import value_at
from crcfp_jax.methods.systems.cct import CCT
from crcfp_jax.methods.systems.cdcl import CDCL
from crcfp_jax.methods.systems.context_match import CONTEXT_MATCH
from crcfp_jax.methods.systems.crcfp import CAC, CRCFP, SCHEME_1, SCHEME_2
from crcfp_jax.methods.systems.definition import Method, Variant
from crcfp_jax.methods.systems.supervised import SUPERVISED_ONLY
from crcfp_jax.methods.systems.weak_to_strong import FIXMATCH, MEAN_TEACHER, UNIMATCH

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        SUPERVISED_ONLY,
        CCT,
        CAC,
        CDCL,
        SCHEME_1,
        SCHEME_2,
        CRCFP,
        MEAN_TEACHER,
        FIXMATCH,
        UNIMATCH,
        CONTEXT_MATCH,
    )
}


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        UserError: there is none.
    """
    if name not in METHODS:
        raise UserError(f"config.method={name!r} is unknown; known methods: {', '.join(METHODS)}")
    return METHODS[name]


def check_classes(method: Method, num_classes: int) -> None:
    """Raises UserError where a method can't learn that many classes."""
    if method.classes not in (None, num_classes):
        two = "tells foreground from background and takes data of two classes"
        raise UserError(
            f"config.method={method.name!r} {two if method.classes == 2 else f'takes data of {method.classes} classes'}"
            f"; this data set has {num_classes}: choose another method"
        )


def systems() -> dict[str, tuple[Method, Variant]]:
    """Name of every variant of every method -> the two."""
    return {variant.name: (method, variant) for method in METHODS.values() for variant in method.variants}


def find_variant(settings: Mapping[str, Any]) -> Variant | None:
    """The variant that a run's config.json makes; None where its method is unknown.

    Of those whose settings the run has, the last; where none has its settings, the one without any.
    """
    if settings["method"] not in METHODS:
        return None
    found = None
    for variant in METHODS[settings["method"]].variants:
        fits = all(str(value_at(settings, key)) == value for key, value in variant.settings.items())
        if fits and (variant.settings or found is None):
            found = variant
    return found


def by_rank(*, supervised: bool) -> tuple[str, ...]:
    """Names of the systems that learn from labelled images alone, or of the others, the greatest rank first."""
    found: Iterable[Variant] = (variant for method, variant in systems().values() if (not method.terms) == supervised)
    return tuple(variant.name for variant in sorted(found, key=lambda variant: -variant.rank))
