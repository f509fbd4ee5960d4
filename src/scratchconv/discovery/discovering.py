"""`discover`: the whole way from a table to its structure, and to what that is worth.

Dependence of the columns, what β-LASSO keeps together, where the columns lie, receptive fields,
whether weights can be shared, and networks of the structure that was found beside others.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scratchconv.data.dataset import Task
from scratchconv.discovery.comparison import Compared, compare_networks
from scratchconv.discovery.dependence import checked_table, dependence
from scratchconv.discovery.findings import Findings
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Integers
from scratchconv.discovery.learning import FEWEST_ROWS
from scratchconv.discovery.locating import Asked, checked_source, learned_evidence, located
from scratchconv.discovery.receptive_fields import receptive_fields
from scratchconv.discovery.recovered import recovery_of
from scratchconv.discovery.sharing import Sharing, find_sharing
from scratchconv.discovery.targets import HELD_OUT, RowScaling, checked_targets, held_out_rows
from scratchconv.errors import InvalidArgument

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of a stage, what is done of it, and what there is to do, as far as known."""

STAGES = (
    "dependence",
    "learned connectivity",
    "geometry",
    "receptive fields",
    "sharing",
    "networks",
)
MOST_ENTRIES = 2**28
"""Of a larger table, so many entries are looked at: its rows are drawn without replacement. Three
copies of them in float32 are 3 GB."""
SHARING_ROWS = 10_000
"""Rows by which sharing is decided: their labels are coded."""


