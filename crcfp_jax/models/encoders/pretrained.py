"""ImageNet weights for the backbone, from files with timm's and torchvision's tensor names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import traverse_util
from safetensors import SafetensorError

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders.resnet import STANDARD_WIDTH

FILE_NAME = "model.safetensors"
TORCH_SUFFIXES = (".pth", ".pt")
# (our collection, our leaf): their leaf. 'kernel' is the only one whose axes differ.
LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}
LAYERS = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}


def load_pretrained(source: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `variables` with the backbone's parameters and running statistics taken from `source`.

    Args:
        source: a .safetensors file, a folder that holds model.safetensors, a model on the Hugging Face hub such as
            'timm/resnet50.tv_in1k', or a .pth file (read without unpickling code; needs PyTorch).
        variables: what `Network.init` returned; not changed.

    Raises:
        UserError: no such file or model, a tensor that is missing, unknown or of another shape, a network that is not
            of standard width or not batch-normalised.
    """
    width = variables["params"]["backbone"]["conv1"]["kernel"].shape[-1]
    if width != STANDARD_WIDTH:
        raise UserError(
            f"config.model.width is {width} but pretrained weights have {STANDARD_WIDTH}; "
            f"set it to {STANDARD_WIDTH}, or config.model.pretrained to ''."
        )
    if "backbone" not in variables.get("batch_stats", {}):
        raise UserError(
            "pretrained weights need batch normalisation; set config.model.normalisation to 'batch', "
            "or config.model.pretrained to ''."
        )
    path = find_file(source)
    return replace_backbone(read_tensors(path), variables, origin=str(path))


def find_file(source: str) -> Path:
    """The local file that `source` stands for, downloaded from the hub where it names a model there."""
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / FILE_NAME
    if path.is_file():
        return path
    names_a_file = path.suffix in (".safetensors", *TORCH_SUFFIXES) or source.startswith((".", "/", "~"))
    if names_a_file or (path.parent.is_dir() and path.name == FILE_NAME) or source.count("/") != 1:
        raise UserError(f"config.model.pretrained: there is no file {path}; correct the path or set it to ''.")
    import huggingface_hub  # not at the top: slow to import, and only this line needs it
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(source, FILE_NAME))
    except (OSError, ValueError, EntryNotFoundError) as error:
        raise UserError(
            f"config.model.pretrained: cannot download {source} ({type(error).__name__}); download "
            f"https://huggingface.co/{source}/resolve/main/{FILE_NAME} by hand and set config.model.pretrained "
            "to its path, or to '' for random weights."
        ) from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads every tensor of a .safetensors or .pth file."""
    if path.suffix not in TORCH_SUFFIXES:
        try:
            return safetensors.numpy.load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is not a readable safetensors file ({error}); download it again.") from error
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{path} needs PyTorch to be read; install torch or give a .safetensors file.") from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in tensors.items()}
    except Exception as error:  # torch.load raises whatever the archive or the pickle in it provokes
        raise UserError(f"{path} is not a plain table of tensors; give a .safetensors file.") from error


def replace_backbone(tensors: Mapping[str, np.ndarray], variables: Mapping[str, Any], *, origin: str) -> dict[str, Any]:
    """Returns `variables` with every leaf of the backbone replaced by the tensor that the name table gives.

    The classifier (`fc.*`) and the batch counters are left out; anything else unused is an error. `origin` is the
    file's name, for the message.
    """
    unused = {name for name in tensors if not name.startswith("fc.") and not name.endswith(".num_batches_tracked")}
    replaced = dict(variables)
    for collection in ("params", "batch_stats"):
        leaves = traverse_util.flatten_dict(variables[collection]["backbone"])
        for path, leaf in leaves.items():
            name = torch_name(collection, path)
            if name not in tensors:
                raise UserError(
                    f"{origin} has no tensor {name}; give weights of the backbone in config.model.backbone."
                )
            tensor = np.asarray(tensors[name], dtype=np.float32)
            if path[-1] == "kernel" and tensor.ndim == 4:
                tensor = tensor.transpose(
                    2, 3, 1, 0
                )  # [output, input, height, width] to [height, width, input, output]
            if tensor.shape != leaf.shape:
                raise UserError(
                    f"{origin}: tensor {name} has shape {tensors[name].shape}, which does not fit the network."
                )
            leaves[path] = jnp.asarray(tensor)
            unused.discard(name)
        replaced[collection] = {**variables[collection], "backbone": traverse_util.unflatten_dict(leaves)}
    if unused:
        raise UserError(f"{origin}: tensor {min(unused)} has no place in the backbone in config.model.backbone.")
    return replaced


def torch_name(collection: str, path: tuple[str, ...]) -> str:
    """The name table: ('params', ('layer1_0', 'conv1', 'kernel')) to 'layer1.0.conv1.weight'."""
    *layers, leaf = path
    names = [LAYERS.get(layer, layer.replace("_", ".")) for layer in layers]
    return ".".join([*names, LEAVES[collection, leaf]])
