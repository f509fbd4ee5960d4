"""Which outputs dropout keeps: a function of a pass's stream, the unit and the sample.

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15
(2014), each output kept with probability 1 − rate and divided by it, as `torch.nn.Dropout` does.

Whether an output is kept is computed where it is written, and nothing about it is stored. Numbers
drawn one after the other would have to be drawn by one thread, in memory of their own, and cost
more than the sparse product that they follow. Instead the number of a sample is scrambled with two
keys of its unit, which splitmix64 (Steele, Lea and Flood, OOPSLA 2014) makes of the stream and the
unit's number; the scrambling is the finaliser of MurmurHash3 with the multipliers that C. Wellons
found to mix 32 bits best ("Prospecting for hash functions", 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.kernels.compilation import compiled_inline

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BY1, _BY2 = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_S16, _S15 = np.uint32(16), np.uint32(15)
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@dataclass(frozen=True)
class Dropout:
    """rate: the probability, in [0, 1], with which an output is dropped. stream: of this pass, in
    [0, 2⁶³); another one drops others.
    """

    rate: float = 0.0
    stream: int = 0

    @property
    def bar(self) -> int:
        """An output is dropped if its random number, uniform in [0, 2³²), is below this."""
        return min(round(self.rate * 2**32), 2**32 - 1)

    @property
    def gain(self) -> float:
        """What kept outputs are multiplied by."""
        if self.bar == 0:
            return 1.0
        return 1 / (1 - self.rate) if self.rate < 1 else 0.0

    def arguments(self) -> tuple[Any, ...]:
        """In the order of the kernels."""
        return np.uint64(self.stream), np.uint32(self.bar), np.float32(self.gain)


NO_DROPOUT = Dropout()


def kept_plain(dropout: Dropout, units: int, samples: int) -> NDArray[np.bool_]:
    """Plain twin of `is_kept`, of every unit and sample: bool (units, samples)."""
    mask32 = 2**32 - 1
    kept = np.ones((units, samples), bool)
    if dropout.bar == 0:
        return kept
    for unit in range(units):
        z = (dropout.stream + (unit + 1) * int(_GOLDEN)) % 2**64
        z = (z ^ z >> 30) * int(_MIX1) % 2**64
        z = (z ^ z >> 27) * int(_MIX2) % 2**64
        z ^= z >> 31
        for sample in range(samples):
            x = sample ^ z & mask32
            x = (x ^ x >> 16) * int(_BY1) + (z >> 32) & mask32
            x = (x ^ x >> 15) * int(_BY2) & mask32
            kept[unit, sample] = x ^ x >> 16 >= dropout.bar
    return kept


@compiled_inline
def unit_key(stream: np.uint64, unit: int) -> np.uint64:
    """Both keys of a unit, 32 bits each."""
    z = stream + (np.uint64(unit) + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    key: np.uint64 = z ^ (z >> _S31)
    return key


@compiled_inline
def is_kept(key: np.uint64, sample: int, bar: np.uint32) -> bool:
    # Every step is cut to 32 bits, of which a vector holds twice as many as of 64.
    x = np.uint32(np.uint32(sample) ^ np.uint32(key))
    x = np.uint32(np.uint32(x ^ (x >> _S16)) * _BY1)
    x = np.uint32(x + np.uint32(key >> _S32))
    x = np.uint32(np.uint32(x ^ (x >> _S15)) * _BY2)
    kept: bool = np.uint32(x ^ (x >> _S16)) >= bar
    return kept
