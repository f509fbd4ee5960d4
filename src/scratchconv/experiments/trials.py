"""What was tried on validation data, as a table: the grids that settings were chosen from."""

from __future__ import annotations

from collections.abc import Iterable

from scratchconv.experiments import chosen_settings
from scratchconv.lab import RunRecord, Table
from scratchconv.lab.exhibits import MISSING
from scratchconv.report.wording import data_name, network_name, training_name


def trials(records: Iterable[RunRecord]) -> Table | None:
    """A line a trial, the best of each network and training first; None where there is none."""
    tried = [record for record in records if record.setting("skip_test")]
    if not tried:
        return None
    lines = sorted(
        (_named(record), -_merit(record), chosen_settings.in_words(record), _score(record))
        for record in tried
    )
    return Table(
        "What was tried, on validation data",
        ("network", "training", "data", "epochs", "settings", "validation"),
        tuple((*named, settings, score) for named, _, settings, score in lines),
    )


def _named(record: RunRecord) -> tuple[str, str, str, str]:
    method = record.setting("method")
    beta = {"lasso": ", β = 0", "beta-lasso": f", β = {record.setting('beta'):g}"}.get(method, "")
    return (
        network_name(str(record.setting("model"))),
        training_name({"method": method, "pruning": record.setting("pruning")}) + beta,
        data_name(str(record.setting("data"))),
        str(record.setting("epochs")),
    )


def _merit(record: RunRecord) -> float:
    if record.failure:
        return float("-inf")
    if record.result.get("validation_accuracy") is None:
        return -record.loss("validation")
    return record.accuracy("validation")


def _score(record: RunRecord) -> str:
    if record.failure:
        return MISSING
    if record.result.get("validation_accuracy") is None:
        return f"loss {record.loss('validation'):.4g}"
    return f"{record.accuracy('validation'):.2f} %"
