"""The optimizer's step on one `SparseLinear`: its weights, what regrows, and the form it takes."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratchconv.kernels import screening, sparse_gradients
from scratchconv.sparse import calibration
from scratchconv.sparse.activations import numbers, tiles
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.product import Gradient
from scratchconv.sparse.screening import Screen, Screened, product_rounding
from scratchconv.sparse.switching import ALWAYS_DENSE, SwitchAt
from scratchconv.sparse.weight import CompressedWeight, MasterWeight, Rule

Regrowth = Literal["exact"] | int

# Units, features and values of weights that come back.
Regrown = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]

# Steps that are remembered where nobody takes the record away.
_REMEMBERED = 20_000

# Products of int8 take half the time of bfloat16 where the processor has instructions for them.
_INT8_IS_FAST = hasattr(torch, "_int_mm") and torch.cpu._is_vnni_supported()


class LayerStep:
    """Takes the steps of one layer's weight for `BetaLasso` (its `DeferredStep`).

    Attributes:
        steps: steps taken.
        record: what happened in the last steps, since it was last taken away; one dict a step. On a
            GPU its numbers are tensors, which `take_record` reads.
    """

    def __init__(self, layer: SparseLinear, regrowth: Regrowth, switch_at: SwitchAt | None) -> None:
        self.layer = layer
        self.every = 1 if regrowth == "exact" else regrowth
        self.switch_at = switch_at
        self.steps = 0
        self.record: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._screen = Screen(layer.in_features)
        layer.owned_by(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.layer.owned_by(self)  # copied together with it

    def forget(self) -> None:
        """Forget the gradients of the backward passes since the last step."""
        self.layer.forget_gradients()

    @torch.no_grad()
    def step(self, lr: float, lam: float, beta: float) -> None:
        """One step of Algorithm 1 on the weight (Neyshabur 2020)."""
        gradient = self.layer.take_gradients()
        if gradient is None:
            return
        rule = Rule(lr, lam, beta * lam)
        form = self.layer.form
        screened = None
        if isinstance(form, CompressedWeight):
            # Between the steps that look for regrowth no zero returns, stored or not.
            looks = rule.lr > 0 and (self.steps + 1) % self.every == 0
            if looks:
                regrown, screened = self._regrown(form, gradient, rule)
            form.update(gradient.inputs, gradient.outputs, rule, zeros_return=looks)
            if looks and regrown[0].size:
                form.revive(*regrown)
        else:
            assert isinstance(form, MasterWeight)
            form.update(gradient.inputs, gradient.outputs, rule)
        self.steps += 1
        self.record.append(
            {
                "compressed": self.layer.compressed,
                "nonzero": self.layer.form.nonzero,
                **({} if screened is None else asdict(screened)),
            }
        )
        self.time_forms(
            samples=gradient.inputs.shape[1],
            dtype=gradient.inputs.dtype,
            input_gradient=self.layer.input_gradient_wanted,
        )
        self.switch()

    def take_record(self) -> list[dict[str, Any]]:
        """The record, with `step` counted from 1, and forget it."""
        first = self.steps - len(self.record) + 1
        lines = [{"step": step, **entry} for step, entry in enumerate(self.record, start=first)]
        self.record.clear()
        on_gpu = [line for line in lines if isinstance(line["nonzero"], Tensor)]
        if on_gpu:
            # All at once: the host waits for the device a single time.
            numbers_read = torch.stack([line["nonzero"] for line in on_gpu]).tolist()
            for line, number in zip(on_gpu, numbers_read, strict=True):
                line["nonzero"] = number
        return lines

    def time_forms(self, *, samples: int, dtype: torch.dtype, input_gradient: bool) -> None:
        """Find out by timing where to switch, unless that is known."""
        if self.switch_at is None:
            self.switch_at = calibration.switch_at(
                self.layer, samples, dtype, input_gradient=input_gradient
            )

    def switch(self) -> None:
        """Give the layer the form that its density asks for, once that is known."""
        if self.switch_at is None:
            return
        if self.switch_at == ALWAYS_DENSE and not self.layer.compressed:
            return  # a density would have to be read from a GPU
        density = self.layer.density
        if self.layer.compressed:
            if density > self.switch_at.above:
                self.layer.decompress()
        elif density < self.switch_at.below:
            self.layer.compress()

    def _regrown(
        self, form: CompressedWeight, gradient: Gradient, rule: Rule
    ) -> tuple[Regrown, Screened]:
        """The weights that come back where none is stored, and how they were found."""
        units, screened = self._screen.units_to_check(gradient, rule.bar)
        rows, columns, slopes = _zeros_at_least(form, gradient, units, rule.bar)
        values = slopes * -np.float32(rule.lr)
        back = ~(np.abs(values) < np.float32(rule.threshold)) & (values != 0)
        return (rows[back], columns[back], values[back]), replace(screened, revived=int(back.sum()))


def _zeros_at_least(
    form: CompressedWeight, gradient: Gradient, units: Tensor, bar: float
) -> Regrown:
    """Weights not stored whose gradient reaches the bar, or nearly: units, features, gradients."""
    inputs, outputs = gradient.inputs, gradient.outputs
    if len(units) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    # Levels reach ±127, and their products are summed in int32.
    sums_fit = inputs.shape[1] <= (2**31 - 1) // 127**2
    find = _by_levels if _INT8_IS_FAST and sums_fit else _by_products
    row, column = find(inputs, outputs[units], gradient.square[units].sqrt(), bar)
    unit = units.numpy()[row]
    new = ~screening.are_stored(unit, column, form.rows.columns, form.rows.offsets)
    unit, column = unit[new], column[new]
    # What was found by rounded numbers is computed in those that the non-zeros are updated with.
    slopes = sparse_gradients.gradients_at(unit, column, numbers(inputs), numbers(outputs))
    return unit, column, slopes


def _by_products(
    inputs: Tensor, outputs: Tensor, lengths: Tensor, bar: float
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Where the gradient may reach the bar, from all of it: rows of `outputs`, features."""
    # A tile's numbers are rounded, so it is asked for a little less than the bar.
    longest = float(np.sqrt(screening.row_squares(numbers(inputs)).max()))
    lost = product_rounding(inputs.shape[1]) * longest * lengths
    nearly = (bar * (1 - 2**-8) - lost).numpy()
    found = []
    for tile in tiles(len(outputs), len(inputs)):
        slopes = torch.mm(outputs[tile], inputs.t())
        row, column = screening.at_least(numbers(slopes), nearly[tile])
        found.append((tile.start + row, column))
    return _together(found)


def _by_levels(
    inputs: Tensor, outputs: Tensor, lengths: Tensor, bar: float
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """As `_by_products`, from products of int8 levels, whose error has a bound of its own."""
    features, units = (screening.quantised(numbers(rows)) for rows in (inputs, outputs))
    levels = torch.from_numpy(features.levels).t()
    nearly = bar * (1 - 2**-12)  # sums in float32 stand in the bounds
    found = []
    cut = tiles(len(outputs), len(inputs))
    buffer = torch.empty(cut[0].stop, len(inputs), dtype=torch.int32)
    for tile in cut:
        products = buffer[: tile.stop - tile.start]
        torch._int_mm(torch.from_numpy(units.levels[tile]), levels, out=products)
        row, column = screening.may_reach(products.numpy(), units.rows(tile), features, nearly)
        found.append((tile.start + row, column))
    return _together(found)


def _together(
    found: list[tuple[NDArray[np.int64], NDArray[np.int32]]],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    return np.concatenate([row for row, _ in found]), np.concatenate([place for _, place in found])
