"""Small datasets written in the formats of the published files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat


def python2_pickle(value: Any) -> bytes:
    """What Python 2's cPickle writes at protocol 2 for plain values and uint8 arrays."""
    return b"\x80\x02" + _pickled(value) + b"."


def _pickled(value: Any) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        if 0 <= value < 256:
            return b"K" + bytes([value])
        return b"M" + struct.pack("<H", value) if 0 <= value < 65536 else _long_int(value)
    if isinstance(value, bytes):
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<I", len(value)) + value
    if isinstance(value, list):
        return b"]q\x01(" + b"".join(map(_pickled, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_pickled, value)) + b"t"
    if isinstance(value, dict):
        items = b"".join(_pickled(key) + _pickled(item) for key, item in value.items())
        return b"}r\x00\x01\x00\x00(" + items + b"u"
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.uint8
    column_major = value.flags.f_contiguous and not value.flags.c_contiguous
    minus_one = b"J\xff\xff\xff\xff"
    made_dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
    dtype = made_dtype + b"(K\x03U\x01|NNN" + 2 * minus_one + b"K\x00tb"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = _pickled(1) + _pickled(value.shape) + dtype + _pickled(column_major)
    return made + b"(" + state + _pickled(value.tobytes("A")) + b"tb"


def _long_int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def cifar_batch(images: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
    names = [b"image_%d.png" % number for number in range(len(labels))]
    return python2_pickle(
        {b"batch_label": b"training batch", key: labels, b"data": images, b"filenames": names}
    )


def write_cifar10(folder: Path, each: int = 20, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Five training batches and a test batch of `each` images; returns all, in that order."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images = random.integers(0, 256, (6 * each, 3072), dtype=np.uint8)
    labels = [number % 10 for number in range(6 * each)]
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        part = slice(number * each, (number + 1) * each)
        (folder / name).write_bytes(cifar_batch(images[part], labels[part]))
    return images.reshape(-1, 3, 32, 32), labels


def write_cifar100(folder: Path, each: int = 200) -> tuple[np.ndarray, list[int]]:
    random = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    images = random.integers(0, 256, (2 * each, 3072), dtype=np.uint8)
    labels = [number % 100 for number in range(2 * each)]
    for number, name in enumerate(("train", "test")):
        part = slice(number * each, (number + 1) * each)
        (folder / name).write_bytes(cifar_batch(images[part], labels[part], b"fine_labels"))
    return images.reshape(-1, 3, 32, 32), labels


def idx_bytes(values: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def write_idx(folder: Path, *, zipped: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """30 training and 20 test images; returns the training images and labels."""
    random = np.random.default_rng(2)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for part, count in (("train", 30), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count) % 10
        written.append((images, labels))
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{part}-{kind}-ubyte"
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(values)))
            else:
                (folder / name).write_bytes(idx_bytes(values))
    return written[0]


def write_svhn(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """30 training and 20 test images; returns the training images (32, 32, 3, n) and labels."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for part, count in (("train", 30), ("test", 20)):
        images = random.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        savemat(folder / f"{part}_32x32.mat", {"X": images, "y": labels}, do_compression=True)
        written.append((images, labels))
    return written[0]
