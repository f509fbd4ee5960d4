"""A network that falls apart is reported once, with the cause."""

import pytest

from scratchconv.training.collapse import collapsed, new_warnings


def layer(name="first_layer", nonzero=100, dead=0, units=10):
    return {"name": name, "nonzero": nonzero, "units": units, "dead_units": dead}


def test_healthy_layers_say_nothing():
    assert new_warnings([layer(), layer("other", dead=5)], [], by="penalty") == []


def test_dying_units_are_told_once_and_blamed_on_lam():
    (warning,) = new_warnings([layer(dead=6)], [layer()], by="penalty")
    assert "6 of 10 units of layer first_layer" in warning
    assert "λ" in warning
    assert new_warnings([layer(dead=7)], [layer(dead=6)], by="penalty") == []


@pytest.mark.parametrize(
    ("by", "remedy"),
    [
        ("pruning", "larger --density"),
        ("connections", "--connections-from"),
        ("steps", "smaller learning rate"),
    ],
)
def test_dying_units_are_blamed_on_what_took_their_weights(by, remedy):
    (warning,) = new_warnings([layer(dead=6)], [layer()], by=by)
    assert remedy in warning
    assert "λ" not in warning


def test_an_empty_layer_is_told_also_after_dying():
    (warning,) = new_warnings([layer(nonzero=0, dead=10)], [layer(dead=6)], by="penalty")
    assert "every weight of layer first_layer is zero" in warning


def test_a_revived_layer_that_dies_again_is_told_again():
    assert new_warnings([layer(dead=9)], [layer(dead=0)], by="penalty")


@pytest.mark.parametrize(("regularised", "cause"), [(True, "rate or λ is"), (False, "rate is")])
def test_a_collapse_has_cause_and_remedy_in_one_line(regularised, cause):
    error = collapsed("the loss is nan", regularised=regularised, checkpoint="step-3.safetensors")
    assert str(error).startswith(f"the loss is nan: the learning {cause} too large")
    assert "Try a third" in str(error)
    assert "step-3.safetensors" in str(error)
    assert "\n" not in str(error)
