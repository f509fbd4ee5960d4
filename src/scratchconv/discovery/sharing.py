"""Dense, sparse, local or shared: the structure that describes a table's labels in the fewest bits.

Each is tried as a network of its own, as small as pays: it is trained, rounded, and coded together
with the labels of the very rows it was trained on (`network_code`). The shortest code decides. Rows
held out for other purposes are never seen.

Where the weights of a trained layer are given, networks start from them: sparse ones from its
strongest units, local ones from what its units look like at each position, shared ones from the
filters that its units are shifted copies of (`alignment`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from scratchconv.discovery.alignment import SharedFilters, shared_filters
from scratchconv.discovery.fitting import Samples
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.network_code import NetworkCode, constant_code
from scratchconv.discovery.network_training import Course
from scratchconv.discovery.networks import Structure
from scratchconv.discovery.structure_search import Choices, Search
from scratchconv.errors import InvalidArgument

Verdict = Literal["none", "dense", "sparse", "local", "shared"]

COURSE = Course(steps=400, batch_size=256, lr=0.1, exact=True)
WORK = 3e10
"""Multiply-adds of the training of one network: three seconds of two cores."""


@dataclass(frozen=True)
class Sharing:
    """What describes the labels best, and the evidence.

    verdict: the kind of the shortest code; "none": no network pays for itself.
    codes: the shortest code of each kind that could be tried, "none" among them.
    filters: whether the units of the layer that was given are shifted copies of each other, and
        how likely that is by chance; None without a layer or a geometry. Evidence beside the bits,
        which alone decide.
    tried: every code, in the order it was tried.
    spread: of each kind, how far the middle one of the codes of its best structure, trained from
        several starts, lies above the shortest. It tells how much a difference in bits means.
    """

    verdict: Verdict
    codes: dict[Verdict, NetworkCode]
    filters: SharedFilters | None
    tried: tuple[NetworkCode, ...]
    spread: dict[Verdict, int]

    @property
    def structure(self) -> Structure | None:
        """Of the network that the verdict is about; None for "none"."""
        return self.codes[self.verdict].structure

    @property
    def runner_up(self) -> Verdict:
        """The kind of the next shortest code."""
        others = [kind for kind in self.codes if kind != self.verdict]
        return min(others, key=lambda kind: self.codes[kind].bits)

    @property
    def margin(self) -> int:
        """The bits by which the next best kind is longer."""
        return self.codes[self.runner_up].bits - self.codes[self.verdict].bits

    @property
    def clear(self) -> bool:
        """Whether the margin is wider than what other starts change in the two shortest codes."""
        doubts = [self.spread.get(kind, 0) for kind in (self.verdict, self.runner_up)]
        return self.margin > max(doubts)


def find_sharing(
    samples: Samples,
    geometry: Geometry | None,
    *,
    learned: NDArray[Any] | None = None,
    choices: Choices | None = None,
    course: Course = COURSE,
    work: float = WORK,
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
        course: of the training of each network.
        work: multiply-adds that one training may take: large networks get smaller batches for it,
            down to 64 rows, then fewer steps, down to a quarter.
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
    constant = constant_code(samples)
    report = progress or (lambda _: None)
    search = Search(
        samples,
        geometry,
        learned,
        found,
        course,
        work,
        geometry_known,
        seed,
        choices.restarts,
        report,
        [constant],
    )
    spread: dict[Verdict, int] = {"none": 0}
    for lattice in choices.lattices(geometry):
        apart = search.climb(lattice)
        if apart is not None:
            spread[lattice.kind] = apart
    codes: dict[Verdict, NetworkCode] = {}
    for code in search.tried:
        kind: Verdict = code.structure.kind if code.structure else "none"
        if kind not in codes or code.bits < codes[kind].bits:
            codes[kind] = code
    verdict = min(codes, key=lambda kind: codes[kind].bits)
    return Sharing(verdict, codes, found, tuple(search.tried), spread)


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
