"""PyTorch's files without PyTorch: against torch itself, and every way in which a file can be bad or evil."""

import argparse
import collections
import os
from pathlib import Path

import numpy as np
import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders.weight_files import read_tensors

ZIP = pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "old"])


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def save(torch, value, path, zip_format=True, **options):
    torch.save(value, path, _use_new_zipfile_serialization=zip_format, **options)
    return path


def tensors(torch):
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    kinds = ("float32", "float64", "float16", "bfloat16", "uint8", "int8", "int16", "int32", "int64", "bool")
    table = {kind: (torch.arange(6).reshape(2, 3) % 5).to(getattr(torch, kind)) for kind in kinds}
    return collections.OrderedDict(
        table
        | {
            "whole": base,
            "turned": base.permute(2, 0, 1),  # not contiguous
            "part": base[1, ::2, 1:3],  # the same storage, from its middle
            "parameter": torch.nn.Parameter(torch.ones(3)),
            "scalar": torch.tensor(7.0),
            "empty": torch.zeros(0, 3),
            "repeated": torch.tensor([1.0, 2.0]).expand(3, 2),
        }
    )


@ZIP
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_torch_writes(torch, tmp_path, zip_format, protocol):
    table = tensors(torch)
    path = save(torch, table, tmp_path / "a.bin", zip_format, pickle_protocol=protocol)
    found = read_tensors(path).tensors
    assert list(found) == list(table)
    for name, tensor in table.items():
        expected = tensor.detach()
        assert found[name].shape == tuple(expected.shape), name
        assert str(found[name].dtype) == str(expected.dtype).removeprefix("torch."), name
        np.testing.assert_array_equal(found[name].astype(np.float64), expected.double().numpy())
    assert not found["whole"].flags.writeable
    assert np.shares_memory(found["whole"], found["part"])


@ZIP
def test_state_dict_of_a_module(torch, tmp_path, zip_format):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    found = read_tensors(save(torch, module.state_dict(), tmp_path / "a.pt", zip_format)).tensors
    for name, tensor in module.state_dict().items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


class Unknown:
    """As a class of Lightning or timm in a checkpoint."""

    def __init__(self):
        self.values = {"a": [1, 2]}


@ZIP
def test_checkpoint_with_objects_beside_the_tensors(torch, tmp_path, zip_format):
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "state_dict": layer.state_dict(),
        "optimizer": optimizer.state_dict(),
        "hyper_parameters": argparse.Namespace(path=Path("x"), unknown=Unknown(), counts=collections.Counter("aab")),
        "callbacks": {Unknown: {"best": torch.tensor(1.0)}},
        "settings": {(1, 2): "a tuple as key", "set": {1, 2}, "frozen": frozenset({1}), "long": 2**80},
    }
    found = read_tensors(save(torch, checkpoint, tmp_path / "last.ckpt", zip_format))
    np.testing.assert_array_equal(found.tensors["weight"], layer.weight.detach().numpy())
    assert found.left_out == "epoch, optimizer, hyper_parameters, callbacks and 1 more beside 'state_dict'"


@pytest.mark.parametrize(
    ("keys", "chosen"), [(("student", "teacher"), "teacher"), (("weights",), "weights"), (("model", "x"), "model")]
)
def test_table_one_level_down(torch, tmp_path, keys, chosen):
    path = save(torch, {key: {"w": torch.full((1,), float(number))} for number, key in enumerate(keys)}, tmp_path / "a")
    assert read_tensors(path).tensors["w"] == keys.index(chosen)


def test_several_tables_without_a_usual_name(torch, tmp_path):
    path = save(torch, {"first": {"w": torch.ones(1)}, "second": {"w": torch.ones(1)}}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt holds tables of tensors under first, second: save"):
        read_tensors(path)


@ZIP
@pytest.mark.parametrize("value", ["module", "tensor", "text"])
def test_no_table(torch, tmp_path, zip_format, value):
    value = {"module": torch.nn.Linear(2, 2), "tensor": torch.ones(2), "text": {"a": "b"}}[value]
    with pytest.raises(UserError, match=r"a\.pt can't be used as weights: it holds .* table of tensors"):
        read_tensors(save(torch, value, tmp_path / "a.pt", zip_format))


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@ZIP
def test_code_in_a_pickle_does_not_run(torch, tmp_path, zip_format):
    sign = tmp_path / "it_ran"
    table = {"state_dict": {"w": torch.ones(2), "evil": Evil(f"touch {sign}")}, "more": Evil(f"touch {sign}")}
    found = read_tensors(save(torch, table, tmp_path / "a.pt", zip_format))
    assert list(found.tensors) == ["w"]
    assert not sign.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)  # the file is as evil as it should be
    assert sign.exists()


@ZIP
def test_every_cut_is_told(torch, tmp_path, zip_format):
    path = save(torch, {"w": torch.arange(50.0), "v": torch.ones(3, 3)}, tmp_path / "a.pt", zip_format)
    content = path.read_bytes()
    for length in range(0, len(content) - 1, 7):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"a\.pt ") as error:
            read_tensors(path)
        assert "\n" not in str(error.value)


@ZIP
def test_bytes_at_random(torch, tmp_path, zip_format):
    """Whatever is changed, a file is read or refused in one line."""
    path = save(torch, tensors(torch), tmp_path / "a.pt", zip_format)
    content, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(content)
        for place in generator.integers(0, len(content), 4):
            changed[place] = generator.integers(256)
        path.write_bytes(changed)
        try:
            read_tensors(path)
        except UserError as error:
            assert "\n" not in str(error), error
