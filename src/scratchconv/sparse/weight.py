"""The forms of a layer's weight on the CPU: dense with a fused update, and compressed to non-zeros.

All forms, that of the GPU too (`gpu_weight.py`), offer the same operations on feature-major
activations and perform the same algorithm; only what they cost differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument
from scratchconv.kernels import batch_norm, dense_update, sparse_gradients, sparse_products
from scratchconv.kernels.batch_norm import Units
from scratchconv.kernels.sparse_rows import SparseRows
from scratchconv.sparse.activations import no_rows, numbers, tiles
from scratchconv.sparse.snapshot import MAKE_DENSE

# Stored zeros are dropped when they are this share of what is stored: the index is rebuilt then.
_ZEROS_KEPT = 0.05


class Rule(NamedTuple):
    """The step of β-LASSO: learning rate η, λ, and the threshold βλ."""

    lr: float
    lam: float
    threshold: float

    def float32(self) -> tuple[np.float32, np.float32, np.float32]:
        return np.float32(self.lr), np.float32(self.lam), np.float32(self.threshold)

    @property
    def bar(self) -> float:
        """A zero weight returns only where |g| reaches βλ/η (Algorithm 1)."""
        return self.threshold / self.lr if self.lr > 0 else float("inf")


class Weight(Protocol):
    """A weight (units, features) in one of its forms; the numbers are those of `parameter`."""

    parameter: nn.Parameter

    @property
    def nonzero(self) -> int | Tensor:
        """How many weights are not zero: on a GPU a tensor, since reading it waits."""

    def input_gradient(self, gradient: Tensor, *, training: bool = True) -> Tensor:
        """dX = Wᵀ dY, (features, samples) from (units, samples); `training` as in MasterWeight."""

    def to_dense(self) -> Tensor:
        """float32 (units, features)."""

    def nonzero_per_unit(self) -> Tensor:
        """int64 (units,)."""


class MasterWeight(ABC):
    """All weights in float32, beside a bfloat16 copy where products are in bfloat16.

    The copy is made by a step and read by the passes in `training`. Others may run on weights that
    were put there through `.data`, of which autograd counts no version: those of a moving average,
    say. They cast the weights anew.
    """

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter = parameter
        self._copy: Tensor | None = None
        self._copied = (-1, 0)  # the version, and where the weights were

    def input_gradient(self, gradient: Tensor, *, training: bool = True) -> Tensor:
        return torch.mm(self._operand(gradient.dtype, training).t(), gradient)

    @abstractmethod
    def update(self, inputs: Tensor, gradient: Tensor, rule: Rule) -> None:
        """One step on the weights, from X and dY."""

    def to_dense(self) -> Tensor:
        return self.parameter.detach()

    def _operand(self, dtype: torch.dtype, training: bool = True) -> Tensor:
        """The weights in `dtype`, in training from the copy where it is still theirs."""
        theta = self.parameter.detach()
        if dtype == torch.float32:
            return theta
        if not training:
            return theta.to(dtype)
        if self._copy is None or self._copied != self._present():
            self._copy, self._copied = theta.to(dtype), self._present()
        return self._copy

    def _present(self) -> tuple[int, int]:
        return self.parameter._version, self.parameter.data_ptr()


class DenseWeight(MasterWeight):
    """All weights, on the CPU."""

    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__(parameter)
        self.nonzero = int(torch.count_nonzero(parameter.detach()))

    def outputs(
        self, inputs: Tensor, units: Units, normalised: Tensor | None, *, training: bool = True
    ) -> Tensor:
        """z (units, samples) from X (features, samples); x̂ into `normalised` if given."""
        sums = torch.mm(self._operand(inputs.dtype, training), inputs)
        kept = no_rows(inputs.dtype) if normalised is None else numbers(normalised)
        batch_norm.dense_units(numbers(sums), units, kept, numbers(sums))
        return sums

    def update(self, inputs: Tensor, gradient: Tensor, rule: Rule) -> None:
        theta = self.parameter.detach()
        units, features = theta.shape
        copy = self._operand(inputs.dtype) if inputs.dtype == torch.bfloat16 else None
        self._copy = copy
        nonzero = np.empty(units, np.int64)
        cut = tiles(units, features)
        buffer = torch.empty(cut[0].stop if cut else 0, features, dtype=inputs.dtype)
        for rows in cut:
            slopes = torch.mm(gradient[rows], inputs.t(), out=buffer[: rows.stop - rows.start])
            dense_update.update_rows(
                theta[rows].numpy(),
                no_rows(inputs.dtype) if copy is None else numbers(copy[rows]),
                numbers(slopes),
                *rule.float32(),
                nonzero[rows],
            )
        torch.autograd.graph.increment_version(self.parameter)
        self._copied = self._present()
        self.nonzero = int(nonzero.sum())

    def nonzero_per_unit(self) -> Tensor:
        return torch.count_nonzero(self.parameter.detach(), dim=1)


def put(parameter: nn.Parameter, data: Tensor) -> None:
    """`parameter.data = data`, also where its shape is another.

    As long as a graph of before lives, if only in somebody's variable `loss`, autograd goes on with
    the node that adds up gradients of the old shape. A change of dtype makes it drop that node.
    """
    if parameter.shape != data.shape:
        parameter.data = parameter.detach().new_empty(0, dtype=torch.float64)
    parameter.data = data


class StoredWeight:
    """Some of the weights, at their places; `parameter` holds their values in one row."""

    def __init__(self, parameter: nn.Parameter, rows: SparseRows) -> None:
        """`parameter` gets the values of `rows` as its data."""
        self.parameter = parameter
        self._store(rows)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store(self.rows)  # copied apart from each other, both are one memory again

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.units, self.rows.features

    def outputs(
        self, inputs: Tensor, units: Units, normalised: Tensor | None, *, training: bool = True
    ) -> Tensor:
        """z (units, samples) from X (features, samples); x̂ into `normalised` if given."""
        outputs = inputs.new_empty(self.rows.units, inputs.shape[1])
        kept = no_rows(inputs.dtype) if normalised is None else numbers(normalised)
        batch_norm.sparse_units(self.rows, numbers(inputs), units, kept, numbers(outputs))
        return outputs

    def input_gradient(self, gradient: Tensor, *, training: bool = True) -> Tensor:
        result = gradient.new_empty(self.rows.features, gradient.shape[1])
        sparse_products.input_gradient(self.rows, numbers(gradient), numbers(result))
        return result

    def to_dense(self) -> Tensor:
        return torch.from_numpy(self.rows.to_dense())

    def nonzero_per_unit(self) -> Tensor:
        filled = torch.from_numpy(self.rows.values != 0)
        ends = torch.nn.functional.pad(filled.cumsum(0), (1, 0))[
            torch.from_numpy(self.rows.offsets)
        ]
        return ends.diff()

    def take_up(self) -> None:
        """Go on with what `parameter.data = …` has put in the place of the values, if it has.

        Raises InvalidArgument if that is neither as many values nor a whole matrix.
        """
        if self.parameter.data_ptr() == self._address:
            return
        data = self.parameter.detach()
        if data.dtype == torch.float32 and data.shape == self.shape:
            rows = self._rows_of(data)
        elif data.dtype == torch.float32 and data.shape == self.rows.values.shape:
            rows = self.rows.with_values(data.numpy().copy())
        else:
            raise InvalidArgument(
                f"the values of a compressed layer were replaced by {data.dtype} of shape"
                f" {tuple(data.shape)}: give float32 of shape {self.rows.values.shape}, or of"
                f" {self.shape} for the whole weight, or {MAKE_DENSE}"
            )
        self._store(rows)

    def _rows_of(self, dense: Tensor) -> SparseRows:
        """What is stored of a whole matrix."""
        return SparseRows.from_dense(dense.numpy())

    def _store(self, rows: SparseRows) -> None:
        self.rows = rows
        put(self.parameter, torch.from_numpy(rows.values))
        self._address = self.parameter.data_ptr()


class CompressedWeight(StoredWeight):
    """The non-zeros, which become others as weights die and return.

    nonzero: how many there are; of the stored ones some may have died.
    """

    nonzero: int

    @classmethod
    def of(cls, parameter: nn.Parameter) -> CompressedWeight:
        """The non-zeros of a dense parameter (units, features)."""
        return cls(parameter, SparseRows.from_dense(parameter.detach().numpy()))

    def update(
        self, inputs: Tensor, gradient: Tensor, rule: Rule, *, zeros_return: bool = True
    ) -> None:
        """One step on the stored weights, from X and dY; those that die are dropped in time."""
        self.nonzero = sparse_gradients.update_nonzeros(
            self.rows, numbers(inputs), numbers(gradient), *rule.float32(), zeros_return
        )
        torch.autograd.graph.increment_version(self.parameter)
        if self.rows.stored - self.nonzero > _ZEROS_KEPT * self.rows.stored:
            self._store(self.rows.without_zeros())

    def revive(
        self,
        units: NDArray[np.int64],
        features: NDArray[np.int32],
        values: NDArray[np.float32],
    ) -> None:
        """Put weights where none is stored."""
        self._store(self.rows.with_more(units, features, values))

    def _store(self, rows: SparseRows) -> None:
        super()._store(rows)
        self.nonzero = int(np.count_nonzero(rows.values))
