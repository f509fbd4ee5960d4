"""When a layer changes its form."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SwitchAt:
    """Densities at which a layer changes its form.

    below: a dense layer with a smaller density is compressed.
    above: a compressed layer with a larger density is made dense again.
    """

    below: float
    above: float


ALWAYS_DENSE = SwitchAt(-1.0, -1.0)
ALWAYS_COMPRESSED = SwitchAt(2.0, 2.0)
