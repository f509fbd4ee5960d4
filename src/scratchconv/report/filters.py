"""First-layer filters as pictures: which units are shown, and how a weight becomes a colour."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.image import imsave
from numpy.typing import NDArray
from torch import Tensor, nn

from scratchconv import analysis, data, models, training
from scratchconv.analysis import FilterSelection
from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.report.record import Record
from scratchconv.report.wording import finite, grouped, plural

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Filters:
    """The first layer of a run, every unit in its true place: `fields` is (units, c, h, w).

    `kernels` says that the units are a convolution's kernels, the same at every position.
    """

    fields: Tensor
    kernels: bool


@dataclass(frozen=True)
class Panel:
    """Some units of one run as pictures (h, w, 3), with the words that say which they are."""

    tiles: tuple[Picture, ...]
    caption: str
    columns: int


def load_filters(record: Record) -> Filters:
    """Read the newest checkpoint's first layer, its columns put back where the inputs truly lie.

    Raises RunDirectoryError, in one line, where there is no checkpoint or none that fits.
    """
    weights = training.load_weights(record.directory)
    try:
        with torch.device("meta"):  # no memory and no time for weights that are replaced at once
            model = _network(record)
        model.load_state_dict(weights, assign=True)
    except (InvalidArgument, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise RunDirectoryError(
            f"the checkpoint of {record.directory} does not fit {record.model} ({reason})"
        ) from error
    layer = model.first_layer
    if not all(bool(tensor.isfinite().all()) for tensor in layer.parameters()):
        raise RunDirectoryError(
            f"the first layer of {record.directory} holds NaN or infinite weights: "
            "it cannot be drawn"
        )
    if isinstance(layer, nn.Conv2d):
        return Filters(layer.weight.detach().float(), kernels=True)
    fields = analysis.receptive_fields(layer, model.image).float()
    seed = record.permutation_seed
    if seed is not None:
        permutation = data.pixel_permutation(model.image, seed)
        placed = torch.empty_like(fields).flatten(2)
        placed[:, :, permutation] = fields.flatten(2)  # input position k shows true permutation[k]
        fields = placed.view_as(fields)
    return Filters(fields, kernels=False)


def _network(record: Record) -> models.Network:
    alpha, classes = record.setting("alpha"), record.resolved.get("classes")
    if record.image is None or not isinstance(alpha, int) or not isinstance(classes, int):
        raise RunDirectoryError(
            f"{record.directory}/config.json does not record the image, alpha and classes it used"
        )
    return models.build(
        record.model,
        image=record.image,
        classes=max(1, classes),  # a regression has no classes and one output
        alpha=alpha,
        dropout=finite(record.config.get("dropout")) or 0.0,
        kernel_size=record.config.get("kernel_size") or 3,
    )


def _selection_in_words(selection: FilterSelection) -> str:
    chosen, enough = len(selection.units), selection.qualified
    threshold = f"at least {selection.minimum_nonzeros} non-zero weights"
    units = plural(chosen, "unit")
    if chosen == 0:
        return "no unit has a weight left"
    if selection.filled:
        return f"the {units} with the most non-zero weights; only {enough} with {threshold}"
    if enough == chosen:
        return f"all there are with {threshold}: {units}"
    return f"{units} drawn at random from the {grouped(enough)} with {threshold}"


def panel(filters: Filters, count: int) -> Panel:
    """Draw up to `count` units; inputs without height become rows of one picture.

    Units are chosen as in Neyshabur 2020, Fig. 4: a random sample of those with at least 20
    non-zero weights; where there are too few, those with the most, and the caption says so.
    """
    fields = filters.fields
    _, channels, height, _ = fields.shape
    if height == 1:
        return _matrix_panel(fields, count)
    if filters.kernels:
        units = torch.arange(min(count, len(fields)))
        side = "×".join(str(length) for length in fields.shape[2:])
        which = "all" if len(units) == len(fields) else "the first"
        caption = f"{which} {len(units)} of its {side} kernels, the same at every position"
    else:
        selection = analysis.select_filters(fields, count)
        units, caption = selection.units, _selection_in_words(selection)
    if channels not in (1, 3):
        caption += f"; of {channels} channels, the weight of largest magnitude"
    # A layer without any weight left is shown as what it is: one filter of zeros.
    tiles = tuple(colours(field) for field in (fields[units] if len(units) else fields[:1]))
    return Panel(tiles, caption, columns=math.ceil(math.sqrt(len(tiles))))


def _matrix_panel(fields: Tensor, count: int) -> Panel:
    selection = analysis.select_filters(fields, 2 * count)
    units, caption = selection.units, _selection_in_words(selection)
    rows = fields.flatten(1)[units if len(units) else slice(1)]
    scale = rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    picture = _diverging((rows / scale).numpy())
    return Panel((picture,), f"one row a unit, one column an input: {caption}", columns=1)


def colours(field: Tensor) -> Picture:
    """One filter (c, h, w) as (h, w, 3) bytes, scaled by its own largest magnitude.

    Three channels: mid-grey (128) is zero, and each channel brightens or darkens its own colour.
    Otherwise: white is zero, red positive, blue negative; of two channels or more than three, the
    weight of largest magnitude at each position counts.
    """
    largest = field.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    scaled = (field / largest).numpy()
    if len(scaled) == 3:
        coloured: Picture = np.rint(128 + 127 * scaled.transpose(1, 2, 0)).astype(np.uint8)
        return coloured
    strongest = np.abs(scaled).argmax(0)[None]
    return _diverging(np.take_along_axis(scaled, strongest, 0)[0])


def _diverging(values: NDArray[np.float32]) -> Picture:
    """[-1, 1] to blue, white, red; exactly zero is the middle of the map."""
    mapped = colormaps["RdBu_r"]((values + 1) / 2, bytes=True)
    return np.asarray(mapped[..., :3], dtype=np.uint8)


def mosaic(tiles: Sequence[Picture], columns: int, *, scale: int, gap: int) -> Picture:
    """The pictures side by side as (height, width, 4) bytes, enlarged; the gaps are transparent."""
    height, width, _ = tiles[0].shape
    rows = math.ceil(len(tiles) / columns)
    tall, wide = height * scale + gap, width * scale + gap
    canvas = np.zeros((rows * tall - gap, columns * wide - gap, 4), dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * tall, index % columns * wide
        enlarged = tile.repeat(scale, axis=0).repeat(scale, axis=1)
        canvas[top : top + height * scale, left : left + width * scale, :3] = enlarged
        canvas[top : top + height * scale, left : left + width * scale, 3] = 255
    return canvas


def png(picture: Picture) -> bytes:
    """The picture as a PNG file, pixel for pixel."""
    buffer = io.BytesIO()
    imsave(buffer, picture, format="png")
    return buffer.getvalue()
