"""Datasets load from the published layouts, and bad files are named."""

from __future__ import annotations

import contextlib
import gzip
import re
from functools import partial

import numpy as np
import pytest
import torch
from original_files import (
    cifar_batch,
    idx_bytes,
    python2_pickle,
    write_cifar10,
    write_cifar100,
    write_idx,
    write_svhn,
)
from scipy.io import savemat

from scratchconv import data
from scratchconv.data.dataset import channel_statistics
from scratchconv.errors import DataError, InvalidArgument


@pytest.mark.parametrize("inside", [True, False])
def test_cifar10(tmp_path, inside):
    folder = tmp_path / "cifar-10-batches-py"
    images, labels = write_cifar10(folder)
    dataset = data.load("cifar10", tmp_path if inside else folder, complete=False)
    assert dataset.image == (3, 32, 32)
    assert dataset.task == "classification"
    assert dataset.classes[3] == "cat"
    assert dataset.train.inputs.dtype == torch.uint8
    assert dataset.train.targets.dtype == torch.int64
    np.testing.assert_array_equal(dataset.train.inputs.numpy(), images[:100])
    np.testing.assert_array_equal(dataset.test.inputs.numpy(), images[100:])
    assert dataset.train.targets.tolist() == labels[:100]
    assert dataset.test.targets.tolist() == labels[100:]
    unit = images[:100] / 255
    np.testing.assert_allclose(dataset.mean, unit.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, unit.std((0, 2, 3)), rtol=1e-9)


def test_cifar100_reads_the_fine_labels(tmp_path):
    images, labels = write_cifar100(tmp_path / "cifar-100-python")
    dataset = data.load("cifar100", tmp_path, complete=False)
    assert len(dataset.classes) == 100
    np.testing.assert_array_equal(dataset.test.inputs.numpy(), images[200:])
    assert dataset.test.targets.tolist() == labels[200:]


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_idx(tmp_path, name, folder, zipped):
    images, labels = write_idx(tmp_path / folder / "raw", zipped=zipped)
    dataset = data.load(name, tmp_path, complete=False)
    assert dataset.image == (1, 28, 28)
    np.testing.assert_array_equal(dataset.train.inputs[:, 0].numpy(), images)
    np.testing.assert_array_equal(dataset.train.targets.numpy(), labels)


def test_decompressed_files_beside_each_other_are_mnists(tmp_path):
    write_idx(tmp_path, zipped=False)
    assert len(data.load("mnist", tmp_path, complete=False).train) == 30
    with pytest.raises(DataError, match="holds no files of fashion-mnist"):
        data.load("fashion-mnist", tmp_path, complete=False)


def test_mnist_in_the_shape_of_cifar(tmp_path):
    images, labels = write_idx(tmp_path / "MNIST" / "raw", zipped=True)
    dataset = data.load("mnist-32", tmp_path, complete=False)
    assert dataset.image == (3, 32, 32)
    assert dataset.classes == tuple("0123456789")
    for channel in range(3):
        placed = dataset.train.inputs[:, channel].numpy()
        np.testing.assert_array_equal(placed[:, 2:30, 2:30], images)
    black = dataset.train.inputs.clone()
    black[:, :, 2:30, 2:30] = 0
    assert not black.any()
    np.testing.assert_array_equal(dataset.train.targets.numpy(), labels)
    shown = next(line for line in data.describe(tmp_path) if line.name == "mnist-32")
    assert (shown.image, shown.found) == ((3, 32, 32), tmp_path / "MNIST" / "raw")


