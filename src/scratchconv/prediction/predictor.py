"""`Predictor`: logits from a `CompactNetwork`, on the CPU."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.chain_product import chain_product
from scratchconv.kernels.csr_chain import ChainLayer, CSRChain, Reading
from scratchconv.kernels.tiles import choose
from scratchconv.prediction.network import CompactLayer, CompactNetwork

Float32Array = NDArray[np.float32]

# Measured on one thread of a Zen 5 core with AVX-512, for layers of 3072 -> 7168 and 7168 -> 672:
# torch's float32 product overtakes the sparse one at densities of 0.22 to 0.25 for one sample, and
# of 0.40 to 0.54 for 512. In between neither is best for all; here the most that either loses, for
# one sample or for many, is about the same (a third to two thirds of the better one's time).
DENSE_ABOVE = 0.3

# With no more weights than this a layer stays in the sparse chain whatever its density: for one
# sample, a call of torch takes longer than all its products.
_FEW_WEIGHTS = 2**14

# Samples that go through dense layers together: enough to read the weights rarely, few enough for
# the activations of thousands of units to stay in the cache.
_SAMPLES = 512


class Predictor:
    """Calls of a compacted network: ``predictor(inputs)`` gives logits, float32 (n, classes).

    Inputs are a torch tensor or a numpy array, (n, channels, height, width) as the model took them
    or flattened, (n, features); any n, 0 and 1 included. Where the model does not tell its image,
    samples of any shape are flattened, also if it has no Flatten. Of floating-point inputs
    (float64, 32, 16, bfloat16) it expects what the model was trained on, normalised; all are
    computed in float32. uint8 images are normalised here, if the network knows mean and std.

    Layers with few weights use the sparse kernels, others (`DENSE_ABOVE`) torch. Where all layers
    are sparse, a sample's logits are the same bit for bit in every batch. Calls may come from
    several threads at once. Gradients are not offered.

    Raises InvalidArgument, when called: a shape or dtype that does not fit.
    """

    def __init__(self, network: CompactNetwork) -> None:
        self._stages = tuple(_stages(network.layers))
        layers = tuple(layer for stage in self._stages for layer in stage.layers)
        self.network = replace(network, layers=layers)
        # Only between stages is anything held for all samples at once.
        self._samples = _SAMPLES if len(self._stages) > 1 else sys.maxsize

    def __call__(self, inputs: Tensor | NDArray[Any]) -> Tensor:
        rows = self._rows(inputs)
        reading = self._byte_reading if rows.dtype == np.uint8 else self._reading
        if len(rows) <= self._samples:
            return torch.from_numpy(self._logits(rows, reading))
        logits = np.empty((len(rows), self.network.classes), np.float32)
        for start in range(0, len(rows), self._samples):
            part = slice(start, start + self._samples)
            logits[part] = self._logits(rows[part], reading)
        return torch.from_numpy(logits)

    def __reduce__(self) -> tuple[type[Predictor], tuple[CompactNetwork]]:
        return type(self), (self.network,)

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
        return self.network.inputs.nbytes + sum(stage.size_in_bytes for stage in self._stages)

    def __repr__(self) -> str:
        network = self.network
        lines = [
            f"Predictor({network.features} features, {network.inputs.size} of them read,"
            f" {network.classes} outputs, {self.size_in_bytes / 1e6:.2f} MB"
        ]
        for stage in self._stages:
            held = "sparse" if isinstance(stage, _SparseLayers) else "dense"
            lines += [
                f"  {layer.name}: {layer.units.size} of {layer.all_units} units,"
                f" {layer.matrix.nonzero} weights, {layer.density:.2%} of all"
                f" and {layer.matrix.density:.2%} of those between kept units, {held}"
                for layer in stage.layers
            ]
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
    def _reading(self) -> Reading:
        read = self.network.inputs
        one, zero = np.ones(read.size, np.float32), np.zeros(read.size, np.float32)
        return Reading(read, one, zero, self.network.features)

    @cached_property
    def _byte_reading(self) -> Reading:
        scale_and_shift = self.network.scale_and_shift()
        return Reading(self.network.inputs, *scale_and_shift, self.network.features)

    def _logits(self, rows: NDArray[Any], reading: Reading) -> Float32Array:
        """Logits (n, classes) of at most `_samples` samples."""
        first, *others = self._stages
        outputs = first.apply(rows, reading)
        for stage in others:
            outputs = stage.apply(outputs, None)
        return outputs


class _SparseLayers:
    """Neighbouring layers with few weights, applied in one call."""

    def __init__(self, layers: Sequence[CompactLayer]) -> None:
        self.chain = CSRChain(
            [ChainLayer(layer.matrix, layer.bias, layer.relu) for layer in layers]
        )
        parts = zip(layers, self.chain.layers, strict=True)
        #: the same layers, with their arrays inside the chain's: nothing is held twice
        self.layers = tuple(
            replace(layer, matrix=part.matrix, bias=part.bias) for layer, part in parts
        )
        self.size_in_bytes = self.chain.size_in_bytes
        self._every = Reading.of_all(self.chain.features)

    def apply(self, rows: NDArray[Any], reading: Reading | None) -> Float32Array:
        """Outputs for what `reading` takes of each row; without one, for the rows as they are."""
        return chain_product(self.chain, rows, reading or self._every)


class _DenseLayer:
    """A layer with many weights, applied by torch."""

    def __init__(self, layer: CompactLayer) -> None:
        self.layers = (layer,)
        self._relu = layer.relu
        self._weight = torch.from_numpy(layer.matrix.to_dense())
        self._bias = torch.from_numpy(layer.bias)
        self.size_in_bytes = self._weight.nbytes + self._bias.nbytes

    def apply(self, rows: NDArray[Any], reading: Reading | None) -> Float32Array:
        """Outputs for what `reading` takes of each row; without one, for the rows as they are."""
        x = rows if reading is None else choose(rows, *reading.arrays)
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            outputs = F.linear(torch.from_numpy(x), self._weight, self._bias)
            return (outputs.relu_() if self._relu else outputs).numpy()


def _stages(layers: Sequence[CompactLayer]) -> Iterator[_SparseLayers | _DenseLayer]:
    for dense, group in groupby(layers, _is_dense):
        if dense:
            yield from map(_DenseLayer, group)
        else:
            yield _SparseLayers(tuple(group))


def _is_dense(layer: CompactLayer) -> bool:
    return layer.matrix.density > DENSE_ABOVE and layer.matrix.nonzero > _FEW_WEIGHTS


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
