"""Choices by score: exactly as many as asked for, ties included, the same every time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scratchconv.errors import Collapse, InvalidArgument
from scratchconv.pruning.choosing import largest, largest_of_all, random_scores
from scratchconv.pruning.reference import arg_top_k


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.data())
def test_takes_the_largest_and_of_equal_ones_the_first(scores, data):
    count = data.draw(st.integers(0, len(scores)))
    chosen = largest(torch.tensor(scores, dtype=torch.float32), count)
    assert set(chosen.nonzero().flatten().tolist()) == arg_top_k(scores, count, range(len(scores)))


def test_keeps_the_shape_and_reads_any_layout():
    scores = torch.arange(24.0).view(2, 3, 2, 2).to(memory_format=torch.channels_last)
    assert torch.equal(largest(scores, 7), scores > 16)


def test_several_tensors_compete_for_one_count():
    chosen = largest_of_all({"a": torch.tensor([[1.0, 5.0]]), "b": torch.tensor([4.0, 0.0])}, 2)
    assert chosen["a"].tolist() == [[False, True]]
    assert chosen["b"].tolist() == [True, False]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_finite_number_is_refused(score):
    with pytest.raises(Collapse, match="infinite or not a number"):
        largest(torch.tensor([1.0, score]), 1)


@pytest.mark.parametrize("count", [-1, 3])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(InvalidArgument, match="2 scores"):
        largest(torch.zeros(2), count)


def test_random_scores_depend_on_every_number_and_on_nothing_else():
    like = torch.empty(40)
    first = random_scores(like, 1, 2, 3)
    torch.manual_seed(7)
    assert torch.equal(first, random_scores(like, 1, 2, 3))
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not torch.equal(first, random_scores(like, *other))
