"""The runs of Table 2 that other figures look at more closely; asked for again, they are shared."""

from __future__ import annotations

from collections.abc import Callable

from scratchconv.experiments import settings
from scratchconv.lab import Lab
from scratchconv.training import RunConfig

METHODS: dict[str, Callable[[Lab, RunConfig], RunConfig]] = {
    "sgd": settings.sgd,
    "beta-lasso-50": lambda lab, config: settings.beta_lasso(lab, config, 50.0),
    "beta-lasso-1": lambda lab, config: settings.beta_lasso(lab, config, 1.0),
    "beta-lasso-0": lambda lab, config: settings.beta_lasso(lab, config, 0.0),
}
"""How each row's training gets its settings."""


def table2_run(lab: Lab, model: str, method: str, data: str) -> RunConfig:
    """The run of Table 2 with the first seed; `method` is one of `METHODS`.

    Its settings are those of the best validation accuracy: where Table 2 has not chosen them yet,
    they are chosen now.
    """
    return METHODS[method](lab, lab.config(model, data))
