"""A config file on the command line, and what is wrong with it."""

import sys

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from crcfp_jax.common.config_flag import parse_flags
from crcfp_jax.common.errors import UserError
from crcfp_jax.config import check_values


@pytest.mark.parametrize(
    "words", [["--config", "configs/nope.py:small"], ["--config=configs/nope.py", "--config.seed=1"]]
)
def test_a_config_file_that_is_not_there_is_named(words):
    with pytest.raises(UserError, match=r"^command line: there is no config file configs/nope\.py: its path counts"):
        parse_flags(flags.FlagValues(), words)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
@pytest.mark.parametrize(
    ("text", "variant", "told"),
    [
        ("def get_config(:\n", "", r"c\.py, line 1: SyntaxError: "),
        ("x = 1\nimport nothere\n", "", r"c\.py, line 2: ModuleNotFoundError: No module named 'nothere'"),
        ("def get_config():\n    return undefined\n", "", r"c\.py, line 2: NameError: "),
        ("def get_config():\n    return 3\n", "", r"c\.py: get_config\(\) gives int, not the ConfigDict"),
        ("x = 1\n", "", r"c\.py has no function get_config\(\)"),
        (
            "from crcfp_jax.config import default\ndef get_config():\n    c = default()\n    c.model.typo = 1\n",
            "",
            r"c\.py, line 4: AttributeError: .*typo.* does not exist",
        ),
        (
            "def get_config():\n    open('/nowhere/x')\n",
            "",
            r"c\.py can't be read, or opens a file that can't be: .*nowhere/x",
        ),
        (
            "def get_config():\n    return 3\n",
            ":small",
            r"c\.py: get_config\(\) takes 0 positional arguments but 1 was given: no var",
        ),
    ],
)
def test_a_fault_in_a_config_file_is_told_with_its_line(tmp_path, monkeypatch, text, variant, told):
    monkeypatch.delitem(sys.modules, "config_config", raising=False)  # to which the file before would be added
    (tmp_path / "c.py").write_text(text)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    with pytest.raises(UserError, match=told):
        parse_flags(values, ["--config", f"{tmp_path / 'c.py'}{variant}"])


def test_a_setting_that_a_config_file_lacks_is_named():
    with pytest.raises(UserError, match=r"config\.method is missing: let get_config\(\) begin with"):
        check_values(ConfigDict())
