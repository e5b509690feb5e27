"""What the program knows of an encoder family: everything that a file of this folder has to say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import numpy as np

from crcfp_jax.models.encoders.pixels import Pixels
from crcfp_jax.models.layers.normalisation import Normalisation

# From (collection, path of a leaf) to a tensor's name: ('params', ('bn1', 'scale')) to 'bn1.weight'. '' for a leaf that
# published files have nothing for, and which starts from random values.
NameTable = Callable[[str, tuple[str, ...]], str]

# What trainers put before an encoder's names; of those that fit equally well the first is taken.
PREFIXES = (
    "", "module.", "backbone.", "encoder.", "model.", "module.backbone.", "module.encoder.", "model.backbone.",
    "model.encoder.", "encoder_q.", "module.encoder_q.",
)  # fmt: skip

# (our collection, our leaf): PyTorch's leaf.
_LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}


@dataclass(frozen=True)
class EncoderOptions:
    """What a network asks of its encoder."""

    backbone: str  # one of the family's
    output_stride: int  # one of the family's: pixels between neighbours of the coarsest map
    width: int  # `config.model.width`, for families that have widths
    normalisation: Normalisation
    rematerialise: bool  # keep less for the gradient and compute it again
    dtype: Any  # of activations
    lora_rank: int = 0  # of the updates beside the layers of an encoder that attends; 0: none


@dataclass(frozen=True)
class PackageFile:
    """Weights in an installed Python package."""

    distribution: str  # as pip knows it
    path: str  # inside it
    sha256: str


@dataclass(frozen=True)
class Published:
    """What is known of published weights."""

    pixels: Pixels
    licence: str
    remark: str  # what they were trained on, and by whom
    package: PackageFile | None = None  # of a source 'package:NAME'
    preset: str = ""  # value of config.model.preset that stands for them; '': none does
    backbone: str = ""  # that they fit; of a preset
    gated: bool = False  # whether the hub asks for an agreement first
    microns_per_pixel: tuple[float, float] | None = None  # finest and coarsest of the training images; None: natural
    file: str = ""  # in the repository on the hub; '': one of the usual names

    def nearest_pixel_size(self, microns_per_pixel: float) -> float:
        """The pixel size in µm that the weights have seen and that is nearest to this one; 0 stays 0."""
        if not microns_per_pixel or self.microns_per_pixel is None:
            return microns_per_pixel
        finest, coarsest = self.microns_per_pixel
        return min(max(microns_per_pixel, finest), coarsest)


@dataclass(frozen=True)
class Family:
    """An encoder family: its module, its names, and the files that hold weights for it.

    `build` makes a Linen module whose `__call__(images, *, train)` takes normalised images [*streams, b, h, w, 3] and
    gives feature maps [*streams, b, ceil(h / stride), ceil(w / stride), c] by their stride in pixels, at 4 and at the
    output stride at least. It may have batch statistics or none.
    """

    backbones: tuple[str, ...]  # values of config.model.backbone
    build: Callable[[EncoderOptions, str], nn.Module]  # the second argument is the module's name
    output_strides: tuple[int, ...]
    pixels: Pixels  # for random weights, and files of unknown origin
    name_tables: tuple[NameTable, ...]  # published files follow one of them
    no_place: tuple[str, ...] = ()  # patterns of tensors that published files have and the encoder has not
    prefixes: tuple[str, ...] = PREFIXES
    published: Mapping[str, Published] = field(default_factory=dict)  # by values of config.model.pretrained
    width: int | None = None  # config.model.width of published weights; None: the family has no widths
    # A file's tensors, and config.model.backbone, to tensors as the name tables know them.
    convert: Callable[[Mapping[str, np.ndarray], str], Mapping[str, np.ndarray]] = lambda tensors, backbone: tensors
    patches: Mapping[str, int] = field(default_factory=dict)  # backbone -> pixels that a side has to be a multiple of
    attends: bool = False  # its layers may have updates of low rank beside them
    trained: str = ""  # path, below the encoder's, of what published weights are for; '': all of it
    # Of a backbone, patterns of the paths below `trained`, a group of layers each, from the pixels to the features.
    layers: Callable[[str], tuple[str, ...]] = lambda backbone: (".*",)


def torch_leaf(collection: str, leaf: str) -> str:
    """PyTorch's name of a leaf: ('batch_stats', 'mean') to 'running_mean'; other names are the same there."""
    return _LEAVES.get((collection, leaf), leaf)
