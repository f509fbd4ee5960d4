"""Connections that one run learned and another keeps: transfer, and its two controls.

The reviewers of Neyshabur 2020 asked for learned connectivity carried from one dataset to another.
A fully connected layer of the new run gets the non-zeros of the old one as its connections, with
new weights; or, as controls, as many connections a unit at random places, or in one local window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from scratchconv import models, pruning
from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.training import checkpoint
from scratchconv.training.config import RunConfig
from scratchconv.training.run_directory import load_run, load_weights

# Keeps these draws apart from those of the data and of pruning, whose numbers are smaller.
_CONNECTIONS = 3_000
_ROWS = 1024  # units at a time, to hold the memory for ranks down


@dataclass(frozen=True)
class Connections:
    """What a run or a file of masks connects.

    masks: bool tensors by the names of weights, (units, inputs) each.
    source: what tells where they are from: `{"config": …, "started": …}` of a run, or the name of
        a file.
    image, permute: shape of that run's inputs, and the seed of its shuffled pixels; None: unknown.
    """

    masks: Mapping[str, Tensor]
    source: dict[str, Any]
    image: tuple[int, ...] | None
    permute: int | None

    @property
    def sha256(self) -> str:
        """Of the names, shapes and contents of the masks: what they are, wherever they lie."""
        return checkpoint.digest({name: self.masks[name] for name in sorted(self.masks)})

    def record(self) -> dict[str, Any]:
        """For `config.json`."""
        return {"sha256": self.sha256, "from": self.source}


def read_connections(config: RunConfig) -> Connections | None:
    """The connections that `config.connections_from` names; None where it names none.

    Raises `InvalidArgument` where there are none to be had, `RunDirectoryError` where the run or
    file cannot be read.
    """
    path = config.connections_from
    if path is None:
        return None
    if path.suffix == ".safetensors" and path.is_file():
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise RunDirectoryError(
                f"--connections-from {path} cannot be read ({error})"
            ) from error
        connections = Connections(_masks(tensors), {"file": path.name}, None, None)
    else:
        run = load_run(path)
        if run.result is None:
            raise InvalidArgument(
                f"--connections-from {path}: that run is not finished; go on with it by --resume,"
                " or give a .safetensors file of masks"
            )
        connections = Connections(
            _masks(load_weights(path)),
            {"config": run.config, "started": run.started},
            tuple(run.resolved["image"]),
            run.config.get("permute"),
        )
    if not connections.masks:
        raise InvalidArgument(
            f"--connections-from {path} holds no weights (units, inputs) of a fully connected layer"
        )
    return connections


def given_masks(
    connections: Connections, config: RunConfig, model: models.Network, permutation: Tensor | None
) -> dict[str, Tensor]:
    """The masks of the weights of `model` that `config` says are to be kept sparse, bool.

    A function of the contents of `connections`, and of the seed for those drawn at random. Raises
    `InvalidArgument` where the connections do not fit the network or its images.
    """
    _check_images(connections, config, model)
    masks = {}
    for number, (name, weight) in enumerate(_connected_weights(config, model).items()):
        learned = connections.masks.get(name)
        if learned is None or learned.shape != weight.shape:
            there = "are not there" if learned is None else f"are {tuple(learned.shape)} there"
            raise InvalidArgument(
                f"--connections-from {config.connections_from}: the weights {name} {there} and"
                f" {tuple(weight.shape)} here; choose the --model and --alpha of that run"
            )
        if not bool(learned.any()):
            raise InvalidArgument(
                f"--connections-from {config.connections_from}: {name} has no connection left"
            )
        counts = learned.sum(1)
        if config.connections_kind == "learned":
            masks[name] = learned
        elif config.connections_kind == "random":
            masks[name] = random_places(counts, learned.shape[1], config.seed, number)
        else:
            windows = local_windows(counts, model.image, config.seed)
            # Input k of a network on shuffled pixels shows the true pixel permutation[k].
            shown = windows if permutation is None else windows[:, :, permutation]
            masks[name] = shown.flatten(1)
    return masks


def random_places(counts: Tensor, inputs: int, seed: int, layer: int) -> Tensor:
    """`counts[i]` of the inputs of every unit i, drawn uniformly: bool (units, inputs)."""
    mask = torch.zeros(len(counts), inputs, dtype=torch.bool)
    generator = _generator(seed, layer)
    for start in range(0, len(counts), _ROWS):
        rows = mask[start : start + _ROWS]
        order = torch.rand(rows.shape, generator=generator).argsort(1)
        rows.scatter_(1, order, torch.arange(inputs) < counts[start : start + _ROWS, None])
    return mask


def local_windows(counts: Tensor, image: tuple[int, int, int], seed: int) -> Tensor:
    """`counts[i]` inputs of every unit i around a random pixel: bool (units, channels, pixels).

    All channels of the pixels nearest to the centre: square rings around it, in a ring those at the
    smaller Euclidean distance first, then in reading order. So (2r + 1)² pixels are the square
    kernel of that side, cut off at the border of the image (and then the larger on the other
    sides). The last pixel gets only as many channels, drawn at random, as make the count exact.
    """
    channels, height, width = image
    pixels, units = height * width, len(counts)
    generator = _generator(seed, 0)
    centres = torch.randint(pixels, (units,), generator=generator)
    channel_rank = torch.rand(units, channels, generator=generator).argsort(1)
    rank = _ranks_by_distance(height, width)
    whole, rest = counts // channels, counts % channels
    mask = torch.empty(units, channels, pixels, dtype=torch.bool)
    for start in range(0, units, _ROWS):
        rows = slice(start, start + _ROWS)
        nearness = rank[centres[rows], None]
        some = channel_rank[rows, :, None] < rest[rows, None, None]
        full = whole[rows, None, None]
        mask[rows] = (nearness < full) | ((nearness == full) & some)
    return mask


def _ranks_by_distance(height: int, width: int) -> Tensor:
    """(pixels, pixels): how many pixels are nearer to that of the row than that of the column."""
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).view(-1, 2)
    apart = (places[:, None] - places).abs()
    largest = height**2 + width**2
    distance = apart.amax(2) * largest + apart.square().sum(2)
    return distance.argsort(stable=True, dim=1).argsort(dim=1)


def _generator(seed: int, layer: int) -> torch.Generator:
    key = np.random.SeedSequence((_CONNECTIONS, seed, layer)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(key))


def _masks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor != 0 for name, tensor in tensors.items() if tensor.ndim == 2}


def _connected_weights(config: RunConfig, model: models.Network) -> dict[str, Tensor]:
    """The weights, by name, that `--connections` is about."""
    weights = list(pruning.prunable_weights(model).items())
    chosen = weights[:1] if config.connections == "first" else weights[:-1]
    for name, _ in chosen:
        layer = model.get_submodule(name.removesuffix(".weight"))
        if not isinstance(layer, nn.Linear):
            raise InvalidArgument(
                f"--connections-from is for fully connected layers, but {name} of {config.model} is"
                f" of a {type(layer).__name__}: choose s-fc, d-fc, 3-fc or another -fc network"
            )
    return dict(chosen)


def _check_images(connections: Connections, config: RunConfig, model: models.Network) -> None:
    if connections.image is None:
        return
    if connections.image != model.image:
        there, here = ("×".join(map(str, image)) for image in (connections.image, model.image))
        raise InvalidArgument(
            f"--connections-from {config.connections_from} was learned on images of {there}, but"
            f" those of {config.data} are {here}: connections go between data of one shape only"
        )
    if connections.permute != config.permute:
        raise InvalidArgument(
            f"--connections-from {config.connections_from} was learned with --permute"
            f" {connections.permute}, this run has {config.permute}: the places would not be the"
            " same ones"
        )
