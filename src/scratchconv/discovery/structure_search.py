"""Which network of a kind describes the labels in the fewest bits: a search over its structures.

The structures of a kind form a lattice: width along one axis, window, pooling or λ along others. At
the middle width all of the others are tried. From the shortest code the search then goes to
whichever neighbour on the lattice is shorter, until none is. What it ends with is trained anew from
other weights: the shortest of these codes counts, as whoever decodes need not know how a network
was found, and how far they lie apart tells how much a difference in bits means.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scratchconv.discovery import fitting
from scratchconv.discovery.alignment import SharedFilters
from scratchconv.discovery.fitting import Budget, Penalty, Samples
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.learned_start import start_from
from scratchconv.discovery.network_code import NetworkCode, least_bits, network_code
from scratchconv.discovery.network_training import (
    Course,
    multiply_adds,
    train_network,
    work_of_a_row,
)
from scratchconv.discovery.networks import Kind, Structure, new_structured_network
from scratchconv.errors import Collapse, InvalidArgument

_RATES = (1.0, 1 / 3, 1 / 9)
"""Of the course's learning rate: the next is tried where training diverges."""
_PENALISED_LR = 0.1
"""Of the steps by β-LASSO, which has no momentum (Neyshabur 2020, §4)."""
_SEEDS = 2**32
"""numpy's generators take those below."""
_BATCH = 64
"""Rows of a step, at least, where work is short: statistics of fewer are too uncertain."""


@dataclass(frozen=True)
class Choices:
    """The structures that are tried.

    widths: of dense and sparse networks; position_widths: of local ones, at each position; filters:
        of shared ones. Rising.
    windows: of local and shared ones; those that do not fit are left out.
    pools: places left along each axis before the outputs of shared ones; 0: all.
    multiples: λ of sparse ones, in units of `Budget.natural_lam`.
    restarts: trainings anew of the best structure of a kind, from other weights.

    Raises InvalidArgument if one of them is empty, or restarts are negative.
    """

    widths: Sequence[int] = (1, 2, 4, 8, 16, 32)
    position_widths: Sequence[int] = (1, 2, 4)
    filters: Sequence[int] = (1, 2, 4, 8, 16, 32)
    windows: Sequence[int] = (3, 5)
    pools: Sequence[int] = (1, 4, 0)
    multiples: Sequence[float] = (0.25, 0.5, 1.0, 2.0)
    restarts: int = 2

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if name != "restarts" and not len(values):
                raise InvalidArgument(f"{name} is empty: give at least one")
        if self.restarts < 0:
            raise InvalidArgument(f"restarts is {self.restarts}: give 0 or more")

    def lattices(self, geometry: Geometry | None) -> Iterator[Lattice]:
        """One for each kind that can be tried."""
        yield Lattice("dense", self.widths)
        yield Lattice("sparse", self.widths, multiples=self.multiples)
        windows = [] if geometry is None else self.fitting_windows(geometry)
        if geometry is None or not windows:
            return
        yield Lattice("local", self.position_widths, windows)
        longest = None if geometry.shape is None else max(geometry.shape)
        pools = [p for p in self.pools if p < 2 or (longest is not None and p < longest)]
        yield Lattice("shared", self.filters, windows, pools or [0])

    def fitting_windows(self, geometry: Geometry) -> list[int]:
        """The windows that are no wider than the geometry; none without a geometry."""
        if geometry.kind == "none":
            return []
        most = int(geometry.placed().sum()) if geometry.shape is None else min(geometry.shape)
        return [window for window in self.windows if window <= most]


Point = tuple[int, ...]


