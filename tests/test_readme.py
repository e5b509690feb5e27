"""The README and docs/ name commands, configs, settings and files that exist."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
TEXT = "\n".join(PAGES.values())
LINKS = sorted(
    {(path, link) for path, text in PAGES.items() for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)}
)


def test_two_commands_and_the_one_that_ci_runs():
    assert "./launch.sh --config configs/quickstart.py" in README
    assert "./launch.sh test" in README
    assert "./launch.sh test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", TEXT))))
def test_modules_exist(module):
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(configs/\w+\.py)", TEXT))))
def test_configs_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}-{link}" for page, link in LINKS])
def test_linked_files_exist(page, link):
    assert (page.parent / link).exists()


def test_code_shown_is_that_of_the_examples():
    examples = "\n".join(path.read_text() for path in (ROOT / "docs" / "examples").glob("*.py"))
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)
    assert len(shown) == 4 and all(code in examples for code in shown)


def test_settings_named_exist():
    from crcfp_jax.config import default

    config = default()
    for key in re.findall(r"--config\.([\w.]+)=", TEXT):
        if key != "KEY":
            value = config
            for name in key.split("."):
                value = value[name]
