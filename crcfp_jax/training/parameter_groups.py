"""Which parameters learn how fast: the rows of `config.optimizer.groups`, the first that matches a parameter counting.

A pattern is a regular expression that has to match the whole of a parameter's path, such as
'backbone/layer1_0/conv1/kernel'.
"""

import dataclasses
import re
from typing import Any

import jax
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError

CATCH_ALL = ".*"


@dataclasses.dataclass(frozen=True)
class Group:
    """A row: its parameters, the multiple of the learning rate they have, and their weight decay."""

    pattern: str
    multiple: float | int  # 0: frozen
    decay: float | int | None = None  # None: the optimiser's own rule

    def matches(self, path: str) -> bool:
        """Whether a parameter, by its path, is one that the pattern describes."""
        return re.fullmatch(self.pattern, path) is not None


def read_groups(settings: ConfigDict) -> tuple[Group, ...]:
    """The rows of `config.optimizer`, in their order."""
    return tuple(Group(*row) for row in settings.groups)


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
    """Raises UserError where a parameter has no row, a row has no parameter ('.*' may), or no parameter learns."""
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    used = {group_of(groups, path) for path in paths}
    for group in groups:
        if group in used or group.pattern == CATCH_ALL:
            continue
        if any(group.matches(name_of(path)) for path in paths):
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


def hold_frozen(groups: tuple[Group, ...], params: Any) -> Any:
    """The same parameters; no gradient reaches the frozen ones, so that none is computed for them."""

    def hold(path, parameter):
        return parameter if group_of(groups, path).multiple else jax.lax.stop_gradient(parameter)

    return jax.tree.map_with_path(hold, params)
