"""Settings by their dotted keys."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def value_at(settings: ConfigDict | Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key such as 'train.steps'.

    Raises:
        KeyError: there is none.
    """
    value: Any = settings
    for name in key.split("."):
        value = value[name]
    return value
