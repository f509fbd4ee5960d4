"""`Predictor`: logits from a `CompactNetwork`, on the CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.csr import tiled_product, vector_product
from scratchconv.kernels.tiles import WIDTHS, choose, from_tiles, to_tiles, width_for
from scratchconv.prediction.network import CompactLayer, CompactNetwork, IndexArray

Float32Array = NDArray[np.float32]

# Reckoned, not measured: a stored weight costs 8 bytes and an indirect read, a dense one 4 bytes in
# sequence, so that for one sample, all memory traffic, the two meet below one half. For many they
# meet higher, since torch's float32 product does little more per second than the sparse one.
DENSE_ABOVE = 0.3

# Samples that go through all layers together: enough to read the weights rarely, few enough for
# the activations of thousands of units to stay in the cache.
_SAMPLES = 512


class Predictor:
    """Calls of a compacted network: ``predictor(inputs)`` gives logits, float32 (n, classes).

    Inputs are a torch tensor or a numpy array, (n, channels, height, width) as the model took them
    or flattened, (n, features); any n, 0 and 1 included. Of floating-point inputs (float64, 32, 16,
    bfloat16) it expects what the model was trained on, normalised; all are computed in float32.
    uint8 images are normalised here, if the network knows mean and std.

    Layers with few weights use the sparse kernels, others (`DENSE_ABOVE`) torch. Calls may come
    from several threads at once. Gradients are not offered.

    Raises InvalidArgument, when called: a shape or dtype that does not fit.
    """

    def __init__(self, network: CompactNetwork) -> None:
        self.network = network
        self._steps = tuple(_Step(layer) for layer in network.layers)

    def __call__(self, inputs: Tensor | NDArray[Any]) -> Tensor:
        rows = self._rows(inputs)
        reading = self._byte_reading if rows.dtype == np.uint8 else self._reading
        logits = np.empty((len(rows), self.network.classes), np.float32)
        for part in _parts(len(rows)):
            logits[part] = self._logits(rows[part], reading)
        return torch.from_numpy(logits)

    def predict(self, inputs: Tensor | NDArray[Any]) -> Tensor:
        """The class of the largest logit, int64 (n,). Inputs and errors as of a call."""
        if self.network.classes < 2:
            raise InvalidArgument(
                "this network has one output, a number and not a class: call the predictor itself"
            )
        return self(inputs).argmax(dim=1)

    @property
    def size_in_bytes(self) -> int:
        """Memory that weights, their places and biases take up."""
        return self.network.inputs.nbytes + sum(step.size_in_bytes for step in self._steps)

    def __repr__(self) -> str:
        network = self.network
        lines = [
            f"Predictor({network.features} features, {network.inputs.size} of them read,"
            f" {network.classes} outputs, {self.size_in_bytes / 1e6:.2f} MB"
        ]
        for layer, step in zip(network.layers, self._steps, strict=True):
            held = "sparse" if step.weight is None else "dense"
            lines.append(
                f"  {layer.name}: {layer.units.size} of {layer.all_units} units,"
                f" {layer.matrix.nonzero} weights, {layer.density:.2%} of all"
                f" and {layer.matrix.density:.2%} of those between kept units, {held}"
            )
        return "\n".join(lines) + ")"

    def _rows(self, inputs: Tensor | NDArray[Any]) -> NDArray[Any]:
        """The inputs flattened, (n, features), uint8 or float32."""
        array = _array(inputs)
        if array.dtype.kind == "f":
            array = array.astype(np.float32, copy=False)
        elif array.dtype != np.uint8:
            raise InvalidArgument(
                f"inputs are {array.dtype}: give normalised floating-point inputs or uint8 images"
            )
        features, image, sample = self.network.features, self.network.image, array.shape[1:]
        as_model = sample == image if image else math.prod(sample) == features
        if array.ndim < 2 or not (as_model or sample == (features,)):
            as_image = f" or (n, {image[0]}, {image[1]}, {image[2]})" if image else ""
            raise InvalidArgument(
                f"inputs have shape {array.shape}: give (n, {features}){as_image}"
            )
        return array.reshape(len(array), features)

    @cached_property
    def _reading(self) -> _Reading:
        read = self.network.inputs
        return _Reading(read, np.ones(read.size, np.float32), np.zeros(read.size, np.float32))

    @cached_property
    def _byte_reading(self) -> _Reading:
        return _Reading(self.network.inputs, *self.network.scale_and_shift())

    def _logits(self, rows: NDArray[Any], reading: _Reading) -> Float32Array:
        """Logits (n, classes) of at most `_SAMPLES` samples."""
        batch = _Batch(rows, reading)
        for step in self._steps:
            step.apply(batch)
        return batch.as_rows()


class _Reading(NamedTuple):
    """Which features are read, and how each is scaled and shifted on the way."""

    features: IndexArray
    scale: Float32Array
    shift: Float32Array


class _Batch:
    """Activations of some samples, as rows (samples, features) or as tiles, whichever is asked."""

    def __init__(self, rows: NDArray[Any], reading: _Reading) -> None:
        self.samples = len(rows)
        self._inputs = rows, reading
        self._rows: Float32Array | None = None
        self._tiles: Float32Array | None = None

    def as_rows(self) -> Float32Array:
        if self._rows is not None:
            return self._rows
        if self._tiles is not None:
            return from_tiles(self._tiles, self.samples)
        rows, reading = self._inputs
        return choose(rows, *reading)

    def as_tiles(self) -> Float32Array:
        if self._tiles is not None:
            return self._tiles
        rows, reading = self._inputs
        if self._rows is not None:
            rows, units = self._rows, self._rows.shape[1]
            every = np.arange(units, dtype=np.int32)
            reading = _Reading(every, np.ones(units, np.float32), np.zeros(units, np.float32))
        return to_tiles(rows, *reading, width_for(self.samples))

    def become_rows(self, rows: Float32Array) -> None:
        self._rows, self._tiles = rows, None

    def become_tiles(self, tiles: Float32Array) -> None:
        self._rows, self._tiles = None, tiles


class _Step:
    """A layer, ready to be applied; `weight` is its dense matrix, None if it is held sparse."""

    def __init__(self, layer: CompactLayer) -> None:
        self.matrix, self.bias, self.relu = layer.matrix, layer.bias, layer.relu
        self.dense_bias = torch.from_numpy(layer.bias)
        self.weight: Tensor | None = None
        if layer.matrix.density > DENSE_ABOVE:
            self.weight = torch.from_numpy(layer.matrix.to_dense())

    @property
    def size_in_bytes(self) -> int:
        if self.weight is not None:
            return self.weight.nbytes + self.bias.nbytes
        matrix = self.matrix
        held = (matrix.values, matrix.columns, matrix.offsets, self.bias)
        return sum(array.nbytes for array in held)

    def apply(self, batch: _Batch) -> None:
        if self.weight is not None:
            batch.become_rows(self._dense(self.weight, torch.from_numpy(batch.as_rows())))
        elif batch.samples == 1:
            row = vector_product(self.matrix, batch.as_rows()[0], self.bias, self.relu)
            batch.become_rows(row[None])
        else:
            tiles = tiled_product(self.matrix, batch.as_tiles(), self.bias, self.relu)
            batch.become_tiles(tiles)

    def _dense(self, weight: Tensor, rows: Tensor) -> Float32Array:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            outputs = F.linear(rows, weight, self.dense_bias)
            return (outputs.relu_() if self.relu else outputs).numpy()


def _array(inputs: Tensor | NDArray[Any]) -> NDArray[Any]:
    """As numpy; the floating-point types that numpy lacks as float32."""
    if isinstance(inputs, np.ndarray):
        return inputs
    if not isinstance(inputs, Tensor) or inputs.layout != torch.strided:
        raise InvalidArgument(
            f"inputs are a {type(inputs).__name__}: give a dense torch tensor or a numpy array"
        )
    tensor = inputs.detach().cpu().resolve_neg()
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _parts(samples: int) -> Iterator[slice]:
    """Slices of at most `_SAMPLES` samples; those beyond the last whole tile on their own."""
    whole = samples - samples % WIDTHS[-1]
    for start in range(0, whole, _SAMPLES):
        yield slice(start, min(start + _SAMPLES, whole))
    if whole < samples:
        yield slice(whole, samples)
