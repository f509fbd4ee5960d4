"""Images on a larger canvas, for what goes between images of one shape only."""

from __future__ import annotations

from torch.nn.functional import pad

from scratchconv.data.dataset import Split
from scratchconv.errors import InvalidArgument


def on_canvas(split: Split, image: tuple[int, int, int]) -> Split:
    """Every image in the middle of a black canvas of (channels, height, width).

    Grey images are repeated over the channels. Where what is left does not halve, the image lies a
    pixel nearer to the top or the left. Raises InvalidArgument for a canvas that is smaller than
    the images, or has other channels than their several.
    """
    channels, height, width = split.inputs.shape[1:]
    if channels not in (1, image[0]) or height > image[1] or width > image[2]:
        raise InvalidArgument(
            f"images of {channels}×{height}×{width} do not fit on a canvas of"
            f" {'×'.join(map(str, image))}: take one that is as large at least, and has as many"
            " channels"
        )
    above, left = (image[1] - height) // 2, (image[2] - width) // 2
    margins = (left, image[2] - width - left, above, image[1] - height - above)
    on_it = pad(split.inputs, margins).expand(-1, image[0], -1, -1).contiguous()
    return Split(on_it, split.targets)