@dataclass(frozen=True)
class Lattice:
    """The structures of one kind, by their places along each axis; width is the first axis."""

    kind: Kind
    widths: Sequence[int]
    windows: Sequence[int] = (0,)
    pools: Sequence[int] = (0,)
    multiples: Sequence[float] = (0.0,)

    @property
    def extents(self) -> Point:
        return len(self.widths), len(self.windows), len(self.pools), len(self.multiples)

    def at(self, point: Point) -> tuple[Structure, float]:
        """The structure at a point, and the multiple of the natural λ to train it with."""
        width, window, pool, multiple = point
        structure = Structure(self.kind, self.widths[width], self.windows[window], self.pools[pool])
        return structure, self.multiples[multiple]

    def first_points(self) -> list[Point]:
        """All points at the middle width."""
        others = itertools.product(*map(range, self.extents[1:]))
        return [((len(self.widths) - 1) // 2, *rest) for rest in others]

    def neighbours(self, point: Point) -> Iterator[Point]:
        """The points one step away, narrower networks first."""
        for axis, step in itertools.product(range(len(point)), (-1, 1)):
            moved = list(point)
            moved[axis] += step
            if 0 <= moved[axis] < self.extents[axis]:
                yield tuple(moved)


@dataclass(frozen=True, eq=False)
class Search:
    """What all networks that are tried have in common.

    course: of the training of each.
    work: the multiply-adds that one training may take; see `course_within`.
    """

    samples: Samples
    geometry: Geometry | None
    learned: NDArray[Any] | None
    found: SharedFilters | None
    course: Course
    work: float
    geometry_known: bool
    seed: int
    restarts: int
    report: Callable[[NetworkCode], None]
    tried: list[NetworkCode] = field(default_factory=list)

    def climb(self, lattice: Lattice) -> int | None:
        """Try structures of a kind, and the best of them again from other weights.

        Returns how far the middle one of these last codes lies above the shortest: a start that
        fails says little, one that alone succeeds much. None where training diverges everywhere.
        """
        known: dict[Point, NetworkCode | None] = {}

        def bits(point: Point) -> float:
            if point not in known:
                known[point] = self.code(*lattice.at(point), self.seed)
            code = known[point]
            return np.inf if code is None else code.bits

        here = min(lattice.first_points(), key=bits)
        while True:
            best = min(lattice.neighbours(here), key=bits, default=here)
            if bits(best) >= bits(here):
                break
            here = best
        seeds = [(self.seed + 1 + i) % _SEEDS for i in range(self.restarts)]
        again = [self.code(*lattice.at(here), seed) for seed in seeds]
        lengths = sorted(code.bits for code in (known[here], *again) if code is not None)
        return lengths[len(lengths) // 2] - lengths[0] if lengths else None

    def code(self, structure: Structure, multiple: float, seed: int) -> NetworkCode | None:
        """Of a network trained for it; None if that diverges at a ninth of the rate, too.

        None as well where its first layer alone takes more bits than the shortest code so far.
        """
        shortest = min((code.bits for code in self.tried), default=np.inf)
        if least_bits(self._new(structure, seed), structure) > shortest:
            return None
        for slower in _RATES:
            try:
                network = self._trained(structure, multiple, slower, seed)
            except Collapse:
                continue
            code = self._coded(network, structure)
            if structure.kind == "sparse":
                # Where zeros are few it is shorter to tell them than to say where they are not.
                self._coded(network, replace(structure, kind="dense"))
            return code
        return None

    def _coded(self, network: nn.Sequential, structure: Structure) -> NetworkCode:
        columns = self.samples.inputs.shape[1]
        with fitting.threads_for(multiply_adds(network, columns) * self.course.batch_size):
            code = network_code(
                network,
                structure,
                self.samples,
                self.geometry,
                geometry_known=self.geometry_known,
            )
        self.tried.append(code)
        self.report(code)
        return code

    def _trained(
        self, structure: Structure, multiple: float, slower: float, seed: int
    ) -> nn.Sequential:
        columns = self.samples.inputs.shape[1]
        network = self._new(structure, seed)
        start_from(network, structure, self.geometry, self.learned, self.found)
        course = self.course_within(network)
        course = replace(course, lr=slower * course.lr)
        if multiple > 0:
            budget = Budget.of(course.steps, course.batch_size, slower * _PENALISED_LR)
            penalty = Penalty(multiple * budget.natural_lam(columns), 0.0)
            fitting.train(network, self.samples, penalty, budget, seed)
            kept = network.get_submodule("first").get_parameter("weight").detach()
            masked = self._new(structure, seed, kept != 0)
            masked.load_state_dict(network.state_dict(), strict=False)
            network = masked
        return train_network(network, self.samples, course=course, seed=seed)

    def _new(
        self, structure: Structure, seed: int, support: torch.Tensor | None = None
    ) -> nn.Sequential:
        columns = self.samples.inputs.shape[1]
        outputs = outputs_of(self.samples)
        return new_structured_network(
            structure, self.geometry, columns, outputs, seed, support=support
        )

    def course_within(self, network: nn.Sequential) -> Course:
        """The course, with as small batches as `work` asks for, then as few steps."""
        course = self.course
        rows = self.work / work_of_a_row(network, self.samples.inputs.shape[1])
        batch = int(min(max(rows / course.steps, _BATCH), course.batch_size))
        steps = int(min(max(rows / batch, course.steps / 4), course.steps))
        return replace(course, batch_size=batch, steps=max(1, steps))


def outputs_of(samples: Samples) -> int:
    """Outputs of a network for these targets: one a class, or one."""
    if samples.task == "classification":
        return int(samples.targets.max()) + 1
    return 1
