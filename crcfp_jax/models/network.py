"""The segmentation network: one encoder, four heads."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from crcfp_jax.models.decoders.deeplab import STANDARD_WIDTH, Decoder
from crcfp_jax.models.encoders.family import EncoderOptions
from crcfp_jax.models.encoders.pixels import IMAGENET, Pixels
from crcfp_jax.models.encoders.registry import check_encoder, choose_pixels, find_family, find_patch
from crcfp_jax.models.heads import AuxiliaryClassifiers, Classifier, Projector
from crcfp_jax.models.layers.channel_dropout import ChannelDropout
from crcfp_jax.models.layers.normalisation import Normalisation
from crcfp_jax.models.layers.padding import Length
from crcfp_jax.models.layers.resize import resize_bilinear

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
AUTO = "auto"  # whichever the processor is faster in: settled as a run starts


class Network(nn.Module):
    """DeepLab on an encoder, with the heads of CRCFP.

    Every method is used through `apply(variables, ..., method=...)`. Parameters come in the groups 'backbone',
    'decoder', 'classifier', 'projector' and 'auxiliary'. `encode` has no random part.
    """

    num_classes: int
    backbone: str  # of the registry of encoders
    decoder: str = "v3"
    output_stride: int = 8
    width: int = 64  # of encoders that have widths
    decoder_width: int = STANDARD_WIDTH  # channels of the decoder's features
    projection_dim: int = 128  # 0: no projector
    projection_hidden: int = 0  # 0: as projection_dim
    perturbations: tuple[tuple[str, int], ...] = ()  # kinds, and auxiliary classifiers of each
    lora_rank: int = 0  # of encoders that attend
    normalisation: str = "batch"
    momentum: float = 0.9  # share of the old running statistics that an update keeps
    rematerialise: bool = False  # trade time for memory in the backbone's gradient
    dtype: Any = jnp.float32  # of activations
    axis_name: str | None = None  # replicas that share batch statistics
    pixels: Pixels = IMAGENET  # statistics that the encoder's weights expect of images

    def setup(self):
        normalisation = Normalisation(self.normalisation, self.momentum, self.axis_name, self.dtype)
        options = EncoderOptions(
            self.backbone,
            self.output_stride,
            self.width,
            normalisation,
            self.rematerialise,
            self.dtype,
            self.lora_rank,
        )
        self.backbone_layers = find_family(self.backbone).build(options, "backbone")
        self.decoder_layers = Decoder(
            self.decoder, self.output_stride, normalisation, self.decoder_width, self.dtype, name="decoder"
        )
        self.classifier = Classifier(self.num_classes)
        self.projector = Projector(self.projection_dim, self.projection_hidden, self.dtype)
        self.auxiliary_classifiers = AuxiliaryClassifiers(self.perturbations, self.num_classes, name="auxiliary")

    @property
    def patch(self) -> int:
        """Pixels that an image's sides have to be multiples of."""
        return find_patch(self.backbone)

    @property
    def feature_stride(self) -> int:
        """Pixels between neighbouring features."""
        return 4 if self.decoder == "v3plus" else self.output_stride

    @property
    def context_stride(self) -> int:
        """Pixels between neighbouring cells of `context`."""
        return 8 if self.decoder == "v3plus" else self.output_stride

    def encode(
        self, images: Float[Array, "*streams b h w 3"], *, train: bool, dropout: ChannelDropout | None = None
    ) -> Float[Array, "*streams b fh fw c"]:
        """Normalised images to features of ceil(h / feature_stride) rows, in `dtype`.

        With `train`, normalises by the batch's statistics and updates the running ones ('batch_stats'). Images may
        come as several streams along a leading axis: all pass through the same convolutions together, each is
        normalised by its own statistics, and the updated statistics have that leading axis. The values are those of
        `jax.vmap` over it, which is slower on a CPU. `dropout` takes channels from the encoder's maps.
        """
        maps = self.backbone_layers(images.astype(self.dtype), train=train)
        if dropout is not None:
            maps = {stride: dropout(maps[stride], stride) for stride in (4, self.output_stride)}
        return self.decoder_layers(maps[4], maps[self.output_stride], train=train)

    def classify(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w num_classes"]:
        """Features to float32 logits at the same resolution."""
        return self.classifier(features)

    def context(self, features: Float[Array, "b h w c"]) -> Float[Array, "b ch cw c"]:
        """Features at the context stride: averaged over 2x2 for v3plus (release), unchanged for v3."""
        window = self.context_stride // self.feature_stride
        if window == 1:
            return features
        return nn.avg_pool(features, (window, window), strides=(window, window))

    def project(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w projection_dim"]:
        """Features to float32 unit vectors for the contrastive loss."""
        return self.projector(features)

    def auxiliary(
        self,
        features: Float[Array, "b h w c"],
        keys: Key[Array, " b"],
        logits: Float[Array, "b h w num_classes"],
    ) -> Float[Array, "n b h w num_classes"]:
        """Float32 logits of the auxiliary classifiers, perturbation by perturbation.

        Args:
            features: shared features.
            keys: one key an example; each classifier draws its own perturbation from it.
            logits: of the main classifier, whose prediction guides some perturbations.
        """
        return self.auxiliary_classifiers(features, keys, logits)

    def __call__(self, images: Float[Array, "b h w 3"], *, train: bool = False) -> Float[Array, "b h w num_classes"]:
        """Normalised images to float32 logits at the images' resolution."""
        return resize_logits(self.classify(self.encode(images, train=train)), images.shape[1], images.shape[2])

    def initialise(self, images: Float[Array, "b h w 3"], keys: Key[Array, " b"]) -> None:
        """Touches every parameter: `network.init(key, images, keys, method='initialise')`.

        Without perturbations there are no auxiliary classifiers, with projection_dim=0 there is no projector.
        """
        features = self.encode(images, train=False)
        logits = self.classify(features)
        if self.projection_dim:
            self.project(self.context(features))
        if self.perturbations:
            self.auxiliary(features, keys, logits)


def resize_logits(
    logits: Float[Array, "b h w num_classes"], height: Length, width: Length
) -> Float[Array, "b height width num_classes"]:
    """Bilinear interpolation with half-pixel centres to `height` x `width` pixels."""
    return resize_bilinear(logits, height, width)


def build_network(model: ConfigDict, num_classes: int, axis_name: str | None = None) -> Network:
    """Builds the network that `config.model` describes, with a projector and without auxiliary classifiers.

    Where its dtype is AUTO still, nothing is to be computed, and it counts as float32: all shapes are the same.

    Raises:
        UserError: a backbone that there isn't.
    """
    check_encoder(model)
    return Network(
        num_classes=num_classes,
        backbone=model.backbone,
        decoder=model.decoder,
        output_stride=model.output_stride,
        width=model.width,
        decoder_width=model.decoder_width,
        projection_dim=model.projection_dim,
        projection_hidden=model.projection_hidden,
        lora_rank=model.lora_rank,
        normalisation=model.normalisation,
        momentum=model.momentum,
        rematerialise=model.rematerialise,
        dtype=DTYPES["float32" if model.dtype == AUTO else model.dtype],
        axis_name=axis_name,
        pixels=choose_pixels(model),
    )
