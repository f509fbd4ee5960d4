"""Reads the pickled CIFAR batches as data, so that nothing in the file can run.

The published batches are Python 2 pickles (protocol 2) of a dict of strings, lists of small
integers and one uint8 array. `read` interprets just the opcodes such a file is made of. It calls
nothing that a file names: the three globals that numpy arrays need are matched by name and stand
for inert markers. Every opcode costs a byte of the file or more and makes at most one small object,
so no file takes more memory than some 80 times its size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


class NotPlainDataError(Exception):
    """The bytes are no pickle of plain data, or are cut short; the message says where."""


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass
class _Array:
    """A uint8 array under construction: made by REDUCE, filled by BUILD."""

    value: npt.NDArray[np.uint8] | None = None


@dataclass
class _ByteType:
    """numpy's dtype('u1'), the only one accepted."""

    state: tuple[Any, ...] = field(default=())


_MARK = object()
_RECONSTRUCT = _Global("numpy.core.multiarray _reconstruct")
_NDARRAY = _Global("numpy ndarray")
_DTYPE = _Global("numpy dtype")
_GLOBALS = {known.name: known for known in (_RECONSTRUCT, _NDARRAY, _DTYPE)}
_MOST_DIMENSIONS = 2  # images by pixels; numpy itself fails from 65 dimensions on
_COPIED = 4096  # strings up to this length become bytes; longer ones stay views of the file


def read(content: bytes) -> Any:
    """The plain value pickled in `content`: dict, list, tuple, int, bool, None, bytes, uint8 array.

    Python 2 strings come back as bytes. Raises NotPlainDataError for all else.
    """
    try:
        return _finished(_interpret(memoryview(content)))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise NotPlainDataError("the file ends too early or is not a pickle") from error


def _interpret(data: memoryview) -> Any:
    # One branch an opcode, the frequent ones first: a batch has 30 000 of them, CIFAR-100 300 000.
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    at = 0
    end = len(data)
    while True:
        code = data[at]
        at += 1
        if code == 0x4B:  # BININT1
            stack.append(data[at])
            at += 1
        elif code == 0x72:  # LONG_BINPUT
            memo[_unsigned(data, at)] = stack[-1]
            at += 4
        elif code == 0x71:  # BINPUT
            memo[data[at]] = stack[-1]
            at += 1
        elif code == 0x55:  # SHORT_BINSTRING
            start = at + 1
            at = start + data[at]
            stack.append(bytes(data[start : _within(at, end)]))
        elif code == 0x28:  # MARK
            stack.append(_MARK)
        elif code == 0x65:  # APPENDS
            items = _since_mark(stack)
            _expect(stack[-1], list).extend(items)
        elif code == 0x54:  # BINSTRING
            start = at + 4
            length = _unsigned(data, at)
            at = _within(start + length, end)
            stack.append(bytes(data[start:at]) if length <= _COPIED else data[start:at])
        elif code == 0x4D:  # BININT2
            stack.append(struct.unpack_from("<H", data, at)[0])
            at += 2
        elif code == 0x4A:  # BININT
            stack.append(struct.unpack_from("<i", data, at)[0])
            at += 4
        elif code == 0x80:  # PROTO
            if data[at] != 2:
                raise NotPlainDataError(f"pickle protocol {data[at]}; the published files use 2")
            at += 1
        elif code == 0x63:  # GLOBAL
            stack.append(_known_global(data, at))
            at += len(stack[-1].name) + 1  # in the file, a newline ends each of its two words
        elif code == 0x52:  # REDUCE
            arguments = _expect(stack.pop(), tuple)
            stack.append(_construct(stack.pop(), arguments))
        elif code == 0x62:  # BUILD
            state = _expect(stack.pop(), tuple)
            _set_state(stack[-1], state)
        elif code == 0x5D:  # EMPTY_LIST
            stack.append([])
        elif code == 0x7D:  # EMPTY_DICT
            stack.append({})
        elif code == 0x29:  # EMPTY_TUPLE
            stack.append(())
        elif code in (0x85, 0x86, 0x87):  # TUPLE1, TUPLE2, TUPLE3
            size = code - 0x84
            if len(stack) < size:
                raise NotPlainDataError("a tuple lacks items")
            stack[-size:] = [tuple(stack[-size:])]
        elif code == 0x74:  # TUPLE
            stack.append(tuple(_since_mark(stack)))
        elif code == 0x4E:  # NONE
            stack.append(None)
        elif code in (0x88, 0x89):  # NEWTRUE, NEWFALSE
            stack.append(code == 0x88)
        elif code == 0x61:  # APPEND
            item = stack.pop()
            _expect(stack[-1], list).append(item)
        elif code == 0x73:  # SETITEM
            value = stack.pop()
            _set_items(stack[-2], [stack.pop(), value])
        elif code == 0x75:  # SETITEMS
            items = _since_mark(stack)
            _set_items(stack[-1], items)
        elif code in (0x68, 0x6A):  # BINGET, LONG_BINGET
            index = data[at] if code == 0x68 else _unsigned(data, at)
            at += 1 if code == 0x68 else 4
            if index not in memo:
                raise NotPlainDataError(f"reference to item {index}, which is not in the file")
            stack.append(memo[index])
        elif code == 0x2E:  # STOP
            if len(stack) != 1 or at != end:
                raise NotPlainDataError("values are left over at its end")
            return stack[0]
        else:
            raise NotPlainDataError(
                f"opcode 0x{code:02x} at byte {at - 1} has no place in plain data"
            )


