"""Which auxiliary classifiers a method has."""

from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.settings import value_at
from crcfp_jax.methods.systems.definition import Method
from crcfp_jax.models.heads import KINDS


def auxiliary_classifiers(method: Method, config: ConfigDict) -> tuple[tuple[str, int], ...]:
    """Kinds of perturbation, and classifiers of each; none where no term of the method needs them.

    Raises:
        UserError: an unknown kind, one that stands twice, or not one number for each kind.
    """
    term = method.needing("perturbations")
    if term is None:
        return ()
    key, count_key = term.keys["perturbations"], term.keys["classifiers"]
    kinds, counts = tuple(value_at(config, key)), value_at(config, count_key)
    if isinstance(counts, int):
        counts = (counts,) * len(kinds)
    if len(kinds) != len(counts):
        raise UserError(
            f"config.{count_key}={tuple(counts)} has {len(counts)} numbers for {len(kinds)} kinds of config.{key}: "
            "give one number for each"
        )
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"config.{key} has {kind!r}; known are {', '.join(KINDS)}")
        if kinds.count(kind) > 1:
            raise UserError(f"config.{key} has {kind!r} twice: raise its number of classifiers instead")
    return tuple(zip(kinds, counts, strict=True))
