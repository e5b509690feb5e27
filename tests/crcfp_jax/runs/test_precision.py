"""What config.model.dtype=auto comes to, by processor, and that a run keeps it."""

import json

import jax
import pytest
from tiny import tiny_config

from crcfp_jax.runs import precision
from crcfp_jax.runs.precision import fitting_dtype, settle_dtype

EPYC_ZEN3 = "processor\t: 0\nmodel name\t: AMD EPYC 7763\nflags\t\t: fpu sse4_2 avx avx2 vaes\nbugs\t\t: bf16\n"
XEON_ICE_LAKE = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512bw avx512_vnni\n"
XEON_COOPER_LAKE = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16\n"
XEON_SAPPHIRE_RAPIDS = "flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile amx_int8\n"
GRAVITON_2 = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes\n"
GRAVITON_3 = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes i8mm bf16 dgh\n"


@pytest.mark.parametrize(
    ("platform", "cpuinfo", "dtype", "why"),
    [
        ("gpu", EPYC_ZEN3, "bfloat16", "on a GPU"),
        ("tpu", "", "bfloat16", "on a TPU"),
        ("cpu", EPYC_ZEN3, "float32", "this processor having no instructions for bfloat16"),
        ("cpu", XEON_ICE_LAKE, "float32", "no instructions"),
        ("cpu", XEON_COOPER_LAKE, "bfloat16", "avx512_bf16"),
        ("cpu", XEON_SAPPHIRE_RAPIDS, "bfloat16", "amx_bf16"),
        ("cpu", GRAVITON_2, "float32", "no instructions"),
        ("cpu", GRAVITON_3, "bfloat16", "bf16"),
        ("cpu", "", "float32", "no instructions"),  # no Linux
    ],
)
def test_bfloat16_where_there_are_instructions_for_it(platform, cpuinfo, dtype, why):
    found, told = fitting_dtype(platform, cpuinfo)
    assert found == dtype and why in told


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Makes this machine's processor another one."""

    def become(cpuinfo):
        monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text(cpuinfo)

    return become


def test_what_the_processor_is_faster_in_is_told_and_what_is_chosen_stays(processor):
    processor(XEON_SAPPHIRE_RAPIDS)
    auto = tiny_config(model__dtype="auto")
    config, told = settle_dtype(auto)
    assert config.model.dtype == "bfloat16" and auto.model.dtype == "auto"
    why = "this processor having instructions for it, amx_bf16"
    assert told == [f"computes in bfloat16, {why} (config.model.dtype=auto)"]
    chosen = tiny_config(model__dtype="float32")
    assert settle_dtype(chosen) == (chosen, [])


def test_a_run_goes_on_in_what_it_began_in_on_another_processor(processor, tmp_path):
    processor(XEON_SAPPHIRE_RAPIDS)
    (tmp_path / "config.json").write_text(json.dumps({"model": {"dtype": "float32"}}))
    config, told = settle_dtype(tiny_config(model__dtype="auto"), tmp_path)
    assert config.model.dtype == "float32"
    assert told == ["computes in float32, as the run began (config.model.dtype=auto)"]
    for damaged in ("{", "[]", '{"model": {"dtype": "float8"}}'):  # the checkpoint's own settings decide
        (tmp_path / "config.json").write_text(damaged)
        assert settle_dtype(tiny_config(model__dtype="auto"), tmp_path)[0].model.dtype == "bfloat16"


def test_processes_follow_the_first(processor, monkeypatch):
    processor(XEON_SAPPHIRE_RAPIDS)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(precision.multihost_utils, "broadcast_one_to_all", lambda _: 0)  # the first has float32
    assert settle_dtype(tiny_config(model__dtype="auto"))[0].model.dtype == "float32"
