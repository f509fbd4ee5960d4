"""What was tried on validation data, as a table: the grids that settings were chosen from."""

from __future__ import annotations

import math

from scratchconv.experiments import chosen_settings
from scratchconv.lab import Lab, RunRecord, Table
from scratchconv.lab.exhibits import MISSING
from scratchconv.report.wording import data_name, network_name, training_name


def trials(lab: Lab) -> Table | None:
    """A line a trial, the best of each network and training first; None where there is none."""
    lines = sorted(
        (_named(lab.used[key]), scored, -score, chosen_settings.in_words(lab.used[key]), key)
        for (key, scored), score in lab.tried.items()
    )
    if not lines:
        return None
    rows = []
    for (network, training, data, epochs), scored, loss, settings, key in lines:
        cell = _score(lab.used[key], -loss)
        rows.append((network, training, data, str(epochs), settings, f"{cell} {scored}".strip()))
    return Table(
        "What was tried, on validation data",
        ("network", "training", "data", "epochs", "settings", "validation"),
        tuple(rows),
    )


def _named(record: RunRecord) -> tuple[str, str, str, int]:
    method = record.setting("method")
    beta = {"lasso": ", β = 0", "beta-lasso": f", β = {record.setting('beta'):g}"}.get(method, "")
    return (
        network_name(str(record.setting("model"))),
        training_name({"method": method, "pruning": record.setting("pruning")}) + beta,
        data_name(str(record.setting("data"))),
        int(record.setting("epochs")),
    )


def _score(record: RunRecord, score: float) -> str:
    if math.isinf(score):
        return MISSING
    if record.result.get("validation_accuracy") is None:
        return f"loss {-score:.4g}"
    return f"{score:.2f} %"
