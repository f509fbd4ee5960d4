"""`StructureFinder`: scikit-learn's side of what `discover` finds; it reorders columns by it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from scratchconv.data.dataset import Task
from scratchconv.discovery.channels import Channels
from scratchconv.discovery.dependence import MIN_ROWS, checked_table, dependence
from scratchconv.discovery.geometry import Geometry, no_geometry
from scratchconv.discovery.graph import Integers, NeighbourGraph
from scratchconv.discovery.learning import STEPS
from scratchconv.discovery.locating import (
    Asked,
    Located,
    checked_source,
    checked_variables,
    learned_evidence,
    located,
)
from scratchconv.discovery.ordering import column_order
from scratchconv.discovery.sharing import Sharing, find_sharing
from scratchconv.discovery.targets import RowScaling, checked_targets
from scratchconv.errors import InvalidArgument
from scratchconv.models.memory import available_bytes

_MATRICES = 14
"""d×d matrices of float32 that are needed at once, and copies of the rows:"""
_COPIES = 4
_MOST_NAMED = 5


class StructureFinder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Which columns of a table are neighbours, where they lie, and whether they share weights.

    `fit` finds the structure from the columns alone, or also from labels; `transform` reorders the
    columns along it.

    Args:
        source: "data": which columns depend on each other; "labels": which β-LASSO keeps together
            when it learns y; "both"; "auto": both where y is given, and there are the 40 rows that
            learning needs.
        sharing: with y, whether to decide between dense, sparse, local and shared weights by
            description length.
        task: "classification" or "regression"; None: the latter if y are floating-point numbers or
            more than 256 whole ones.
        variables: of which variable each column is; see `discover`. None: every one of its own.
        rounds, steps: of learning from labels (`learned_supports`): networks on each half of the
            rows, and steps of each.
        random_state: seed of all that is drawn. The same seed, data and number of threads find the
            same.
        verbose: whether to print a line for each stage.

    Attributes:
        geometry_: `Geometry`: kind, shape, coordinates, and the evidence.
        dimension_: of the space they lie in; 0 if none was found.
        coordinates_: float64 (columns, dimension_): the coordinates of each column's position; NaN
            for those that lie nowhere.
        position_of_: int64 (columns,): columns of the same position share one.
        channels_: columns at each position, 1 if none share one.
        graph_: `NeighbourGraph` of the positions: edges and the confidence of each.
        graphs_: the same by source, before the geometry corrected it.
        source_: whose edges the geometry was read from.
        constant_: int64, columns of one value only.
        sharing_: `Sharing`; None without y, or if it was not asked for.
        order_: int64 (columns,): the columns in the order in which `transform` puts them.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Missing values are refused: fill them first (`sklearn.impute`). Constant columns get a warning
    and no neighbours.
    """

    sharing_: Sharing | None

    def __init__(
        self,
        source: Asked = "auto",
        *,
        sharing: bool = True,
        task: Task | None = None,
        variables: Sequence[str] | None = None,
        rounds: int = 2,
        steps: int = STEPS,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.source = source
        self.sharing = sharing
        self.task = task
        self.variables = variables
        self.rounds = rounds
        self.steps = steps
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> StructureFinder:
        """Find the structure of the columns.

        Args:
            X: (n, columns), finite numbers, at most 4096 columns. Below 20 rows nothing can be
                found, and a warning says so.
            y: (n,) classes or numbers; None: only the columns are looked at.

        Raises:
            InvalidArgument: a parameter, one class only, too few rows to learn from, too many
                columns, or too little memory.
            ValueError: what scikit-learn's validation refuses: missing values, wrong shapes.
        """
        X = validate_data(self, X, dtype=(np.float64, np.float32))
        n, d = X.shape
        asked = checked_source(self.source, y, n)
        targets = None if y is None else checked_targets(y, n, self.task)
        variables = checked_variables(self.variables, d)
        _check_memory(n, d)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        live = np.asarray(X.max(axis=0) != X.min(axis=0))
        self._warn_of_constant(live)
        if n < MIN_ROWS or d < 2:
            if n < MIN_ROWS:
                warnings.warn(
                    f"{n} rows say nothing of neighbours: no structure. Give {MIN_ROWS} or more",
                    UserWarning,
                    stacklevel=2,
                )
            self._set(_nowhere(d), live)
            return self
        table = checked_table(X)
        found = learned = None
        if asked != "labels":
            self._tell("dependence")
            found = dependence(table, seed=self._seed)
        if asked != "data" and targets is not None:
            self._tell("learned connectivity")
            learned = learned_evidence(
                table, targets, rounds=self.rounds, steps=self.steps, seed=self._seed
            )
        self._tell("geometry")
        self._set(located(found, learned, live, variables), live)
        if targets is not None and self.sharing:
            self._tell("sharing")
            self.sharing_ = find_sharing(
                RowScaling.of(X, targets).samples(X, targets.values),
                self.geometry_,
                geometry_known=self.source_ == "data",
                seed=self._seed,
            )
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """X (n, columns) with its columns in the order that was found.

        Along a line or ring; row by row of a grid; else along the map's first axis. Columns of one
        position stand side by side; positions that lie nowhere come last, those of earlier columns
        first.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        return np.asarray(X[:, self.order_])

    def inverse_transform(self, X: Any) -> NDArray[Any]:
        """The columns of `transform`'s result put back where they were."""
        check_is_fitted(self)
        table = np.asarray(X)
        if table.ndim != 2 or table.shape[1] != self.n_features_in_:
            raise InvalidArgument(
                f"X has shape {table.shape}: give what transform returned, (n,"
                f" {self.n_features_in_})"
            )
        back = np.empty_like(table)
        back[:, self.order_] = table
        return back

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The names of the columns, in the order in which `transform` puts them."""
        from sklearn.utils.validation import _check_feature_names_in

        check_is_fitted(self)
        names = np.asarray(_check_feature_names_in(self, input_features), dtype=object)
        return np.asarray(names[self.order_], dtype=object)

    def _set(self, place: Located, live: NDArray[np.bool_]) -> None:
        self.geometry_: Geometry = place.geometry
        self.dimension_ = place.geometry.dimension
        self.coordinates_ = place.geometry.coordinates[place.geometry.position_of]
        self.position_of_: Integers = place.geometry.position_of
        self.channels_ = place.channels.count
        self.graph_: NeighbourGraph = place.graph
        self.graphs_ = dict(place.graphs)
        self.source_ = place.source
        self.constant_ = np.flatnonzero(~live)
        self.order_ = column_order(place.geometry)
        self.sharing_ = None

    def _warn_of_constant(self, live: NDArray[np.bool_]) -> None:
        if live.all() or len(live) < 2:
            return
        names = getattr(self, "feature_names_in_", np.arange(len(live)))[~live]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        warnings.warn(
            f"{len(names)} of {len(live)} columns are constant and have no neighbours:"
            f" {', '.join(map(str, names[:_MOST_NAMED]))}{more}. They can be left out",
            UserWarning,
            stacklevel=3,
        )

    def _tell(self, stage: str) -> None:
        if self.verbose:
            print(f"StructureFinder: {stage}", flush=True)


def _nowhere(columns: int) -> Located:
    channels = Channels(1, np.arange(columns), np.zeros(columns, np.int64), 0.0)
    none = NeighbourGraph.empty(columns)
    return Located("data", {"data": none}, none, no_geometry(channels), channels)


def _check_memory(rows: int, columns: int) -> None:
    needed = 4 * (_MATRICES * columns**2 + _COPIES * rows * columns)
    available = available_bytes()
    if available is not None and needed > available:
        raise InvalidArgument(
            f"{rows:,} rows of {columns:,} columns need {needed:,} bytes, but {available:,} are"
            " available: give fewer rows, which tell nearly as much, or fewer columns"
        )