def _unsigned(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _within(at: int, end: int) -> int:
    if at > end:
        raise NotPlainDataError(f"a string should end at byte {at}, but the file has {end}")
    return at


def _since_mark(stack: list[Any]) -> list[Any]:
    for index in range(len(stack) - 1, -1, -1):
        if stack[index] is _MARK:
            items = stack[index + 1 :]
            del stack[index:]
            return items
    raise NotPlainDataError("a list, tuple or dict has no beginning")


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise NotPlainDataError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def _known_global(data: memoryview, at: int) -> _Global:
    for known in _GLOBALS.values():
        line = known.name.replace(" ", "\n").encode() + b"\n"
        if data[at : at + len(line)] == line:
            return known
    named = bytes(data[at : at + 80]).decode("latin-1").split("\n")[:2]
    raise NotPlainDataError(f"it names {'.'.join(named)!r}, which is not data")


def _construct(made_by: Any, arguments: tuple[Any, ...]) -> _Array | _ByteType:
    if made_by is _RECONSTRUCT and arguments == (_NDARRAY, (0,), b"b"):
        return _Array()
    if made_by is _DTYPE and arguments == (b"u1", 0, 1):
        return _ByteType()
    raise NotPlainDataError("it calls something other than the making of a uint8 array")


def _set_state(target: Any, state: tuple[Any, ...]) -> None:
    if isinstance(target, _ByteType):
        target.state = state
        return
    if not isinstance(target, _Array) or len(state) != 5:
        raise NotPlainDataError("it sets the state of something other than a uint8 array")
    _, shape, dtype, column_major, content = state
    if (
        not isinstance(dtype, _ByteType)
        or type(column_major) is not bool
        or type(shape) is not tuple
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(side) is int and side >= 0 for side in shape)
        or not isinstance(content, (bytes, memoryview))
    ):
        raise NotPlainDataError("its array is not one of uint8")
    size = 1
    for side in shape:
        size *= side
    if size != len(content):
        raise NotPlainDataError(f"its array of shape {shape} holds {len(content)} bytes")
    target.value = np.frombuffer(content, np.uint8).reshape(
        shape, order="F" if column_major else "C"
    )


def _set_items(target: Any, items: list[Any]) -> None:
    if len(items) % 2:
        raise NotPlainDataError("a dict key has no value")
    mapping = _expect(target, dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Only strings: hashing a deeply shared tuple could take for ever.
        mapping[_expect(key, bytes)] = value


def _finished(value: Any) -> Any:
    """Replace the array markers in the top-level value and in its dict's values."""
    if isinstance(value, dict):
        return {key: _finished_item(item) for key, item in value.items()}
    return _finished_item(value)


def _finished_item(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.value is None:
            raise NotPlainDataError("its array was never filled")
        return value.value
    return value
