"""Dense, sparse, local or shared: the structure that describes a table's labels in the fewest bits.

Each is tried as a network of its own, as small as pays: it is trained, rounded, and coded together
with the labels of the very rows it was trained on (`network_code`). The shortest code decides. Rows
held out for other purposes are never seen.

Where the weights of a trained layer are given, networks start from them: sparse ones from its
strongest units, local ones from what its units look like at each position, shared ones from the
filters that its units are shifted copies of (`alignment`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scratchconv.discovery import fitting
from scratchconv.discovery.alignment import SharedFilters, shared_filters
from scratchconv.discovery.fitting import Budget, Penalty, Samples
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.learned_start import start_from
from scratchconv.discovery.network_code import NetworkCode, constant_code, network_code
from scratchconv.discovery.networks import Structure, new_structured_network
from scratchconv.errors import Collapse, InvalidArgument

Verdict = Literal["none", "dense", "sparse", "local", "shared"]

BUDGET = Budget.of(steps=600, batch_size=256, lr=0.1)
_RATES = (1.0, 1 / 3, 1 / 9)
"""Of the budget's learning rate: the next is tried where training diverges."""
_PATIENCE = 2
"""So many wider networks in a row may take more bits before no wider one is tried."""


@dataclass(frozen=True)
class Choices:
    """The structures that are tried.

    widths: of dense and sparse networks; position_widths: of local ones, at each position; filters:
        of shared ones. In the order they are tried, rising.
    windows: of local and shared ones; those that do not fit are left out.
    pools: places left along each axis before the outputs of shared ones; 0: all.
    multiples: λ of sparse ones, in units of `Budget.natural_lam`.

    Raises InvalidArgument if one of them is empty.
    """

    widths: Sequence[int] = (1, 2, 4, 8, 16, 32)
    position_widths: Sequence[int] = (1, 2, 4)
    filters: Sequence[int] = (1, 2, 4, 8, 16)
    windows: Sequence[int] = (3, 5)
    pools: Sequence[int] = (1, 4, 0)
    multiples: Sequence[float] = (0.5, 1.0, 2.0)

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if not len(values):
                raise InvalidArgument(f"{name} is empty: give at least one")

    def ladders(self, geometry: Geometry | None) -> Iterator[tuple[list[Structure], float]]:
        """Structures that differ in width, rising, and the multiple of λ to train them with."""
        yield [Structure("dense", width) for width in self.widths], 0.0
        for multiple in self.multiples:
            yield [Structure("sparse", width) for width in self.widths], multiple
        if geometry is None:
            return
        for window in self.fitting_windows(geometry):
            yield [Structure("local", width, window) for width in self.position_widths], 0.0
            for pool in self.pools:
                if pool < 2 or (geometry.shape is not None and pool < max(geometry.shape)):
                    yield [Structure("shared", width, window, pool) for width in self.filters], 0.0

    def fitting_windows(self, geometry: Geometry) -> list[int]:
        """The windows that are no wider than the geometry; none without a geometry."""
        if geometry.kind == "none":
            return []
        most = int(geometry.placed().sum()) if geometry.shape is None else min(geometry.shape)
        return [window for window in self.windows if window <= most]


@dataclass(frozen=True)
class Sharing:
    """What describes the labels best, and the evidence.

    verdict: the kind of the shortest code; "none": no network pays for itself.
    codes: the shortest code of each kind that could be tried, "none" among them.
    filters: whether the units of the layer that was given are shifted copies of each other, and
        how likely that is by chance; None without a layer or a geometry. Evidence beside the bits,
        which alone decide.
    tried: every code, in the order it was tried.
    """

    verdict: Verdict
    codes: dict[Verdict, NetworkCode]
    filters: SharedFilters | None
    tried: tuple[NetworkCode, ...]

    @property
    def structure(self) -> Structure | None:
        """Of the network that the verdict is about; None for "none"."""
        return self.codes[self.verdict].structure

    @property
    def margin(self) -> int:
        """The bits by which the next best kind is longer."""
        others = [code.bits for kind, code in self.codes.items() if kind != self.verdict]
        return min(others) - self.codes[self.verdict].bits