def discover(
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    variables: Sequence[str] | None = None,
    task: Task | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    source: Asked = "auto",
    networks: bool = True,
    true_geometry: Geometry | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Findings:
    """Find what structure the columns of a table have.

    Args:
        X: (n, d), finite numbers; at least 20 rows, 40 with labels, and 2 to 4096 columns.
        y: (n,) what is to be learned: classes of any type, or numbers.
        names: of the columns, all different; None: their numbers.
        variables: of which variable each column is; None: every one of its own. Columns that a
            category became exclude each other, which is no neighbourhood: those of one variable
            are neighbours only as channels of one position.
        task: None: classification, unless y are floating-point numbers or more than 256 whole ones.
        test: rows and targets that nothing but the final comparison looks at. None: a fifth of the
            rows is held out for it first, and used by nothing else.
        source: "data": which columns depend on each other; "labels": which β-LASSO keeps together;
            "both"; "auto": both where there are labels.
        networks: whether to train the network of the structure and others beside it.
        true_geometry: where the columns really lie: for `Findings.recovery`, and a convolution on
            it among the networks.
        seed: of all that is drawn.
        progress: called as stages go on.

    The same arguments give the same findings on the same kind of machine, but for `seconds`.

    Raises InvalidArgument: values that cannot be used.
    """
    table = checked_table(X)
    n, d = table.shape
    asked = checked_source(source, y, n)
    named = _checked_names(names, d)
    if true_geometry is not None and len(true_geometry.position_of) != d:
        raise InvalidArgument(
            f"true_geometry has {len(true_geometry.position_of)} columns, but X has {d}"
        )
    if variables is not None and len(variables) != d:
        raise InvalidArgument(f"{len(variables)} variables for {d} columns: name one for each")
    targets = None if y is None else checked_targets(y, n, task)
    if asked != "data" and n < FEWEST_ROWS:
        raise InvalidArgument(
            f"{n} rows are too few to learn from: give {FEWEST_ROWS} or more, or source='data'"
        )
    rows = np.arange(n)
    tested: tuple[NDArray[Any], NDArray[Any]] | None = None
    if targets is not None and networks:
        if test is None:
            if asked != "data" and round((1 - HELD_OUT) * n) < FEWEST_ROWS:
                raise InvalidArgument(
                    f"of {n} rows a fifth is held out to test networks on, and the rest is fewer"
                    f" than the {FEWEST_ROWS} that learning needs: give more rows, rows to test on,"
                    " networks=False, or source='data'"
                )
            rows, kept_back = held_out_rows(targets, HELD_OUT, seed)
            tested = table[kept_back], targets.values[kept_back]
        else:
            tested = _checked_test(test, d)
    rows = _drawn(rows, MOST_ENTRIES // d, seed)
    table = table[rows]
    targets = None if targets is None else targets.part(rows)
    clock = _Clock(progress)
    live = np.asarray(table.max(axis=0) != table.min(axis=0))
    found = learned = None
    if asked != "labels":
        with clock.stage("dependence"):
            found = dependence(table, seed=seed)
    if asked != "data":
        assert targets is not None
        with clock.stage("learned connectivity") as told:
            learned = learned_evidence(table, targets, seed=seed, progress=told)
    with clock.stage("geometry"):
        place = located(found, learned, live, None if variables is None else tuple(variables))
    fields = np.zeros((0, d), np.float32)
    sharing: Sharing | None = None
    compared: tuple[Compared, ...] = ()
    if targets is not None:
        scaling = RowScaling.of(table, targets)
        samples = scaling.samples(table, targets.values)
        with clock.stage("receptive fields") as told:
            fields = receptive_fields(samples, seed=seed, progress=told)
        with clock.stage("sharing") as told:
            few = samples.part(_drawn(np.arange(len(samples)), SHARING_ROWS, seed))
            sharing = find_sharing(
                few,
                place.geometry,
                learned=fields,
                geometry_known=place.source == "data",
                seed=seed,
                progress=_counted(told),
            )
        if tested is not None:
            with clock.stage("networks") as told:
                compared = tuple(
                    compare_networks(
                        samples,
                        scaling.samples(*tested),
                        sharing.structure,
                        place.geometry,
                        true_geometry=true_geometry,
                        learned=fields,
                        seed=seed,
                        progress=_counted(told),
                    )
                )
    return Findings(
        names=named,
        rows=len(table),
        task=None if targets is None else targets.task,
        constant=np.flatnonzero(~live),
        graphs={str(name): graph for name, graph in place.graphs.items()},
        graph=place.graph,
        geometry=place.geometry,
        receptive_fields=fields,
        sharing=sharing,
        networks=compared,
        recovery=None
        if true_geometry is None
        else recovery_of(place.graph, place.geometry, true_geometry),
        seconds=clock.seconds,
        test_rows=0 if tested is None else len(tested[0]),
    )


class _Clock:
    """Times the stages, and tells how far each of them is."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        def told(done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(name, done, total)

        start = time.perf_counter()
        told(0, 1)
        yield told
        self.seconds[name] = time.perf_counter() - start
        told(1, 1)


def _counted(told: Callable[[int, int], None]) -> Callable[[object], None]:
    """Tells how many were done; there is at least one more to come."""
    done = itertools.count(1)

    def count(_: object) -> None:
        number = next(done)
        told(number, number + 1)

    return count


def _checked_names(names: Sequence[str] | None, columns: int) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(columns)))
    given = tuple(map(str, names))
    if len(given) != columns:
        raise InvalidArgument(f"{len(given)} names for {columns} columns: give one for each")
    if len(set(given)) < columns:
        twice = next(name for name in given if given.count(name) > 1)
        raise InvalidArgument(f"two columns are called {twice!r}: names must differ")
    return given


def _checked_test(
    test: tuple[ArrayLike, ArrayLike], columns: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    inputs, values = np.asarray(test[0]), np.asarray(test[1])
    if inputs.ndim != 2 or inputs.shape[1] != columns or values.shape != inputs.shape[:1]:
        raise InvalidArgument(
            f"test has inputs {inputs.shape} and targets {values.shape}: give (rows, {columns})"
            " and (rows,)"
        )
    if not len(inputs) or not np.isfinite(inputs).all():
        raise InvalidArgument("test is empty, or holds NaN or infinity: fill or drop those rows")
    return inputs, values


def _drawn(rows: Integers, most: int, seed: int) -> Integers:
    """At most so many of the rows, in their order."""
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng((seed, len(rows))).choice(len(rows), most, replace=False)
    return rows[np.sort(chosen)]
