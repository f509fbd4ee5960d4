"""Learning rates, and λ carried between run lengths."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchconv.training.schedule import SCHEDULES, cosine, lam_for_length, sum_of_rates


@given(steps=st.integers(1, 5000), lr=st.floats(1e-4, 10))
def test_cosine_falls_from_lr_towards_zero(steps, lr):
    rates = [cosine(step, steps, lr) for step in range(steps)]
    assert rates[0] == lr
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))
    assert 0 <= rates[-1] <= lr


@given(steps=st.integers(1, 5000))
def test_sum_of_rates_is_half_the_steps(steps):
    # Σ ½(1 + cos πt/T) over t = 0 … T−1 is (T + 1)/2 exactly.
    assert sum_of_rates(steps, 1.0) == pytest.approx((steps + 1) / 2)


def test_lam_keeps_what_shrinks_a_weight_in_all():
    lam = lam_for_length(1e-5, chosen_for=40_000, steps=1_000)
    total = lam * sum_of_rates(1_000, 0.1)
    assert math.isclose(total, 1e-5 * sum_of_rates(40_000, 0.1), rel_tol=1e-12)


def test_lam_of_the_same_length_is_unchanged():
    assert lam_for_length(3e-4, chosen_for=777, steps=777) == 3e-4


@pytest.mark.parametrize("name", SCHEDULES)
def test_lam_is_carried_over_billions_of_epochs_at_once(name):
    lam = lam_for_length(1e-3, chosen_for=100 * (2**31 - 1), steps=100, schedule=name)
    assert lam == pytest.approx(1e-3 * (2**31 - 1), rel=0.02)


@given(epochs=st.integers(1, 50), steps=st.integers(1, 30))
def test_step_is_a_tenth_once_half_of_the_epochs_are_done(epochs, steps):
    total = 2 * epochs * steps
    rates = [SCHEDULES["step"](step, total, 1e-3) for step in range(total)]
    assert rates == [1e-3] * (epochs * steps) + [1e-4] * (epochs * steps)


def test_an_odd_run_has_the_larger_half_at_the_full_rate():
    assert [SCHEDULES["step"](step, 3, 1.0) for step in range(3)] == [1.0, 1.0, 0.1]


@given(name=st.sampled_from(sorted(SCHEDULES)), steps=st.integers(1, 400), lr=st.floats(1e-4, 10))
def test_every_schedule_begins_at_lr_and_never_rises(name, steps, lr):
    rates = [SCHEDULES[name](step, steps, lr) for step in range(steps)]
    assert rates[0] == lr
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates))
    assert sum_of_rates(steps, lr, name) == pytest.approx(sum(rates))


@given(name=st.sampled_from(sorted(SCHEDULES)), one=st.integers(1, 400), other=st.integers(1, 400))
def test_lam_is_carried_along_any_schedule(name, one, other):
    lam = lam_for_length(1e-4, chosen_for=one, steps=other, schedule=name)
    total = lam * sum_of_rates(other, 0.3, name)
    assert total == pytest.approx(1e-4 * sum_of_rates(one, 0.3, name))
