"""How a queue is asked to stop: SIGTERM, SIGINT (Ctrl-C) or SIGHUP (the terminal is closed)."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """The signal that asked this process to stop; true once there is one."""

    def __init__(self):
        self.signal: signal.Signals | None = None
        self.at_once = False  # Ctrl-C came when the process was stopping already

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Notes SIGTERM, SIGINT and SIGHUP instead of dying of them; one that is ignored (nohup) stays so."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        numbers = tuple(number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        self.at_once = self.at_once or (bool(self) and number == signal.SIGINT)
        self.signal = self.signal or signal.Signals(number)
