"""Datasets as plain tensors, their splits, and batches of them."""

from scratchconv.data.augmentation import Augmentation, default_augmentation
from scratchconv.data.batches import Batches, evaluation_batches
from scratchconv.data.dataset import Dataset, Split
from scratchconv.data.download import fetch
from scratchconv.data.files_on_disk import FileState, default_directory, fetching, verify
from scratchconv.data.loading import NAMES, Description, describe, load
from scratchconv.data.permutation import pixel_permutation
from scratchconv.data.splitting import split

__all__ = [
    "NAMES",
    "Augmentation",
    "Batches",
    "Dataset",
    "Description",
    "FileState",
    "Split",
    "default_augmentation",
    "default_directory",
    "describe",
    "evaluation_batches",
    "fetch",
    "fetching",
    "load",
    "pixel_permutation",
    "split",
    "verify",
]
