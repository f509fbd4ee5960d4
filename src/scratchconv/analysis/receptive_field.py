"""The first layer as images: what each unit weighs at every pixel, and which units to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchconv.analysis.mass import checked_image
from scratchconv.errors import InvalidArgument
from scratchconv.nn import LocallyConnected2d


def receptive_fields(
    layer: nn.Module,
    image: tuple[int, int, int],
    units: Tensor | Sequence[int] | None = None,
) -> Tensor:
    """The weights of a first layer as if it were fully connected: (units, c, h, w).

    A row of a Linear is reshaped; the filter of a Conv2d or LocallyConnected2d is placed where
    the unit looks, for every output position, units in the order of the flattened
    (channel, row, column) output. What falls on the zero padding is left out.

    `units` picks units by index, or by a mask of all of them, and builds only those: a
    convolution's dense view is otherwise out·rows·columns whole images. The result is new memory on
    the layer's device, in its dtype, without gradient.

    Raises InvalidArgument if the layer is of another kind or does not read such an image.
    """
    shape = checked_image(image)
    if isinstance(layer, nn.Linear):
        return _linear_fields(layer, shape, units)
    if isinstance(layer, LocallyConnected2d):
        return _local_fields(layer, shape, units)
    if isinstance(layer, nn.Conv2d):
        return _convolution_fields(layer, shape, units)
    raise InvalidArgument(
        f"receptive fields of a {type(layer).__name__} are not defined: "
        "choose a Linear, Conv2d or LocallyConnected2d that reads the image"
    )


@dataclass(frozen=True)
class FilterSelection:
    """Which units to draw, and how far they can be called typical.

    units: int64, ascending, at most as many as were asked for.
    qualified: how many units of the whole layer have `minimum_nonzeros` or more.
    filled: how many of the chosen have fewer; say so in the caption if it is not 0.
    """

    units: Tensor
    qualified: int
    filled: int
    minimum_nonzeros: int


def select_filters(
    fields: Tensor, count: int, minimum_nonzeros: int = 20, seed: int = 0
) -> FilterSelection:
    """`count` of the units that have at least `minimum_nonzeros` non-zeros, drawn from `seed`.

    Neyshabur 2020, Fig 4, draws random filters among those with 20 or more. If there are fewer
    than `count`, all of them are taken and the places left are filled with the units next in
    number of non-zeros, most first, the lower index on ties; dead units are never chosen, so
    that the result can be shorter than `count`. `fields` is (units, c, h, w) or (units, c·h·w).
    """
    if count < 1 or minimum_nonzeros < 1:
        raise InvalidArgument(
            f"count is {count} and minimum_nonzeros {minimum_nonzeros}: both must be at least 1"
        )
    nonzeros = (fields.detach().flatten(1) != 0).sum(dim=1).cpu()
    qualified = (nonzeros >= minimum_nonzeros).nonzero().flatten()
    order = torch.randperm(len(qualified), generator=torch.Generator().manual_seed(seed))
    drawn = qualified[order[:count]]
    others = nonzeros.where(nonzeros < minimum_nonzeros, 0)
    ranked = others.argsort(descending=True, stable=True)[: int((others > 0).sum())]
    filled = ranked[: count - len(drawn)]
    return FilterSelection(
        units=torch.cat([drawn, filled]).sort().values,
        qualified=len(qualified),
        filled=len(filled),
        minimum_nonzeros=minimum_nonzeros,
    )


def _linear_fields(
    layer: nn.Linear, image: tuple[int, int, int], units: Tensor | Sequence[int] | None
) -> Tensor:
    channels, height, width = image
    if layer.in_features != channels * height * width:
        raise InvalidArgument(
            f"Linear reads {layer.in_features} inputs, but image {image} has "
            f"{channels * height * width}: pass the image the network was built for"
        )
    weight = layer.weight.detach()
    return weight[_chosen(units, len(weight), weight.device)].view(-1, *image)


def _local_fields(
    layer: LocallyConnected2d, image: tuple[int, int, int], units: Tensor | Sequence[int] | None
) -> Tensor:
    if (layer.in_channels, *layer.image_size) != image:
        raise InvalidArgument(
            f"LocallyConnected2d reads images {(layer.in_channels, *layer.image_size)}, "
            f"not {image}: pass the image the network was built for"
        )
    weight = layer.weight.detach()
    rows, columns = layer.output_size
    chosen = _chosen(units, layer.out_channels * rows * columns, weight.device)
    channel, row, column = _unravel(chosen, rows, columns)
    return _placed(
        weight[row, column, channel],
        torch.arange(layer.in_channels, device=weight.device).expand(len(chosen), -1),
        row * layer.stride[0] - layer.padding[0],
        column * layer.stride[1] - layer.padding[1],
        (1, 1),
        image,
    )


def _convolution_fields(
    layer: nn.Conv2d, image: tuple[int, int, int], units: Tensor | Sequence[int] | None
) -> Tensor:
    if layer.in_channels != image[0]:
        raise InvalidArgument(
            f"Conv2d reads {layer.in_channels} channels, but image {image} has {image[0]}"
        )
    if layer.padding_mode != "zeros":
        raise InvalidArgument(
            f"Conv2d pads with {layer.padding_mode!r}: receptive fields need padding_mode='zeros'"
        )
    before, output = zip(*(_extent(layer, axis, image[axis + 1]) for axis in (0, 1)), strict=True)
    if min(output) < 1:
        raise InvalidArgument(f"Conv2d with kernel {layer.kernel_size} does not fit image {image}")
    weight = layer.weight.detach()
    chosen = _chosen(units, layer.out_channels * output[0] * output[1], weight.device)
    channel, row, column = _unravel(chosen, *output)
    read = weight.shape[1]
    group = channel // (layer.out_channels // layer.groups)
    return _placed(
        weight[channel],
        group[:, None] * read + torch.arange(read, device=weight.device),
        row * layer.stride[0] - before[0],
        column * layer.stride[1] - before[1],
        (layer.dilation[0], layer.dilation[1]),
        image,
    )


def _extent(layer: nn.Conv2d, axis: int, side: int) -> tuple[int, int]:
    """Zeros padded before the image and positions of the output, along one axis."""
    reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
    if layer.padding == "same":  # PyTorch puts the odd zero behind the image
        return reach // 2, side
    before = 0 if isinstance(layer.padding, str) else layer.padding[axis]
    return before, (side + 2 * before - reach - 1) // layer.stride[axis] + 1


def _placed(
    filters: Tensor,
    channels: Tensor,
    top: Tensor,
    left: Tensor,
    dilation: tuple[int, int],
    image: tuple[int, int, int],
) -> Tensor:
    """Each of filters (units, read, kh, kw) at its place in an image of zeros.

    `channels` (units, read) are the image channels read; `top` and `left` (units,) may be
    negative: what lies outside the image is cut off.
    """
    device = filters.device
    rows = top[:, None] + torch.arange(filters.shape[2], device=device) * dilation[0]
    columns = left[:, None] + torch.arange(filters.shape[3], device=device) * dilation[1]
    inside = ((rows >= 0) & (rows < image[1]))[:, None, :, None]
    inside = inside & ((columns >= 0) & (columns < image[2]))[:, None, None, :]
    unit = torch.arange(len(filters), device=device)[:, None, None, None]
    inside = inside.expand(filters.shape)
    index = (unit, channels[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :])
    fields = filters.new_zeros(len(filters), *image)
    fields[tuple(axis.expand(filters.shape)[inside] for axis in index)] = filters[inside]
    return fields


def _chosen(units: Tensor | Sequence[int] | None, total: int, device: torch.device) -> Tensor:
    if units is None:
        return torch.arange(total, device=device)
    given = torch.as_tensor(units, device=device).flatten()
    if given.dtype == torch.bool:
        if len(given) != total:
            raise InvalidArgument(f"units is a mask of {len(given)}: there are {total} units")
        return given.nonzero().flatten()
    chosen = given.to(torch.int64)
    if bool(((chosen < 0) | (chosen >= total)).any()):
        raise InvalidArgument(f"units {chosen.tolist()} must lie in 0…{total - 1}")
    return chosen


def _unravel(units: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """(channel, row, column) of units in the order of a flattened (channels, rows, columns)."""
    return units // (rows * columns), units // columns % rows, units % columns
