"""What is shown while a run goes, on a terminal and elsewhere."""

import io

from rich.console import Console

from crcfp_jax.runs.progress import TrainingProgress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def show(*, terminal, enabled=True, every=20):
    output, clock = io.StringIO(), Clock()
    console = Console(file=output, force_terminal=terminal, width=120)
    with TrainingProgress(100, every=every, console=console, clock=clock, enabled=enabled) as progress:
        clock.now = 30.0  # compilation
        progress.update(1)
        for step in range(2, 42):
            clock.now += 0.5
            progress.update(step, {"loss": 1.5 / step, "supervised": 1.25} if step % 10 == 0 else None)
            if step == 30:
                progress.score(71.66)
        progress.message("saved [step 41]")
    return output.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    assert show(terminal=False).splitlines() == [
        "step 20/100  2.00 steps/s, 40 s left  loss 0.075  supervised 1.25  mIoU -",
        "step 40/100  2.00 steps/s, 30 s left  loss 0.0375  supervised 1.25  mIoU 71.7",
        "saved [step 41]",
    ]


def test_live_display_on_a_terminal():
    output = show(terminal=True)
    for part in ("training", "41/100", "loss 0.0375", "supervised 1.25", "mIoU 71.7", "saved [step 41]"):
        assert part in output


def test_nothing_from_other_processes():
    assert show(terminal=True, enabled=False) == ""
    assert show(terminal=False, enabled=False) == ""


def test_a_resumed_run_measures_its_own_steps_only():
    clock = Clock()
    progress = TrainingProgress(1000, step=500, console=Console(file=io.StringIO()), clock=clock)
    assert progress.steps_per_second is None
    assert progress.status() == "rate -  mIoU -"
    progress.update(501)
    clock.now = 10.0
    progress.update(506, {"loss": 1.0})
    assert progress.steps_per_second == 0.5
    assert progress.status() == "2.00 s/step, 16 min 28 s left  loss 1  mIoU -"
