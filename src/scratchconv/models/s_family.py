"""S-CONV, S-LOCAL and S-FC (Neyshabur 2020, §2.1, Figure 1).

A 9×9 convolution of stride 2 with α channels, a dense layer of 24α units, a classifier. For an
image of side s (even) with 3 channels and c classes the published numbers of weights are

- S-CONV: 6s²α² + (243 + 24c)α
- S-LOCAL: 6s²α² + (243s²/4 + 24c)α
- S-FC: 6s²α² + (3s⁴/4 + 24c)α

which fixes the padding, not stated in the paper, at 4. Other images are counted likewise.
"""

from __future__ import annotations

from scratchconv.models import stand_ins
from scratchconv.models.stand_ins import Convolution


def _convolutions(alpha: int) -> list[Convolution]:
    return [Convolution(alpha, kernel_size=9, stride=2)]


ARCHITECTURES = stand_ins.architectures("s", _convolutions, hidden=24)
