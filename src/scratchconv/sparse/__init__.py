"""The sparse training engine: `sparsify`, `fix_connections` and the layers they make.

`sparsify` changes the linear layers of a model into `SparseLinear`, dense or compressed to their
non-zeros, and lets `BetaLasso` train them by the same algorithm at the cost of what is left.
`fix_connections` makes them `FixedLinear`, of given connections and with an ordinary gradient.
"""

from scratchconv.sparse.engine import Engine, sparsify
from scratchconv.sparse.fixed_connections import FixedConnections, fix_connections
from scratchconv.sparse.fixed_linear import FixedLinear
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.switching import SwitchAt
from scratchconv.sparse.taking_over import plain_class

__all__ = [
    "Engine",
    "FixedConnections",
    "FixedLinear",
    "SparseLinear",
    "SwitchAt",
    "fix_connections",
    "plain_class",
    "sparsify",
]
