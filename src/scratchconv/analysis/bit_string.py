"""Strings of bits: written and read as runs of integers of one width, the highest bit first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.errors import DataError, InvalidArgument

_CHUNK = 2**16
"""Integers handled at a time: at most 4 MiB of single bits, however long the run."""


@dataclass(frozen=True)
class BitString:
    """A string of bits, packed.

    data: eight bits to a byte, the first bit being the highest; the last byte is filled with zeros.
    length: the number of bits; ``len(data)`` is ⌈length / 8⌉.
    """

    data: bytes
    length: int

    def __post_init__(self) -> None:
        if self.length < 0 or len(self.data) != -(-self.length // 8):
            raise InvalidArgument(
                f"length is {self.length}, but data has {len(self.data)} bytes: give ⌈length / 8⌉"
                " bytes"
            )
        filling = -self.length % 8
        if filling and self.data[-1] & ((1 << filling) - 1):
            raise InvalidArgument(
                f"the last {filling} bits of data lie behind the {self.length} of the string: they"
                " must be 0"
            )

    def __len__(self) -> int:
        return self.length

    def digits(self) -> str:
        """The bits as text, ``"0"`` and ``"1"``; for looking at short ones."""
        return "".join(f"{byte:08b}" for byte in self.data)[: self.length]


class BitWriter:
    """Appends runs of integers to a string of bits."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._length = 0

    def write(self, numbers: NDArray[Any], width: int) -> None:
        """Append each of `numbers` (unsigned or non-negative, below 2^width) as `width` bits.

        With a width of 0, where only one number is possible, nothing is written.
        """
        for start in range(0, numbers.size if width else 0, _CHUNK):
            chunk = numbers[start : start + _CHUNK].astype(">u8")
            bits = np.unpackbits(chunk.view(np.uint8).reshape(-1, 8), axis=1)[:, 64 - width :]
            self._append(np.packbits(bits), chunk.size * width)

    def _append(self, packed: NDArray[np.uint8], length: int) -> None:
        used = self._length % 8
        self._length += length
        if used:
            spread = np.zeros(packed.size + 1, np.uint8)
            spread[:-1] = packed >> used
            spread[1:] |= packed << (8 - used)
            self._data[-1] |= int(spread[0])
            packed = spread[1:]
        self._data += packed.tobytes()
        # The last byte may have held nothing but filling.
        del self._data[-(-self._length // 8) :]

    def finished(self) -> BitString:
        return BitString(bytes(self._data), self._length)


class BitReader:
    """Takes runs of integers from the front of a string of bits.

    It is given a `BitString`, or bytes: then the code may end anywhere in the last byte, and zeros
    fill the rest of it. `finish` checks what is left.
    """

    def __init__(self, code: BitString | bytes) -> None:
        self._exact = isinstance(code, BitString)
        data = code.data if isinstance(code, BitString) else code
        self._bytes = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        self._length = code.length if isinstance(code, BitString) else 8 * len(data)
        self._at = 0

    def read(self, count: int, width: int, what: str) -> NDArray[np.uint64]:
        """The next `count` integers of `width` bits each, `what` naming them in errors.

        Nothing is allocated before it is certain that so many bits are there. Raises DataError if
        they are not.
        """
        left = self._length - self._at
        if count * width > left:
            raise DataError(
                f"the code is cut off or damaged: its {what} should take {count * width} bits, but"
                f" only {left} are left"
            )
        numbers = np.zeros(count, np.uint64)
        for start in range(0, count if width else 0, _CHUNK):
            numbers[start : start + _CHUNK] = self._next(min(_CHUNK, count - start), width)
        return numbers

    def _next(self, count: int, width: int) -> NDArray[Any]:
        begin, end = self._at, self._at + count * width
        self._at = end
        packed = self._bytes[begin // 8 : -(-end // 8)]
        bits = np.unpackbits(packed)[begin % 8 : begin % 8 + count * width]
        wide = np.zeros((count, 64), np.uint8)
        wide[:, 64 - width :] = bits.reshape(count, width)
        return np.packbits(wide, axis=1).view(">u8")[:, 0]

    def finish(self) -> None:
        """Raises DataError if anything but the filling of the last byte is left."""
        left = self._length - self._at
        if self._exact and left:
            raise DataError(f"the code is damaged: {left} bits are left behind its end")
        if left >= 8:
            raise DataError(
                f"the code is damaged: it ends after {self._at} bits, but {self._bytes.size} bytes"
                f" were given where {-(-self._at // 8)} are enough"
            )
        if left and int(self._bytes[-1]) & ((1 << left) - 1):
            raise DataError("the code is damaged: the filling of its last byte is not 0")
