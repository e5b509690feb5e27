"""What is shown while a queue goes."""

from rich.console import Console

from crcfp_jax.queue.display import QueueDisplay


def shown(terminal, clock):
    console = Console(force_terminal=terminal, width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with QueueDisplay(54, console=console, clock=lambda: clock[0]) as display:
        display.start(7, "crcfp 1/8 seed 2", "started")
        for clock[0] in (30.0, 61.0, 90.0):
            display.step(int(clock[0]), 300, None, 6)
        clock[0] = 102.0
        display.end("mIoU 71.3", 3480.0)
    text = console.export_text()
    console.file.close()
    return text


def test_plain_lines_come_at_start_and_end_and_once_a_minute():
    assert shown(False, [0.0]).splitlines() == [
        "[7/54] crcfp 1/8 seed 2: started",
        "[7/54] crcfp 1/8 seed 2: step 61/300, 1 min 01 s",
        "[7/54] crcfp 1/8 seed 2: mIoU 71.3, 1 min 42 s; about 58 min left",
    ]


def test_a_terminal_shows_run_and_grid():
    text = shown(True, [0.0])
    assert "90/300" in text and "6/54" in text and "[7/54] crcfp 1/8 seed 2: mIoU 71.3" in text
