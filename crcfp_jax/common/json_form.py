"""What a JSON file has to hold, checked before anything relies on it."""

import os
from collections.abc import Mapping
from typing import Any

from crcfp_jax.common.errors import UserError

WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def check_form(path: str | os.PathLike, value: Any, form: Any, *, remedy: str = "delete or restore it") -> None:
    """Raises UserError for the first place where a file's content has not the form it should have, naming it.

    Args:
        path: of the file.
        value: what `read_json` gave.
        form: `str`, `int`, `float` (any number) or `bool`; `[form]`, a list; `(form, form)`, a list of two;
            `{key: form}`, an object with these keys and any others, `{"key?": form}` with or without one, `{str: form}`
            with any; `(form,)`, that or null.
        remedy: what to do about it.
    """
    fault = _fault(value, form, "")
    if fault:
        raise UserError(f"{os.fsdecode(path)} is damaged ({fault}): {remedy}")


def _fault(value: Any, form: Any, place: str) -> str | None:
    if isinstance(form, tuple) and len(form) == 1:
        return None if value is None else _fault(value, form[0], place)
    if isinstance(form, tuple):
        if not isinstance(value, list) or len(value) != len(form):
            return f"{place or 'it'} is no list of {len(form)}"
        return _first(_fault(*pair, f"{place}[{number}]") for number, pair in enumerate(zip(value, form, strict=True)))
    if isinstance(form, list):
        if not isinstance(value, list):
            return f"{place or 'it'} is no list"
        return _first(_fault(entry, form[0], f"{place}[{number}]") for number, entry in enumerate(value))
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            return f"{place or 'it'} is no object"
        if str in form:
            return _first(_fault(entry, form[str], _below(place, key)) for key, entry in value.items())
        missing = next((key for key in form if not key.endswith("?") and key not in value), None)
        if missing is not None:
            return f"{_below(place, missing)} is missing"
        known = ((key.removesuffix("?"), own) for key, own in form.items())
        return _first(_fault(value[key], own, _below(place, key)) for key, own in known if key in value)
    whole = isinstance(value, int | float) if form is float else isinstance(value, form)
    if whole and (form is bool or not isinstance(value, bool)):
        return None
    return f"{place or 'it'} is {value!r:.60}, not {WORDS[form]}"


def _first(faults: Any) -> str | None:
    return next(filter(None, faults), None)


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
