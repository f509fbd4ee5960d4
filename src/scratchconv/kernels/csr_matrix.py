"""`CSRMatrix`: a sparse matrix in compressed sparse rows, checked once and then trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.compilation import BLOCKS

Float32Array = NDArray[np.float32]
OffsetArray = NDArray[np.int32] | NDArray[np.int64]

_DTYPES: dict[str, tuple[type, ...]] = {
    "values": (np.float32,),
    "columns": (np.int32,),
    "offsets": (np.int32, np.int64),
}


@dataclass(frozen=True, eq=False)
class CSRMatrix:
    """A sparse matrix of shape (rows, features), one row a unit.

    values: float32 (nonzero,), row after row.
    columns: int32 (nonzero,), the feature that each value multiplies, in [0, features).
    offsets: int32 or int64 (rows + 1,): row i holds the values offsets[i] to offsets[i + 1].
    features: columns of the matrix.

    The arrays must not be changed afterwards: kernels read where they point without asking.

    Raises InvalidArgument: a dtype, a shape, an offset or a column is not as said here.
    """

    values: Float32Array
    columns: NDArray[np.int32]
    offsets: OffsetArray
    features: int

    def __post_init__(self) -> None:
        for name, dtypes in _DTYPES.items():
            array = getattr(self, name)
            if array.dtype not in dtypes or array.ndim != 1 or not array.flags.c_contiguous:
                kinds = " or ".join(dtype.__name__ for dtype in dtypes)
                raise InvalidArgument(
                    f"{name} of a CSR matrix are {array.dtype} {array.shape}:"
                    f" they must be one contiguous row of {kinds}"
                )
        problem = self._problem()
        if problem:
            raise InvalidArgument(f"not a CSR matrix: {problem}")

    def _problem(self) -> str | None:
        nonzero, offsets = self.values.size, self.offsets
        if not 0 <= self.features < 2**31:
            return f"features is {self.features}, which is not in [0, 2³¹)"
        if self.columns.size != nonzero:
            return f"there are {nonzero} values but {self.columns.size} columns"
        if offsets.size == 0 or offsets[0] != 0 or offsets[-1] != nonzero:
            return f"offsets must run from 0 to the number of values, {nonzero}"
        if (offsets[1:] < offsets[:-1]).any():
            return "offsets must not decrease"
        if nonzero and (self.columns.min() < 0 or self.columns.max() >= self.features):
            return f"a column is outside [0, {self.features})"
        return None

    @classmethod
    def from_scipy(cls, matrix: Any) -> CSRMatrix:
        """A scipy CSR array, its values rounded to float32."""
        kind = np.int32 if matrix.nnz < 2**31 else np.int64
        return cls(
            values=np.ascontiguousarray(matrix.data, np.float32),
            columns=np.ascontiguousarray(matrix.indices, np.int32),
            offsets=np.ascontiguousarray(matrix.indptr, kind),
            features=matrix.shape[1],
        )

    @classmethod
    def from_dense(cls, dense: NDArray[Any]) -> CSRMatrix:
        """The non-zeros of a matrix (rows, features), rounded to float32."""
        return cls.from_scipy(sparse.csr_array(dense))

    def to_scipy(self) -> Any:
        """The same matrix as a scipy CSR array."""
        arrays = (self.values, self.columns, self.offsets)
        return sparse.csr_array(arrays, shape=(self.rows, self.features))

    def to_dense(self) -> Float32Array:
        """The matrix with its zeros, float32 (rows, features)."""
        dense: Float32Array = self.to_scipy().toarray()
        return dense

    @property
    def rows(self) -> int:
        return self.offsets.size - 1

    @property
    def nonzero(self) -> int:
        """How many values are stored."""
        return self.values.size

    @property
    def density(self) -> float:
        """nonzero / (rows · features); 0 for a matrix without elements."""
        return self.nonzero / max(1, self.rows * self.features)

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """Where to cut the rows so that every block has about as many non-zeros; ends included."""
        quantiles = np.linspace(0, self.nonzero, min(BLOCKS, max(1, self.rows)) + 1)
        cuts = np.searchsorted(self.offsets, quantiles).astype(np.int64)
        cuts[0], cuts[-1] = 0, self.rows
        return cuts
