"""Batches: the right numbers, the same after a resume, and nothing lost."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from scratchconv.data import (
    Augmentation,
    Batches,
    Split,
    evaluation_batches,
    load,
    pixel_permutation,
)
from scratchconv.data.augmentation import cutout_mask, draw, flip_and_crop
from scratchconv.data.random_streams import Purpose, stream
from scratchconv.errors import InvalidArgument

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
IMAGE = (3, 6, 5)


def small(samples: int = 23) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, *IMAGE), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(samples))


def batches(split=None, **options) -> Batches:
    options = {"mean": MEAN, "std": STD, "batch_size": 4} | options
    return Batches(split or small(), options.pop("batch_size"), **options)


def same(first, second) -> bool:
    return all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def plain_normalised(images):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.double() / 255 - mean) / std


def test_an_epoch_shows_every_sample_once_normalised():
    split = small()
    seen = []
    for inputs, targets in batches(split, drop_last=False).epoch(0):
        assert inputs.dtype == torch.float32
        assert targets.dtype == torch.int64
        assert_close(inputs.double(), plain_normalised(split.inputs[targets]), atol=1e-6, rtol=0)
        seen += targets.tolist()
    assert sorted(seen) == list(range(23))
    assert seen != sorted(seen)


@pytest.mark.parametrize(("drop_last", "count", "last"), [(True, 5, 4), (False, 6, 3)])
def test_the_last_batch(drop_last, count, last):
    made = batches(drop_last=drop_last)
    sizes = [len(targets) for _, targets in made.epoch(0)]
    assert len(made) == len(sizes) == count
    assert sizes[-1] == last


def test_epochs_and_seeds_differ_but_repeat():
    order = {
        (seed, epoch): torch.cat([t for _, t in batches(seed=seed).epoch(epoch)]).tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(targets) for targets in order.values()}) == 4
    assert torch.cat([t for _, t in batches(seed=1).epoch(1)]).tolist() == order[1, 1]


@pytest.mark.parametrize("start", [0, 1, 4, 5])
def test_a_resumed_epoch_goes_on_bit_for_bit(start):
    options = {"augmentation": Augmentation(True, 2, 3), "seed": 7}
    whole = list(batches(**options).epoch(3))
    fresh = batches(**options)
    list(fresh.epoch(0))  # what was drawn before has no influence
    assert same(whole[start:], list(fresh.epoch(3, start)))


def test_the_global_generator_is_neither_used_nor_moved():
    torch.manual_seed(1)
    first = list(batches(augmentation=Augmentation(True, 2, 3)).epoch(0))
    state = torch.random.get_rng_state()
    second = list(batches(augmentation=Augmentation(True, 2, 3)).epoch(0))
    assert same(first, second)
    assert torch.equal(state, torch.random.get_rng_state())


def test_augmentation_normalisation_and_permutation_image_by_image():
    split = small()
    augmentation = Augmentation(flip=True, crop=2, cutout=3)
    permutation = pixel_permutation(IMAGE, 5)
    made = batches(split, augmentation=augmentation, permutation=permutation, seed=9)
    for number, (inputs, targets) in enumerate(made.epoch(2)):
        draws = draw(augmentation, 4, IMAGE, stream(Purpose.AUGMENTATION, 9, 2, number))
        images = flip_and_crop(split.inputs[targets], augmentation, draws)
        expected = plain_normalised(images)
        expected[cutout_mask(IMAGE, 3, draws).expand(expected.shape)] = 0.0
        for row in range(4):
            for position in range(30):
                true = int(permutation[position])
                assert_close(
                    inputs[row, :, position // 5, position % 5].double(),
                    expected[row, :, true // 5, true % 5],
                    atol=1e-6,
                    rtol=0,
                )


def test_training_and_evaluation_share_the_permutation():
    split = small(4)
    permutation = pixel_permutation(IMAGE, 1)
    inputs, targets = next(batches(split, permutation=permutation).epoch(0))
    shown, labels = next(evaluation_batches(split, 4, mean=MEAN, std=STD, permutation=permutation))
    assert labels.tolist() == [0, 1, 2, 3]
    assert torch.equal(inputs, shown[targets])


def test_evaluation_keeps_order_and_the_partial_batch():
    split = small()
    shown = list(evaluation_batches(split, 10, mean=MEAN, std=STD))
    assert [len(targets) for _, targets in shown] == [10, 10, 3]
    assert torch.cat([targets for _, targets in shown]).tolist() == list(range(23))
    inputs = torch.cat([inputs for inputs, _ in shown])
    assert_close(inputs.double(), plain_normalised(split.inputs), atol=1e-6, rtol=0)
    empty = Split(split.inputs[:0], split.targets[:0])
    assert list(evaluation_batches(empty, 10, mean=MEAN, std=STD)) == []


def test_yielded_batches_stay_as_they_are_and_the_data_too():
    split = small()
    before = split.inputs.clone()
    made = batches(split, augmentation=Augmentation(True, 2, 3))
    kept = [(inputs, inputs.clone()) for inputs, _ in made.epoch(0)]
    assert all(torch.equal(inputs, copy) for inputs, copy in kept)
    assert torch.equal(split.inputs, before)


def test_vectors_pass_through_unchanged():
    tree = load("tree", train_size=8, test_size=4)
    ((inputs, targets),) = Batches(tree.train, 8, mean=tree.mean, std=tree.std).epoch(0)
    order = [int((tree.train.targets == target).nonzero()) for target in targets]
    assert torch.equal(inputs, tree.train.inputs[order])
    inputs.zero_()
    assert tree.train.inputs.abs().sum() > 0
    with pytest.raises(InvalidArgument, match="augmentation=None"):
        Batches(tree.train, 8, mean=(0.0,), std=(1.0,), augmentation=Augmentation(flip=True))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch_size": 24}, "batch_size 24 is more than the 23"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"mean": (0.5,)}, "each of the 3 channels"),
    ],
)
def test_unusable_settings_are_named(options, complaint):
    with pytest.raises(InvalidArgument, match=complaint):
        batches(**options)


def test_a_pixel_permutation_is_one_and_depends_on_the_seed():
    first, again, other = (pixel_permutation((3, 8, 8), seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert sorted(first.tolist()) == list(range(64))
    with pytest.raises(InvalidArgument, match="seed -1"):
        pixel_permutation((3, 8, 8), -1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_device_sees_the_same():
    options = {"augmentation": Augmentation(True, 2, 3), "permutation": pixel_permutation(IMAGE, 0)}
    for (x, y), (on_gpu, targets) in zip(
        batches(**options).epoch(0), batches(**options, device="cuda").epoch(0), strict=True
    ):
        assert_close(x, on_gpu.cpu())
        assert torch.equal(y, targets.cpu())
