"""The strides of a convolution on small images."""

from __future__ import annotations


def strides_within(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Vertical and horizontal stride on an image of (height, width): 1 along a side of one pixel.

    The output is the same. But with a longer horizontal stride on an image of one pixel's width,
    oneDNN's bf16 convolution leaves parts of the weight gradient unset (torch 2.13 on the CPU).
    """
    vertical, horizontal = (1 if side == 1 else stride for side in size)
    return vertical, horizontal
