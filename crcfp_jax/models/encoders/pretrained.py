"""Published weights for an encoder, by the name tables of its family."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders.family import Family
from crcfp_jax.models.encoders.registry import find_family, find_published
from crcfp_jax.models.encoders.sources import find_file
from crcfp_jax.models.encoders.weight_files import list_names, read_tensors

COLLECTIONS = ("params", "batch_stats")


def load_pretrained(model: ConfigDict, variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`variables` with the encoder's parameters and running statistics as `config.model.pretrained` has them.

    Args:
        model: `config.model`. Its `pretrained` is a file of one of the kinds of `weight_files.SUFFIXES`, a folder that
            holds model.safetensors or pytorch_model.bin, a model on the Hugging Face hub such as
            'timm/resnet50.tv_in1k', or 'package:NAME', a file in an installed Python package that the encoder's family
            knows.
        variables: what `Network.init` returned; not changed.

    Returns:
        The variables, and lines that tell the user what of the file was left out, and the licence where it is known.

    Raises:
        UserError: no such file or model, a tensor that is missing, unknown or of another shape, a network that is not
            of the published width or not normalised as published.
    """
    family = find_family(model.backbone)
    if family.width is not None and model.width != family.width:
        raise UserError(
            f"config.model.width is {model.width} but pretrained weights have {family.width}; "
            f"set it to {family.width}, or config.model.pretrained to ''."
        )
    path = find_file(model)
    file = read_tensors(path)
    tensors = family.convert(file.tensors, model.backbone)
    replaced, outside = replace_backbone(tensors, variables, family, origin=str(path))
    notes = [f"{path}: left out {what}" for what in (file.left_out, outside) if what]
    if published := find_published(model):
        notes.append(f"weights of {model.pretrained}: {published.remark}; their licence: {published.licence}")
    return replaced, notes


def replace_backbone(
    tensors: Mapping[str, np.ndarray], variables: Mapping[str, Any], family: Family, *, origin: str
) -> tuple[dict[str, Any], str]:
    """`variables` with every leaf of the encoder that a name table of the family names replaced by its tensor.

    The table and the prefix under which most names are found are taken. Under the prefix every tensor must have its
    place in the encoder, or be one of those that the family says have none.

    Args:
        tensors: by name.
        variables: of a network.
        family: of its encoder.
        origin: the file's name, for the message.

    Returns:
        The variables, and in words which tensors lie outside the prefix; '' where none does.
    """
    leaves = {
        (collection, *path): leaf
        for collection in COLLECTIONS
        for path, leaf in traverse_util.flatten_dict(variables.get(collection, {}).get("backbone", {})).items()
    }
    names, prefix = _choose_names(tensors, list(leaves), family, origin)
    within = {name for name in tensors if name.startswith(prefix)}
    if any(name.endswith(".running_mean") for name in within) and "backbone" not in variables.get("batch_stats", {}):
        raise UserError(
            "pretrained weights need batch normalisation; set config.model.normalisation to 'batch', "
            "or config.model.pretrained to ''."
        )
    if missing := [name for name in names.values() if name not in tensors]:
        raise UserError(
            f"{origin} has no tensor {list_names(missing)}; give weights of the backbone in config.model.backbone."
        )
    no_place = re.compile("|".join(family.no_place) or "(?!)")
    used = set(names.values())
    if unused := sorted(n for n in within - used if not no_place.fullmatch(n.removeprefix(prefix))):
        raise UserError(f"{origin}: tensor {list_names(unused)} has no place in the backbone in config.model.backbone.")
    for place, name in names.items():
        leaves[place] = _fitting(tensors[name], place[-1], leaves[place].shape, f"{origin}: tensor {name}")
    replaced = dict(variables)
    for collection in COLLECTIONS:
        own = {path: leaf for (kind, *path), leaf in leaves.items() if kind == collection for path in [tuple(path)]}
        if own:
            replaced[collection] = {**variables[collection], "backbone": traverse_util.unflatten_dict(own)}
    outside = sorted(tensors.keys() - within)
    return replaced, f"{list_names(outside)}, outside '{prefix}'" if outside else ""


def _choose_names(
    tensors: Mapping[str, np.ndarray], places: list[tuple[str, ...]], family: Family, origin: str
) -> tuple[dict[tuple[str, ...], str], str]:
    """The names of all places, in the words of the file, and the prefix that they carry."""
    best, prefix, most = {}, "", 0
    for table in family.name_tables:
        names = {place: name for place in places if (name := table(place[0], place[1:]))}
        for candidate in family.prefixes:
            found = sum(candidate + name in tensors for name in names.values())
            if found > most:
                best, prefix, most = {place: candidate + name for place, name in names.items()}, candidate, found
    if not most:
        named = ([table(place[0], place[1:]) for place in places] for table in family.name_tables)
        wanted = [next(filter(None, names)) for names in named]
        raise UserError(
            f"{origin} has no tensor {' or '.join(wanted)}, nor any other of the backbone in config.model.backbone; it "
            f"has {list_names(sorted(tensors))}"
        )
    return best, prefix


def _fitting(tensor: np.ndarray, leaf: str, shape: tuple[int, ...], name: str) -> jnp.ndarray:
    """A tensor as a leaf; PyTorch's kernels are [output, input, height, width], ours [height, width, input, output]."""
    axes = tuple(range(tensor.ndim))
    if leaf == "kernel":
        axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, axes)
    if tuple(tensor.shape[axis] for axis in axes) != tuple(shape):
        raise UserError(f"{name} has shape {tensor.shape}, which does not fit the network.")
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        raise UserError(f"{name} holds {tensor.dtype}, and no weights.")
    return jnp.asarray(np.asarray(tensor, np.float32).transpose(axes))