def find_sharing(
    samples: Samples,
    geometry: Geometry | None,
    *,
    learned: NDArray[Any] | None = None,
    choices: Choices | None = None,
    budget: Budget = BUDGET,
    geometry_known: bool = False,
    seed: int = 0,
    progress: Callable[[NetworkCode], None] | None = None,
) -> Sharing:
    """Decide how the weights that see a table's columns are best described.

    Args:
        samples: standardised rows to decide by; see `standard_samples`.
        geometry: where the columns lie; None or "none": local and shared are not tried.
        learned: (units, d), weights of a layer that saw the columns.
        choices: the structures to try; None: `Choices()`.
        budget: of the training of each network.
        geometry_known: see `network_code`.
        seed: of the networks' weights and batches.
        progress: called with each code.

    Raises InvalidArgument: a geometry or weights of another table.
    """
    d = samples.inputs.shape[1]
    choices = choices or Choices()
    if geometry is not None and len(geometry.position_of) != d:
        raise InvalidArgument(
            f"the geometry has {len(geometry.position_of)} columns, but the rows have {d}"
        )
    if learned is not None and (learned.ndim != 2 or learned.shape[1] != d):
        raise InvalidArgument(f"learned has shape {learned.shape}: give weights, (units, {d})")
    found = None
    if learned is not None and geometry is not None:
        windows = choices.fitting_windows(geometry)
        if windows:
            found = shared_filters(learned, geometry, window=max(windows), seed=seed)
    search = _Search(samples, geometry, learned, found, budget, geometry_known, seed)
    tried = [constant_code(samples)]
    for ladder, multiple in choices.ladders(geometry):
        for code in search.climb(ladder, multiple):
            tried.append(code)
            if progress is not None:
                progress(code)
    codes: dict[Verdict, NetworkCode] = {}
    for code in tried:
        kind: Verdict = code.structure.kind if code.structure else "none"
        if kind not in codes or code.bits < codes[kind].bits:
            codes[kind] = code
    verdict = min(codes, key=lambda kind: codes[kind].bits)
    return Sharing(verdict, codes, found, tuple(tried))


@dataclass(frozen=True, eq=False)
class _Search:
    """What all networks that are tried have in common."""

    samples: Samples
    geometry: Geometry | None
    learned: NDArray[Any] | None
    found: SharedFilters | None
    budget: Budget
    geometry_known: bool
    seed: int

    def climb(self, ladder: list[Structure], multiple: float) -> Iterator[NetworkCode]:
        """The codes of networks of rising width, until those get longer."""
        shortest, worse = None, 0
        for structure in ladder:
            network = self._trained(structure, multiple)
            if network is None:
                continue
            code = network_code(
                network,
                structure,
                self.samples,
                self.geometry,
                geometry_known=self.geometry_known,
            )
            yield code
            if shortest is None or code.bits < shortest:
                shortest, worse = code.bits, 0
            else:
                worse += 1
            if worse > _PATIENCE:
                return

    def _trained(self, structure: Structure, multiple: float) -> nn.Sequential | None:
        """A network of this structure; None if training diverges at a ninth of the rate, too."""
        d, budget = self.samples.inputs.shape[1], self.budget
        for slower in _RATES:
            network = new_structured_network(
                structure, self.geometry, d, outputs_of(self.samples), self.seed
            )
            start_from(network, structure, self.geometry, self.learned, self.found)
            slowed = Budget.of(budget.steps, budget.batch_size, slower * budget.lr)
            penalty = Penalty(multiple * slowed.natural_lam(d), 0.0)
            try:
                fitting.train(network, self.samples, penalty, slowed, self.seed)
            except Collapse:
                continue
            return network
        return None


def outputs_of(samples: Samples) -> int:
    """Outputs of a network for these targets: one a class, or one."""
    if samples.task == "classification":
        return int(samples.targets.max()) + 1
    return 1


def standard_samples(inputs: NDArray[Any], targets: NDArray[Any]) -> Samples:
    """Rows (n, d) and targets (n,) as networks take them: columns of mean 0 and deviation 1.

    Floating-point targets are numbers to be predicted, and standardised as well; all others are
    classes. Constant columns become 0. Raises InvalidArgument for what is not finite.
    """
    table, values = np.asarray(inputs, np.float64), np.asarray(targets)
    if table.ndim != 2 or values.shape != table.shape[:1]:
        raise InvalidArgument(
            f"inputs {table.shape} and targets {values.shape} do not fit: give (n, d) and (n,)"
        )
    numbers = values.dtype.kind == "f"
    if not np.isfinite(table).all() or (numbers and not np.isfinite(values).all()):
        raise InvalidArgument("the rows hold NaN or infinity: fill or drop those first")
    if numbers:
        learned = _scaled(values[:, None])[:, 0].astype(np.float32)
    else:
        learned = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return Samples(
        torch.from_numpy(_scaled(table).astype(np.float32)),
        torch.from_numpy(learned),
        torch.ones(len(table)),
        "regression" if numbers else "classification",
    )


def _scaled(values: NDArray[Any]) -> NDArray[Any]:
    deviation = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1))
