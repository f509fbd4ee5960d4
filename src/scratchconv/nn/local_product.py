"""The matrix products of a locally connected layer, forward and backward.

Every output position has its own filter bank, so the layer is one matrix product per position. On
the CPU the cost lies elsewhere, in gathering the patches: unfolded whole, a batch of 512 CIFAR-10
images under 9×9 windows of stride 2 fills 127 MB of fresh memory, and for 8 output channels writing
that takes five times as long as the product itself. So the batch is laid last, where every copied
row is long and contiguous, and patches are gathered a few output rows at a time into a buffer that
stays in the cache; the backward pass gathers them again rather than keep them. Maps change between
batch first and batch last as matrices: torch transposes those in blocks, but tensors of more
dimensions element by element, four to six times slower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

# Patches gathered at a time. On a CPU they must stay in the cache; elsewhere few launches matter.
_BUFFER_BYTES_CPU = 8 * 2**20
_BUFFER_BYTES_OTHER = 256 * 2**20


@dataclass(frozen=True)
class Windows:
    """Where the windows lie: pairs are (vertical, horizontal), in pixels."""

    image: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @property
    def padded(self) -> tuple[int, int]:
        return self.image[0] + 2 * self.padding[0], self.image[1] + 2 * self.padding[1]

    @property
    def output(self) -> tuple[int, int]:
        rows, columns = (
            (size - kernel) // stride + 1
            for size, kernel, stride in zip(self.padded, self.kernel, self.stride, strict=True)
        )
        return rows, columns

    def interior(self, padded: torch.Tensor) -> torch.Tensor:
        """The image inside `padded` (c, padded height, padded width, n), as a view."""
        (top, left), (height, width) = self.padding, self.image
        return padded[:, top : top + height, left : left + width]

    def pad(self, image: torch.Tensor) -> torch.Tensor:
        """`image` (n, c, h, w) with zeros around it and the batch last."""
        padded = image.new_zeros(image.shape[1], *self.padded, image.shape[0])
        self.interior(padded).copy_(_batch_last(image))
        return padded

    def patches(self, padded: torch.Tensor) -> torch.Tensor:
        """A view of all windows: (output rows, output columns, c, kernel rows, kernel columns, n).

        Window positions come first and the elements of one window follow in the order of a filter:
        a product that mixed the two up would read scattered rows.
        """
        windows = padded.unfold(1, self.kernel[0], self.stride[0])
        windows = windows.unfold(2, self.kernel[1], self.stride[1])
        return windows.permute(1, 2, 0, 4, 5, 3)

    def strips(self, padded: torch.Tensor) -> list[slice]:
        """Output rows to handle together, so that their patches fit the buffer."""
        limit = _BUFFER_BYTES_CPU if padded.device.type == "cpu" else _BUFFER_BYTES_OTHER
        rows, columns = self.output
        channels, batch = padded.shape[0], padded.shape[3]
        row_bytes = columns * channels * math.prod(self.kernel) * batch * padded.element_size()
        height = max(1, min(rows, limit // max(1, row_bytes)))
        return [slice(row, min(row + height, rows)) for row in range(0, rows, height)]


class LocalProduct(torch.autograd.Function):
    """(n, c, h, w) image, (rows, columns, out, c, kh, kw) weight -> (n, out, rows, columns)."""

    @staticmethod
    def forward(
        ctx: Any, image: torch.Tensor, weight: torch.Tensor, windows: Windows
    ) -> torch.Tensor:
        padded = windows.pad(image)
        ctx.save_for_backward(padded, weight)
        ctx.windows = windows
        patches, filters = windows.patches(padded), weight.flatten(3)
        output = image.new_empty(weight.shape[2], *windows.output, image.shape[0])
        strips = windows.strips(padded)
        buffer = _buffer(patches, strips)
        for rows in strips:
            product = torch.bmm(filters[rows].flatten(0, 1), _gather(patches[rows], buffer))
            into = output[:, rows].permute(1, 2, 0, 3)
            into.copy_(product.view(into.shape))
        return _batch_first(output)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        padded, weight = ctx.saved_tensors
        windows: Windows = ctx.windows
        # (rows, columns, out, n), as a view of a channel-major map
        gradient = _batch_last(gradient).permute(1, 2, 0, 3)
        image_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            image_gradient = _image_gradient(gradient, weight, padded, windows)
        if ctx.needs_input_grad[1]:
            weight_gradient = _weight_gradient(gradient, weight, padded, windows)
        return image_gradient, weight_gradient, None


def _batch_last(maps: torch.Tensor) -> torch.Tensor:
    """(n, c, h, w) -> (c, h, w, n), contiguous."""
    return maps.flatten(1).t().contiguous().view(*maps.shape[1:], maps.shape[0])


def _batch_first(maps: torch.Tensor) -> torch.Tensor:
    """(c, h, w, n) -> (n, c, h, w), contiguous."""
    return maps.flatten(0, 2).t().contiguous().view(maps.shape[3], *maps.shape[:3])


def _buffer(patches: torch.Tensor, strips: list[slice]) -> torch.Tensor:
    return patches.new_empty(strips[0].stop, *patches.shape[1:])


def _gather(patches: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
    """Copy the patches of a strip into the buffer: (positions, c·kh·kw, n)."""
    gathered = buffer[: patches.shape[0]].copy_(patches)
    return gathered.flatten(0, 1).flatten(1, 3)


def _weight_gradient(
    gradient: torch.Tensor, weight: torch.Tensor, padded: torch.Tensor, windows: Windows
) -> torch.Tensor:
    patches = windows.patches(padded)
    result = torch.empty_like(weight, memory_format=torch.contiguous_format)
    strips = windows.strips(padded)
    buffer = _buffer(patches, strips)
    for rows in strips:
        gathered = _gather(patches[rows], buffer)
        torch.bmm(
            gradient[rows].flatten(0, 1),
            gathered.transpose(1, 2),
            out=result[rows].flatten(3).flatten(0, 1),  # a view: the result is written in place
        )
    return result


def _image_gradient(
    gradient: torch.Tensor, weight: torch.Tensor, padded: torch.Tensor, windows: Windows
) -> torch.Tensor:
    """Each window's gradient added where the window lies, summed in at least float32."""
    total = torch.zeros_like(padded, dtype=torch.promote_types(padded.dtype, torch.float32))
    (kernel_rows, kernel_columns), (down, right) = windows.kernel, windows.stride
    columns = windows.output[1]
    filters = weight.flatten(3).transpose(2, 3)
    for rows in windows.strips(padded):
        strip = torch.bmm(filters[rows].flatten(0, 1), gradient[rows].flatten(0, 1))
        height = rows.stop - rows.start
        # (c, kernel rows, kernel columns, output rows, output columns, n)
        strip = strip.view(
            height, columns, padded.shape[0], kernel_rows, kernel_columns, padded.shape[3]
        ).permute(2, 3, 4, 0, 1, 5)
        for row in range(kernel_rows):
            top = rows.start * down + row
            for column in range(kernel_columns):
                total[
                    :,
                    top : top + (height - 1) * down + 1 : down,
                    column : column + (columns - 1) * right + 1 : right,
                ] += strip[:, row, column]
    return _batch_first(windows.interior(total).to(padded.dtype))
