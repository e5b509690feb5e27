"""The config files of the checkout, with their variants."""

import importlib.util
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = [
    "quickstart", "quickstart:tiny", "quickstart:full", "quickstart:small_pretrained",
    "bcss", "bcss:small", "bcss:tiny", "bcss:release", "bcss:small_pretrained",
    "monuseg", "monuseg:small", "monuseg:tiny", "monuseg:release", "monuseg:small_pretrained",
    "ebhi", "ebhi:small", "ebhi:small_pretrained", "ebhi:tiny",
    "glas", "glas:small", "glas:small_pretrained", "glas:tiny",
    "own", "own:small", "own:small_pretrained", "own:tiny",
]  # fmt: skip


def load(name):
    """The settings of `file` or `file:variant`."""
    file, _, variant = name.partition(":")
    spec = importlib.util.spec_from_file_location(file, CONFIGS / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*filter(None, [variant]))
