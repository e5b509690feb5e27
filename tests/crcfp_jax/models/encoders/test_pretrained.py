"""Pretrained weights: the file formats, the name table and every way a file can be wrong."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_tensor
from safetensors.numpy import save_file

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default
from crcfp_jax.models.encoders import pretrained
from crcfp_jax.models.encoders.weight_files import read_tensors
from crcfp_jax.models.network import Network

GOLDEN = Path(__file__).parents[3] / "golden"


def load_pretrained(source, variables, **settings):
    """The variables alone; `settings` are of config.model."""
    return load_with_notes(source, variables, **settings)[0]


def load_with_notes(source, variables, **settings):
    model = default().model
    model.update({"backbone": "resnet18", "pretrained": source} | settings)
    return pretrained.load_pretrained(model, variables)


def abstract_variables(**changes):
    network = Network(3, **{"backbone": "resnet18", "decoder": "v3", "output_stride": 16} | changes)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    return jax.eval_shape(lambda k, x: network.init(k[0], x, k, method="initialise"), keys, images)


@pytest.fixture(scope="module")
def variables():
    return abstract_variables()


@pytest.fixture(scope="module")
def tensors():
    """A whole ResNet-18 file: names and shapes as PyTorch has them, classifier and counters included."""
    with np.load(GOLDEN / "deeplab.npz") as golden:
        state = [line.split() for line in golden["resnet18_v3_16/state"]]
    tensors = {
        name.removeprefix("backbone."): random_tensor(name, tuple(map(int, shape)), seed=1)
        for name, *shape in state
        if name.startswith("backbone.")
    }
    return tensors | {"fc.weight": np.zeros((1000, 512), np.float32), "fc.bias": np.zeros(1000, np.float32)}


def write(path, tensors):
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return str(path)


def check(loaded, variables, tensors):
    params, statistics = loaded["params"]["backbone"], loaded["batch_stats"]["backbone"]
    kernel = tensors["layer2.0.downsample.0.weight"]
    np.testing.assert_array_equal(params["layer2_0"]["downsample_conv"]["kernel"], kernel.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(params["layer4_1"]["bn2"]["scale"], tensors["layer4.1.bn2.weight"])
    np.testing.assert_array_equal(params["bn1"]["bias"], tensors["bn1.bias"])
    np.testing.assert_array_equal(
        statistics["layer3_0"]["downsample_bn"]["mean"], tensors["layer3.0.downsample.1.running_mean"]
    )
    np.testing.assert_array_equal(statistics["layer1_0"]["bn1"]["var"], tensors["layer1.0.bn1.running_var"])
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    assert all(
        a is b for a, b in zip(*(jax.tree.leaves(x["params"]["decoder"]) for x in (loaded, variables)), strict=True)
    )
    backbone = jax.tree.leaves([params, statistics])
    assert sum(leaf.size for leaf in backbone) == sum(
        tensor.size for name, tensor in tensors.items() if not name.startswith("fc.") and "num_batches" not in name
    )


def test_file_and_folder(tmp_path, variables, tensors):
    path = write(tmp_path / "model.safetensors", tensors)
    check(load_pretrained(path, variables), variables, tensors)
    check(load_pretrained(str(tmp_path), variables), variables, tensors)


def test_torch_file(tmp_path, variables, tensors):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    torch.save({name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}, path)
    check(load_pretrained(str(path), variables), variables, tensors)


def test_torch_file_with_code_in_it_is_refused(tmp_path, variables):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": Path("a pickled object")}, path)
    with pytest.raises(UserError, match=r"weights\.pth"):
        load_pretrained(str(path), variables)


def test_torch_files_need_no_torch(tmp_path, variables, tensors, monkeypatch):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    table = {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
    torch.save(table, path, _use_new_zipfile_serialization=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    check(load_pretrained(str(path), variables), variables, tensors)


def test_missing_tensor(tmp_path, variables, tensors):
    path = write(tmp_path / "a.safetensors", {k: v for k, v in tensors.items() if k != "layer3.1.bn2.running_var"})
    with pytest.raises(UserError, match=r"a\.safetensors has no tensor layer3\.1\.bn2\.running_var"):
        load_pretrained(path, variables)


def test_unknown_tensor(tmp_path, variables, tensors):
    path = write(tmp_path / "a.safetensors", tensors | {"layer1.2.conv1.weight": np.zeros((64, 64, 3, 3), np.float32)})
    with pytest.raises(UserError, match=r"tensor layer1\.2\.conv1\.weight has no place"):
        load_pretrained(path, variables)


@pytest.mark.parametrize("shape", [(128, 64, 1, 1), (64, 128, 3, 3), (128,)])
def test_misshapen_tensor(tmp_path, variables, tensors, shape):
    path = write(tmp_path / "a.safetensors", tensors | {"layer2.0.conv1.weight": np.zeros(shape, np.float32)})
    with pytest.raises(UserError, match=r"tensor layer2\.0\.conv1\.weight has shape"):
        load_pretrained(path, variables)


def test_truncated_file(tmp_path, variables, tensors):
    path = Path(write(tmp_path / "a.safetensors", tensors))
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"a\.safetensors is not a readable"):
        load_pretrained(str(path), variables)


def test_numbers_of_a_kind_that_numpy_lacks(tmp_path):
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "eight.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(UserError, match=r"eight\.safetensors stores numbers of a kind that is not known here: save it"):
        read_tensors(path)


@pytest.mark.parametrize("source", ["nowhere/model.safetensors", "./weights", "weights.pth", "resnet50", "a/b/c"])
def test_missing_file(source, variables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no file"):
        load_pretrained(source, variables)


def test_folder_without_weights(tmp_path, variables):
    with pytest.raises(UserError, match=r"the folder .* holds none of model\.safetensors, pytorch_model\.bin"):
        load_pretrained(str(tmp_path), variables)


def test_hub_model_is_downloaded(tmp_path, variables, tensors, monkeypatch):
    path = write(tmp_path / "cached.safetensors", tensors)
    asked = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *arguments: asked.append(arguments) or path)
    check(load_pretrained("timm/resnet18.tv_in1k", variables), variables, tensors)
    assert asked == [("timm/resnet18.tv_in1k", "model.safetensors")]


def test_hub_out_of_reach_says_what_to_download(variables, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_):
        raise LocalEntryNotFoundError("no connection\nretry")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(UserError) as error:
        load_pretrained("timm/resnet50.tv_in1k", variables)
    message = str(error.value)
    assert "https://huggingface.co/timm/resnet50.tv_in1k/resolve/main/model.safetensors" in message
    assert "config.model.pretrained" in message
    assert "\n" not in message


def test_the_other_usual_name_is_tried(tmp_path, variables, tensors, monkeypatch):
    from huggingface_hub.errors import EntryNotFoundError

    path, asked = write(tmp_path / "cached.safetensors", tensors), []

    def download(_, name):
        asked.append(name)
        if name == "model.safetensors":
            raise EntryNotFoundError("404")
        return path

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    loaded, notes = load_with_notes("someone/resnet", variables)
    check(loaded, variables, tensors)
    assert asked == ["model.safetensors", "pytorch_model.bin"] and not any("licence" in note for note in notes)


def test_a_preset_out_of_reach_tells_licence_and_gate(variables, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    settings = {"backbone": "vit_large_patch16_224.uni", "preset": "uni"}
    with pytest.raises(UserError) as error:
        load_pretrained("MahmoodLab/UNI", variables, **settings)
    assert str(error.value) == (
        "config.model.pretrained: cannot download MahmoodLab/UNI (LocalEntryNotFoundError); its licence is CC BY-NC-ND "
        "4.0, and its terms have to be agreed to at https://huggingface.co/MahmoodLab/UNI by whoever downloads it "
        "(then: hf auth login); download https://huggingface.co/MahmoodLab/UNI/resolve/main/pytorch_model.bin by hand "
        "and set config.model.pretrained to its path, or to '' for random weights."
    )


def test_the_licence_is_told_with_the_weights(tmp_path, variables, tensors):
    """Of a preset whose weights lie in a file of the user's own."""
    path = write(tmp_path / "mine.safetensors", tensors)
    _, notes = load_with_notes(path, variables, preset="resnet18_imagenet")
    assert notes[-1] == f"weights of {path}: ImageNet-1k; torchvision's; their licence: BSD-3-Clause"


