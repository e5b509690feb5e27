"""A run as a process of its own, which stops when this process ends, however that comes about."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from crcfp_jax.common.files import user_error_on_write
from crcfp_jax.common.lock import Lock

ROOT = Path(__file__).resolve().parents[2]
SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


class Child:
    """`command`, its output appended to `log`, as holder of `lock` for as long as it lives.

    SIGTERM makes a run save a checkpoint and stop. On Linux it gets that signal when this process is killed, too. It
    is alone in its process group, so that Ctrl-C reaches this process only, which then stops it in order.
    """

    def __init__(self, command: Sequence[str], log: Path, lock: Lock):
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        # Unbuffered, the log can be read meanwhile, and an error stands after what was printed before it.
        always = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        environment = os.environ | always
        with user_error_on_write(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log, self._start = log, log.stat().st_size if log.exists() else 0
            with open(log, "ab") as output:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=(lock.fileno(),),
                    process_group=0,
                    preexec_fn=_end_with_parent(),
                )

    def wait(self, seconds: float) -> int | None:
        """The exit code, negative for a signal; None where it still runs after so many seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, *, save: bool = True) -> None:
        """Asks it to save and stop; without `save`, ends it at once."""
        self._process.send_signal(signal.SIGTERM if save else signal.SIGKILL)

    def last_line(self) -> str:
        """The last line that it has written; '' where there is none."""
        with open(self._log, "rb") as file:
            file.seek(self._start)
            lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _end_with_parent() -> Callable[[], None] | None:
    """What the new process does before it becomes the command: asks the kernel for SIGTERM at its parent's death."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # looked up here: after the fork as little as possible is done

    def ask() -> None:
        prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:  # it died before it was asked
            os._exit(1)

    return ask
