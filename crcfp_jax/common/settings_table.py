"""A table of settings: default, rule, and whether a run may be resumed with another value, key by key."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.rules import Rule, anything

TYPES = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", tuple: "a tuple"}


@dataclasses.dataclass(frozen=True)
class Key:
    """One setting.

    Attributes:
        default: its type is that of every value; a float may be given as a whole number.
        rule: what values can be used; see `rules`.
        may_change: on resuming a run, since it changes neither the network, nor the examples, nor the steps' order.
    """

    default: Any
    rule: Rule = anything
    may_change: bool = False

    def complaint(self, value: Any) -> str | None:
        """What is wrong with a value, and what to give; None where it can be used."""
        kind = type(self.default)
        # A Python bool is an int.
        fits = isinstance(value, (float, int) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
        return self.rule(value) if fits else f"must be {TYPES[kind]}"


def flatten(sections: Mapping[str, Any]) -> dict[str, Key]:
    """A table by dotted key, 'data.side', from keys and sections of keys."""
    table = {}
    for name, entry in sections.items():
        table |= {name: entry} if isinstance(entry, Key) else {f"{name}.{key}": found for key, found in entry.items()}
    return table


def build(table: Mapping[str, Key]) -> ConfigDict:
    """The defaults of a table, as dotted keys; locked: an unknown key is an error, not a new key."""
    config = ConfigDict()
    for key, entry in table.items():
        section, _, name = key.rpartition(".")
        place = config
        if section:
            if section not in config:
                config[section] = ConfigDict()
            place = config[section]
        place[name] = entry.default
    return config.lock()


def check(table: Mapping[str, Key], config: ConfigDict) -> None:
    """Raises UserError for the first value that its rule refuses: names key and value, and says what to give."""
    for key, entry in table.items():
        section, _, name = key.rpartition(".")
        place = config.get(section) if section else config
        if not isinstance(place, ConfigDict) or name not in place:
            raise UserError(f"config.{key} is missing: let get_config() begin with crcfp_jax.config.default()")
        value = place[name]
        if wrong := entry.complaint(value):
            raise UserError(f"config.{key}={value!r} {wrong}")
