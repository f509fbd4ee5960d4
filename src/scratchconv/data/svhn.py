"""SVHN, format 2 (Netzer et al. 2011): cropped house-number digits in MATLAB files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scratchconv.data.dataset import Split
from scratchconv.errors import DataError

_LARGEST = 1 << 20  # samples; a damaged count must not lead to a huge allocation


def read_svhn(paths: list[Path]) -> tuple[Split, Split]:
    """Read train_32x32.mat and test_32x32.mat: uint8 (n, 3, 32, 32). The label 10 stands for 0.

    Raises DataError naming the file where one is damaged or of another format.
    """
    train, test = (_read_mat(path) for path in paths)
    return train, test


def _read_mat(path: Path) -> Split:
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    remedy = "delete it and fetch svhn again"
    try:
        # The headers first, so that a file of anything else is turned down before it is unpacked.
        shapes = {name: (shape, kind) for name, shape, kind in whosmat(path)}
        if not _is_svhn(shapes):
            raise DataError(
                f"{path} should hold uint8 X (32, 32, 3, n) and y (n, 1), not {shapes}; {remedy}"
            )
        content = loadmat(path, variable_names=["X", "y"])
        labels = content["y"].ravel()
        if not np.isin(labels, np.arange(1, 11)).all():
            raise DataError(f"{path} holds labels other than the numbers 1 to 10; {remedy}")
        labels = labels.astype(np.int64)
        images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
    except (
        MatReadError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        NotImplementedError,
        zlib.error,
    ) as error:
        raise DataError(f"{path} cannot be read as a MATLAB file ({error}); {remedy}") from error
    labels[labels == 10] = 0
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _is_svhn(shapes: dict[str, tuple[Any, str]]) -> bool:
    images, kind = shapes.get("X", ((), ""))
    labels, _ = shapes.get("y", ((), ""))
    return (
        len(images) == 4
        and images[:3] == (32, 32, 3)
        and images[3] <= _LARGEST
        and kind == "uint8"
        and tuple(labels) == (images[3], 1)
    )
