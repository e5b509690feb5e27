"""Whether layers are traced in the forms that run fast, or in plain ones that other programs can read."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PLAIN = ContextVar("plain_forms", default=False)


@contextmanager
def plain_forms() -> Iterator[None]:
    """Within the block, layers are traced as one convolution or pooling each, whatever is faster on this device.

    Functions that have been compiled stay what they are: trace a new one.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def plain_forms_wanted() -> bool:
    """Whether the code runs inside `plain_forms`."""
    return _PLAIN.get()
