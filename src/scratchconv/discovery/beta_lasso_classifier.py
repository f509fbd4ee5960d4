"""`BetaLassoClassifier`: classes from a table, and which columns each hidden unit kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from scratchconv.data.dataset import Task
from scratchconv.discovery.beta_lasso_estimator import BetaLassoEstimator
from scratchconv.discovery.weighted_rows import checked_weights
from scratchconv.errors import InvalidArgument


class BetaLassoClassifier(ClassifierMixin, BetaLassoEstimator):  # type: ignore[misc]
    """A network for classes whose weights become zero where they are not needed.

    A fully connected network with BatchNorm and ReLU, trained by β-LASSO (Neyshabur 2020,
    Algorithm 1) on the cross entropy.

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
            inputs (X − mean_) / scale_, with one output a class.
        support_: bool (hidden[0], columns): which columns each unit of the first layer kept.
        units_per_column_: int (columns,): how many units kept each. A count, not an importance.
        search_: what "auto" tried (`fitting.Tried`), from no penalty to the strongest; empty
            where λ was not chosen so.
        lam_, lam_first_, beta_: what was used.
        mean_, scale_: of the columns.
        classes_: the classes, sorted, in the order of the outputs.
        n_iter_: optimizer steps taken.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Columns that are constant get a warning and no weights. Equal rows count as one row of their
    summed weight, so the order of rows does not matter, and BatchNorm sees each row once. Missing
    values are refused: fill them first (`sklearn.impute`).
    """

    _task: Task = "classification"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BetaLassoClassifier:
        """Train a new network.

        Args:
            X: (n, columns), finite numbers.
            y: (n,), two classes or more: numbers or strings.
            sample_weight: (n,), not negative; k counts as k equal rows.

        Raises:
            InvalidArgument: a parameter, the weights, one class only, or too little memory.
            Collapse: training diverged.
            ValueError: what scikit-learn's validation refuses: missing values, wrong shapes.
        """
        self._forget()
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32))
        check_classification_targets(y)
        weights = checked_weights(sample_weight, len(X))
        self._set_classes(np.unique(y[weights > 0]))
        # Rows of weight 0 may be of other classes; they are left out.
        codes = np.searchsorted(self.classes_, y)
        self._fit(X, codes, weights)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> BetaLassoClassifier:
        """One pass over these rows, at half of `lr`, from where the network stands.

        The columns' means and deviations follow all rows seen. λ is what an earlier `fit` chose,
        or the natural one of a run of `max_steps` steps. Give some hundred rows a call.

        Args:
            X, y, sample_weight: as in `fit`; at least two different rows.
            classes: all classes that will ever come; needed in the first call, if not after `fit`.

        Raises as `fit` does, and InvalidArgument for classes that are missing or unknown.
        """
        first = not hasattr(self, "network_")
        X, y = validate_data(self, X, y, reset=first, dtype=(np.float64, np.float32))
        check_classification_targets(y)
        weights = checked_weights(sample_weight, len(X))
        if first and classes is None:
            raise InvalidArgument(
                "classes is None: the first call of partial_fit must name all classes to come"
            )
        if classes is not None:
            named = np.unique(column_or_1d(np.asarray(classes)))
            if first:
                self._set_classes(named)
            elif not np.array_equal(named, self.classes_):
                raise InvalidArgument(
                    f"classes is {named}, but this network knows {self.classes_}:"
                    " leave it out, or begin anew with fit"
                )
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise InvalidArgument(
                f"y has classes {unknown} beside {self.classes_}: name all of them in the first"
                " call of partial_fit"
            )
        self._partial_fit(X, np.searchsorted(self.classes_, y), weights)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class of `classes_`: (n, classes). X is (n, columns)."""
        probabilities: NDArray[np.float64] = softmax(self._raw_outputs(X), axis=1)
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row: (n,). X is (n, columns)."""
        codes = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[codes]
        return predicted

    def _set_classes(self, classes: NDArray[Any]) -> None:
        if len(classes) < 2:
            raise InvalidArgument(
                f"y has one class only ({classes[0]}): a classifier needs at least 2 classes"
            )
        self.classes_ = classes

    def _outputs(self) -> int:
        return len(self.classes_)

    def _network_targets(self, y: NDArray[Any], weights: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy(y.astype(np.int64))