@pytest.mark.parametrize("folder", [".", "svhn"])
def test_svhn_turns_label_10_into_0(tmp_path, folder):
    images, labels = write_svhn(tmp_path / folder)
    dataset = data.load("svhn", tmp_path, complete=False)
    np.testing.assert_array_equal(dataset.train.inputs.numpy(), images.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(dataset.train.targets.numpy(), labels[:, 0] % 10)
    assert 0 in dataset.train.targets
    assert dataset.classes[0] == "0"


def test_digits_are_always_the_same_and_fill_the_byte_range():
    dataset = data.load("digits")
    again = data.load("digits")
    assert dataset.image == (1, 8, 8)
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert int(dataset.train.inputs.min()) == 0
    assert int(dataset.train.inputs.max()) == 255
    assert torch.equal(dataset.test.inputs, again.test.inputs)
    counts = torch.bincount(dataset.test.targets, minlength=10)
    assert int(counts.min()) >= 34
    assert int(counts.max()) <= 37
    described = next(line for line in data.describe() if line.name == "digits")
    assert (described.train_size, described.test_size) == (1437, 360)


def test_fewer_images_than_published_need_to_be_asked_for(tmp_path):
    write_cifar10(tmp_path)
    with pytest.raises(DataError, match="hold 100 training images, not 50000"):
        data.load("cifar10", tmp_path)


def test_missing_files_are_named_with_the_remedy(tmp_path):
    remedy = "scratchconv data fetch cifar10"
    with pytest.raises(DataError, match=f"no files of cifar10.*data_batch_1.*{remedy}"):
        data.load("cifar10", tmp_path)
    with pytest.raises(DataError, match=f"is no folder.*{remedy}"):
        data.load("cifar10", tmp_path / "nowhere")
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar10(folder)
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError, match=f"lacks data_batch_4 of cifar10.*{remedy}"):
        data.load("cifar10", tmp_path)


def test_an_archive_not_unpacked_is_pointed_out(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz is there but not unpacked: run"):
        data.load("cifar10", tmp_path)


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(InvalidArgument, match=r"cifar10.*mnist.*Did you mean 'cifar10'"):
        data.load("cifar-10")


ONE = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "cannot be read as a CIFAR batch"),
        (b"<html>not found</html>", "cannot be read as a CIFAR batch"),
        (cifar_batch(ONE, [1, 2])[:-1000], "cannot be read as a CIFAR batch"),
        (python2_pickle([1, 2]), "lacks 'data'"),
        (cifar_batch(ONE, [1, 2], b"fine_labels"), "lacks 'data' or 'labels'"),
        (cifar_batch(np.zeros((2, 3071), np.uint8), [1, 2]), "no images of 3072 bytes"),
        (python2_pickle({b"data": b"abc", b"labels": [1]}), "no images of 3072 bytes"),
        (cifar_batch(ONE, [1]), "label from 0 to 9"),
        (cifar_batch(ONE, [1, 10]), "label from 0 to 9"),
        (cifar_batch(ONE, [1, -1]), "label from 0 to 9"),
        (cifar_batch(ONE, [1, True]), "label from 0 to 9"),
    ],
)
def test_a_bad_cifar_batch_is_named(tmp_path, content, complaint):
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_3.*{complaint}.*fetch"):
        data.load("cifar10", tmp_path, complete=False)


IMAGES = np.zeros((30, 28, 28), np.uint8)
# Without the time of writing: what a test is called must not depend on the second it is collected.
gzipped = partial(gzip.compress, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("train-images-idx3", b"", "is damaged|no idx file"),
        ("train-images-idx3", b"no gzip file at all", "is damaged"),
        ("train-images-idx3", gzipped(b"\0\0\x08\x03\0"), "no idx file"),
        ("train-images-idx3", gzipped(idx_bytes(IMAGES))[:-20], "is damaged"),
        ("train-images-idx3", gzipped(idx_bytes(IMAGES)[:-1]), "fewer bytes"),
        ("train-images-idx3", gzipped(idx_bytes(IMAGES) + b"\0"), "more bytes"),
        ("train-images-idx3", gzipped(idx_bytes(IMAGES[:, :27])), "of shape"),
        (
            "train-images-idx3",
            gzipped(b"\0\0\x08\x03\xff\xff\xff\xff\0\0\0\x1c\0\0\0\x1c"),
            "of shape",
        ),
        ("train-labels-idx1", gzipped(idx_bytes(np.zeros(29))), "29 labels for the 30"),
        ("train-labels-idx1", gzipped(idx_bytes(np.full(30, 10))), "the label 10"),
    ],
)
def test_a_bad_idx_file_is_named(tmp_path, name, content, complaint):
    write_idx(tmp_path)
    (tmp_path / f"{name}-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*({complaint}).*fetch"):
        data.load("mnist", tmp_path, complete=False)


