"""`FixedLinear`: a linear layer that holds the weights of given connections, and no others."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from scratchconv.kernels import sparse_gradients
from scratchconv.kernels.sparse_rows import SparseRows
from scratchconv.sparse.activations import numbers
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.product import Gradient
from scratchconv.sparse.weight import StoredWeight


class FixedWeight(StoredWeight):
    """Weights at places that never change, whatever their values: also where they are zero."""

    @property
    def nonzero(self) -> int:
        return int(np.count_nonzero(self.rows.values))

    def _rows_of(self, dense: Tensor) -> SparseRows:
        return self.rows.with_values(dense[_units_and_features(self.rows)].numpy())


class FixedLinear(SparseLinear):
    """`nn.Linear` with the weights of given connections only; `fix_connections` makes them.

    What is trained is `values`, to an optimizer a parameter like others, float32 (connections,),
    with an ordinary gradient: the connections' weights unit by unit, inputs increasing. `weight` is
    a dense copy for reading; `state_dict` keys and shapes are those of the dense weight.

    Attributes:
        places: where the connections are; its values mean nothing.
    """

    places: SparseRows
    defers_steps: ClassVar[bool] = False
    own_attributes: ClassVar[tuple[str, ...]] = (*SparseLinear.own_attributes, "places")

    def at_connections(self, dense: Tensor) -> Tensor:
        """The numbers of a matrix (units, features) at the connections: (connections,)."""
        return dense[_units_and_features(self.places)]

    def with_zeros(self, values: Tensor) -> Tensor:
        """The matrix (units, features) with these numbers at the connections: (connections,)."""
        dense = values.new_zeros(self.out_features, self.in_features)
        dense[_units_and_features(self.places)] = values
        return dense

    def compressed_form(self, parameter: nn.Parameter) -> FixedWeight:
        """The weights of the connections."""
        values = self.at_connections(parameter.detach()).numpy()
        return FixedWeight(parameter, self.places.with_values(values))

    def compress(self) -> None:
        """Hold the weights of the connections only; a gradient is forgotten."""
        if not self.compressed:
            super().compress()
            self.values.grad = None

    def decompress(self) -> None:
        """Hold the whole matrix, to write into it; a gradient is forgotten."""
        if self.compressed:
            super().decompress()
            self.values.grad = None

    def weight_gradient(self, gradient: Gradient) -> Tensor | None:
        """That of the connections' weights: of the shape that the weight has now, float32."""
        inputs, outputs = numbers(gradient.inputs), numbers(gradient.outputs)
        slopes = torch.from_numpy(sparse_gradients.stored_gradients(self.places, inputs, outputs))
        return slopes if self.compressed else self.with_zeros(slopes)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        given = state_dict.get(f"{prefix}weight")
        errors: list[str] = others[-1]
        shape = (self.out_features, self.in_features)
        if isinstance(given, Tensor) and given.shape == shape:
            elsewhere = given.detach().cpu().clone()
            elsewhere[_units_and_features(self.places)] = 0
            if lost := int(torch.count_nonzero(elsewhere)):
                errors.append(
                    f"{prefix}weight has {lost} weights where this layer has no connection: give"
                    " weights of the same connections, or call to_dense() of what fix_connections"
                    " returned first"
                )
                return
        super()._load_from_state_dict(state_dict, prefix, *others)


def _units_and_features(places: SparseRows) -> tuple[Tensor, Tensor]:
    """Where the stored weights stand in a matrix, as its index."""
    return torch.from_numpy(places.unit_of_each), torch.from_numpy(places.columns)
