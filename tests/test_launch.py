"""launch.sh with stand-ins for Python, uv and nvidia-smi: what it would run, and when it installs."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[1] / "launch.sh"
CPU = "JAX_PLATFORMS=cpu"

# Answers as Python does to what launch.sh asks; the program itself is the shell code in $PROGRAM.
PYTHON = """#!/usr/bin/env bash
case "$*" in
  *sys.version_info*) echo {version} ;;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "venv {version}" >>"$LOG" ;;
  "-c import pip") ;;
  "-m pip "*) echo "pip ${{*: -1}}" >>"$LOG"; exit "${{PIP_STATUS:-0}}" ;;
  *) printf '%s\\n' "$@"; eval "${{PROGRAM:-}}" ;;
esac
"""
UV = """#!/usr/bin/env bash
echo "uv $1 ${*: -1}" >>"$LOG"
if [[ $1 == venv ]]; then "$4" -m venv "$5"; fi
"""
NO_GPU = "#!/usr/bin/env bash\nexit 9\n"


class Launcher:
    """A folder with launch.sh, in a path with a space, and the programs that launch.sh finds."""

    def __init__(self, folder: Path):
        self.root = folder / "my project"
        self.programs = folder / "bin"
        self.log = folder / "log"
        self.root.mkdir()
        self.programs.mkdir()
        shutil.copy(LAUNCH, self.root)
        (self.root / "pyproject.toml").write_text("[project]\n")
        self.add("python3", PYTHON.format(version="3.11"))
        self.add("nvidia-smi", NO_GPU)
        self.environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "LOG": str(self.log),
            "CRCFP_EXTRA": "cpu",
            "CRCFP_INSTALLER": "pip",
        }

    def add(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def command(self, arguments, variables):
        environment = {**self.environment, **variables}
        environment = {name: value for name, value in environment.items() if value is not None}
        return {"args": [str(self.root / "launch.sh"), *arguments], "env": environment, "cwd": self.programs.parent}

    def __call__(self, *arguments, **variables) -> subprocess.CompletedProcess:
        """Runs launch.sh from another folder; a variable that is None is taken out of the environment."""
        return subprocess.run(**self.command(arguments, variables), capture_output=True, text=True, timeout=60)

    def dry(self, *arguments, **variables) -> list[list[str]]:
        """The words of each command that would be run."""
        before = sorted(self.root.parent.rglob("*"))
        done = self("--dry-run", *arguments, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(self.root.parent.rglob("*")) == before
        return [shlex.split(line) for line in done.stdout.splitlines()]

    def installations(self, *arguments, **variables) -> list[str]:
        """What a launch made and installed."""
        self.log.write_text("")
        assert self(*arguments, **variables).returncode == 0
        return self.log.read_text().splitlines()

    @property
    def python(self) -> str:
        return str(self.root / ".venv/bin/python")


@pytest.fixture
def launch(tmp_path):
    return Launcher(tmp_path)


def test_training_is_one_command_with_its_arguments_unchanged(launch):
    arguments = ["--config", "my configs/a 'b'.py:small", "--config.fraction=1/8", "--workdir", "$HOME *", ""]
    assert launch.dry(*arguments) == [["env", CPU, launch.python, "-m", "crcfp_jax.main", *arguments]]


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["build", "bcss", "--raw_dir", "a b"], ["-m", "data_pipelines.build", "bcss", "--raw_dir", "a b"]),
        (["predict", "--model", "m", "a *"], ["-m", "crcfp_jax.predict", "--model", "m", "a *"]),
        (["suggest", "--model", "m", "a *"], ["-m", "crcfp_jax.suggest", "--model", "m", "a *"]),
        (["python", "-c", "print('a  b')", "--hosts"], ["-c", "print('a  b')", "--hosts"]),
        (["python"], []),
    ],
)
def test_commands(launch, arguments, program):
    (words,) = launch.dry(*arguments)
    assert words[2:] == [launch.python, *program]


def test_test_runs_in_the_checkout(launch):
    enter, words = launch.dry("test", "-k", "a or b")
    assert enter == ["cd", str(launch.root)]
    assert words[2:] == [launch.python, "-m", "pytest", "-k", "a or b"]


def test_arguments_reach_the_program(launch):
    done = launch("--config", "a b.py", "--x=$y", PROGRAM="exit 5")
    assert done.stdout.splitlines() == ["-m", "crcfp_jax.main", "--config", "a b.py", "--x=$y"]
    assert done.returncode == 5


def test_help(launch):
    done = launch("help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ./launch.sh")
    assert not (launch.root / ".venv").exists()


def test_users_settings_stay(launch):
    (words,) = launch.dry("python", JAX_PLATFORMS="cuda,cpu")
    assert CPU not in words
    (words,) = launch.dry("python", CRCFP_EXTRA=None)  # detected, not asked for
    assert CPU not in words
    (words,) = launch.dry("python", CRCFP_EXTRA="cuda")
    assert words == ["env", launch.python]


# ---------------------------------------------------------------- several processes


def variables(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words[1 : words.index(next(w for w in words if w.endswith("/python")))])


def test_local_processes_share_a_coordinator(launch):
    commands = launch.dry("--hosts", "local:2", "--config", "a b.py")
    first, second = map(variables, commands)
    assert (first["CRCFP_PROCESSES"], first["CRCFP_PROCESS"]) == ("2", "0")
    assert second == {**first, "CRCFP_PROCESS": "1"}
    host, port = first["CRCFP_COORDINATOR"].split(":")
    assert host == "127.0.0.1"
    assert 1024 < int(port) < 65536
    assert [words[-5:] for words in commands] == [[launch.python, "-m", "crcfp_jax.main", "--config", "a b.py"]] * 2


def test_launch_options_may_follow_flags(launch):
    done = launch("--config", "c.py", "--hosts=local:2", "--dry-run", "--workdir", "w", CRCFP_COORDINATOR="h:1")
    assert [shlex.split(line)[-4:] for line in done.stdout.splitlines()] == [["--config", "c.py", "--workdir", "w"]] * 2
    assert launch.dry("build", "bcss", "--hosts", "local:1")[0][-2:] == ["data_pipelines.build", "bcss"]
    assert launch.dry("install", "dev") == []


def test_local_processes_share_out_the_gpus(launch):
    launch.add("nvidia-smi", "#!/usr/bin/env bash\nprintf '%s\\n' 0 1 2 3\n")
    first, second = map(variables, launch.dry("--hosts", "local:2", "--config", "c", CRCFP_EXTRA="cuda"))
    assert (first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]) == ("0,1", "2,3")
    assert first["JAX_LOCAL_DEVICE_IDS"] == second["JAX_LOCAL_DEVICE_IDS"] == "0,1"
    chosen = launch.dry("--hosts", "local:2", "--config", "c", CRCFP_EXTRA="cuda", CUDA_VISIBLE_DEVICES="7,5")
    assert [variables(words)["CUDA_VISIBLE_DEVICES"] for words in chosen] == ["7", "5"]
    done = launch("--hosts", "local:3", "--config", "c", "--dry-run", CRCFP_EXTRA="cuda")
    assert done.stderr == (
        "error: --hosts local:3 cannot share out 4 GPUs evenly; choose them with CUDA_VISIBLE_DEVICES\n"
    )


SLURM = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_CPUS_PER_NODE": "16(x2)", "SLURM_GPUS_PER_NODE": "a100:4"}


def test_slurm_starts_one_process_a_node(launch):
    options = [
        "--nodes=2",
        "--ntasks=2",
        "--ntasks-per-node=1",
        "--kill-on-bad-exit=1",
        "--label",
        "--cpus-per-task=16",
    ]
    expected = ["srun", *options, "env", "CRCFP_DISTRIBUTED=auto", "CRCFP_EXTRA=cuda", str(launch.root / "launch.sh")]
    assert launch.dry("--config", "a b.py", **SLURM, CRCFP_EXTRA=None) == [[*expected, "--config", "a b.py"]]
    (words,) = launch.dry("--config", "c", **SLURM, CRCFP_EXTRA="cpu")  # asked for: on every node
    assert words[words.index("env") + 1 :][:3] == ["CRCFP_DISTRIBUTED=auto", "CRCFP_EXTRA=cpu", CPU]
    (words,) = launch.dry("--hosts", "slurm", "python", "-c", "1", **SLURM, CRCFP_EXTRA=None)
    assert words == [*expected, "python", "-c", "1"]
    (words,) = launch.dry("python", "-c", "1", **SLURM)  # only training spreads by itself
    assert words[0] == "env"


def test_slurm_process_alone_on_its_node_takes_all_gpus(launch):
    launch.add("nvidia-smi", "#!/usr/bin/env bash\nprintf '%s\\n' 0 1 2 3\n")
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "CRCFP_DISTRIBUTED": "auto", "CRCFP_EXTRA": "cuda"}
    (words,) = launch.dry("--config", "c", **SLURM, **step, SLURM_STEP_TASKS_PER_NODE="1(x2)")
    assert variables(words)["JAX_LOCAL_DEVICE_IDS"] == "0,1,2,3"
    (words,) = launch.dry("--config", "c", **SLURM, **step, SLURM_STEP_TASKS_PER_NODE="4(x2)")
    assert "JAX_LOCAL_DEVICE_IDS" not in variables(words)
    done = launch("--config", "c", "--dry-run", **SLURM, **{**step, "CRCFP_DISTRIBUTED": None})
    assert done.returncode == 2
    assert done.stderr.startswith("error: this is one of 2 tasks of a Slurm step")


def test_tpu_slice_runs_the_same_command_on_every_host(launch):
    arguments = ["--config", "a b.py", "--workdir", "it's"]
    (words,) = launch.dry("--tpu", "pod", "--zone", "us-a", "--project=p", "--tpu-dir", "d e", *arguments)
    assert words[:-1] == shlex.split("gcloud compute tpus tpu-vm ssh pod --worker=all --zone=us-a --project=p")
    option, remote = words[-1].split("=", 1)
    assert option == "--command"
    settings = ["CRCFP_DISTRIBUTED=auto", "CRCFP_EXTRA=tpu"]
    assert shlex.split(remote) == ["cd", "d e", "&&", *settings, "./launch.sh", *arguments]
    (words,) = launch.dry("--tpu", "pod", "install")
    assert shlex.split(words[-1])[:2] == ["--command=cd", "my project"]


def test_output_is_prefixed_and_all_succeed(launch):
    program = 'echo "on $CRCFP_PROCESS of $CRCFP_PROCESSES"; printf end >&2'
    done = launch("--hosts", "local:2", "python", PROGRAM=program)
    assert done.returncode == 0
    assert sorted(line for line in done.stdout.splitlines() if line[4:]) == [
        "[0] end",
        "[0] on 0 of 2",
        "[1] end",
        "[1] on 1 of 2",
    ]


def test_one_failure_stops_all(launch):
    program = 'if [[ $CRCFP_PROCESS == 1 ]]; then exit 7; fi; trap "" TERM; while true; do sleep 0.1; done'
    start = time.monotonic()
    done = launch("--hosts", "local:3", "python", PROGRAM=program, CRCFP_GRACE_SECONDS="1")
    assert time.monotonic() - start < 20
    assert done.returncode == 7
    assert done.stderr.splitlines()[-1] == "error: process 1 ended with status 7; the others were stopped"
    assert "Killed" not in done.stderr


def test_a_signal_reaches_every_process(launch):
    program = 'trap "echo saved; exit 0" TERM; echo ready; while true; do sleep 0.05; done'
    started = subprocess.Popen(
        **launch.command(["--hosts", "local:2", "python"], {"PROGRAM": program}), stdout=subprocess.PIPE, text=True
    )
    with started:
        ready = 0
        while ready < 2:
            ready += "ready" in started.stdout.readline()
        started.send_signal(signal.SIGTERM)
        rest, _ = started.communicate(timeout=30)
    assert started.returncode == 0
    assert sorted(rest.split("\n")) == ["", "[0] saved", "[1] saved"]


# ---------------------------------------------------------------- the environment


def test_environment_is_made_once(launch):
    assert launch.installations("python") == ["venv 3.11", "pip ."]
    assert launch.installations("python") == []
    assert launch.installations("test") == ["pip .[test]"]
    assert launch.installations("test") == launch.installations("python") == []
    assert launch.installations("install", "dev") == ["pip .[dev]"]


@pytest.mark.parametrize("command", [["build", "bcss"], ["predict", "--model", "m"], ["suggest", "--model", "m"]])
def test_what_reads_images_installs_what_reading_needs(launch, command):
    launch.installations("python")
    assert launch.installations(*command) == ["pip .[slides]"]
    assert launch.installations(*command) == []


def test_accelerators_extra_follows_the_driver(launch):
    assert launch.installations("test", CRCFP_EXTRA="cuda") == ["venv 3.11", "pip .[cuda,test]"]
    assert launch.installations("python") == []  # cuda includes cpu
    launch.add("nvidia-smi", "#!/usr/bin/env bash\necho 550.54.14\n")
    assert launch.installations("python", CRCFP_EXTRA=None) == ["pip .[cuda12]"]
    launch.add("nvidia-smi", "#!/usr/bin/env bash\necho 580.1\n")
    assert launch.installations("python", CRCFP_EXTRA=None) == []


def test_a_change_of_the_project_or_its_place_installs_again(launch):
    launch.installations("python")
    (launch.root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert launch.installations("python") == ["pip ."]
    launch.root = launch.root.rename(launch.root.with_name("moved"))
    assert launch.installations("python") == ["pip ."]


def test_an_interrupted_installation_is_redone(launch):
    done = launch("python", PIP_STATUS="1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: pip could not install the project; its message is above"
    assert launch.installations("python") == ["pip ."]
    os.remove(launch.python)
    assert launch.installations("python") == ["venv 3.11", "pip ."]


def test_another_python_makes_another_environment(launch):
    launch.installations("python")
    newer = launch.add("other", PYTHON.format(version="3.12"))
    assert launch.installations("python", PYTHON=str(newer)) == ["venv 3.12", "pip ."]
    assert launch.installations("python", PYTHON=str(newer)) == launch.installations("python") == []


def test_uv_where_it_is_installed(launch):
    launch.add("uv", UV)
    assert launch.installations("test", CRCFP_INSTALLER=None) == [
        f"uv venv {launch.root}/.venv",
        "venv 3.11",
        "uv pip .[test]",
    ]


def test_first_python_that_is_new_enough(launch):
    launch.add("python3", PYTHON.format(version="3.9"))
    launch.add("python3.13", "#!/usr/bin/env bash\nexit 127\n")  # as pyenv's stand-ins do
    launch.add("python3.12", PYTHON.format(version="3.12"))
    assert launch.installations("python") == ["venv 3.12", "pip ."]


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {}, "nothing to do: give --config FILE or a command; ./launch.sh help lists them"),
        (["trian", "--config", "c"], {}, "unknown command 'trian'; ./launch.sh help lists them"),
        (["--hosts"], {}, "--hosts needs a value"),
        (["--hosts", "local:0", "--config", "c"], {}, "--hosts local:0 is not local:N or slurm"),
        (["--hosts", "slurm", "--config", "c"], {}, "--hosts slurm works inside an allocation"),
        (["--hosts", "local:2", "--config", "c"], {"CRCFP_EXTRA": "tpu"}, "--hosts local:2 is for CPUs and GPUs"),
        (["--zone", "z", "--config", "c"], {}, "--zone, --project and --tpu-dir belong to --tpu NAME"),
        (["--tpu", "t", "--hosts", "slurm", "--config", "c"], {}, "--hosts and --tpu exclude each other"),
        (["--config", "c"], {"CRCFP_EXTRA": "gpu"}, "CRCFP_EXTRA=gpu is not cpu, cuda, cuda12 or tpu"),
        (["--config", "c"], {"CRCFP_INSTALLER": "conda"}, "CRCFP_INSTALLER=conda is not uv or pip"),
        (["--config", "c"], {"PYTHON": "/no/python"}, "PYTHON=/no/python does not run"),
        (["--config", "c"], {"PYTHON": "old"}, "PYTHON=old is Python 3.10; 3.11 or newer is needed"),
    ],
)
def test_errors_are_one_line(launch, arguments, environment, message):
    launch.add("old", PYTHON.format(version="3.10"))
    done = launch(*arguments, **environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not (launch.root / ".venv").exists()
