"""Carried runs shrink weights as much as the run their λ was chosen for."""

import pytest

from scratchconv.experiments.carried_lam import CHOSEN_FOR, LENGTHS, carried_configs
from scratchconv.training import RunConfig
from scratchconv.training.schedule import lam_for_length


def test_each_length_is_run_with_the_same_and_with_the_carried_lam():
    chosen = RunConfig(alpha=8, lam=5e-5, lam_first=1e-4, epochs=CHOSEN_FOR)
    configs = carried_configs(chosen)
    assert len(configs) == 2 * len(LENGTHS)
    for config in configs.values():
        config.check()
        assert config.skip_test
        assert (config.lam, config.lam_first) == (chosen.lam, chosen.lam_first)
    carried = configs["epochs15-carried"]
    lam = lam_for_length(carried.lam, chosen_for=carried.lam_epochs * 87, steps=15 * 87)
    assert lam == pytest.approx(4 * chosen.lam, rel=1e-3)
