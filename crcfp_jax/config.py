"""Every setting, with its default, what values it takes, unit and source, in one table.

A config file holds differences from `default()` only. Defaults follow the paper's text (Bashir et al. 2023,
arXiv 2301.13141) where it speaks and its authors' release where the paper is silent; the comment says which.
A key with `may_change` can have another value when a run is resumed. Names that a registry keeps (methods, backbones,
perturbations, data sets) and values that have to fit others are checked where these are known.
"""

from ml_collections import ConfigDict

from crcfp_jax.common import settings_table
from crcfp_jax.common.pixel_size import PLAUSIBLE
from crcfp_jax.common.rules import (
    channels,
    count,
    fraction,
    interval,
    multiple_of,
    name,
    not_negative,
    number,
    one_of,
    parameter_groups,
    positive,
    several,
    share,
    tuning,
    zero_or,
)
from crcfp_jax.common.settings_table import Key

plausible = number(least=PLAUSIBLE[0], most=PLAUSIBLE[1])
CCT_KINDS = (
    "feature_noise", "feature_dropout_max", "spatial_dropout", "guided_cutout", "context_masking", "object_masking",
    "vat",
)  # fmt: skip

SECTIONS = {
    "method": Key("crcfp", name),  # a name of crcfp_jax.methods.systems.registry
    "fraction": Key("1/8", fraction),  # share of the training units whose labels are used
    "seed": Key(1, number(least=0, most=10**9)),  # of split, weights, data order and every random draw
    "data": {
        "name": Key("bcss", name),  # a folder of data.dir, as data_pipelines.build makes it
        "dir": Key("data", name, may_change=True),  # folder that holds the built data sets
        "split_unit": Key("default", name),  # what labels are given to: a unit of the data set's splits.json
        "sampling": Key("tiles", one_of("tiles", "classes")),  # labelled crops: anywhere, or around pixels by class
        "folds": Key(0, zero_or(number(least=2))),  # that annotated patients are dealt out into; 0: none
        "fold": Key(0, not_negative),  # the one whose patients are tested, in place of the data set's test images
        "side": Key(320, count),  # pixels; side of a training crop and of an evaluation window (paper)
        "microns_per_pixel": Key(0.0, zero_or(plausible)),  # of the network's pixels at scale 1; 0: base_size says it
        "base_size": Key(400, count),  # pixels; long side of a tile at scale 1 (release); for tiles of one extent
        "labelled_scale": Key((0.5, 2.0), interval(positive)),  # uniform factor on that scale (release)
        "unlabelled_scale": Key((0.8, 2.0), interval(positive)),  # likewise, of the image that both crops are cut from
        "overlap": Key((0.1, 1.0), interval(share)),  # of the two crops (paper), intersection over union (release)
        "whole_view_scale": Key(0.8, positive),  # factor at which a window of the whole is seen (release: 320 / 400)
        "flips": Key("both", one_of("both", "horizontal")),  # both ways (paper), left and right only (release)
        "threads": Key(16, count, may_change=True),  # decoding threads
        "prefetch": Key(64, count, may_change=True),  # decoded examples held ready
    },
    "augment": {  # strengths and probabilities of the release; on labelled crops too (paper)
        "labelled": Key(True),
        "brightness": Key(0.4, not_negative),
        "contrast": Key(0.4, not_negative),
        "saturation": Key(0.4, not_negative),
        "hue": Key(0.1, not_negative),
        "jitter_probability": Key(0.8, share),
        "grey_probability": Key(0.2, share),
        "blur_probability": Key(0.5, share),
        "stain": Key(0.0, not_negative),  # of amounts of haematoxylin, eosin and DAB (Tellez et al. 2019: 0.2)
    },
    "strong_view": {  # of what a weak view's pseudo-labels are learned on (Yang et al. 2025, UniMatch V2)
        "brightness": Key(0.5, not_negative),
        "contrast": Key(0.5, not_negative),
        "saturation": Key(0.5, not_negative),
        "hue": Key(0.25, not_negative),
        "jitter_probability": Key(0.8, share),
        "grey_probability": Key(0.2, share),
        "blur_probability": Key(0.5, share),
        "stain": Key(0.0, not_negative),
        "cutmix": Key(0.5, share),  # probability of a box from the next image
    },
    "model": {
        "preset": Key(""),  # published weights and what suits them (docs/transformers.md); '': what the other keys say
        "backbone": Key("resnet50", name),  # (paper); resnet101 (Table 3), efficientnet_lite0, ...
        "decoder": Key("v3", one_of("v3", "v3plus")),  # v3 (paper), v3plus (release)
        "output_stride": Key(16, count),  # release; 8 doubles time and memory and shows finer detail with v3
        "width": Key(64, multiple_of(4)),  # channels of a ResNet's stem; below 64 its layers shrink in proportion
        "decoder_width": Key(256, multiple_of(16)),  # channels of the decoder's features (DeepLab)
        "projection_dim": Key(128, count),  # channels of the projector's output (paper)
        "projection_hidden": Key(0, not_negative),  # channels between its two layers; 0: as projection_dim (paper)
        "lora_rank": Key(0, not_negative),  # of updates beside a transformer's layers (Hu et al. 2022); 0: none
        "normalisation": Key("batch", one_of("batch", "group")),  # group: 16 channels each
        "momentum": Key(0.9, number(least=0, below=1)),  # share of the old running statistics that an update keeps
        "statistics": Key("per_stream", one_of("per_stream", "joint")),  # what normalises a training batch
        "running_streams": Key("all", one_of("all", "labelled")),  # what feeds the running statistics
        "inference_statistics": Key("running", one_of("running", "recalibrated")),  # on training images
        "recalibration_images": Key(256, count),  # crops averaged over for 'recalibrated'
        "pretrained": Key("timm/resnet50.tv_in1k", may_change=True),  # file, hub name, package:NAME, or '': random
        "initial": Key("", may_change=True),  # run folder whose model a new run starts from, instead of `pretrained`
        "pixel_mean": Key((), channels(share)),  # from 0 to 1, that the weights expect; (): what is known of them
        "pixel_deviation": Key((), channels(positive)),  # likewise
        "rematerialise": Key(False, may_change=True),  # backbone's activations twice: less memory, more time
        # Of activations; the rest stays float32. auto: bfloat16 but on CPUs that have no instructions for it.
        "dtype": Key("auto", one_of("auto", "float32", "bfloat16")),
    },
    "weights": {  # a method uses the terms it has (paper)
        "supervised": Key(1.0, not_negative),
        "contrastive": Key(0.1, not_negative),
        "cross_consistency": Key(0.01, not_negative),
        "entropy": Key(0.01, not_negative),
        "warmup": Key(0.0625, share),  # share of the steps that are supervised only: 5 of 80 epochs (paper)
    },
    "contrastive": {
        "threshold": Key(0.75, share),  # confidence that lets a pair count (paper: lambda)
        "filter": Key("paper", one_of("paper", "release")),  # confident: the anchor (Eq. 6-7), its positive
        "temperature": Key(0.1, positive),  # paper: tau
        "negatives": Key(1200, count),  # pushed into the bank a step, half from each view (paper; docs/methods.md)
        "bank_steps": Key(2, count),  # steps that the bank remembers, this one included
        "chunk": Key(256, count, may_change=True),  # negatives compared at a time: bounds memory alone
    },
    "cross_consistency": {
        "perturbations": Key(("feature_noise", "feature_dropout", "dropout"), several(name)),
        "classifiers": Key(4, count),  # auxiliary classifiers per perturbation (paper: K)
        "threshold": Key(0.0, share),  # 0: every pixel (paper); 0.75: confident targets only (release)
    },
    "cct": {  # cross-consistency training; numbers of its release (Ouali et al. 2020)
        "weight": Key(30.0, not_negative),
        "ramp_up": Key(0.1, share),  # share of the steps, after the supervised beginning, until it is reached
        "perturbations": Key(CCT_KINDS, several(name)),
        "classifiers": Key((6, 6, 6, 6, 2, 2, 2), several(count)),  # auxiliary classifiers of each
    },
    "cdcl": {  # cross-patch dense contrast (Wu et al. 2022); they published no numbers: these are ours
        "cross_patch": Key(0.1, not_negative),  # weight of the contrast; temperature and bank: those of contrastive
        "teacher_consistency": Key(1.0, not_negative),  # weight of the squared error between student and teacher
        "entropy": Key(0.01, not_negative),  # weight
        "ramp_up": Key(0.1, share),  # share of the steps, after the supervised beginning, until these are reached
        "teacher_decay": Key(0.99, share),  # share of its old parameters that the teacher keeps at a step
        "patch": Key(2, count),  # cells of the context stride along a patch's side
        "negatives": Key(600, count),  # pushed into the bank a step; at most all cells of the unlabelled batch
        "clear": Key(0.75, number(above=0.5, most=1)),  # share of its cells that makes a patch clearly of a class
    },
    "mean_teacher": {  # Tarvainen and Valpola 2017; ramp as the other methods'
        "weight": Key(1.0, not_negative),  # of the squared error between student and teacher
        "ramp_up": Key(0.1, share),  # share of the steps, after the supervised beginning, until it is reached
        "teacher_decay": Key(0.99, share),
    },
    "weak_to_strong": {  # fixmatch, unimatch
        "weight": Key(1.0, not_negative),  # of the cross-entropy with the teacher's classes (Sohn et al. 2020)
        "threshold": Key(0.95, share),  # probability above which the teacher's class counts (Sohn et al. 2020)
        "teacher_decay": Key(0.99, share),
    },
    "optimizer": {
        "name": Key("sgd", one_of("sgd", "adamw")),  # sgd (paper)
        "learning_rate": Key(0.001, positive),  # paper
        "groups": Key(((".*", 1.0),), parameter_groups),  # rows (pattern, multiple[, decay]): docs/optimiser.md
        "encoder": Key("groups", tuning),  # as groups says, or rows before it: frozen, last:N, lora, layerwise:D
        "warmup_steps": Key(0, not_negative),  # steps in which the learning rate rises linearly to its value
        "momentum": Key(0.9, number(least=0, below=1)),  # release; for AdamW its first moment's
        "weight_decay": Key(1e-4, not_negative),  # release; on every parameter with SGD, on kernels with AdamW
        "poly_power": Key(0.9, not_negative),  # paper
        "clip": Key(0.0, not_negative),  # greatest norm of the whole gradient; 0: any
    },
    "train": {
        "steps": Key(8000, count, may_change=True),  # 80 epochs (paper) of 100 iterations (release)
        "batch_size": Key(8, count),  # labelled crops a step, over all devices (paper)
        "unlabelled_batch_size": Key(8, count),  # unlabelled images a step, over all devices (paper)
        "log_every": Key(20, count, may_change=True),  # steps between lines of metrics.jsonl
        "picture_every": Key(1000, count, may_change=True),  # steps between pictures of predictions
        "parallel": Key("shard_map", one_of("shard_map", "pmap"), may_change=True),  # the same result
    },
    "checkpoint": {
        "every": Key(500, count, may_change=True),  # steps
        "keep": Key(2, count, may_change=True),  # newest checkpoints kept, beside the best one
    },
    "evaluation": {
        "model": Key("method", one_of("method", "student", "teacher")),  # validated and exported; method: as its source
        "selection": Key("last", one_of("last", "best_validation")),  # by a split carved out of training
        "every": Key(1000, count, may_change=True),  # steps between evaluations on a validation split
        "batch_size": Key(8, count, may_change=True),  # windows a device call
    },
}
TABLE = settings_table.flatten(SECTIONS)
CHANGEABLE = frozenset(key for key, entry in TABLE.items() if entry.may_change)


