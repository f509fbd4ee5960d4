"""D-CONV, D-LOCAL and D-FC (Neyshabur 2020, §2.1, Figure 1).

Eight 3×3 convolutions, a dense layer of 64α units, a classifier. For an image of side s (divisible
by 16) with 3 channels and c classes the numbers of weights are

- D-CONV: (9·254 + 4s²)α² + (27 + 64c)α
- D-LOCAL: (45s² + 4s²)α² + (27s² + 64c)α
- D-FC: (127s⁴/128 + 4s²)α² + (3s⁴ + 64c)α

The paper rounds 254 to 2⁸ and 127/128 to 1. Its 1.45 M for D-CONV needs α = 15 (s = 32, c = 10). At
that α D-LOCAL has 11.71 M weights: the 3.42 M printed in Table 1 does not fit the architecture.
"""

from __future__ import annotations

from scratchconv.models import stand_ins
from scratchconv.models.stand_ins import Convolution

# (channels in units of α, stride)
_CONVOLUTIONS = ((1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2))


def _convolutions(alpha: int) -> list[Convolution]:
    return [
        Convolution(width * alpha, kernel_size=3, stride=stride) for width, stride in _CONVOLUTIONS
    ]


ARCHITECTURES = stand_ins.architectures("d", _convolutions, hidden=64)
