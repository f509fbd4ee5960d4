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
from scratchconv.models.architecture import Architecture
from scratchconv.models.network import Network, Settings
from scratchconv.models.stand_ins import KINDS, Convolution, Kind


def _convolutions(alpha: int) -> list[Convolution]:
    return [Convolution(alpha, kernel_size=9, stride=2)]


def _architecture(kind: Kind) -> Architecture:
    name = f"s-{kind}"

    def build(settings: Settings) -> Network:
        alpha = settings.alpha
        return stand_ins.build(name, settings, kind, _convolutions(alpha), hidden=24 * alpha)

    def count(settings: Settings) -> int:
        alpha = settings.alpha
        return stand_ins.count(settings, kind, _convolutions(alpha), hidden=24 * alpha)

    return Architecture(name, build, count)


ARCHITECTURES = tuple(_architecture(kind) for kind in KINDS)
