"""`discover`: the whole way from a table to its structure, and to what that is worth.

Dependence of the columns, what β-LASSO keeps together, where the columns lie, receptive fields,
whether weights can be shared, and networks of the structure that was found beside others.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from scratchconv import __version__
from scratchconv.data.dataset import Task
from scratchconv.discovery.comparison import CONTENDERS, Compared, compare_networks
from scratchconv.discovery.dependence import MIN_ROWS, Dependence, checked_table, dependence
from scratchconv.discovery.findings import Findings
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Evidence, Floats32, Integers
from scratchconv.discovery.kept_stages import KeptStages, search_key
from scratchconv.discovery.learning import FEWEST_ROWS
from scratchconv.discovery.locating import (
    Asked,
    Located,
    Source,
    checked_source,
    checked_variables,
    learned_evidence,
    located,
)
from scratchconv.discovery.receptive_fields import receptive_fields
from scratchconv.discovery.recovered import recovery_of
from scratchconv.discovery.sharing import Sharing, find_sharing
from scratchconv.discovery.targets import (
    HELD_OUT,
    RowScaling,
    Targets,
    checked_targets,
    checked_test_targets,
    held_out_rows,
)
from scratchconv.errors import InvalidArgument

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of a stage, what is done of it, and what there is to do, as far as known."""
_Told: TypeAlias = Callable[[int, int], None]
_Found = TypeVar("_Found")

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
    kept: KeptStages | None = None,
) -> Findings:
    """Find what structure the columns of a table have.

    Args:
        X: (n, d), finite numbers; 2 to 4096 columns. At least 20 rows beside those held out for
            the `test`; labels can be asked where these are 40.
        y: (n,) what is to be learned: classes of any type, or numbers.
        names: of the columns, all different; None: their numbers.
        variables: of which variable each column is; None: every one of its own. Columns that a
            category became exclude each other, which is no neighbourhood: those of one variable
            are neighbours only as channels of one position.
        task: None: classification, unless y are floating-point numbers or more than 256 whole ones.
        test: rows and targets that nothing but the final comparison looks at. None: a fifth of the
            rows is held out for it first, and used by nothing else.
        source: "data": which columns depend on each other; "labels": which β-LASSO keeps together;
            "both"; "auto": both where there are labels, and rows enough to learn from.
        networks: whether to train the network of the structure and others beside it.
        true_geometry: where the columns really lie: for `Findings.recovery`, and a convolution on
            it among the networks.
        seed: of all that is drawn.
        progress: called as stages go on.
        kept: where what long stages find is kept, and found again by the same search if it was
            broken off; None: nowhere.

    The same arguments give the same findings on the same kind of machine, but for `seconds`.

    Raises InvalidArgument: values that cannot be used; RunDirectoryError: `kept` is of another
    search.
    """
    table = checked_table(X)
    n, d = table.shape
    named = _checked_names(names, d)
    if true_geometry is not None and len(true_geometry.position_of) != d:
        raise InvalidArgument(
            f"true_geometry has {len(true_geometry.position_of)} columns, but X has {d}"
        )
    of_variable = checked_variables(variables, d)
    targets = None if y is None else checked_targets(y, n, task)
    rows = np.arange(n)
    tested: tuple[NDArray[Any], NDArray[Any]] | None = None
    if targets is not None and networks:
        if test is None:
            rows, kept_back = held_out_rows(targets, HELD_OUT, seed)
            tested = table[kept_back], targets.values[kept_back]
        else:
            tested = _checked_test(test, d, targets)
    asked = checked_source(source, y, len(rows))
    _check_enough(len(rows), n, asked)
    rows = _drawn(rows, MOST_ENTRIES // d, seed)
    table = table[rows]
    targets = None if targets is None else targets.part(rows)
    live = np.asarray(table.max(axis=0) != table.min(axis=0))
    stages = _Stages(progress, kept)
    if kept is not None:
        kept.begin(
            search_key(
                {
                    "table": table,
                    "targets": None if targets is None else targets.values,
                    "test": None if tested is None else tested[0],
                    "test targets": None if tested is None else tested[1],
                    **_arrays_of(true_geometry),
                },
                {
                    "asked": (asked, None if targets is None else targets.task, seed),
                    "variables": of_variable,
                    "versions": (__version__, torch.__version__),
                },
            )
        )
    found = learned = None
    if asked != "labels":
        found = stages.run("dependence", Dependence, lambda told: dependence(table, seed=seed))
    if asked != "data":
        labels = targets
        assert labels is not None
        learned = stages.run(
            "learned connectivity",
            Evidence,
            lambda told: learned_evidence(table, labels, seed=seed, progress=told),
        )
    place = stages.run("geometry", Located, lambda told: located(found, learned, live, of_variable))
    fields = np.zeros((0, d), np.float32)
    sharing: Sharing | None = None
    compared: tuple[Compared, ...] = ()
    if targets is not None:
        scaling = RowScaling.of(table, targets)
        samples = scaling.samples(table, targets.values)
        fields = stages.run(
            "receptive fields",
            Floats32,
            lambda told: receptive_fields(samples, seed=seed, progress=told),
        )
        few = samples.part(_drawn(np.arange(len(samples)), SHARING_ROWS, seed))
        sharing = stages.run(
            "sharing",
            Sharing,
            lambda told: find_sharing(
                few,
                place.geometry,
                learned=fields,
                geometry_known=place.source == "data",
                seed=seed,
                progress=_counted(told),
            ),
        )
        if tested is not None:
            test_rows, structure = scaling.samples(*tested), sharing.structure
            compared = stages.each(
                "networks",
                CONTENDERS,
                lambda done, report: compare_networks(
                    samples,
                    test_rows,
                    structure,
                    place.geometry,
                    true_geometry=true_geometry,
                    learned=fields,
                    seed=seed,
                    done=done,
                    progress=report,
                ),
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
        seconds=stages.seconds,
        test_rows=0 if tested is None else len(tested[0]),
    )


class _Stages:
    """Times the stages, tells how far each of them is, and finds again what is kept of them."""

    def __init__(self, progress: Progress | None, kept: KeptStages | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._kept = kept

    def run(self, name: str, hint: Any, find: Callable[[_Told], _Found]) -> _Found:
        """What `find` finds, of type `hint`, unless it is kept."""
        told = self._told(name)
        told(0, 1)
        there = None if self._kept is None else self._kept.get(name, hint)
        if there is None:
            start = time.perf_counter()
            found = find(told)
            there = found, time.perf_counter() - start
            if self._kept is not None:
                self._kept.keep(name, *there)
        self.seconds[name] = there[1]
        told(1, 1)
        return there[0]

    def each(
        self,
        name: str,
        parts: Sequence[str],
        find: Callable[[Sequence[Compared], Callable[[Compared], None]], Sequence[Compared]],
    ) -> tuple[Compared, ...]:
        """As `run`, of a stage whose parts are kept one by one."""
        told = self._told(name)
        told(0, 1)
        there = {}
        if self._kept is not None:
            for part in parts:
                entry = self._kept.get(f"{name}, {part}", Compared)
                if entry is not None:
                    there[part] = entry
        before = sum(seconds for _, seconds in there.values())
        start = last = time.perf_counter()
        count = _counted(told)

        def report(one: Compared) -> None:
            nonlocal last
            now = time.perf_counter()
            if self._kept is not None:
                self._kept.keep(f"{name}, {one.name}", one, now - last)
            last = now
            count(one)

        found = tuple(find([one for one, _ in there.values()], report))
        self.seconds[name] = before + time.perf_counter() - start
        told(1, 1)
        return found

    def _told(self, name: str) -> _Told:
        def told(done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(name, done, total)

        return told


def _arrays_of(geometry: Geometry | None) -> dict[str, NDArray[Any] | None]:
    if geometry is None:
        return {"true positions": None}
    return {
        "true positions": geometry.position_of,
        "true channels": geometry.channel_of,
        "true coordinates": geometry.coordinates,
    }


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


def _check_enough(rows: int, given: int, asked: Source) -> None:
    """Raise InvalidArgument where `rows` that are left of those `given` are too few."""
    fewest = MIN_ROWS if asked == "data" else FEWEST_ROWS
    if rows >= fewest:
        return
    data = ", or source='data'" if asked != "data" and rows >= MIN_ROWS else ""
    if rows == given:
        raise InvalidArgument(
            f"{given} rows are too few to learn from: give {fewest} or more{data}"
        )
    raise InvalidArgument(
        f"of {given} rows a fifth is held out to test networks on, and the {rows} left are fewer"
        f" than the {fewest} that are needed: give more rows, rows to test on, networks=False{data}"
    )


def _checked_test(
    test: tuple[ArrayLike, ArrayLike], columns: int, targets: Targets
) -> tuple[NDArray[Any], NDArray[Any]]:
    inputs, values = np.asarray(test[0]), np.asarray(test[1])
    if inputs.ndim != 2 or inputs.shape[1] != columns or values.shape != inputs.shape[:1]:
        raise InvalidArgument(
            f"test has inputs {inputs.shape} and targets {values.shape}: give (rows, {columns})"
            " and (rows,)"
        )
    if not len(inputs) or not np.isfinite(inputs).all():
        raise InvalidArgument("test is empty, or holds NaN or infinity: fill or drop those rows")
    return inputs, checked_test_targets(values, len(inputs), targets)


def _drawn(rows: Integers, most: int, seed: int) -> Integers:
    """At most so many of the rows, in their order."""
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng((seed, len(rows))).choice(len(rows), most, replace=False)
    return rows[np.sort(chosen)]
