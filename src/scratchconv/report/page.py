"""The report: one HTML page that needs nothing else, drawn from run directories."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scratchconv.errors import InvalidArgument
from scratchconv.report import wording
from scratchconv.report.charts import Chart, Series, line_chart, log_limits
from scratchconv.report.gallery import gallery
from scratchconv.report.output import check_writable, write_whole
from scratchconv.report.record import Record, read
from scratchconv.report.rendering import templates
from scratchconv.report.table import rows, score_heading
from scratchconv.report.verdict import verdict

# All lines of all charts together; at about 14 bytes a point this is some 0.8 MB of the page.
_POINTS = 60_000
_MOST_PANELS = 24  # charts of one run each; the table still has every run
_MOST_WARNINGS = 50  # of one run
_LONGEST_VALUE = 2000  # characters of one shown setting


@dataclass(frozen=True)
class Legend:
    """Charts that share one key of lines."""

    charts: tuple[Chart, ...]
    key: tuple[Series, ...]
    note: str = ""


@dataclass(frozen=True)
class Origin:
    """How one run was made."""

    label: str
    directory: str
    finished: bool
    command: str | None
    facts: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    warnings_left_out: int


def write(runs: Sequence[Path], out: Path, *, title: str, overwrite: bool = False) -> Path:
    """Draw `runs`, finished or not, as one HTML page without outside resources; returns `out`.

    The page holds a verdict in words, a table of the runs, non-zeros and scores over epochs, the
    first layer's filters, and how each run was made. Everything shown is escaped.

    Raises InvalidArgument for no runs, a run given twice, or an existing `out` without
    `overwrite`; RunDirectoryError where a directory holds no run.
    """
    if not runs:
        raise InvalidArgument("no runs to report: give at least one run directory")
    if len({Path(run).resolve() for run in runs}) < len(runs):
        raise InvalidArgument("a run directory was given twice: name each once")
    out = Path(out)
    check_writable(out, overwrite=overwrite)
    page = render(read(runs), title=title)
    write_whole(out, page)
    return out


def render(records: Sequence[Record], *, title: str) -> str:
    """The page's HTML."""
    exhibits, exhibits_note = gallery(records)
    return (
        templates()
        .get_template("page.html.jinja")
        .render(
            title=title,
            verdict=verdict(records),
            records=records,
            data=", ".join(dict.fromkeys(wording.data_name(record.data) for record in records)),
            rows=rows(records),
            score_heading=score_heading(records),
            sparsity=_sparsity(records),
            progress=_progress(records),
            exhibits=exhibits,
            exhibits_note=exhibits_note,
            origins=[_origin(record) for record in records],
            missing=wording.MISSING,
        )
    )


def _sparsity(records: Sequence[Record]) -> Legend:
    """Non-zeros per layer: a chart a run, on one scale, with one key of layers."""
    drawn = [record for record in records if any(epoch.layers for epoch in record.epochs)]
    left_out = len(drawn) - _MOST_PANELS
    drawn = drawn[:_MOST_PANELS]
    depths = {max(len(epoch.layers) for epoch in record.epochs) for record in drawn}
    depth = max(depths, default=0)
    names = [_layer_name(index, depth, same_depth=len(depths) == 1) for index in range(depth)]
    lines = {
        record.directory: [
            Series(
                names[index],
                [epoch.epoch for epoch in record.epochs],
                [
                    _or_nan(epoch.layers[index].nonzero if index < len(epoch.layers) else None)
                    for epoch in record.epochs
                ],
                index,
            )
            for index in range(depth)
        ]
        for record in drawn
    }
    everything = [line for series in lines.values() for line in series]
    charts = [
        line_chart(
            record.label,
            lines[record.directory],
            scale="log",
            identity=f"nonzeros-{number}",
            limits=log_limits(everything),
            until=record.planned_epochs,
            points=_points(2 * len(everything)),
        )
        for number, record in enumerate(drawn)
    ]
    note = f"{wording.plural(left_out, 'more run')} not drawn." if left_out > 0 else ""
    key = [Series(name, (), (), index) for index, name in enumerate(names)]
    return Legend(tuple(chart for chart in charts if chart), tuple(key), note)


def _layer_name(index: int, depth: int, *, same_depth: bool) -> str:
    if index == 0:
        return "layer 1 (sees the input)"
    # Between networks of different depth, no one number is the output's.
    return f"layer {index + 1}{' (output)' if same_depth and index == depth - 1 else ''}"


def _progress(records: Sequence[Record]) -> Legend:
    """Scores and spread over epochs: a line a run."""
    charts = []
    wanted = (
        ("Training accuracy", "train_accuracy", "fraction"),
        ("Validation accuracy", "validation_accuracy", "fraction"),
        ("Training loss", "train_loss", "linear"),
        ("Validation loss", "validation_loss", "linear"),
        ("Spread of first-layer filters (1 = uniform)", "spread", "linear"),
    )
    for title, key, scale in wanted:
        series = [
            Series(
                record.label,
                [epoch.epoch for epoch in record.epochs],
                [_or_nan(epoch.number(key)) for epoch in record.epochs],
                index,
            )
            for index, record in enumerate(records)
        ]
        charts.append(
            line_chart(
                title,
                series,
                scale=scale,  # type: ignore[arg-type]  # mypy widens the literals of the tuple
                identity=key.replace("_", "-"),
                from_zero=key == "spread",
                points=_points(2 * len(wanted) * len(records)),
            )
        )
    key_lines = [Series(record.label, (), (), index) for index, record in enumerate(records)]
    return Legend(tuple(chart for chart in charts if chart), tuple(key_lines))


def _points(lines: int) -> int:
    return max(24, min(400, _POINTS // max(lines, 1)))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _origin(record: Record) -> Origin:
    environment = record.environment
    facts = [
        ("scratchconv", environment.get("version")),
        ("commit", environment.get("commit")),
        *_flat("", environment.get("hardware")),
        *_flat("", environment.get("versions")),
        ("precision", record.resolved.get("precision")),
        ("device", record.resolved.get("device")),
        ("seed", record.config.get("seed")),
        ("started", environment.get("started")),
        ("finished", environment.get("finished")),
    ]
    warnings = [
        f"Epoch {epoch.epoch:g}: {warning}" for epoch in record.epochs for warning in epoch.warnings
    ]
    command = environment.get("command")
    return Origin(
        record.label,
        record.directory.name,
        record.finished,
        None if command is None else str(command),
        tuple((name, _shown(value)) for name, value in facts if value is not None),
        tuple((name, _shown(value)) for name, value in sorted(record.config.items())),
        tuple(_shown(warning) for warning in warnings[:_MOST_WARNINGS]),
        max(0, len(warnings) - _MOST_WARNINGS),
    )


def _flat(prefix: str, values: object) -> list[tuple[str, object]]:
    return [(f"{prefix}{k}", v) for k, v in values.items()] if isinstance(values, dict) else []


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + " …"
