"""Two processes of one run, of which one is killed or asked to end: what the other does; the next start goes on."""

import os
import re
import signal
import subprocess
import time

import pytest
from processes import ROOT, TINY_RUN, command, environment

WITHIN = 60  # seconds


def start(workdir, data_dir, steps):
    port = 13000 + os.getpid() % 10000
    settings = [f"--config.data.dir={data_dir}", f"--config.train.steps={steps}", "--config.evaluation.every=1000000"]
    processes = []
    for index in range(2):
        given = {"CRCFP_COORDINATOR": f"127.0.0.1:{port}", "CRCFP_PROCESSES": "2", "CRCFP_PROCESS": str(index)}
        log = open(workdir.parent / f"{index}.log", "w")  # noqa: SIM115 - the process's
        with log:
            words = command("main", "--config", TINY_RUN, "--workdir", workdir, *settings)
            processes.append(
                subprocess.Popen(words, cwd=ROOT, env=environment(**given), stdout=log, stderr=subprocess.STDOUT)
            )
    return processes


def wait_for_checkpoint(workdir, processes):
    deadline = time.monotonic() + 240
    while last_step(workdir) < 4:
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.1)
    time.sleep(1)


def end_all(processes):
    for process in processes:
        process.kill()
        process.wait()


def last_step(workdir):
    names = [path.name for path in (workdir / "checkpoints").glob("*")]
    return max((int(name) for name in names if name.isdigit()), default=0)  # others were being written


def go_on(workdir, data_dir):
    processes = start(workdir, data_dir, last_step(workdir) + 4)
    try:
        assert [process.wait(240) for process in processes] == [0, 0], (workdir.parent / "0.log").read_text()
    finally:
        end_all(processes)
    assert "resumed from step" in (workdir.parent / "0.log").read_text()


@pytest.mark.multiprocess
@pytest.mark.parametrize("lost", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_the_other_ends_and_the_run_goes_on(lost, data_dir, tmp_path):
    workdir = tmp_path / "run"
    processes = start(workdir, data_dir, 100_000)
    try:
        wait_for_checkpoint(workdir, processes)
        processes[lost].send_signal(signal.SIGKILL)
        code = processes[1 - lost].wait(WITHIN)
    finally:
        end_all(processes)
    said = (tmp_path / f"{1 - lost}.log").read_text()
    if lost == 1:
        assert code == 1 and "Traceback" not in said
        assert re.search(r"^error: process 1 \(.*\) of this run of 2 has ended", said, re.M)
    else:  # the first process is what the others find each other by: JAX ends them, in words of its own
        assert code != 0 and "leader task" in said
    go_on(workdir, data_dir)


@pytest.mark.slow
@pytest.mark.multiprocess
def test_both_stop_in_order_where_one_is_asked_to(data_dir, tmp_path):
    workdir = tmp_path / "run"
    processes = start(workdir, data_dir, 100_000)
    try:
        wait_for_checkpoint(workdir, processes)
        processes[1].send_signal(signal.SIGTERM)
        codes = [process.wait(WITHIN) for process in processes]
    finally:
        end_all(processes)
    said = (tmp_path / "0.log").read_text()
    assert codes == [143, 143] and f"stopped by SIGTERM after step {last_step(workdir)}, which is saved" in said
    go_on(workdir, data_dir)
