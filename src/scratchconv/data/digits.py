"""The 8×8 digits bundled with scikit-learn: real data that needs no file."""

from __future__ import annotations

import numpy as np
import torch

from scratchconv.data.dataset import Split

TEST_SIZE = 360
_SPLIT_SEED = 0


def read_digits() -> tuple[Split, Split]:
    """1437 training and 360 test digits, uint8 (n, 1, 8, 8); always the same division.

    The bundled values run from 0 to 16 and are scaled to 0…255 (rounded), so that they are
    handled like any image. The test digits are drawn at random once and for all, every class in
    proportion: the labels of the file follow a pattern, so its tail is no random sample.
    Source: UCI Optical Recognition of Handwritten Digits, test part (Alpaydin & Kaynak 1998).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bundled = load_digits()
    images = np.rint(bundled.images * (255 / 16)).astype(np.uint8)[:, None]
    targets = bundled.target.astype(np.int64)
    train_rows, test_rows = train_test_split(
        np.arange(len(targets)), test_size=TEST_SIZE, stratify=targets, random_state=_SPLIT_SEED
    )
    train, test = (
        Split(torch.from_numpy(images[rows]), torch.from_numpy(targets[rows]))
        for rows in (np.sort(train_rows), np.sort(test_rows))
    )
    return train, test
