"""`FixedLinear`: a linear layer that holds the weights of given connections, and no others."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument
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

    def gradient(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """That of the stored weights, float32 (stored,), from X and dY."""
        slopes = sparse_gradients.stored_gradients(self.rows, numbers(inputs), numbers(outputs))
        return torch.from_numpy(slopes)

    def _rows_of(self, dense: NDArray[np.float32]) -> SparseRows:
        return _at(self.rows, dense)


class FixedLinear(SparseLinear):
    """`nn.Linear` with the weights of given connections only; `fix_connections` makes them.

    To whatever trains it, its weight is a parameter like others, float32 (connections,), with an
    ordinary gradient: the connections' weights unit by unit, inputs increasing. `state_dict` keys
    and shapes are those of the dense weight.

    Attributes:
        places: where the connections are; its values mean nothing.
    """

    places: SparseRows
    defers_steps: ClassVar[bool] = False
    own_attributes: ClassVar[tuple[str, ...]] = (*SparseLinear.own_attributes, "places")

    def at_connections(self, dense: Tensor) -> Tensor:
        """The numbers of a matrix (units, features) at the connections: (connections,)."""
        return dense[self._units_and_features()]

    def with_zeros(self, values: Tensor) -> Tensor:
        """The matrix (units, features) with these numbers at the connections: (connections,)."""
        dense = values.new_zeros(self.out_features, self.in_features)
        dense[self._units_and_features()] = values
        return dense

    def _units_and_features(self) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.places.unit_of_each), torch.from_numpy(self.places.columns)

    def compressed_form(self, parameter: nn.Parameter) -> FixedWeight:
        """The weights of the connections."""
        return FixedWeight(parameter, _at(self.places, parameter.detach().numpy()))

    def weight_gradient(self, gradient: Gradient) -> Tensor | None:
        """That of the connections' weights, float32 (connections,).

        Raises InvalidArgument while the layer is decompressed.
        """
        form = self.form
        if not isinstance(form, FixedWeight):
            raise InvalidArgument(
                "a layer of fixed connections was decompressed: call compress() of it before"
                " training, or to_dense() of its FixedConnections to train all weights"
            )
        return form.gradient(gradient.inputs, gradient.outputs)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        given = state_dict.get(f"{prefix}weight")
        errors: list[str] = others[-1]
        if given is not None and given.shape == (self.out_features, self.in_features):
            lost = int(torch.count_nonzero(given)) - np.count_nonzero(
                _at(self.places, given.detach().cpu().float().numpy()).values
            )
            if lost:
                errors.append(
                    f"{prefix}weight has {lost} weights where this layer has no connection: give"
                    " weights of the same connections, or call to_dense() of its"
                    " FixedConnections first"
                )
                return
        super()._load_from_state_dict(state_dict, prefix, *others)


def _at(places: SparseRows, dense: NDArray[np.float32]) -> SparseRows:
    return places.with_values(dense[places.unit_of_each, places.columns])
