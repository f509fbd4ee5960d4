"""The runs of Table 2 that other figures look at more closely; asked for again, they are shared."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from scratchconv.experiments import settings
from scratchconv.experiments.finished_runs import finished_runs
from scratchconv.lab import Lab, Measure, RunRecord
from scratchconv.lab.scales import Scale
from scratchconv.training import RunConfig

METHODS: dict[str, Callable[[Scale, RunConfig], list[RunConfig]]] = {
    "sgd": settings.sgd,
    "beta-lasso-50": lambda scale, config: settings.beta_lasso(scale, config, 50.0),
    "beta-lasso-1": lambda scale, config: settings.beta_lasso(scale, config, 1.0),
    "beta-lasso-0": lambda scale, config: settings.beta_lasso(scale, config, 0.0),
}
"""What each row's training chooses its settings from."""


def table2_runs(
    lab: Lab, rows: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str, str], RunConfig]:
    """Runs of Table 2 with the first seed, by title, method and dataset.

    `rows`: a title, a network and one of `METHODS` each. Settings are those of the best validation
    accuracy: where Table 2 has not chosen them yet, they are chosen now.
    """
    return lab.choose(
        {
            (title, method, data): METHODS[method](lab.scale, lab.config(model, data))
            for title, model, method in rows
            for data in lab.datasets
        }
    )


def table2_records(
    lab: Lab,
    rows: Iterable[tuple[str, str, str]],
    *,
    measure: Measure | None = None,
    epochs: bool = False,
) -> dict[str, dict[str, RunRecord]]:
    """Those runs trained: by dataset and title, the latter one a row.

    `measure` and `epochs` as for `Lab.train`. Raises `ScratchconvError` where one of them did not
    end with a finite loss.
    """
    chosen = table2_runs(lab, rows)
    configs = {f"{title} on {data}": config for (title, _, data), config in chosen.items()}
    made = lab.train(configs, measure=measure, epochs=epochs)
    finished_runs({name: [record] for name, record in made.items()})
    found: dict[str, dict[str, RunRecord]] = {data: {} for data in lab.datasets}
    for title, _, data in chosen:
        found[data][title] = made[f"{title} on {data}"]
    return found
