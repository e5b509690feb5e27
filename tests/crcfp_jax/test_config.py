"""The table of settings: defaults, rules, and what a command line can change."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags
from shipped_configs import SHIPPED, load

from crcfp_jax import config as settings
from crcfp_jax.common.config_flag import parse_flags
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.pixel_size import PLAUSIBLE
from crcfp_jax.config import TABLE, check_values, default
from crcfp_jax.models.decoders.deeplab import DECODERS
from crcfp_jax.models.network import AUTO, DTYPES

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((ROOT / "tests" / "golden" / "settings.json").read_text())
FREE = {key for key, entry in TABLE.items() if isinstance(entry.default, bool)} | {
    "model.preset",
    "model.pretrained",
    "model.initial",
}


def flat(config):
    """Values by dotted key, as JSON has them."""
    pairs = {}
    for name, value in json.loads(config.to_json()).items():
        pairs |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return pairs


def changed(key, value):
    """The defaults with one value, put in without a word."""
    config = default()
    section, _, name = key.rpartition(".")
    (config[section] if section else config)[name] = value
    return config


@pytest.mark.parametrize("name", RECORDED)
def test_the_settings_are_as_recorded(name):
    """golden/settings.json: the defaults, and what each of the others changes of them; newer keys need not be in it."""
    found = flat(getattr(settings, name)())
    expected = RECORDED["default"] | RECORDED[name]
    assert {key: found[key] for key in expected} == expected


def test_the_table_is_the_config():
    assert list(TABLE) == [*(key for key in TABLE if "." not in key), *(key for key in TABLE if "." in key)]
    assert flat(default()).keys() == TABLE.keys()
    for entry in TABLE.values():
        assert entry.complaint(entry.default) is None


@pytest.mark.parametrize("key", TABLE)
def test_every_key_refuses_what_no_run_can_use(key):
    refused = TABLE[key].complaint
    assert refused(None)  # which a ConfigDict takes for anything
    kind = type(TABLE[key].default)
    likely = {
        bool: (),
        str: ("",),
        int: (-1, 0.5),
        float: (-1.0, math.nan, math.inf),
        tuple: ((), (-1,), (1, 2, math.nan)),
    }
    numbers = [value for value in likely[kind] if not refused(value)]
    assert key in FREE or (not numbers) or numbers == [TABLE[key].default], f"{key} takes {numbers}"
    if kind is str and key not in FREE:
        assert refused("") and "\n" not in refused("")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_pass(name):
    check_values(load(name))


def test_choices_are_those_that_the_code_knows():
    for key, known in {"model.decoder": DECODERS, "model.dtype": [AUTO, *DTYPES]}.items():
        assert [choice for choice in known if TABLE[key].complaint(choice)] == [], key


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("seed", -1, "config.seed=-1 must be at least 0"),
        ("fraction", "0.125", "config.fraction='0.125' is not a fraction: write it as 1/8"),
        ("data.side", 0, "config.data.side=0 must be a whole number, at least 1"),
        ("data.flips", "vertical", "config.data.flips='vertical' is unknown; known: both, horizontal"),
        ("data.overlap", (0.5,), "config.data.overlap=(0.5,) is not a range: give two numbers, e.g. '(0.5, 1.0)'"),
        ("data.labelled_scale", (2.0, 0.5), "config.data.labelled_scale=(2.0, 0.5) is upside down"),
        ("data.labelled_scale", (0.0, 0.5), "config.data.labelled_scale=(0.0, 0.5) has 0.0, which must be greater"),
        ("data.whole_view_scale", math.nan, "config.data.whole_view_scale=nan is not a finite number"),
        ("data.microns_per_pixel", 250.0, "config.data.microns_per_pixel=250.0 must be at least 0.05 and at most 20"),
        ("model.decoder", "v4", "config.model.decoder='v4' is unknown; known: v3, v3plus"),
        ("model.pixel_mean", (0.5,), "config.model.pixel_mean=(0.5,) is not a number for each channel: give three"),
        ("model.normalisation", "layer", "config.model.normalisation='layer' is unknown; known: batch, group"),
        ("model.dtype", "float16", "config.model.dtype='float16' is unknown; known: auto, float32, bfloat16"),
        ("model.width", 6, "config.model.width=6 must be a multiple of 4, at least 4"),
        ("model.momentum", 1.0, "config.model.momentum=1.0 must be at least 0 and less than 1"),
        ("model.statistics", "none", "config.model.statistics='none' is unknown; known: per_stream, joint"),
        ("cct.classifiers", (6, 0), "config.cct.classifiers=(6, 0) has 0, which must be a whole number, at least 1"),
        ("cct.perturbations", (), "config.cct.perturbations=() is empty: give at least one"),
        ("cdcl.clear", 0.5, "config.cdcl.clear=0.5 must be greater than 0.5 and at most 1"),
        ("optimizer.name", "adam", "config.optimizer.name='adam' is unknown; known: sgd, adamw"),
        ("optimizer.learning_rate", math.inf, "config.optimizer.learning_rate=inf is not a finite number"),
        ("train.parallel", "pjit", "config.train.parallel='pjit' is unknown; known: shard_map, pmap"),
        ("evaluation.selection", "best", "config.evaluation.selection='best' is unknown; known: last, best_validation"),
        ("train.steps", None, "config.train.steps=None must be a whole number"),
        ("augment.labelled", None, "config.augment.labelled=None must be True or False"),
    ],
)
def test_a_value_that_no_run_can_use_is_told_with_its_key(key, value, told):
    with pytest.raises(UserError) as caught:
        check_values(changed(key, value))
    assert str(caught.value).startswith(told)


def test_a_command_line_changes_every_kind_of_value(monkeypatch):
    words = {
        "train.steps": "7", "optimizer.learning_rate": "1", "augment.labelled": "false", "method": "cct",
        "data.overlap": "(0.2, 0.9)", "cct.perturbations": "('vat',)", "cct.classifiers": "(3,)",
        "optimizer.groups": "(('backbone/.*', 0), ('.*', 1.0, 1e-4))",
    }  # fmt: skip
    arguments = [f"--config.{key}={word}" for key, word in words.items()]
    monkeypatch.setattr(sys, "argv", ["main", *arguments])
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", default(), flag_values=values)
    parse_flags(values, arguments)
    check_values(values.config)
    found = flat(values.config)
    groups = [["backbone/.*", 0], [".*", 1.0, 1e-4]]
    assert [found[key] for key in words] == [7, 1.0, False, "cct", [0.2, 0.9], ["vat"], [3], groups]


def test_the_table_needs_no_jax():
    program = "import sys, crcfp_jax.config; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_pixels_that_a_microscope_has():
    assert all(TABLE["data.microns_per_pixel"].complaint(size) is None for size in (0.0, 1.0, *PLAUSIBLE))
