"""A network that falls apart is reported once, with the cause."""

import math

import pytest

from scratchconv.errors import Collapse
from scratchconv.training.collapse import check_finite, new_warnings


def layer(name="first_layer", nonzero=100, dead=0, units=10):
    return {"name": name, "nonzero": nonzero, "units": units, "dead_units": dead}


def test_healthy_layers_say_nothing():
    assert new_warnings([layer(), layer("other", dead=5)], [], regularised=True) == []


def test_dying_units_are_told_once_and_blamed_on_lam():
    (warning,) = new_warnings([layer(dead=6)], [layer()], regularised=True)
    assert "6 of 10 units of layer first_layer" in warning
    assert "λ" in warning
    assert new_warnings([layer(dead=7)], [layer(dead=6)], regularised=True) == []


def test_an_empty_layer_is_told_also_after_dying():
    (warning,) = new_warnings([layer(nonzero=0, dead=10)], [layer(dead=6)], regularised=True)
    assert "every weight of layer first_layer is zero" in warning


def test_a_revived_layer_that_dies_again_is_told_again():
    assert new_warnings([layer(dead=9)], [layer(dead=0)], regularised=True)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_cause_and_remedy(loss):
    with pytest.raises(Collapse, match=r"step 7.*λ.*step-3.safetensors") as raised:
        check_finite(loss, step=7, regularised=True, checkpoint="step-3.safetensors")
    assert "\n" not in str(raised.value)
    check_finite(1.0, step=8, regularised=True, checkpoint=None)
