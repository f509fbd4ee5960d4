"""Batched augmentation equals the plain way, image by image and pixel by pixel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.data import Augmentation, default_augmentation
from scratchconv.data.augmentation import cutout_mask, draw, flip_and_crop
from scratchconv.errors import InvalidArgument


def plain_flip_and_crop(image, flipped, top, left, crop):
    """One image (c, h, w): mirrored or not, padded with 0, and the window at (top, left)."""
    channels, height, width = image.shape
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y, from_x = y + top - crop, x + left - crop
            if 0 <= from_y < height and 0 <= from_x < width:
                column = width - 1 - from_x if flipped else from_x
                for channel in range(channels):
                    result[channel, y, x] = image[channel, from_y, column]
    return result


def plain_cutout(height, width, centre_y, centre_x, side):
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    first_y, first_x = centre_y - side // 2, centre_x - side // 2
    mask[
        :,
        max(first_y, 0) : max(first_y + side, 0),
        max(first_x, 0) : max(first_x + side, 0),
    ] = True
    return mask


@given(
    count=st.integers(1, 5),
    image=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    flip=st.booleans(),
    crop=st.integers(0, 4),
    cutout=st.integers(0, 9),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=80)
def test_batched_equals_plain(count, image, flip, crop, cutout, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, (count, *image), dtype=torch.uint8, generator=generator)
    augmentation = Augmentation(flip, crop, cutout)
    draws = draw(augmentation, count, image, generator)
    before = images.clone()
    result = flip_and_crop(images, augmentation, draws)
    mask = cutout_mask(image, cutout, draws)
    assert torch.equal(images, before)
    for row in range(count):
        expected = plain_flip_and_crop(
            images[row], row in draws.flipped, int(draws.top[row]), int(draws.left[row]), crop
        )
        assert torch.equal(result[row], expected)
        erased = plain_cutout(
            *image[1:], int(draws.centre_y[row]), int(draws.centre_x[row]), cutout
        )
        assert torch.equal(mask[row], erased)


def test_draws_reach_every_choice_about_equally():
    image = (3, 8, 8)
    draws = draw(Augmentation(True, 2, 3), 20000, image, torch.Generator().manual_seed(0))
    assert len(draws.flipped) == pytest.approx(10000, abs=300)
    for choice, values in (
        (draws.top, 5),
        (draws.left, 5),
        (draws.centre_y, 8),
        (draws.centre_x, 8),
    ):
        counts = torch.bincount(choice)
        assert len(counts) == values
        assert counts.tolist() == pytest.approx([20000 / values] * values, rel=0.1)


def test_turning_one_change_on_leaves_the_others_as_they_are():
    image = (3, 8, 8)
    some = draw(Augmentation(crop=2), 50, image, torch.Generator().manual_seed(0))
    more = draw(Augmentation(True, 2, 4), 50, image, torch.Generator().manual_seed(0))
    assert torch.equal(some.top, more.top)
    assert torch.equal(some.left, more.left)
    assert len(some.flipped) == 0 < len(more.flipped)


def test_defaults_suit_the_dataset():
    assert default_augmentation("cifar10") == Augmentation(flip=True, crop=4)
    assert not default_augmentation("svhn").flip
    assert default_augmentation("svhn").crop
    assert not default_augmentation("mnist").flip
    assert default_augmentation("digits") == default_augmentation("tree") == Augmentation()


def test_negative_sizes_are_refused():
    with pytest.raises(InvalidArgument, match="crop -1"):
        Augmentation(crop=-1)
    with pytest.raises(InvalidArgument, match="cutout -3"):
        Augmentation(cutout=-3)
