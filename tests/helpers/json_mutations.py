"""JSON that is damaged at random: a value replaced or removed, or bytes that are no JSON of that form."""

import json
import random
from typing import Any

VALUES = (None, "x", "", -1, 1e308, True, [], [1], {}, {"a": 1})
RAW = (b"", b"null", b"{}", b'"x"', b"[1", b"\xff\xfe", b"[" * 100_000)


def mutated(value: Any, rng: random.Random) -> Any:
    """A copy with something else, or nothing, at one place."""
    places: list[tuple] = []

    def walk(part: Any, place: tuple) -> None:
        places.append(place)
        children = part.items() if isinstance(part, dict) else enumerate(part[:4]) if isinstance(part, list) else ()
        for key, child in children:
            walk(child, (*place, key))

    walk(value, ())
    *above, last = rng.choice(places[1:]) if len(places) > 1 else (None,)
    if last is None:
        return rng.choice(VALUES)
    copy = json.loads(json.dumps(value))
    part = copy
    for key in above:
        part = part[key]
    if rng.random() < 0.2:
        del part[last]
    else:
        part[last] = rng.choice(VALUES)
    return copy
