"""Pickled batches are read as data: nothing a file names is run, nothing huge is allocated."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from original_files import cifar_batch, python2_pickle

from scratchconv.data.byte_pickle import NotPlainDataError, read
from scratchconv.data.cifar import read_cifar
from scratchconv.errors import DataError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
@settings(deadline=None, max_examples=60)
def test_plain_values_come_back_and_agree_with_pickle(value):
    written = python2_pickle(value)
    assert read(written) == value
    assert pickle.loads(written, encoding="bytes") == value


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(5, 7), (300, 20), (0, 3072)])
def test_arrays_come_back_and_agree_with_pickle(shape, order):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    written = python2_pickle({b"data": np.asarray(values, order=order)})
    np.testing.assert_array_equal(read(written)[b"data"], values)
    np.testing.assert_array_equal(pickle.loads(written, encoding="bytes")[b"data"], values)


class Runs:
    """Unpickling it calls `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def touching(path: Path) -> list[bytes]:
    """Pickles that, read by pickle.load, would create `path`."""
    command = f"touch {path}"
    text = command.encode()
    short = b"X" + struct.pack("<I", len(text)) + text
    return [
        *(pickle.dumps(Runs(os.system, command), protocol) for protocol in range(6)),
        b"\x80\x02cposix\nsystem\n" + short + b"\x85R.",  # GLOBAL, REDUCE
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + short + b"\x85R.",  # STACK_GLOBAL
        b"(iposix\nsystem\n".replace(b"(i", b"(" + short + b"i") + b".",  # INST
        b"\x80\x02(cposix\nsystem\n" + short + b"o.",  # OBJ
        python2_pickle({b"labels": [1]})[:-1] + b"cposix\nsystem\n" + short + b"\x85R0.",
    ]


def test_nothing_is_run(tmp_path):
    mark = tmp_path / "mark"
    batch = tmp_path / "data_batch_1"
    for content in touching(mark):
        batch.write_bytes(content)
        with pytest.raises(DataError, match="data_batch_1"):
            read_cifar([batch, batch], "labels", 10)
    assert not mark.exists()
    # The same files are dangerous indeed:
    pickle.loads(touching(mark)[2])
    assert mark.exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n"


def array_of(shape: tuple[int, ...]) -> bytes:
    """The opcodes of a uint8 array of that shape, holding one byte, or none where a side is 0."""
    sides = b"".join(b"J" + struct.pack("<i", side) for side in shape)
    state = b"(K\x01(" + sides + b"t" + DTYPE + b"(U\x02u1K\x00K\x01tR\x89"
    made = RECONSTRUCT + NDARRAY + b"K\x00\x85U\x01b\x87R"
    return made + state + (b"U\x00" if 0 in shape else b"U\x01a") + b"tb"


@pytest.mark.parametrize(
    "body",
    {
        "another global": b"cbuiltins\neval\n",
        "a longer name": b"cnumpy\nndarrays\n",
        "calls ndarray": NDARRAY + b"(K\x05tR",
        "calls a string": b"U\x01xK\x05\x85R",
        "reconstructs another class": RECONSTRUCT + b"(" + DTYPE + b"K\x00\x85U\x01btR",
        "an object dtype": DTYPE + b"(U\x01OK\x00K\x01tR",
        "state of a global": NDARRAY + b"(K\x01tb",
        "state of a list": b"](K\x01tb",
        "state of a dtype is no tuple": DTYPE + b"(U\x02u1K\x00K\x01tR}b",
        "an array of 65 dimensions": array_of((1,) * 65),
        "an empty array of more than all memory": array_of((0, *(2**31 - 1,) * 3)),
        "an array never filled": RECONSTRUCT + NDARRAY + b"K\x00\x85U\x01b\x87R",
        "an extension": b"\x82\x01",
        "a persistent id": b"Pevil\n",
        "a new object": NDARRAY + b")\x81",
        "a reference to nowhere": b"h\x05",
        "no mark": b"K\x01e",
        "an unhashable key": b"}]K\x01s",
        "a tuple as key": b"})K\x01s",
        "an odd number of items": b"}(U\x01au",
        "two values": b"NN",
    }.items(),
    ids=lambda item: item[0],
)
def test_what_is_no_plain_data_is_refused(body):
    with pytest.raises(NotPlainDataError):
        read(b"\x80\x02" + body[1] + b".")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02T\xff\xff\xff\xffabc.",  # a string of 4 GiB
        b"\x80\x02Nr\xff\xff\xff\x7f0.",  # memo item 2³¹
        b"\x80\x02\x8e" + struct.pack("<Q", 1 << 40) + b".",  # BINBYTES8 of a TiB
        b"\x80\x02\x96" + struct.pack("<Q", 1 << 40) + b".",  # BYTEARRAY8
        b"\x80\x02\x8b\xff\xff\xff\x7f.",  # LONG4 of 2 GiB
        python2_pickle({b"data": np.zeros((2, 3), np.uint8)}).replace(
            b"(K\x02K\x03t", b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft"
        ),  # an array of 2⁶² bytes
    ],
)
def test_huge_claims_allocate_nothing(content):
    tracemalloc.start()
    with pytest.raises(NotPlainDataError):
        read(content)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_every_truncation_is_noticed():
    whole = cifar_batch(np.zeros((1, 3072), np.uint8), [3])
    assert read(whole)[b"labels"] == [3]
    for length in [*range(0, 150), *range(len(whole) - 150, len(whole))]:
        with pytest.raises(NotPlainDataError):
            read(whole[:length])


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_bytes_give_data_or_the_one_error(data):
    whole = bytearray(cifar_batch(np.zeros((1, 12), np.uint8), [3, 4]))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotPlainDataError):
        read(bytes(whole))
