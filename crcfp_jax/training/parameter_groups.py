"""Which parameters learn how fast: a table of rows, the first that matches a parameter counting.

A pattern is a regular expression that has to match the whole of a parameter's path, such as
'backbone/layer1_0/conv1/kernel'.
"""

import dataclasses
import re
from typing import Any

import jax
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders.registry import find_family

CATCH_ALL = ".*"
FINE_TUNING = 0.1  # multiple of the learning rate for the last layers of an encoder, the others being frozen; ours


@dataclasses.dataclass(frozen=True)
class Group:
    """A row: its parameters, the multiple of the learning rate they have, and their weight decay."""

    pattern: str
    multiple: float | int  # 0: frozen
    decay: float | int | None = None  # None: the optimiser's own rule
    of_encoder: bool = False  # a row that `config.optimizer.encoder` stands for, not one of `groups`

    def matches(self, path: str) -> bool:
        """Whether a parameter, by its path, is one that the pattern describes."""
        return re.fullmatch(self.pattern, path) is not None


def read_groups(config: ConfigDict) -> tuple[Group, ...]:
    """The rows of `config.optimizer` in their order: those of `encoder`, then those of `groups`.

    Raises:
        UserError: the encoder has no such layers.
    """
    of_encoder = (dataclasses.replace(group, of_encoder=True) for group in _encoder_groups(config))
    return (*of_encoder, *(Group(*row) for row in config.optimizer.groups))


def _encoder_groups(config: ConfigDict) -> tuple[Group, ...]:
    """The rows that `config.optimizer.encoder` stands for, of what published weights are for."""
    tuning, backbone = config.optimizer.encoder, config.model.backbone
    kind, _, amount = tuning.partition(":")
    family = find_family(backbone)
    below = f"backbone/{family.trained}"
    layers = [f"{below}{pattern}" for pattern in family.layers(backbone)]
    if kind == "lora" and not family.attends:
        raise UserError(
            f"config.optimizer.encoder='lora' is for encoders that attend, and config.model.backbone={backbone} is "
            "convolutional: give frozen, last:N or layerwise:D"
        )
    if kind != "groups" and bool(config.model.lora_rank) != (kind == "lora"):
        raise UserError(
            f"config.optimizer.encoder={tuning!r} and config.model.lora_rank={config.model.lora_rank} don't fit "
            "together: 'lora' needs a rank, such as 8, and no other value has one"
        )
    match kind:
        case "frozen":
            return (Group(f"{below}.*", 0),)
        case "lora":
            return Group(f"{below}.*/lora_.*", 1.0), Group(f"{below}.*", 0)
        case "last":
            if int(amount) >= len(layers):
                raise UserError(
                    f"config.optimizer.encoder={tuning!r}: config.model.backbone={backbone} has {len(layers)} groups "
                    f"of layers: give last:{len(layers) - 1} at most"
                )
            first = len(layers) - int(amount)
            return *(Group(layer, FINE_TUNING) for layer in layers[first:]), Group(f"{below}.*", 0)
        case "layerwise":
            return tuple(Group(layer, float(amount) ** (len(layers) - place)) for place, layer in enumerate(layers))
    return ()


def name_of(path: tuple) -> str:
    """A path of `jax.tree`, joined by '/'."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def group_of(groups: tuple[Group, ...], path: tuple) -> Group:
    """The first row that matches a parameter.

    Raises:
        UserError: none does.
    """
    name = name_of(path)
    for group in groups:
        if group.matches(name):
            return group
    raise UserError(
        f"config.optimizer.groups: no row matches the parameter {name}; let the last row be ('{CATCH_ALL}', 1.0)"
    )


def check_groups(groups: tuple[Group, ...], params: Any) -> None:
    """Raises UserError where a parameter has no row, a row has no parameter, or no parameter learns.

    A row may have none where it is '.*', or where those of `config.optimizer.encoder` take all that it matches.
    """
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    used = {group_of(groups, path) for path in paths}
    for group in groups:
        if group in used or group.pattern == CATCH_ALL:
            continue
        if matched := [path for path in paths if group.matches(name_of(path))]:
            if all(group_of(groups, path).of_encoder for path in matched):
                continue
            reason = "is never reached: rows before it match all that it matches; move it up or leave it out"
        else:
            parts = ", ".join(dict.fromkeys(name_of(path).partition("/")[0] for path in paths))
            reason = (
                f"matches no parameter: it has to match a whole path such as {name_of(paths[0])}, of which the first "
                f"parts are {parts}"
            )
        raise UserError(f"config.optimizer.groups: the row {group.pattern!r} {reason}")
    if not any(group.multiple for group in used):
        raise UserError("config.optimizer.groups lets no parameter learn: the rows that match any have the multiple 0")


def keep_frozen(groups: tuple[Group, ...], old: Any, new: Any) -> Any:
    """The frozen parameters of `old`, as they are, and the others of `new`."""
    return jax.tree.map_with_path(lambda path, was, now: now if group_of(groups, path).multiple else was, old, new)


def hold_frozen(groups: tuple[Group, ...], params: Any) -> Any:
    """The same parameters; no gradient reaches the frozen ones, so that none is computed for them."""

    def hold(path, parameter):
        return parameter if group_of(groups, path).multiple else jax.lax.stop_gradient(parameter)

    return jax.tree.map_with_path(hold, params)
