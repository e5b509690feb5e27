"""The training step of CRCFP in plain PyTorch, to compare the JAX step's time with.

    python benchmarks/pytorch_step.py --side 160 --batch 2 --steps 5

ResNet-50, DeepLab v3+ decoder, output stride 16, projector of 128, 4 auxiliary classifiers for each of three
perturbations; labelled crops, whole view and two crops; all four losses, SGD with momentum. Input is random and already
on the device: decoding, augmentation and the transfer are left out. The contrastive loss takes every cell of both crops
and masks afterwards, so that the work does not depend on what an untrained network is sure of.

Prints a line per configuration: least and median seconds of a step, and on a GPU the peak memory. Needs PyTorch alone.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

CONTEXT_STRIDE = 8  # pixels: features at stride 4, averaged over 2 x 2
WEIGHTS = {"supervised": 1.0, "contrastive": 0.1, "cross_consistency": 0.01, "entropy": 0.01}
THRESHOLD, TEMPERATURE, NEGATIVES, BANK_STEPS = 0.75, 0.1, 1200, 2


def unit(inputs, outputs, size=1, stride=1, dilation=1, activation=True):
    """Convolution, batch normalisation, ReLU."""
    padding = dilation * (size // 2)
    layers = [nn.Conv2d(inputs, outputs, size, stride, padding, dilation, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activation else []))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride, dilation):
        super().__init__()
        self.layers = nn.Sequential(
            unit(inputs, width), unit(width, width, 3, stride, dilation), unit(width, 4 * width, activation=False)
        )
        same = inputs == 4 * width and stride == 1
        self.shortcut = nn.Identity() if same else unit(inputs, 4 * width, stride=stride, activation=False)

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """Returns the features at stride 4 (256 channels) and at stride 16 (2048 channels)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
        stages, inputs = [], 64
        # The last stage keeps stride 16; its blocks after the first are dilated, as torchvision does it.
        for width, blocks, stride, dilation in ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 2, 1), (512, 3, 1, 2)):
            layers = []
            for index in range(blocks):
                first = index == 0
                layers.append(Bottleneck(inputs, width, stride if first else 1, 1 if first else dilation))
                inputs = 4 * width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)

    def forward(self, x):
        low = self.stages[0](self.stem(x))
        high = low
        for stage in self.stages[1:]:
            high = stage(high)
        return low, high


class Decoder(nn.Module):
    """Atrous spatial pyramid pooling and the v3+ decoder: 256 features at stride 4."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(
            [unit(2048, 256), *(unit(2048, 256, 3, dilation=rate) for rate in (6, 12, 18))],
        )
        self.pooling = unit(2048, 256)
        self.project = unit(5 * 256, 256)
        self.low_level = unit(256, 48)
        self.refine = nn.Sequential(unit(256 + 48, 256, 3), unit(256, 256, 3))

    def forward(self, low, high):
        pooled = self.pooling(F.adaptive_avg_pool2d(high, 1)).expand(-1, -1, *high.shape[2:])
        x = self.project(torch.cat([*(branch(high) for branch in self.branches), pooled], dim=1))
        x = F.interpolate(x, low.shape[2:], mode="bilinear", align_corners=False)
        return self.refine(torch.cat([x, self.low_level(low)], dim=1))


def feature_noise(z):
    return z + z * torch.empty_like(z).uniform_(-0.3, 0.3)


def feature_dropout(z):
    attention = z.detach().mean(dim=1, keepdim=True)
    greatest = attention.amax(dim=(2, 3), keepdim=True)
    gamma = torch.empty_like(greatest).uniform_(0.75, 0.9)
    return z * (attention < gamma * greatest)


def dropout(z):
    return F.dropout(z, 0.5)


class Network(nn.Module):
    def __init__(self, classes, auxiliary=4):
        super().__init__()
        self.backbone, self.decoder = ResNet50(), Decoder()
        self.classifier = nn.Conv2d(256, classes, 1)
        self.projector = nn.Sequential(nn.Conv2d(256, 128, 1), nn.ReLU(inplace=True), nn.Conv2d(128, 128, 1))
        self.perturbations = [p for p in (feature_noise, feature_dropout, dropout) for _ in range(auxiliary)]
        self.auxiliary = nn.ModuleList(nn.Conv2d(256, classes, 1) for _ in self.perturbations)

    def encode(self, images):
        return self.decoder(*self.backbone(images))


def align(other, offset, flip):
    """Brings [u, h, w, ...] of the other view onto this one's grid; returns it and the places that both show."""
    height, width = other.shape[1:3]
    rows = torch.arange(height, device=other.device)[None] - offset[:, :1]
    columns = torch.arange(width, device=other.device)[None]
    columns = torch.where(flip[:, :1], width - 1 - columns, columns) - offset[:, 1:]
    valid = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    columns = torch.where(flip[:, 1:], width - 1 - columns, columns).clamp(0, width - 1)[:, None, :]
    images = torch.arange(len(other), device=other.device)[:, None, None]
    return other[images, rows.clamp(0, height - 1)[:, :, None], columns], valid


