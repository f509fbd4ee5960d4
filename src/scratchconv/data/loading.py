"""Loading a dataset by name, and saying what there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scratchconv.data.canvas import on_canvas
from scratchconv.data.cifar import read_cifar
from scratchconv.data.dataset import Dataset, Split, Task, channel_statistics
from scratchconv.data.digits import TEST_SIZE, read_digits
from scratchconv.data.files_on_disk import data_folder, fetching, find_files, find_folder
from scratchconv.data.idx import read_idx_dataset
from scratchconv.data.published_files import PUBLISHED
from scratchconv.data.spoken_digits import (
    BINS,
    SPOKEN_DIGITS,
    find_recordings,
    how_to_get,
    load_spoken_digits,
)
from scratchconv.data.spoken_digits import TEST_SIZE as SPOKEN_TEST_SIZE
from scratchconv.data.spoken_digits import TRAIN_SIZE as SPOKEN_TRAIN_SIZE
from scratchconv.data.svhn import read_svhn
from scratchconv.data.tree import INPUTS, make_tree
from scratchconv.errors import DataError, unknown_name

NAMES = (*PUBLISHED, "digits", "tree")
"""What `train` takes. `load` knows spoken-digits besides, which are no images."""


def load(
    name: str,
    directory: str | Path | None = None,
    *,
    complete: bool = True,
    train_size: int = 4096,
    test_size: int = 1024,
    noise: float = 0.0,
    shared_noise: bool = False,
    seed: int = 0,
) -> Dataset:
    """Load a dataset from its original files.

    `directory` holds the files in torchvision's layout (`default_directory()` where None);
    `digits` and `tree` need none; `mnist-32` is MNIST on a black canvas of CIFAR's shape, 3×32×32.
    Sizes, shapes and labels are checked; `verify` compares the md5 sums as well. `complete=False`
    accepts files with fewer samples than published, for trials. `train_size`, `test_size`,
    `noise`, `shared_noise` and `seed` are those of `make_tree`, and only the tree task reads them.
    Raises InvalidArgument for an unknown name, DataError where a file is missing or damaged.
    """
    if name == "tree":
        train, test = make_tree(train_size, test_size, noise, seed, shared_noise=shared_noise)
        # N(0, I) by definition: in no need of an estimate, nor of normalising.
        return Dataset(name, train, test, (), "regression", (0.0,), (1.0,))
    if name == SPOKEN_DIGITS:
        return load_spoken_digits(data_folder(directory))
    if name == "digits":
        train, test = read_digits()
        classes = tuple("0123456789")
    elif name in PUBLISHED:
        classes = PUBLISHED[name].classes
        train, test = _read_files(name, directory)
        _check_sizes(name, train, test, complete)
    else:
        raise unknown_name("dataset", name, (*NAMES, SPOKEN_DIGITS))
    mean, std = channel_statistics(train.inputs)
    return Dataset(name, train, test, classes, "classification", mean, std)


def _read_files(name: str, directory: str | Path | None) -> tuple[Split, Split]:
    root = data_folder(directory)
    if not root.is_dir():
        raise DataError(f"{root} is no folder; get {name} there by: {fetching(name, root)}")
    paths = find_files(name, root)
    if name == "cifar10":
        return read_cifar(paths, "labels", 10)
    if name == "cifar100":
        return read_cifar(paths, "fine_labels", 100)
    if name == "svhn":
        return read_svhn(paths)
    train, test = read_idx_dataset(paths)
    if name == "mnist-32":
        image = PUBLISHED[name].image
        return on_canvas(train, image), on_canvas(test, image)
    return train, test


def _check_sizes(name: str, train: Split, test: Split, complete: bool) -> None:
    source = PUBLISHED[name]
    for part, found, size in (
        ("training", len(train), source.train_size),
        ("test", len(test), source.test_size),
    ):
        if found == 0 or found > size or (complete and found < size):
            raise DataError(
                f"the files of {name} hold {found} {part} images, not {size}: "
                f"fetch them again, or load part of them by complete=False"
            )


@dataclass(frozen=True)
class Description:
    """One line of `data list`; `found` is the folder with its files, None where there is none.

    Datasets that need no files are `built_in`. `remedy` says how to get one that `fetch` cannot.
    """

    name: str
    task: Task
    image: tuple[int, int, int]
    classes: int
    train_size: int
    test_size: int
    built_in: bool
    found: Path | None
    remedy: str = ""


def describe(directory: str | Path | None = None) -> list[Description]:
    """What every dataset is, and where in `directory` its files are; reads none of them."""
    root = data_folder(directory)
    listed = [
        Description(
            name,
            "classification",
            source.image,
            len(source.classes),
            source.train_size,
            source.test_size,
            built_in=False,
            found=find_folder(source, root),
        )
        for name, source in PUBLISHED.items()
    ]
    listed.append(
        Description(
            "digits", "classification", (1, 8, 8), 10, 1797 - TEST_SIZE, TEST_SIZE, True, None
        )
    )
    listed.append(Description("tree", "regression", (1, 1, INPUTS), 0, 4096, 1024, True, None))
    listed.append(
        Description(
            SPOKEN_DIGITS,
            "classification",
            (1, 1, BINS),
            10,
            SPOKEN_TRAIN_SIZE,
            SPOKEN_TEST_SIZE,
            built_in=False,
            found=find_recordings(root),
            remedy=how_to_get(root),
        )
    )
    return listed
