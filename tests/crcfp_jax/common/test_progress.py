"""The display that every command shares: bars on a terminal, plain lines elsewhere, and nothing left behind."""

import io
import sys
import threading

import pytest
from rich.console import Console
from rich.progress import TextColumn
from rich.text import Text

from crcfp_jax.common.progress import Display, progress_bar

SHOW_CURSOR = "\x1b[?25h"


def console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def test_a_terminal_shows_name_count_note_and_messages():
    shown = console(terminal=True)
    with Display(console=shown) as display:
        bar = display.add_bar("training", 100, done=3)
        display.update_bar(bar, completed=41)
        display.note("2.00 steps/s")
        display.message("saved")
        assert display.live
    for part in ("training", "41/100", "2.00 steps/s", "saved"):
        assert part in shown.file.getvalue()


def test_elsewhere_the_messages_alone_are_shown():
    shown = console(terminal=False)
    with Display(console=shown) as display:
        display.update_bar(display.add_bar("training", 100), completed=41)
        display.note("2.00 steps/s")
        display.message("saved [step 41]")
        assert not display.live
    assert shown.file.getvalue() == "saved [step 41]\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_disabled_display_is_silent(terminal):
    shown = console(terminal=terminal)
    with Display(console=shown, enabled=False) as display:
        display.add_bar("training", 100)
        display.message("saved")
    with progress_bar("evaluating", 3, console=shown, enabled=False) as advance:
        advance()
    assert shown.file.getvalue() == ""


def test_names_and_notes_are_no_markup():
    shown = console(terminal=True)
    with Display(console=shown) as display:
        display.add_bar("[red]a.svs[/blue]", 2)
        display.note("[bold]note[/red]")
    assert "[red]a.svs[/blue]" in shown.file.getvalue() and "[bold]note[/red]" in shown.file.getvalue()


def test_bars_are_taken_down_before_a_traceback():
    shown, streams = console(terminal=True), (sys.stdout, sys.stderr)
    with pytest.raises(ZeroDivisionError), Display(console=shown) as display:
        display.add_bar("training", 100)
        assert sys.stderr is not streams[1]  # what is written there comes above the bars
        raise ZeroDivisionError
    assert not display.live
    assert (sys.stdout, sys.stderr) == streams
    assert shown.file.getvalue().endswith(SHOW_CURSOR)


def test_a_display_without_a_thread_is_drawn_when_it_is_told():
    shown, threads = console(terminal=True), set(threading.enumerate())
    with Display(console=shown, threaded=False, transient=True) as display:
        bar = display.add_bar("grid", 54)
        assert set(threading.enumerate()) <= threads
        display.update_bar(bar, completed=6)
        assert "6/54" not in shown.file.getvalue()
        display.draw()
        assert "6/54" in shown.file.getvalue()
        display.update_bar(bar, completed=7)
        display.message("crcfp started")
        assert "7/54" in shown.file.getvalue()


def test_a_bar_counts_and_may_change_name_and_total():
    shown = console(terminal=True)
    with progress_bar("a.svs", None, TextColumn("windows"), console=shown) as advance:
        advance(0, total=12)
        advance(4)
        advance(name="b.svs")
    last = Text.from_ansi(shown.file.getvalue().split("\n")[-2]).plain
    assert last.startswith("b.svs ") and last.endswith(" 5/12 windows")


def test_a_bar_is_nothing_where_there_is_no_terminal():
    shown = console(terminal=False)
    with progress_bar("evaluating", 2, console=shown) as advance:
        advance()
        advance()
    assert shown.file.getvalue() == ""
