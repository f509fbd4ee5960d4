"""The published files of each dataset: where they lie in a folder, their sizes, hashes, mirrors.

The layouts are those that torchvision uses, so a folder that it filled serves here too. The md5
sums are the publishers' own (torchvision lists the same); they guard against damage, and
downloads are checked by them before a file gets its name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class DataFile:
    """One file as it lies in a dataset's folder; `path` is relative to it. Size in bytes."""

    path: str
    size: int
    md5: str


@dataclass(frozen=True)
class Download:
    """One file to download. With `unpack`, it is a tar archive that holds the dataset's files.

    `path` is relative to the folder of the dataset's files; that of an archive to the user's.
    """

    urls: tuple[str, ...]
    path: str
    size: int
    md5: str
    unpack: bool = False


@dataclass(frozen=True)
class Published:
    """All files of a dataset.

    `folders` are the places, relative to the folder the user names, where `files` may lie, the
    first being where downloads put them. `unread` are unpacked beside them, for torchvision, which
    takes a folder without them for damaged. `train_size` and `test_size` count samples.
    `decompressed_anywhere`: whether decompressed files directly in the user's folder are taken for
    this dataset's; those of datasets that share names and sizes cannot be told apart.
    """

    folders: tuple[str, ...]
    files: tuple[DataFile, ...]
    downloads: tuple[Download, ...]
    train_size: int
    test_size: int
    image: tuple[int, int, int]
    classes: tuple[str, ...]
    unread: tuple[DataFile, ...] = ()
    decompressed_anywhere: bool = True


_DIGIT_NAMES = tuple("0123456789")


def _idx_dataset(
    folder: str,
    mirrors: tuple[str, ...],
    sizes_and_md5s: tuple[tuple[int, str], ...],
    classes: tuple[str, ...],
    *,
    decompressed_anywhere: bool = True,
) -> Published:
    """MNIST, or what has its shape, sizes and names of files."""
    names = tuple(
        f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )
    files = tuple(
        DataFile(name, size, md5) for name, (size, md5) in zip(names, sizes_and_md5s, strict=True)
    )
    downloads = tuple(
        Download(
            tuple(mirror + file.path for mirror in mirrors),
            file.path,
            file.size,
            file.md5,
        )
        for file in files
    )
    return Published(
        folders=(folder, "."),
        files=files,
        downloads=downloads,
        train_size=60000,
        test_size=10000,
        image=(1, 28, 28),
        classes=classes,
        decompressed_anywhere=decompressed_anywhere,
    )


_MNIST = _idx_dataset(
    "MNIST/raw",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    (
        (9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        (28881, "d53e105ee54ea40749a09fcbcd1e9432"),
        (1648877, "9fb629c4189551a2d022fa330f9573f3"),
        (4542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    _DIGIT_NAMES,
)
_FASHION_MNIST = _idx_dataset(
    "FashionMNIST/raw",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    (
        (26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        (29515, "25c81989df183df01b3e8a0aad5dffbe"),
        (4422102, "bef4ecab320f06d8554ea6380940ec79"),
        (5148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    decompressed_anywhere=False,  # they have MNIST's names and sizes
)

_SVHN_FILES = (
    DataFile("train_32x32.mat", 182040794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
    DataFile("test_32x32.mat", 64275384, "eb5a983be6a315427106f1b164d9cef3"),
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_CIFAR100_CLASSES = _words(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"""
)

PUBLISHED: dict[str, Published] = {
    "cifar10": Published(
        folders=("cifar-10-batches-py", "."),
        files=(
            DataFile("data_batch_1", 31035704, "c99cafc152244af753f735de768cd75f"),
            DataFile("data_batch_2", 31035320, "d4bba439e000b95fd0a9bffe97cbabec"),
            DataFile("data_batch_3", 31035999, "54ebc095f3ab1f0389bbae665268c751"),
            DataFile("data_batch_4", 31035696, "634d18415352ddfa80567beed471001a"),
            DataFile("data_batch_5", 31035623, "482c414d41f54cd18b22e5b47cb7c3cb"),
            DataFile("test_batch", 31035526, "40351d587109b95175f43aff81a1287e"),
        ),
        downloads=(
            Download(
                ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
                "cifar-10-python.tar.gz",
                170498071,
                "c58f30108f718f92721af3b95e74349a",
                unpack=True,
            ),
        ),
        train_size=50000,
        test_size=10000,
        image=(3, 32, 32),
        classes=_words("airplane automobile bird cat deer dog frog horse ship truck"),
        unread=(DataFile("batches.meta", 158, "5ff9c542aee3614f3951f8cda6e48888"),),
    ),
    "cifar100": Published(
        folders=("cifar-100-python", "."),
        files=(
            DataFile("train", 155249918, "16019d7e3df5f24257cddd939b257f8d"),
            DataFile("test", 31049707, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
        ),
        downloads=(
            Download(
                ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
                "cifar-100-python.tar.gz",
                169001437,
                "eb9058c3a382ffc7106e4002c42a8d85",
                unpack=True,
            ),
        ),
        train_size=50000,
        test_size=10000,
        image=(3, 32, 32),
        classes=_CIFAR100_CLASSES,
        unread=(DataFile("meta", 1473, "7973b15100ade9c7d40fb424638fde48"),),
    ),
    "svhn": Published(
        folders=(".", "svhn", "SVHN"),
        files=_SVHN_FILES,
        downloads=tuple(
            Download(
                (f"http://ufldl.stanford.edu/housenumbers/{file.path}",),
                file.path,
                file.size,
                file.md5,
            )
            for file in _SVHN_FILES
        ),
        train_size=73257,
        test_size=26032,
        image=(3, 32, 32),
        classes=_DIGIT_NAMES,
    ),
    "mnist": _MNIST,
    # The same files, read into images of CIFAR's shape.
    "mnist-32": replace(_MNIST, image=(3, 32, 32)),
    "fashion-mnist": _FASHION_MNIST,
}