@pytest.mark.parametrize(
    "content",
    [
        {"X": np.zeros((32, 32, 3, 5), np.uint8)},
        {"X": np.zeros((32, 32, 3, 5)), "y": np.ones((5, 1))},
        {"X": np.zeros((5, 32, 32, 3), np.uint8), "y": np.ones((5, 1))},
        {"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.ones((4, 1))},
        {"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.zeros((5, 1))},
        {"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.full((5, 1), 11)},
        {"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.full((5, 1), 2.5)},
        {"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.full((5, 1), np.nan)},
        {"X": np.zeros((32, 32, 3, 5), np.uint8), "y": np.full((5, 1), 1.0).astype(object)},
    ],
)
def test_a_bad_svhn_file_is_named(tmp_path, content):
    write_svhn(tmp_path)
    savemat(tmp_path / "test_32x32.mat", content)
    with pytest.raises(DataError, match=r"test_32x32.mat.*fetch"):
        data.load("svhn", tmp_path, complete=False)


def test_a_damaged_byte_in_an_svhn_file_is_noticed_or_harmless(tmp_path):
    write_svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    whole = path.read_bytes()
    for at in [*range(0, 220), *range(len(whole) - 120, len(whole))]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with contextlib.suppress(DataError):
            data.load("svhn", tmp_path, complete=False)


@pytest.mark.parametrize("keep", [0, 10, 100, 130, 500, -100])
def test_a_truncated_svhn_file_is_named(tmp_path, keep):
    write_svhn(tmp_path)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"train_32x32.mat"):
        data.load("svhn", tmp_path, complete=False)


def test_describe_says_what_is_found_where(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-py")
    lines = {line.name: line for line in data.describe(tmp_path)}
    assert tuple(lines) == (*data.NAMES, "spoken-digits")
    assert lines["cifar10"].found == tmp_path / "cifar-10-batches-py"
    assert lines["cifar100"].found is None
    assert not lines["cifar100"].built_in
    assert lines["tree"].built_in
    assert lines["tree"].task == "regression"
    assert lines["svhn"].train_size == 73257


def test_the_default_directory_follows_the_environment(tmp_path, monkeypatch):
    write_idx(tmp_path / "MNIST" / "raw")
    monkeypatch.setenv("SCRATCHCONV_DATA", str(tmp_path))
    assert len(data.load("mnist", complete=False).train) == 30


def test_the_remedy_can_be_copied_from_whatever_folder(tmp_path):
    folder = tmp_path / "my data"
    command = f"scratchconv data fetch mnist --data-dir '{folder}'"
    with pytest.raises(DataError, match=re.escape(command)):
        data.load("mnist", folder)
    folder.mkdir()
    with pytest.raises(DataError, match=re.escape(command)):
        data.load("mnist", folder)


def test_the_home_of_nobody_is_named(monkeypatch):
    folder = "~nobody-of-this-name/data"
    for ask in (
        lambda: data.load("mnist", folder),
        lambda: data.describe(folder),
        lambda: data.verify("mnist", folder),
        lambda: data.fetch("mnist", folder),
    ):
        with pytest.raises(DataError, match=f"{folder}: no such home .*whole path"):
            ask()
    monkeypatch.setenv("SCRATCHCONV_DATA", folder)
    with pytest.raises(DataError, match=f"{folder}: no such home"):
        data.load("mnist")


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (70, 2, 5, 7), (65, 3, 17, 31)])
def test_statistics_are_exact(shape):
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.manual_seed(0))
    mean, std = channel_statistics(images)
    unit = images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, unit.mean((0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(std, unit.std((0, 2, 3)), rtol=1e-10)


def test_a_constant_channel_normalises_to_zero():
    images = torch.full((5, 1, 3, 3), 201, dtype=torch.uint8)
    mean, std = channel_statistics(images)
    assert std == (1.0,)
    assert mean == pytest.approx((201 / 255,))