def masked_mean(values, mask):
    return (values * mask).sum() / mask.sum().clamp(min=1)


def sample(features, labels, count):
    """Picks `count` cells of each image at random."""
    images, cells = len(labels), labels[0].numel()
    chosen = torch.rand(images, cells, device=labels.device).argsort(dim=1)[:, :count]
    vectors = features.reshape(images, cells, -1).gather(1, chosen[..., None].expand(-1, -1, features.shape[-1]))
    return vectors.flatten(0, 1), labels.reshape(images, cells).gather(1, chosen).flatten()


def contrast(anchor, positive, anchor_label, bank, bank_labels):
    own = (anchor * positive).sum(dim=1, keepdim=True) / TEMPERATURE
    scores = anchor @ bank.T / TEMPERATURE
    counts = (anchor_label[:, None] != bank_labels) & (bank_labels >= 0)
    scores = torch.cat([own, scores.masked_fill(~counts, float("-inf"))], dim=1)
    return torch.logsumexp(scores, dim=1) - own[:, 0]


def contrastive(network, views, offset, flip, bank, bank_labels):
    """Returns the loss of both directions, and the bank after this step's negatives have replaced the oldest."""
    projected, confidences, labels = [], [], []
    for view in views:
        context = F.avg_pool2d(view, CONTEXT_STRIDE // 4)
        projected.append(F.normalize(network.projector(context).float(), dim=1).permute(0, 2, 3, 1))
        with torch.no_grad():
            confidence, label = network.classifier(context).float().softmax(dim=1).max(dim=1)
        confidences.append(confidence)
        labels.append(label)
    with torch.no_grad():
        count = NEGATIVES // (2 * len(offset))
        new = [sample(p, label, count) for p, label in zip(projected, labels, strict=True)]
        pushed = 2 * len(offset) * count
        bank = torch.cat([*(features for features, _ in new), bank[:-pushed]])
        bank_labels = torch.cat([*(label for _, label in new), bank_labels[:-pushed]])
    loss = 0
    for mine, (shift, flips) in enumerate(((offset, flip), (-offset, flip.flip(1)))):
        positive, valid = align(projected[1 - mine].detach(), shift, flips)
        positive_confidence, _ = align(confidences[1 - mine], shift, flips)
        mask = valid & (confidences[mine] > THRESHOLD) & (confidences[mine] < positive_confidence)
        values = contrast(
            projected[mine].flatten(0, 2), positive.flatten(0, 2), labels[mine].flatten(), bank, bank_labels
        )
        loss = loss + masked_mean(values, mask.flatten())
    return loss, bank, bank_labels


def total_loss(network, batch, bank, bank_labels, joined):
    """One forward pass of everything: the weighted loss, and the new bank."""
    streams = [batch["image"], batch["unlabelled"], batch["view_a"], batch["view_b"]]
    if joined:
        encoded = network.encode(torch.cat(streams)).split([len(stream) for stream in streams])
    else:
        encoded = [network.encode(stream) for stream in streams]
    labelled, whole, *views = encoded

    logits = network.classifier(labelled).float()
    logits = F.interpolate(logits, batch["label"].shape[1:], mode="bilinear", align_corners=False)
    losses = {"supervised": F.cross_entropy(logits, batch["label"], ignore_index=255)}

    log_probabilities = network.classifier(whole).float().log_softmax(dim=1)
    losses["entropy"] = -(log_probabilities.exp() * log_probabilities).sum(dim=1).mean()

    target = log_probabilities.detach().exp()
    errors = [
        F.mse_loss(classifier(perturb(whole)).float().softmax(dim=1), target)
        for perturb, classifier in zip(network.perturbations, network.auxiliary, strict=True)
    ]
    losses["cross_consistency"] = torch.stack(errors).mean()

    losses["contrastive"], bank, bank_labels = contrastive(
        network, views, batch["offset"], batch["flip"], bank, bank_labels
    )
    return sum(WEIGHTS[name] * loss for name, loss in losses.items()), bank, bank_labels


def random_batch(options, device, memory_format):
    """Normalised images, labels and overlaps, as they come to the step after augmentation."""
    count, side = options.batch, options.side
    batch = {
        name: torch.randn(count, 3, side, side, device=device).to(memory_format=memory_format)
        for name in ("image", "unlabelled", "view_a", "view_b")
    }
    batch["label"] = torch.randint(0, options.classes, (count, side, side), device=device)
    reach = side // CONTEXT_STRIDE // 2
    batch["offset"] = torch.randint(-reach, reach + 1, (count, 2), device=device)
    batch["flip"] = torch.rand(count, 2, device=device) < 0.5
    return batch


def measure(options, channels_last, joined):
    """Times one configuration: returns the seconds of each step, and the peak memory in GiB or None."""
    torch.manual_seed(0)
    device = torch.device(options.device)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    network = Network(options.classes).to(device, memory_format=memory_format).train()
    backbone = list(network.backbone.parameters())
    heads = [p for name, p in network.named_parameters() if not name.startswith("backbone.")]
    groups = [{"params": backbone}, {"params": heads, "lr": 0.01}]
    optimizer = torch.optim.SGD(groups, lr=0.001, momentum=0.9, weight_decay=1e-4)
    batch = random_batch(options, device, memory_format)
    bank = torch.zeros(BANK_STEPS * NEGATIVES, 128, device=device)
    bank_labels = torch.full((len(bank),), -1, device=device)
    loss_function = torch.compile(total_loss) if options.compile else total_loss
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    seconds = []
    for _ in range(options.warmup + options.steps):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            loss, bank, bank_labels = loss_function(network, batch, bank, bank_labels, joined)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss = loss.item()  # waits for the device
        seconds.append(time.perf_counter() - start)
        if loss != loss:
            raise SystemExit("the loss is not a number")
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    return seconds[options.warmup :], peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=160, help="pixels of a crop's side; a multiple of 16")
    parser.add_argument("--batch", type=int, default=2, help="labelled crops, and unlabelled images; at least 2")
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument("--channels_last", dest="layouts", action="store_const", const=[True])
    layout.add_argument("--contiguous", dest="layouts", action="store_const", const=[False])
    layout.add_argument("--both", dest="layouts", action="store_const", const=[True, False], help="the default")
    streams = parser.add_argument_group("streams").add_mutually_exclusive_group()
    streams.add_argument("--joined", action="store_true", help="one pass of all streams, with joint batch statistics")
    streams.add_argument("--separate", action="store_true", help="a pass per stream (both ways are timed otherwise)")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile the forward pass and its gradient")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's choice")
    options = parser.parse_args()
    if options.batch < 2:
        parser.error("--batch must be at least 2: batch statistics of pooled features need two images")
    if NEGATIVES // (2 * options.batch) > (options.side // CONTEXT_STRIDE) ** 2:
        parser.error(f"crops of {options.side} px are too small to draw {NEGATIVES} negatives: raise --side or --batch")
    if options.threads:
        torch.set_num_threads(options.threads)
    device = f"{torch.get_num_threads()} threads"
    if options.device == "cuda":
        device = torch.cuda.get_device_name()
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    print(f"PyTorch {torch.__version__}, {options.device} ({device}), {options.batch} + {options.batch} images", end="")
    print(f" of {options.side} px, {'bf16 autocast' if options.bf16 else 'float32'}{', compiled' * options.compile}")
    for channels_last in options.layouts or [True, False]:
        for joined in (False,) if options.separate else (True,) if options.joined else (False, True):
            seconds, peak = measure(options, channels_last, joined)
            name = f"{'channels_last' if channels_last else 'contiguous'}, {'joined' if joined else 'separate'} streams"
            memory = "" if peak is None else f", peak {peak:.2f} GiB"
            print(
                f"{name}: least {min(seconds):.3f} s, median {statistics.median(seconds):.3f} s a step{memory}",
                flush=True,
            )


if __name__ == "__main__":
    main()
