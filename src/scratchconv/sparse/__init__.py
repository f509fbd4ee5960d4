"""The sparse training engine: `sparsify` and the layers it makes.

`sparsify` changes the linear layers of a model into `SparseLinear`, dense or compressed to their
non-zeros, and lets `BetaLasso` train them by the same algorithm at the cost of what is left.
"""

from scratchconv.sparse.engine import Engine, plain_class, sparsify
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.switching import SwitchAt

__all__ = ["Engine", "SparseLinear", "SwitchAt", "plain_class", "sparsify"]
