"""Writes deeplab.npz: features and logits of an independent plain PyTorch model.

    python tests/golden/generate.py

Layer names of the backbone are torchvision's; the weights come from `random_weights`, so that only names, shapes and
outputs are stored.
Needs the development extra (PyTorch).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from random_weights import random_images, random_tensor
from torch import nn

# name: backbone, width, decoder, output stride, side of the images. An odd side shows every padding that is off by
# one; the longer ones let the pyramid's dilated windows reach more than their centre.
CASES = {
    "resnet18_v3_16": ("resnet18", 64, "v3", 16, 49),
    "resnet18_v3_8": ("resnet18", 64, "v3", 8, 113),
    "resnet50_v3_8": ("resnet50", 16, "v3", 8, 113),
    "resnet50_v3plus_16": ("resnet50", 16, "v3plus", 16, 145),
}
LAYERS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
NUM_CLASSES, IMAGES, SEED = 5, 2, 7


def conv(inputs, outputs, size=1, stride=1, dilation=1):
    return nn.Conv2d(inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, planes, stride, first_dilation, dilation):
        super().__init__()
        self.conv1 = conv(inputs, planes, 3, stride, first_dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, 1, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inputs != planes:
            self.downsample = nn.Sequential(conv(inputs, planes, 1, stride), nn.BatchNorm2d(planes))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, planes, stride, first_dilation, dilation):
        super().__init__()
        self.conv1 = conv(inputs, planes)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, stride, first_dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = conv(planes, 4 * planes)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride != 1 or inputs != 4 * planes:
            self.downsample = nn.Sequential(conv(inputs, 4 * planes, 1, stride), nn.BatchNorm2d(4 * planes))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, name, width, output_stride):
        super().__init__()
        block = BasicBlock if name in ("resnet18", "resnet34") else Bottleneck
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs, dilation = width, 1
        replace_stride = {16: (False, False, False, True), 8: (False, False, True, True)}[output_stride]
        for stage in range(4):
            planes, stride, previous = width * 2**stage, 2 if stage else 1, dilation
            if replace_stride[stage]:
                dilation, stride = dilation * stride, 1
            blocks = [block(inputs, planes, stride, previous, dilation)]
            inputs = planes * block.expansion
            blocks += [block(inputs, planes, 1, dilation, dilation) for _ in range(LAYERS[name][stage] - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.low_channels, self.high_channels = width * block.expansion, inputs

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        low = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(low)))


class Unit(nn.Sequential):
    def __init__(self, inputs, outputs, size=1, dilation=1):
        super().__init__()
        self.conv = conv(inputs, outputs, size, 1, dilation)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Pyramid(nn.Module):
    def __init__(self, inputs, outputs, rates):
        super().__init__()
        self.pointwise = Unit(inputs, outputs)
        self.rates = rates
        for rate in rates:
            setattr(self, f"atrous_{rate}", Unit(inputs, outputs, 3, rate))
        self.image_pooling = Unit(inputs, outputs)
        self.project = Unit(5 * outputs, outputs)

    def forward(self, x):
        pooled = self.image_pooling(F.adaptive_avg_pool2d(x, 1))
        pooled = F.interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=False)
        atrous = [getattr(self, f"atrous_{rate}")(x) for rate in self.rates]
        return self.project(torch.cat([self.pointwise(x), *atrous, pooled], 1))


class Decoder(nn.Module):
    def __init__(self, kind, low_channels, high_channels, width, output_stride):
        super().__init__()
        self.kind, features = kind, 4 * width
        self.pyramid = Pyramid(high_channels, features, {16: (6, 12, 18), 8: (12, 24, 36)}[output_stride])
        if kind == "v3plus":
            self.low_level = Unit(low_channels, 48 * width // 64)
            self.fuse = Unit(features + 48 * width // 64, features, 3)
        self.refine = Unit(features, features, 3)

    def forward(self, low, high):
        x = self.pyramid(high)
        if self.kind == "v3plus":
            x = F.interpolate(x, low.shape[2:], mode="bilinear", align_corners=False)
            x = self.fuse(torch.cat([x, self.low_level(low)], 1))
        return self.refine(x)


class DeepLab(nn.Module):
    def __init__(self, backbone, width, decoder, output_stride):
        super().__init__()
        self.backbone = ResNet(backbone, width, output_stride)
        channels = self.backbone.low_channels, self.backbone.high_channels
        self.decoder = Decoder(decoder, *channels, width, output_stride)
        self.classifier = nn.Conv2d(4 * width, NUM_CLASSES, 1)

    def forward(self, images):
        low, high = self.backbone(images)
        features = self.decoder(low, high)
        logits = F.interpolate(self.classifier(features), images.shape[2:], mode="bilinear", align_corners=False)
        return high, features, logits


def main():
    arrays = {}
    for case, (*settings, side) in CASES.items():
        images = torch.from_numpy(random_images(SEED, IMAGES, side)).permute(0, 3, 1, 2)
        model = DeepLab(*settings).eval()
        state = model.state_dict()
        for name, tensor in state.items():
            if not name.endswith("num_batches_tracked"):
                state[name] = torch.from_numpy(random_tensor(name, tuple(tensor.shape), SEED))
        model.load_state_dict(state)
        with torch.no_grad():
            high, features, logits = (output.permute(0, 2, 3, 1).numpy() for output in model(images))
        shapes = [f"{name} {' '.join(map(str, tensor.shape))}" for name, tensor in state.items()]
        arrays[f"{case}/state"] = np.array(shapes)
        # A part of each is enough to see any fault, and small enough to keep.
        outputs = {"high": high[..., ::8], "features": features[..., ::4], "logits": logits[:1, ::3, ::3]}
        for name, output in outputs.items():
            arrays[f"{case}/{name}"] = output
            print(case, name, output.shape, f"mean magnitude {np.abs(output).mean():.3f}")
    np.savez_compressed(Path(__file__).with_name("deeplab.npz"), **arrays)


if __name__ == "__main__":
    main()
