"""Exit codes and messages of commands, in processes of their own."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
from processes import ROOT

from crcfp_jax.common import command
from crcfp_jax.common.errors import UserError

PROGRAM = """
from crcfp_jax.common.command import end_at_interrupt, run_main
from crcfp_jax.common.errors import UserError
end_at_interrupt()
def main():
    print("started")
    {body}
run_main(main)
"""


@pytest.fixture(autouse=True)
def from_a_terminal():
    """What a shell starts in the background ignores Ctrl-C, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(body):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("return None", 0, ""),
        ("return 3", 3, ""),
        ("raise UserError('config key trian:\\n unknown')", 1, "error: config key trian: unknown\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        (
            "open('/dev/full', 'wb', buffering=0).write(b'x')",
            1,
            "error: the disk is full: free some space or choose another folder\n",
        ),
    ],
)
def test_one_line_and_no_traceback(body, code, message):
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (code, "started\n", message)


INTERRUPTS = """
import os, signal, sys
def interrupt(event, arguments):
    if event == "import" and arguments[0] == os.environ["INTERRUPT_AT"]:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(interrupt)
"""


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("crcfp_jax.main", "absl"),
        ("crcfp_jax.evaluate", "jax"),
        ("crcfp_jax.tables", "ml_collections"),
        ("data_pipelines.build", "rich"),
    ],
)
def test_interrupted_while_it_starts(module, imported, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    environment = os.environ | {"PYTHONPATH": path, "INTERRUPT_AT": imported}
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


ENDS_SLOWLY = """
import threading, time
from crcfp_jax.common.command import end_at_interrupt, run_main
def main():
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise KeyboardInterrupt
end_at_interrupt()
run_main(main)
"""


def test_interrupted_again_while_it_ends():
    with subprocess.Popen([sys.executable, "-c", ENDS_SLOWLY], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "interrupted\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=50)[1] == "interrupted\n"
    assert process.returncode == 130


WRAPPED = """try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as interrupt:
        raise ImportError("Encountered an error while initializing the extension.") from interrupt"""


def test_an_interrupt_that_a_library_has_wrapped():
    done = run(WRAPPED)
    assert (done.returncode, done.stdout, done.stderr) == (130, "started\n", "interrupted\n")


LOST = """
    import gc, os, signal, time
    from crcfp_jax.common.command import silent_threads
    def interrupt(*_):
        gc.callbacks.clear()
        os.kill(os.getpid(), signal.SIGINT)
    def collect():
        gc.callbacks.append(interrupt)
        gc.collect()
        time.sleep(50)
"""


@pytest.mark.parametrize("body", ["    collect()", "    with silent_threads():\n        collect()"])
def test_an_interrupt_while_garbage_is_collected(body):
    done = run(LOST + body)
    assert (done.returncode, done.stdout, done.stderr) == (130, "started\n", "interrupted\n")


@pytest.mark.parametrize("body", ["return None", "print('much' * 10**5)"])
def test_an_output_that_takes_nothing(body):
    program = [sys.executable, "-c", PROGRAM.format(body=body)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full: free some space or choose another folder\n"
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1 and said == "error: nobody reads any more what this prints (a pipe is closed)\n"


def test_a_defect_keeps_its_traceback():
    done = run("{}['missing']")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'missing'" in done.stderr


def test_a_fault_below_a_library_is_found_in_the_chain_of_causes():
    try:
        try:
            raise PermissionError(13, "Permission denied", "/data/run")
        except PermissionError as cause:
            raise RuntimeError("save failed") from cause
    except RuntimeError as error:
        assert command.user_line(error) == (
            "/data/run: permission denied: change the folder's permissions or choose another folder"
        )


def test_a_full_disk_told_by_tensorstore_is_found_by_its_text():
    line = command.user_line(ValueError('RESOURCE_EXHAUSTED: "W/checkpoints/7": No space left on device [28]'))
    assert line.startswith("the disk is full")
    assert "W/checkpoints/7" in line


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.EDQUOT, "your disk quota is used up"), (errno.EFBIG, "a file would be larger"), (errno.EROFS, "read-only")],
)
def test_so_are_others(number, told):
    assert told in command.user_line(RuntimeError(f"OUT_OF_RANGE: Failed writing: {os.strerror(number)} [{number}]"))


def test_what_threads_say_is_shown_again_after_a_block_that_went_well(capsys):
    def fail():
        raise RuntimeError("told")

    def run():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()

    hook = threading.excepthook
    threading.excepthook = lambda arguments: print(arguments.exc_value)
    try:
        with command.silent_threads():
            run()
        assert capsys.readouterr().out == ""
        run()
        assert capsys.readouterr().out == "told\n"
    finally:
        threading.excepthook = hook


@pytest.mark.parametrize("in_command", [False, True])
def test_what_fails_in_threads_stays_silent_after_a_failure_in_a_command_alone(monkeypatch, in_command):
    monkeypatch.setattr(command, "_in_command", in_command)
    monkeypatch.setattr(command, "_at_once", False)
    for module, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, hook := getattr(module, name))
    try:
        with pytest.raises(OSError, match="full"), command.silent_threads():
            raise OSError("full")
        assert (threading.excepthook is hook) != in_command
        assert logging.root.manager.disable == (logging.CRITICAL if in_command else logging.NOTSET)
        assert command._at_once == in_command
    finally:
        logging.disable(logging.NOTSET)


def test_a_command_that_does_without_what_failed_speaks_again(monkeypatch):
    monkeypatch.setattr(command, "_in_command", True)
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    with pytest.raises(ValueError), command.silent_threads():
        raise ValueError
    assert sys.excepthook is not hooks[0] and command._at_once
    with command.silent_threads():
        with command.silent_threads():
            pass
        assert sys.excepthook is not hooks[0]
    assert (sys.excepthook, sys.unraisablehook, threading.excepthook) == hooks and not command._at_once


def test_a_device_without_permission_is_no_folder():
    assert command.user_line(RuntimeError("/dev/nvidia0: Permission denied")) is None


def test_a_suppressed_context_is_not_the_cause():
    try:
        try:
            raise UserError("unimportant")
        except UserError:
            raise KeyError("a defect") from None
    except KeyError as error:
        assert command.user_line(error) is None


def test_other_file_system_faults_are_defects():
    assert command.user_line(FileNotFoundError(2, "No such file or directory", "x")) is None
