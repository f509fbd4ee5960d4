"""The runs of Table 2 that other figures look at more closely; asked for again, they are shared."""

from __future__ import annotations

from collections.abc import Callable

from scratchconv.experiments import settings
from scratchconv.lab import Lab
from scratchconv.training import RunConfig

_CHOOSE: dict[str, Callable[[Lab, RunConfig], RunConfig]] = {
    "sgd": settings.sgd,
    "beta-lasso-50": lambda lab, config: settings.beta_lasso(lab, config, 50.0),
}


def table2_run(lab: Lab, model: str, method: str, data: str) -> RunConfig:
    """The run of Table 2 with the first seed; `method` is `sgd` or `beta-lasso-50`.

    Its settings are those of the best validation accuracy: where Table 2 has not chosen them yet,
    they are chosen now.
    """
    return _CHOOSE[method](lab, lab.config(model, data))
