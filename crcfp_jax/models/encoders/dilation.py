"""Stages of a convolutional encoder that are dilated where their strides would go beyond the output stride."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Dilated(NamedTuple):
    """What becomes of a stage's stride."""

    reached_stride: int  # pixels between neighbours behind the stage
    stride: int  # of its first block
    first_dilation: int  # of its first block, which keeps that of the stage before (torchvision, timm)
    dilation: int  # of the other blocks


def dilate(strides: Iterable[int], reached_stride: int, output_stride: int) -> Iterator[Dilated]:
    """The stages in order.

    Args:
        strides: of the stages.
        reached_stride: before the first of them.
        output_stride: that none goes beyond.
    """
    dilation = 1
    for stride in strides:
        first_dilation = dilation
        if reached_stride * stride > output_stride:
            dilation, stride = dilation * stride, 1
        reached_stride *= stride
        yield Dilated(reached_stride, stride, first_dilation, dilation)
