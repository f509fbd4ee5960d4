"""`Pattern`: where the non-zeros of a matrix lie, on the device; what they are lies elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scratchconv.errors import InvalidArgument


@dataclass(frozen=True, eq=False)
class Pattern:
    """The non-zeros of a matrix (rows, columns) in compressed rows, without their values.

    indices: int32 (nonzero,), the column of each, row after row, rising within a row.
    offsets: int32 (rows + 1,): row i holds the places offsets[i] to offsets[i + 1].
    order: int32 (rows,), the rows from the longest to the shortest.
    columns: columns of the matrix.
    positions: int32 (nonzero,), where the value of each place lies; None: in the same place.

    Made by `pattern_of`; the tensors are trusted, and must not be changed.
    """

    indices: Tensor
    offsets: Tensor
    order: Tensor
    columns: int
    positions: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.order.numel()

    def tensors(self) -> dict[str, Tensor | None]:
        """What lies on the device, by name."""
        named = ("indices", "offsets", "order", "positions")
        return {name: getattr(self, name) for name in named}

    def row_of_each(self) -> Tensor:
        """int64 (nonzero,): the row of each place. Does not wait for the device."""
        lengths = self.offsets.diff().long()
        every_row = torch.arange(self.rows, device=lengths.device)
        return every_row.repeat_interleave(lengths, output_size=self.indices.numel())

    def transposed(self) -> Pattern:
        """The pattern of the transposed matrix, which reads the values where they are."""
        rows, columns = self.row_of_each(), self.indices.long()
        # Stable: within a column the rows keep rising.
        positions = torch.argsort(columns, stable=True)
        pattern = _pattern(columns[positions], rows[positions], self.columns, self.rows)
        kept = positions.int() if self.positions is None else self.positions[positions]
        return Pattern(pattern.indices, pattern.offsets, pattern.order, pattern.columns, kept)

    def to_dense(self, values: Tensor) -> Tensor:
        """The matrix with its zeros: (rows, columns), of the dtype of `values`."""
        dense = values.new_zeros(self.rows, self.columns)
        stored = values if self.positions is None else values[self.positions.long()]
        dense[self.row_of_each(), self.indices.long()] = stored
        return dense


def pattern_of(weight: Tensor) -> tuple[Pattern, Tensor]:
    """The non-zeros of `weight` (rows, columns): their pattern, and their values (nonzero,).

    Waits for the device, which must count them first. Raises InvalidArgument where `weight` is no
    matrix, or has 2³¹ non-zeros or more.
    """
    if weight.ndim != 2:
        raise InvalidArgument(f"weight has shape {tuple(weight.shape)}: give (rows, columns)")
    rows, columns = weight.nonzero(as_tuple=True)
    if rows.numel() >= 2**31:
        raise InvalidArgument(f"{rows.numel():,} non-zeros: int32 offsets hold less than 2³¹")
    return _pattern(rows, columns, *weight.shape), weight[rows, columns]


def _pattern(rows: Tensor, indices: Tensor, height: int, width: int) -> Pattern:
    """The pattern of places (rows, indices), sorted by row, of a matrix (height, width)."""
    # bincount would wait for the device to see how many rows there are.
    lengths = torch.zeros(height, dtype=torch.int64, device=rows.device)
    lengths.index_add_(0, rows, torch.ones_like(rows))
    offsets = torch.zeros(height + 1, dtype=torch.int32, device=rows.device)
    offsets[1:] = lengths.cumsum(0)
    order = torch.argsort(lengths, descending=True, stable=True)
    return Pattern(indices.int(), offsets, order.int(), width)
