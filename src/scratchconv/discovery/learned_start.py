"""Networks that begin with what a trained layer has learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scratchconv.discovery.alignment import SharedFilters
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.neighbourhoods import neighbourhoods
from scratchconv.discovery.networks import Neighbourhoods, Structure


def start_from(
    network: nn.Sequential,
    structure: Structure,
    geometry: Geometry | None,
    learned: NDArray[Any] | None,
    found: SharedFilters | None,
) -> None:
    """Put learned weights into the first layer of a fresh network, in place.

    Dense layers stay random. A sparse one gets the strongest units; a local one, at each position,
    the units that have most of their weights in its window; a shared one the filters, those of most
    units first. Units beyond what was learned stay random, and learned ones are brought to the
    size of random ones, so that all train alike.
    """
    if learned is None or structure.kind == "dense":
        return
    first = network.get_submodule("first")
    weight = first.get_parameter("weight")
    if structure.kind == "sparse":
        order = np.argsort(-np.linalg.norm(learned, axis=1), kind="stable")
        rows = [learned[i] for i in order[: structure.width] if learned[i].any()]
        _fill(weight, rows)
    elif structure.kind == "local" and geometry is not None:
        _fill_positions(weight, learned, neighbourhoods(geometry, structure.window))
    elif structure.kind == "shared" and found is not None:
        strength = np.bincount(found.filter_of, found.amplitude**2, len(found.filters))
        order = np.argsort(-strength, kind="stable")
        filters = [_cropped(found, int(k), structure, geometry) for k in order]
        bank = weight[0] if isinstance(first, Neighbourhoods) else weight
        _fill(bank, filters[: structure.width])


def _fill(weight: Tensor, rows: list[NDArray[Any]]) -> None:
    """The first rows of `weight` become `rows`, each as large as the random one it replaces."""
    with torch.no_grad():
        for own, row in zip(weight, rows, strict=False):
            new = torch.from_numpy(np.asarray(row, np.float32)).reshape(own.shape)
            own.copy_(new * (own.norm() / new.norm().clamp_min(1e-12)))


def _fill_positions(weight: Tensor, learned: NDArray[Any], index: NDArray[np.int64]) -> None:
    beyond = np.concatenate([learned, np.zeros((len(learned), 1))], axis=1)
    energy = np.square(beyond)
    total = np.maximum(energy.sum(axis=1), 1e-30)
    held = np.stack([energy[:, row].sum(axis=1) / total for row in index], axis=1)
    place = held.argmax(axis=1)
    for position, row in enumerate(index):
        units = np.flatnonzero((place == position) & (held[:, position] > 0.5))
        units = units[np.argsort(-total[units], kind="stable")][: weight.shape[1]]
        _fill(weight[position], [beyond[unit][row] for unit in units])


def _cropped(
    found: SharedFilters, k: int, structure: Structure, geometry: Geometry | None
) -> NDArray[Any]:
    """A filter in the window of `structure`, which may be smaller or larger than its own."""
    if found.window == structure.window or geometry is None:
        return np.asarray(found.filters[k])
    if geometry.shape is None:  # nearest first
        channels = found.filters.shape[1] // found.window
        wide = np.zeros((channels, structure.window))
        kept = min(found.window, structure.window)
        wide[:, :kept] = found.filters[k].reshape(channels, found.window)[:, :kept]
        return np.asarray(wide.reshape(-1))
    axes = len(geometry.shape)
    filter_ = found.filters[k].reshape(-1, *[found.window] * axes)
    difference = structure.window - found.window
    if difference > 0:
        around = [(0, 0)] + [(difference // 2, difference // 2)] * axes
        return np.asarray(np.pad(filter_, around).reshape(-1))
    start = -difference // 2
    inner = slice(start, start + structure.window)
    middle = (slice(None), *[inner] * axes)
    return np.asarray(filter_[middle].reshape(-1))
