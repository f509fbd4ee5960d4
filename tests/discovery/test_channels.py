"""Columns that share a position are found as such, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from scratchconv.discovery.channels import find_channels, position_scores
from scratchconv.discovery.dependence import dependence


def smooth(rng, n, positions, width=5):
    noise = rng.normal(size=(n, positions + width))
    return sum(noise[:, k : k + positions] for k in range(width)) / np.sqrt(width)


def coloured(seed, channels, positions=24, n=1500):
    """A smooth line of positions, each seen by several channels with their own smooth part."""
    rng = np.random.default_rng(seed)
    # White detail that the channels of a position share, as luminance is shared by colours.
    shared = smooth(rng, n, positions) + rng.normal(size=(n, positions))
    parts = [shared + 0.5 * smooth(rng, n, positions) for _ in range(channels)]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_channels_of_shuffled_columns_are_found(channels, seed):
    values = coloured(seed, channels)
    positions = values.shape[1] // channels
    order = np.random.default_rng(seed).permutation(values.shape[1])
    found = find_channels(dependence(values[:, order]), np.ones(len(order), bool))
    assert found.count == channels
    assert found.positions == positions
    for members in found.members():
        assert len(set(order[members] % positions)) == 1
    # The same channel of the same number, at every position.
    for channel in range(channels):
        assert len(set(order[found.channel_of == channel] // positions)) == 1


def test_one_hot_columns_share_a_position():
    rng = np.random.default_rng(0)
    letters = rng.integers(0, 4, (600, 15))
    values = (letters[:, :, None] == np.arange(4)).reshape(600, 60)
    found = find_channels(dependence(values), np.ones(60, bool))
    assert found.count == 4
    np.testing.assert_array_equal(found.position_of, np.arange(60) // 4)


def test_constant_columns_stand_alone():
    values = coloured(0, 3)
    values[:, [4, 70]] = 1.0
    found = find_channels(dependence(values), values.std(axis=0) > 0)
    assert found.count == 3
    assert (found.members()[found.position_of[4]] >= 0).sum() == 1


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_line_has_no_channels(width):
    for seed in range(5):
        values = smooth(np.random.default_rng(seed), 600, 60, width)
        found = find_channels(dependence(values), np.ones(60, bool))
        assert found.count == 1
        np.testing.assert_array_equal(found.position_of, np.arange(60))
        np.testing.assert_array_equal(found.members()[:, 0], np.arange(60))


def test_positions_are_scored_by_all_their_columns():
    found = dependence(coloured(2, 2))
    channels = find_channels(found, np.ones(found.columns, bool))
    scores = position_scores(found, channels)
    members = channels.members()
    expected = np.maximum(found.score[np.ix_(members[3], members[7])], 0)
    assert scores[3, 7] == pytest.approx(np.sqrt((expected**2).sum()), rel=1e-4)
    np.testing.assert_allclose(scores, scores.T, rtol=1e-4)
    assert not np.diag(scores).any()
