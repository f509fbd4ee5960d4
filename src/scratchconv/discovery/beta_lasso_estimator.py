"""What `BetaLassoClassifier` and `BetaLassoRegressor` share: scikit-learn's side of `fitting`."""

from __future__ import annotations

import copy
import numbers
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from scratchconv.data.dataset import Task
from scratchconv.discovery import fitting
from scratchconv.discovery.fitting import Budget, Penalty, Samples
from scratchconv.discovery.weighted_rows import distinct_rows
from scratchconv.errors import InvalidArgument
from scratchconv.models.memory import available_bytes

# Of fewer rows, too few can be held out to tell penalties apart: λ is then the natural one.
SEARCH_FROM = 200

_CHUNK = 8192  # rows at a time, so that no float64 copy of the table is made
_MOST_NAMED = 5


class BetaLassoEstimator(BaseEstimator):  # type: ignore[misc]
    """The parameters and the fit of both estimators, whose docstrings describe them."""

    _task: Task

    def __init__(
        self,
        hidden: Sequence[int] = (256, 64),
        *,
        lam: float | Literal["auto"] = "auto",
        lam_first: float | None = None,
        beta: float | Literal["auto"] = "auto",
        lr: float = 0.1,
        epochs: int = 100,
        max_steps: int = 6000,
        batch_size: int = 128,
        validation_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.lam = lam
        self.lam_first = lam_first
        self.beta = beta
        self.lr = lr
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _fit(self, X: NDArray[Any], y: NDArray[Any], weights: NDArray[np.float64]) -> None:
        """Train a new network. X, y and weights: validated, rows not yet distinct."""
        self._start(X.shape[1])
        rows, weights = self._distinct(X, y, weights)
        X, y = X[rows], y[rows]
        unused = self._constant_columns(X)
        samples = self._standardised(X, y, weights)
        budget = self._budget(len(samples))
        seed = self._seed

        def new() -> torch.nn.Sequential:
            return fitting.new_network(X.shape[1], self.hidden, self._outputs(), unused, seed)

        self.search_ = []
        if self.lam != "auto" or len(samples) < SEARCH_FROM:
            penalty = self._penalty(budget, 1.0)
        else:
            learned, held_out = self._divided(samples)
            shorter = self._budget(len(learned))
            tried = [self._penalty(shorter, multiple) for multiple in fitting.MULTIPLES]
            self.search_ = fitting.search(new, learned, held_out, tried, shorter, seed)
            chosen = self.search_.index(fitting.best(self.search_))
            penalty = self._penalty(budget, fitting.MULTIPLES[chosen])
        network = new()
        fitting.train(network, samples, penalty, budget, seed)
        self._finish(network, penalty, budget, budget.steps)

    def _partial_fit(self, X: NDArray[Any], y: NDArray[Any], weights: NDArray[np.float64]) -> None:
        """One pass over the rows, from the network as it is; a new one at the first call."""
        first = not hasattr(self, "network_")
        if first:
            self._start(X.shape[1])
            self.search_ = []
            self.n_iter_ = 0
        rows, weights = self._distinct(X, y, weights)
        samples = self._standardised(X[rows], y[rows], weights)
        if first:
            none = np.zeros(X.shape[1], dtype=bool)
            network = fitting.new_network(
                X.shape[1], self.hidden, self._outputs(), none, self._seed
            )
            budget = self._budget(None)
            penalty = self._penalty(budget, 1.0)
        else:
            network = self.network_
            budget = Budget(self.max_steps, self.batch_size, self.lr, self.beta_)
            penalty = Penalty(self.lam_first_, self.lam_)
        steps = fitting.train_once(network, samples, penalty, budget, (self._seed, self.n_iter_))
        self._finish(network, penalty, budget, self.n_iter_ + steps)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def _forget(self) -> None:
        """Be unfitted until a network is trained: no old one may meet new classes or means."""
        self.__dict__.pop("network_", None)

    def _start(self, columns: int) -> None:
        """Check the parameters, draw a seed, and forget earlier columns' means."""
        self._check_parameters()
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._scaler = StandardScaler()
        self._target_scaler = StandardScaler()
        weights = columns * int(self.hidden[0])
        # Weights, their gradient, and the copy in float64 that predicts.
        self._check_memory(16 * weights, f"{columns:,} columns and {self.hidden[0]:,} units")

    def _distinct(
        self, X: NDArray[Any], y: NDArray[Any], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        self._check_memory(
            X.shape[0] * X.shape[1] * (X.itemsize + 4),
            f"two copies of {X.shape[0]:,} rows of {X.shape[1]:,} columns",
        )
        rows, summed = distinct_rows(X, y, weights)
        if len(rows) < 2:
            raise InvalidArgument(
                "n_samples=1 after equal rows and rows of weight 0 are left out:"
                " BatchNorm needs at least 2 different rows"
            )
        return rows, summed

    def _constant_columns(self, X: NDArray[Any]) -> NDArray[np.bool_]:
        constant: NDArray[np.bool_] = X.min(axis=0) == X.max(axis=0)
        if constant.any():
            warnings.warn(
                f"{constant.sum()} of {X.shape[1]} columns are constant and tell nothing:"
                f" {self._named(constant)}. No unit will use them; they can be left out",
                UserWarning,
                stacklevel=4,
            )
        return constant

    def _standardised(
        self, X: NDArray[Any], y: NDArray[Any], weights: NDArray[np.float64]
    ) -> Samples:
        """The rows as the network takes them, by the mean and deviation of all rows so far."""
        for start in range(0, len(X), _CHUNK):
            part = slice(start, start + _CHUNK)
            with np.errstate(over="ignore", invalid="ignore"):
                self._scaler.partial_fit(X[part], sample_weight=weights[part])
        bad = ~np.isfinite(self._scaler.scale_)
        if bad.any():
            raise InvalidArgument(
                f"the numbers of {bad.sum()} columns are too large to be standardised:"
                f" {self._named(bad)}. Scale them down, or take logarithms"
            )
        self.mean_, self.scale_ = self._scaler.mean_, self._scaler.scale_
        return Samples(
            torch.from_numpy(self._scaled(X, np.float32)),
            self._network_targets(y, weights),
            torch.from_numpy((weights / weights.mean()).astype(np.float32)),
            self._task,
        )

    def _scaled(self, X: NDArray[Any], dtype: type) -> NDArray[Any]:
        inputs: NDArray[Any] = np.empty(X.shape, dtype=dtype)
        for start in range(0, len(X), _CHUNK):
            part = slice(start, start + _CHUNK)
            inputs[part] = (X[part] - self.mean_) / self.scale_
        return inputs

    def _divided(self, samples: Samples) -> tuple[Samples, Samples]:
        """Rows to learn from and rows held out, every class in proportion where that can be."""
        classes = None
        if self._task == "classification":
            classes = samples.targets.numpy()
            held_out = round(self.validation_fraction * len(samples))
            if np.bincount(classes).min() < 2 or held_out < classes.max() + 1:
                classes = None
        parts = train_test_split(
            np.arange(len(samples)),
            test_size=self.validation_fraction,
            stratify=classes,
            random_state=self._seed,
        )
        learned, kept_back = (samples.part(np.sort(rows)) for rows in parts)
        return learned, kept_back

    def _budget(self, samples: int | None) -> Budget:
        """Of a fit to so many samples, or of a stream (None), which is taken to be a long run."""
        steps = int(self.max_steps)
        if samples is not None:
            steps = min(self.epochs * fitting.batches_of(samples, self.batch_size), steps)
        beta = None if self.beta == "auto" else float(self.beta)
        return Budget.of(steps, self.batch_size, self.lr, beta)

    def _penalty(self, budget: Budget, multiple: float) -> Penalty:
        if self.lam == "auto":
            penalty = budget.penalty(multiple, (self.n_features_in_, *self.hidden))
        else:
            penalty = Penalty(float(self.lam), float(self.lam))
        if self.lam_first is not None:
            penalty = Penalty(float(self.lam_first), penalty.rest)
        return penalty

    def _finish(
        self, network: torch.nn.Sequential, penalty: Penalty, budget: Budget, steps: int
    ) -> None:
        self.network_ = network
        self.lam_first_, self.lam_ = penalty.first, penalty.rest
        self.beta_ = budget.beta
        self.n_iter_ = steps
        weight = fitting.first_layer(network).weight.detach().numpy()
        self.support_ = weight != 0
        self.units_per_column_ = self.support_.sum(axis=0)
        if not self.support_.any():
            warnings.warn(
                f"no weight of the first layer is left (lam_first={penalty.first:.3g}): every"
                " prediction is the same. Try a smaller lam_first or lam, or longer training",
                UserWarning,
                stacklevel=4,
            )

    def _raw_outputs(self, X: Any) -> NDArray[np.float64]:
        """What the network puts out for each row: (n, outputs).

        In float64, so that a row's output does not depend on the rows that come along with it.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        network = copy.deepcopy(self.network_).double()
        outputs = np.empty((len(X), self._outputs()))
        with torch.no_grad():
            for start in range(0, len(X), _CHUNK):
                part = slice(start, start + _CHUNK)
                inputs = torch.from_numpy(self._scaled(X[part], np.float64))
                outputs[part] = network(inputs).numpy()
        return outputs

    @abstractmethod
    def _outputs(self) -> int:
        """Outputs of the network."""

    @abstractmethod
    def _network_targets(self, y: NDArray[Any], weights: NDArray[np.float64]) -> torch.Tensor:
        """The targets as the network learns them."""

    def _named(self, which: NDArray[np.bool_]) -> str:
        names = getattr(self, "feature_names_in_", np.arange(len(which)))[which]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return ", ".join(map(str, names[:_MOST_NAMED])) + more

    def _check_memory(self, needed: int, what: str) -> None:
        available = available_bytes()
        if available is not None and needed > available:
            raise InvalidArgument(
                f"{what} need {needed:,} bytes, but {available:,} are available:"
                " select columns, use fewer hidden units, or learn in parts by partial_fit"
            )

    def _check_parameters(self) -> None:
        if not (
            isinstance(self.hidden, Sequence | np.ndarray)
            and len(self.hidden) > 0
            and all(_whole(units, 1) for units in self.hidden)
        ):
            raise InvalidArgument(
                f"hidden is {self.hidden!r}: give the units of each hidden layer, as (256, 64)"
            )
        for name, least in (("epochs", 1), ("max_steps", 1), ("batch_size", 2)):
            if not _whole(getattr(self, name), least):
                raise InvalidArgument(
                    f"{name} is {getattr(self, name)!r}: give a whole number of at least {least}"
                )
        for name, other in (("lam", "auto"), ("beta", "auto"), ("lam_first", None)):
            value = getattr(self, name)
            if not (value is other or value == other or _at_least_zero(value)):
                raise InvalidArgument(f"{name} is {value!r}: give {other!r} or a number, 0 or more")
        if not _at_least_zero(self.lr) or self.lr == 0:
            raise InvalidArgument(f"lr is {self.lr!r}: give a number above 0")
        fraction = self.validation_fraction
        if not (_at_least_zero(fraction) and 0 < fraction < 1):
            raise InvalidArgument(
                f"validation_fraction is {fraction!r}: give a number between 0 and 1"
            )


def _whole(value: object, least: int) -> bool:
    return (
        isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least
    )


def _at_least_zero(value: object) -> bool:
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and bool(np.isfinite(float(value)))
        and float(value) >= 0
    )
