"""Networks built by name, sized by `alpha` or by a parameter budget.

==========  =====================================================  ==============================
name        network                                                `alpha`
==========  =====================================================  ==============================
`s-conv`    9×9 convolution of stride 2, two dense layers          channels of the convolution
`s-local`   the same connections, nothing shared                   as in `s-conv`
`s-fc`      the same numbers of units, fully connected             as in `s-conv`
`d-conv`    eight 3×3 convolutions, two dense layers               channels of the first
`d-local`   the same connections, nothing shared                   as in `d-conv`
`d-fc`      the same numbers of units, fully connected             as in `d-conv`
`3-fc`      two equal hidden layers and a classifier               units of each hidden layer
`resnet18`  ResNet18 with any odd kernel size, no max-pool         channels of the stem (64 in the
                                                                   standard ResNet18)
==========  =====================================================  ==============================

A new network is a file that says how to build it and how to count its weights, and a line in
`registry`.
"""

from scratchconv.models.building import build, parameter_count
from scratchconv.models.network import Network
from scratchconv.models.registry import NAMES

__all__ = ["NAMES", "Network", "build", "parameter_count"]
