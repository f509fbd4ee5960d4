"""At which density a compressed layer overtakes the dense one, by a timing on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from scratchconv.kernels import batch_norm
from scratchconv.kernels.batch_norm import Units
from scratchconv.kernels.sparse_rows import SparseRows
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.product import Gradient
from scratchconv.sparse.screening import Screen
from scratchconv.sparse.switching import SwitchAt
from scratchconv.sparse.weight import CompressedWeight, DenseWeight, Rule

# A compressed step costs a constant and a time for every non-zero: two densities tell both.
_DENSITIES = (0.02, 0.1)

# Compressed must be this much faster, and once compressed a layer is made dense again only when
# its density is that much larger: bursts of regrowth would make it switch at every step.
_MARGIN = 0.95
_HYSTERESIS = 1.25

_REPEATS = 5
_STILL = Rule(lr=0.0, lam=0.0, threshold=0.0)  # a step that changes nothing


def switch_at(
    layer: SparseLinear, samples: int, dtype: torch.dtype, *, input_gradient: bool
) -> SwitchAt:
    """Time both forms of `layer` on a batch like the ones to come, and compare.

    Args:
        layer: dense; left as it is.
        samples: of a batch.
        dtype: that activations are stored in.
        input_gradient: whether the layer's backward pass forms one (the first layer's does not).

    Takes about ten dense steps. Supports are drawn at random: learned ones, which are local, are
    read faster if anything.
    """
    units, features = layer.out_features, layer.in_features
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(features, samples, generator=generator).to(dtype)
    outputs = torch.randn(units, samples, generator=generator).to(dtype)
    gradient = Gradient(inputs, outputs, outputs.float().square().sum(1))
    form = layer.form
    assert isinstance(form, DenseWeight)
    dense = _seconds(lambda: _step(form, gradient, input_gradient))
    screen = Screen(features)
    # A bar that every unit fails by its norm and passes by its blocks: the usual case.
    screening = _seconds(lambda: _screen(screen, gradient))
    sparse = [_random(units, features, density, generator) for density in _DENSITIES]
    low = _seconds(lambda: _step(sparse[0], gradient, input_gradient))
    high = _seconds(lambda: _step(sparse[1], gradient, input_gradient))
    per_density = max((high - low) / (_DENSITIES[1] - _DENSITIES[0]), 1e-12)
    constant = max(low - per_density * _DENSITIES[0], 0.0) + screening
    below = (_MARGIN * dense - constant) / per_density
    return SwitchAt(min(below, 1.0), min(below * _HYSTERESIS, 1.0))


def _step(form: DenseWeight | CompressedWeight, gradient: Gradient, input_gradient: bool) -> None:
    units = len(gradient.outputs)
    zeros = np.zeros(units, np.float32)
    form.outputs(
        gradient.inputs,
        Units(zeros, zeros, zeros, zeros, zeros, 0.0, batch_norm.NONE, relu=True),
        None,
    )
    if input_gradient:
        form.input_gradient(gradient.outputs)
    form.update(gradient.inputs, gradient.outputs, _STILL)


def _screen(screen: Screen, gradient: Gradient) -> None:
    lengths = gradient.square.sqrt()
    longest = gradient.inputs.float().square().sum(1).max().sqrt()
    screen.units_to_check(gradient, float(lengths.median() * longest))


def _random(
    units: int, features: int, density: float, generator: torch.Generator
) -> CompressedWeight:
    count = max(1, round(features * density))
    columns = torch.randint(features, (units, count), generator=generator).sort(1)[0]
    rows = SparseRows(
        np.full(units * count, 0.1, np.float32),
        columns.flatten().numpy().astype(np.int32),
        np.arange(0, units * count + 1, count, dtype=np.int64),
        features,
    )
    return CompressedWeight(nn.Parameter(torch.from_numpy(rows.values)), rows)


def _seconds(work: Callable[[], object]) -> float:
    """The least of a few timings, after one that compiles and warms up."""
    work()
    times = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)
