"""The table of runs: every cell as text, ready to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scratchconv.report import wording
from scratchconv.report.record import Record
from scratchconv.report.wording import finite, network_name


@dataclass(frozen=True)
class Row:
    """One run. `scores` are train, validation and test; `first` describes the first layer."""

    network: str
    method: str
    label: str
    status: str
    settings: tuple[str, ...]
    scores: tuple[str, ...]
    seconds: str
    first: tuple[str, ...]


def rows(records: Sequence[Record]) -> list[Row]:
    """A row a run, in the order given."""
    return [_row(record) for record in records]


def score_heading(records: Sequence[Record]) -> str:
    """What the score columns hold."""
    kinds = {record.regression for record in records}
    if kinds == {True}:
        return "Loss"
    return "Accuracy" if kinds == {False} else "Accuracy, or loss"


def _row(record: Record) -> Row:
    layer = record.first_layer
    planned = "?" if record.planned_epochs is None else str(record.planned_epochs)
    done = planned if record.finished else f"{len(record.epochs)} of {planned}"
    return Row(
        network=network_name(record.model),
        method=record.training,
        label=record.label,
        status="" if record.finished else "unfinished",
        settings=(
            _setting(record, "alpha"),
            wording.compact(finite(record.resolved.get("parameters"))),
            _setting(record, "lam_first"),
            _setting(record, "lam"),
            done,
            _setting(record, "seed"),
        ),
        scores=tuple(_score(record, split) for split in ("train", "validation", "test")),
        seconds=wording.duration(record.latest("seconds")),
        first=(
            wording.grouped(layer.nonzero if layer else None),
            wording.percent(layer.density if layer else None),
            wording.grouped(layer.dead_units if layer else None),
            wording.fixed(record.latest("spread")),
            wording.z_score(record.locality("z_score")),
        ),
    )


def _setting(record: Record, key: str) -> str:
    value = record.setting(key)
    numeric = finite(value)
    if numeric is not None:
        return str(value) if isinstance(value, int) else wording.number(numeric)
    return wording.MISSING if value is None else str(value)


def _score(record: Record, split: str) -> str:
    if record.regression:
        return wording.number(record.latest(f"{split}_loss"))
    return wording.accuracy(record.latest(f"{split}_accuracy"))
