"""The form of JSON, and the place that hasn't it."""

import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.json_form import check_form

FORM = {"name": str, "size": [float], "count": int, "rows": [{"ok": bool, "patients": (int,)}], "areas": {str: float}}
FORM["later?"] = float
FORM["colour"] = (int, int, int)
WHOLE = {"name": "a", "size": [1, 2.5], "count": 3, "rows": [{"ok": True, "patients": None}], "areas": {"x": 0.5}}
WHOLE["colour"] = [1, 2, 3]


def test_what_has_the_form_and_more_passes():
    check_form("a.json", WHOLE, FORM)
    check_form("a.json", WHOLE | {"more": object()}, FORM)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "it is no object"),
        ([], "it is no object"),
        (WHOLE | {"name": 3}, "name is 3, not a text"),
        (WHOLE | {"size": [1, "2"]}, r"size\[1\] is '2', not a number"),
        (WHOLE | {"size": {}}, "size is no list"),
        (WHOLE | {"count": 3.0}, "count is 3.0, not a whole number"),
        (WHOLE | {"count": True}, "count is True, not a whole number"),
        (WHOLE | {"rows": [{"ok": 1, "patients": 2}]}, r"rows\[0\].ok is 1, not true or false"),
        (WHOLE | {"rows": [{"ok": True}]}, r"rows\[0\].patients is missing"),
        (WHOLE | {"later": "x"}, "later is 'x', not a number"),
        (WHOLE | {"colour": [1, 2]}, "colour is no list of 3"),
        (WHOLE | {"colour": [1, 2, "3"]}, r"colour\[2\] is '3', not a whole number"),
        (WHOLE | {"areas": {"x": None}}, "areas.x is None, not a number"),
    ],
)
def test_the_first_fault_is_named(value, told):
    with pytest.raises(UserError, match=rf"^a\.json is damaged \({told}\): delete or restore it$"):
        check_form("a.json", value, FORM)
