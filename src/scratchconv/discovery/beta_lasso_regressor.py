"""`BetaLassoRegressor`: a number from a table, and which columns each hidden unit kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from scratchconv.data.dataset import Task
from scratchconv.discovery.beta_lasso_estimator import BetaLassoEstimator
from scratchconv.discovery.weighted_rows import checked_weights
from scratchconv.errors import InvalidArgument


class BetaLassoRegressor(RegressorMixin, BetaLassoEstimator):  # type: ignore[misc]
    """A network for one number whose weights become zero where they are not needed.

    A fully connected network with BatchNorm and ReLU, trained by β-LASSO (Neyshabur 2020,
    Algorithm 1) on the squared error of the standardised target.

    Args:
        hidden: units of each hidden layer. 256 are several for each column of most tables, so that
            columns are found together more than once; 4,096 columns then have a million weights.
        lam: λ of all layers but the first, in units of the gradient, or "auto": the best of four
            penalties, among them none, on rows held out; the network is then trained anew on all
            rows. Below 200 distinct rows none are held out, and the natural λ (`fitting.Budget`)
            is taken. Numbers belong to one length of training: see docs/lambda.md.
        lam_first: λ of the first layer; None: as `lam` says.
        beta: β; weights below βλ become zero. "auto": 50 as in the paper, or an eighth of the sum
            of the learning rates where training is too short for that.
        lr: learning rate at the start; it falls to zero along a cosine.
        epochs, max_steps: training ends after so many passes over the data or so many steps,
            whichever comes first. 6,000 steps take seconds on tables of 100 columns.
        batch_size: rows a step, at least 2.
        validation_fraction: of the rows, held out to choose λ.
        random_state: seed of the first weights, the order of rows and the rows held out. The same
            seed, data and number of threads give the same network; torch's global generator is
            neither used nor changed.

    Attributes:
        network_: the trained network, a plain float32 torch module on the CPU, for standardised
            inputs (X − mean_) / scale_, with one output:
            the target, less target_mean_, divided by target_scale_.
        support_: bool (hidden[0], columns): which columns each unit of the first layer kept.
        units_per_column_: int (columns,): how many units kept each. A count, not an importance.
        search_: what "auto" tried (`fitting.Tried`), from no penalty to the strongest; empty
            where λ was not chosen so.
        lam_, lam_first_, beta_: what was used.
        mean_, scale_: of the columns.
        target_mean_, target_scale_: of the target.
        n_iter_: optimizer steps taken.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Columns that are constant get a warning and no weights. Equal rows count as one row of their
    summed weight, so the order of rows does not matter, and BatchNorm sees each row once. Missing
    values are refused: fill them first (`sklearn.impute`).
    """

    _task: Task = "regression"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BetaLassoRegressor:
        """Train a new network.

        Args:
            X: (n, columns), finite numbers.
            y: (n,), finite numbers.
            sample_weight: (n,), not negative; k counts as k equal rows.

        Raises:
            InvalidArgument: a parameter, the weights, or too little memory.
            Collapse: training diverged.
            ValueError: what scikit-learn's validation refuses: missing values, wrong shapes.
        """
        self._forget()
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), y_numeric=True)
        self._fit(X, y.astype(np.float64), checked_weights(sample_weight, len(X)))
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> BetaLassoRegressor:
        """One pass over these rows, at half of `lr`, from where the network stands.

        The means and deviations of columns and target follow all rows seen. λ is what an earlier
        `fit` chose, or the natural one of a run of `max_steps` steps. Give some hundred rows a
        call, at least two different ones. Arguments and errors as in `fit`.
        """
        first = not hasattr(self, "network_")
        X, y = validate_data(
            self, X, y, reset=first, dtype=(np.float64, np.float32), y_numeric=True
        )
        self._partial_fit(X, y.astype(np.float64), checked_weights(sample_weight, len(X)))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The number expected for each row: (n,). X is (n, columns)."""
        outputs = self._raw_outputs(X)[:, 0]
        return outputs * self.target_scale_ + self.target_mean_

    def _outputs(self) -> int:
        return 1

    def _network_targets(self, y: NDArray[Any], weights: NDArray[np.float64]) -> torch.Tensor:
        scaler = self._target_scaler
        with np.errstate(over="ignore", invalid="ignore"):
            scaler.partial_fit(y[:, None], sample_weight=weights)
        self.target_mean_, self.target_scale_ = float(scaler.mean_[0]), float(scaler.scale_[0])
        if not np.isfinite(self.target_scale_):
            raise InvalidArgument(
                "y has numbers too large to be standardised: scale them down, or take logarithms"
            )
        return torch.from_numpy(((y - self.target_mean_) / self.target_scale_).astype(np.float32))
