"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from their original Python batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from scratchconv.data import byte_pickle
from scratchconv.data.dataset import Split
from scratchconv.errors import DataError

_IMAGE = (3, 32, 32)
_PIXELS = 3 * 32 * 32


def read_cifar(paths: list[Path], label: str, classes: int) -> tuple[Split, Split]:
    """Read CIFAR batches: all but the last file are training data, the last is the test data.

    `label` names the labels: "labels" in CIFAR-10, "fine_labels" in CIFAR-100. Raises DataError
    naming the file where one is damaged, or is no CIFAR batch; nothing in a file is ever run.
    """
    batches = [_read_batch(path, label.encode(), classes) for path in paths]
    return _split(batches[:-1]), _split(batches[-1:])


def _split(batches: list[tuple[Any, Any]]) -> Split:
    images = np.concatenate([images for images, _ in batches]).reshape(-1, *_IMAGE)
    targets = np.concatenate([targets for _, targets in batches])
    return Split(torch.from_numpy(images), torch.from_numpy(targets))


def _read_batch(path: Path, label: bytes, classes: int) -> tuple[Any, Any]:
    remedy = "delete it and fetch the dataset again"
    try:
        batch = byte_pickle.read(path.read_bytes())
    except (byte_pickle.NotPlainDataError, OSError) as error:
        raise DataError(f"{path} cannot be read as a CIFAR batch ({error}); {remedy}") from error
    if not isinstance(batch, dict) or not {b"data", label} <= batch.keys():
        raise DataError(
            f"{path} is no CIFAR batch: it lacks 'data' or {label.decode()!r}; {remedy}"
        )
    images, labels = batch[b"data"], batch[label]
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != _PIXELS:
        raise DataError(f"{path} holds no images of {_PIXELS} bytes; {remedy}")
    if (
        not isinstance(labels, list)
        or len(labels) != len(images)
        or not all(type(value) is int and 0 <= value < classes for value in labels)
    ):
        raise DataError(
            f"{path} should hold a label from 0 to {classes - 1} for each of its "
            f"{len(images)} images; {remedy}"
        )
    return images, np.array(labels, dtype=np.int64)
