"""Every setting, with its default, unit and source, in one place.

A config file holds differences from `default()` only. Defaults follow the paper's text (Bashir et al. 2023,
arXiv 2301.13141) where it speaks and its authors' release where the paper is silent; the comment says which.
"""

from ml_collections import ConfigDict


def default() -> ConfigDict:
    """Returns the locked default settings: an unknown key is an error, not a new key."""
    c = ConfigDict()
    c.method = "crcfp"  # a name of crcfp_jax.methods.definition
    c.fraction = "1/8"  # share of the training units whose labels are used
    c.seed = 1  # of the split, the initial weights, the data order and every random draw

    c.data = ConfigDict()
    c.data.name = "bcss"  # a name of data_pipelines.build
    c.data.dir = "data"  # folder that holds the built data sets
    c.data.split_unit = "default"  # monuseg only: 'crop' (= default) or 'image'
    c.data.side = 320  # pixels; side of a training crop and of an evaluation window (paper)
    c.data.microns_per_pixel = 0.0  # of the network's pixels at scale 1; 0: base_size says it
    c.data.base_size = 400  # pixels; long side of a tile at scale 1 (release); for data sets of tiles of one extent
    c.data.labelled_scale = (0.5, 2.0)  # uniform factor on that scale (release)
    c.data.unlabelled_scale = (0.8, 2.0)  # likewise, for the image that both crops are cut from (release)
    c.data.overlap = (0.1, 1.0)  # of the two crops, least and greatest (paper): intersection over union (release)
    c.data.whole_view_scale = 0.8  # factor at which a window of the whole image is seen (release: 320 / 400)
    c.data.flips = "both"  # 'both', horizontal and vertical (paper), or 'horizontal' (release)
    c.data.threads = 16  # decoding threads
    c.data.prefetch = 64  # decoded examples held ready

    c.augment = ConfigDict()  # strengths and probabilities of the release; on labelled crops too (paper)
    c.augment.labelled = True
    c.augment.brightness = 0.4
    c.augment.contrast = 0.4
    c.augment.saturation = 0.4
    c.augment.hue = 0.1
    c.augment.jitter_probability = 0.8
    c.augment.grey_probability = 0.2
    c.augment.blur_probability = 0.5

    c.model = ConfigDict()
    c.model.backbone = "resnet50"  # resnet18, resnet34, resnet50 (paper), resnet101 (paper, Table 3)
    c.model.decoder = "v3"  # v3 (paper) or v3plus (release)
    c.model.output_stride = 16  # release; 8 doubles time and memory and shows finer detail with v3
    c.model.width = 64  # channels of the stem; below 64 every layer shrinks in proportion (small machines)
    c.model.projection_dim = 128  # channels of the projector's output (paper)
    c.model.projection_hidden = 0  # channels between its two layers; 0: as many as projection_dim (paper)
    c.model.normalisation = "batch"  # 'batch' or 'group'
    c.model.momentum = 0.9  # share of the old running statistics that an update keeps
    c.model.statistics = "per_stream"  # 'per_stream' or 'joint': what a training batch is normalised by
    c.model.running_streams = "all"  # 'all' or 'labelled': streams that feed the running statistics
    c.model.inference_statistics = "running"  # 'running' or 'recalibrated' on training images
    c.model.recalibration_images = 256  # crops averaged over for 'recalibrated'
    c.model.pretrained = "timm/resnet50.tv_in1k"  # safetensors file, hub name, or '' for random weights
    c.model.rematerialise = False  # compute the backbone's activations again for the gradient: less memory, more time
    c.model.dtype = "bfloat16"  # of activations; parameters, losses and statistics stay float32

    c.weights = ConfigDict()  # a method uses the terms it has (paper)
    c.weights.supervised = 1.0
    c.weights.contrastive = 0.1
    c.weights.cross_consistency = 0.01
    c.weights.entropy = 0.01
    c.weights.warmup = 0.0625  # share of the steps that are supervised only: 5 of 80 epochs (paper)

    c.contrastive = ConfigDict()
    c.contrastive.threshold = 0.75  # confidence that lets a pair count (paper: lambda)
    c.contrastive.filter = "paper"  # 'paper' (Eq. 6-7: the anchor is confident) or 'release' (its positive is)
    c.contrastive.temperature = 0.1  # paper: tau
    c.contrastive.negatives = 1200  # features pushed into the bank a step, half from each view (paper; docs/methods.md)
    c.contrastive.bank_steps = 2  # steps that the bank remembers, this one included
    c.contrastive.chunk = 256  # negatives compared at a time: bounds memory, changes no value

    c.cross_consistency = ConfigDict()
    c.cross_consistency.perturbations = ("feature_noise", "feature_dropout", "dropout")
    c.cross_consistency.classifiers = 4  # auxiliary classifiers per perturbation (paper: K)
    c.cross_consistency.threshold = 0.0  # 0: every pixel (paper); 0.75: confident targets only (release)

    c.cct = ConfigDict()  # cross-consistency training; numbers of its release (Ouali et al. 2020)
    c.cct.weight = 30.0
    c.cct.ramp_up = 0.1  # share of the steps, after the supervised beginning, until the weight is reached
    c.cct.perturbations = (
        "feature_noise", "feature_dropout_max", "spatial_dropout", "guided_cutout", "context_masking",
        "object_masking", "vat",
    )  # fmt: skip
    c.cct.classifiers = (6, 6, 6, 6, 2, 2, 2)  # auxiliary classifiers of each

    c.cdcl = ConfigDict()  # cross-patch dense contrast (Wu et al. 2022); they published no numbers: these are ours
    c.cdcl.cross_patch = 0.1  # weight of the contrast; its temperature and bank are those of config.contrastive
    c.cdcl.teacher_consistency = 1.0  # weight of the squared error between student and teacher
    c.cdcl.entropy = 0.01  # weight
    c.cdcl.ramp_up = 0.1  # share of the steps, after the supervised beginning, until the weights are reached
    c.cdcl.teacher_decay = 0.99  # share of its old parameters that the teacher keeps at a step
    c.cdcl.patch = 2  # cells of the context stride along a patch's side
    c.cdcl.negatives = 600  # features pushed into the bank a step; at most all cells of the unlabelled batch
    c.cdcl.clear = 0.75  # share of a patch's cells with the same pseudo-label that makes it clearly of that class

    c.optimizer = ConfigDict()
    c.optimizer.name = "sgd"  # 'sgd' (paper) or 'adamw'
    c.optimizer.learning_rate = 0.001  # paper
    c.optimizer.head_multiplier = 1.0  # learning rate of all but the backbone, in multiples: one for all (paper)
    c.optimizer.momentum = 0.9  # release; for AdamW its first moment's
    c.optimizer.weight_decay = 1e-4  # release: on every parameter with SGD; on kernels alone with AdamW
    c.optimizer.poly_power = 0.9  # paper

    c.train = ConfigDict()
    c.train.steps = 8000  # 80 epochs (paper) of 100 iterations (release)
    c.train.batch_size = 8  # labelled crops a step, over all devices (paper)
    c.train.unlabelled_batch_size = 8  # unlabelled images a step, over all devices (paper)
    c.train.log_every = 20  # steps between lines of metrics.jsonl
    c.train.picture_every = 1000  # steps between pictures of predictions
    c.train.parallel = "shard_map"  # 'shard_map' or 'pmap': the same step, the same result

    c.checkpoint = ConfigDict()
    c.checkpoint.every = 500  # steps
    c.checkpoint.keep = 2  # newest checkpoints kept, beside the best one

    c.evaluation = ConfigDict()
    c.evaluation.selection = "last"  # 'last' or 'best_validation' (a validation split is then carved out of training)
    c.evaluation.every = 1000  # steps between evaluations on the validation split, where there is one
    c.evaluation.batch_size = 8  # windows a device call
    return c.lock()


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
    c.optimizer.head_multiplier = 10.0
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