def test_names_of_tiatoolbox(tmp_path, variables, tensors):
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    named = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        named[f"feat_extract.{places[first]}.{rest}" if first in places else f"classifier.{rest}"] = tensor
    check(load_pretrained(write(tmp_path / "kather.safetensors", named), variables), variables, tensors)


def test_network_of_another_width(tmp_path, tensors):
    path = write(tmp_path / "a.safetensors", tensors)
    with pytest.raises(UserError, match=r"config\.model\.width is 16"):
        load_pretrained(path, abstract_variables(width=16), width=16)


def test_network_with_group_normalisation(tmp_path, tensors):
    path = write(tmp_path / "a.safetensors", tensors)
    with pytest.raises(UserError, match=r"config\.model\.normalisation"):
        load_pretrained(path, abstract_variables(normalisation="group"))


@pytest.mark.parametrize("first", [0x50, 0x80])
def test_safetensors_whose_header_begins_as_another_kind(tmp_path, first):
    """Its length, which comes first, may begin as a pickle does, or as a zip file."""
    path = tmp_path / "model.safetensors"
    for more in range(0, 4096, 8):
        save_file({"a": np.arange(3.0)}, path, metadata={"note": "x" * more})
        if path.read_bytes()[0] == first:
            break
    assert path.read_bytes()[0] == first
    np.testing.assert_array_equal(read_tensors(path).tensors["a"], [0, 1, 2])