def default() -> ConfigDict:
    """Returns the locked default settings: an unknown key is an error, not a new key."""
    return settings_table.build(TABLE)


def check_values(config: ConfigDict) -> None:
    """Raises UserError for the first value that no run can use, naming its key."""
    settings_table.check(TABLE, config)


def release() -> ConfigDict:
    """The authors' release wherever it departs from their paper, for a batch of MoNuSeg."""
    c = default()
    c.data.flips = "horizontal"
    c.augment.labelled = False
    c.model.decoder = "v3plus"
    c.model.projection_hidden = 256
    c.weights.warmup = 0.0
    c.contrastive.filter = "release"
    c.contrastive.negatives = 2400  # 1200 from each of the two views
    c.contrastive.bank_steps = 3
    c.cross_consistency.perturbations = ("feature_noise", "feature_dropout_max", "spatial_dropout")
    c.cross_consistency.classifiers = 6
    c.cross_consistency.threshold = 0.75
    c.optimizer.groups = (("backbone/.*", 1.0), (".*", 10.0))
    return c


def small() -> ConfigDict:
    """Settings for two CPU cores and a few minutes: a ResNet-18 of half the width, from random weights.

    What departs from the paper is due to the start from random weights: AdamW, a longer supervised beginning, and
    weaker colour jitter without grey and blur, under which so short a training learns too slowly.
    """
    c = default()
    c.data.side = 96
    c.data.threads = 2
    c.data.prefetch = 32
    c.data.labelled_scale = (0.7, 1.5)
    c.data.unlabelled_scale = (0.7, 1.5)
    c.augment.brightness = 0.2
    c.augment.contrast = 0.2
    c.augment.saturation = 0.2
    c.augment.hue = 0.03
    c.augment.grey_probability = 0.0
    c.augment.blur_probability = 0.0
    c.model.backbone = "resnet18"
    c.model.decoder = "v3plus"
    c.model.width = 32
    c.model.decoder_width = 128
    c.model.pretrained = ""
    c.model.dtype = "float32"
    c.weights.warmup = 0.2
    c.optimizer.name = "adamw"
    c.train.steps = 600
    c.train.log_every = 10
    c.train.picture_every = 200
    c.checkpoint.every = 100
    c.evaluation.every = 200
    c.evaluation.batch_size = 32
    return c


def small_pretrained() -> ConfigDict:
    """`small`, from the ImageNet weights of a package; strong views are of other stains (docs/results/benchmark.md)."""
    c = small()
    c.model.backbone = "efficientnet_lite0"
    c.model.pretrained = "package:efficientnet_lite0"
    c.data.side = 128
    c.strong_view.brightness = 0.3
    c.strong_view.contrast = 0.3
    c.strong_view.saturation = 0.3
    c.strong_view.hue = 0.05
    c.strong_view.stain = 0.2
    c.train.steps = 900
    c.train.picture_every = 300
    return c


def tiny() -> ConfigDict:
    """`small`, for grids of many runs on two CPU cores: crops of two thirds the side, fewer steps."""
    c = small()
    c.data.side = 64
    c.contrastive.negatives = 512  # half of all cells, as in `small`
    c.cdcl.negatives = 256
    c.train.steps = 240
    c.train.picture_every = 240
    c.checkpoint.every = 60
    c.checkpoint.keep = 1
    c.evaluation.every = 120
    return c
