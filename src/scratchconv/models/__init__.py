"""Networks built by name, sized by `alpha` or by a parameter budget.

==============  =================================================  ============================
name            network                                            `alpha`
==============  =================================================  ============================
`s-conv`        9×9 convolution of stride 2, two dense layers      channels of the convolution
`s-local`       the same connections, nothing shared               as in `s-conv`
`s-fc`          the same numbers of units, fully connected         as in `s-conv`
`d-conv`        eight 3×3 convolutions, two dense layers           channels of the first
`d-local`       the same connections, nothing shared               as in `d-conv`
`d-fc`          the same numbers of units, fully connected         as in `d-conv`
`3-fc`          two equal hidden layers and a classifier           units of each hidden layer
`res-mlp`       `s-fc` with two residual blocks                    as in `s-conv`
`resnet18`      ResNet18 with any odd kernel size, no max-pool     channels of the stem (64 in
                                                                   the standard ResNet18)
`tree-weight`   six levels of a binary tree: shared, not local     channels between levels (1
                                                                   in the published network)
`tree-local`    local, not shared                                  as in `tree-weight`
`tree-oracle`   local and shared                                   as in `tree-weight`
`tree-fc`       neither                                            as in `tree-weight`
`zhang-conv`    two 5×5 convolutions with pooling, three dense     multiple of the published
                layers                                             widths
`zhang-local`   the same maps: local, not shared                   as in `zhang-conv`
`zhang-weight`  the same maps: shared, not local                   as in `zhang-conv`
`zhang-fc`      the same maps: neither                             as in `zhang-conv`
`zhang-weight-  `zhang-weight` padded as in the published code     as in `zhang-conv`
even`
==============  =================================================  ============================

A new network is a file that says how to build it and how to count its weights, and a line in
`registry`.
"""

from scratchconv.models.building import build, parameter_count
from scratchconv.models.network import Network, modules_in_order
from scratchconv.models.registry import NAMES

__all__ = ["NAMES", "Network", "build", "modules_in_order", "parameter_count"]
