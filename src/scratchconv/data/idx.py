"""MNIST and Fashion-MNIST from their original idx files, gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from scratchconv.data.dataset import Split
from scratchconv.errors import DataError

_LARGEST = 1 << 20  # samples; a damaged count must not lead to a huge allocation
_REMEDY = "delete it and fetch the dataset again"


def read_idx_dataset(paths: list[Path]) -> tuple[Split, Split]:
    """Read training images and labels, then test images and labels: uint8 (n, 1, 28, 28).

    Raises DataError naming the file where one is damaged or of another format.
    """
    splits = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images = read_idx(images_path, (28, 28))
        labels = read_idx(labels_path, ())
        if len(images) != len(labels):
            raise DataError(
                f"{labels_path} holds {len(labels)} labels for the {len(images)} images of "
                f"{images_path}; delete both and fetch the dataset again"
            )
        if len(labels) and int(labels.max()) > 9:
            raise DataError(
                f"{labels_path} holds the label {int(labels.max())}, but there are 10 classes; "
                f"{_REMEDY}"
            )
        splits.append(Split(images.unsqueeze(1), labels.long()))
    return splits[0], splits[1]


def read_idx(path: Path, item: tuple[int, ...]) -> Tensor:
    """Read an idx file of unsigned bytes (type 0x08) whose items have the shape `item`: (n, *item).

    Format: two zero bytes, the type, the number of dimensions, each as a big-endian uint32, then
    the values, row-major.
    """
    try:
        with _open(path) as file:
            dimensions = 1 + len(item)
            header = file.read(4 + 4 * dimensions)
            if header[:4] != bytes((0, 0, 0x08, dimensions)) or len(header) < 4 + 4 * dimensions:
                raise DataError(
                    f"{path} is no idx file of {dimensions}-dimensional bytes; {_REMEDY}"
                )
            count, *shape = struct.unpack(f">{dimensions}I", header[4:])
            if tuple(shape) != item or count > _LARGEST:
                raise DataError(
                    f"{path} holds {count} items of shape {tuple(shape)}, not {item}; {_REMEDY}"
                )
            size = count * int(np.prod(item, dtype=np.int64))
            values = bytearray(file.read(size + 1))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); {_REMEDY}") from error
    if len(values) != size:
        raise DataError(
            f"{path} holds {'more' if len(values) > size else 'fewer'} bytes than its header "
            f"says; {_REMEDY}"
        )
    return torch.from_numpy(np.frombuffer(values, np.uint8).reshape(count, *item))


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
