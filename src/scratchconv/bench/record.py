"""What the bench writes: a Markdown page of tables, and the JSON record behind it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

from scratchconv.bench.comparison import Comparison, Row
from scratchconv.bench.options import BenchOptions
from scratchconv.errors import InvalidArgument
from scratchconv.prediction.new_file import write_new
from scratchconv.training.environment import describe_environment

MARKDOWN, JSON = "bench.md", "bench.json"
_SCALE = {"s": 1.0, "ms": 1e3, "µs": 1e6, "MiB": 2.0**-20}


def check_writable(out: Path, *, overwrite: bool) -> None:
    """Make the folder `out`, before any time is spent.

    Raises InvalidArgument where a record is there already, or none can be written.
    """
    if out.exists() and not out.is_dir():
        raise InvalidArgument(f"--out {out} is a file: name a folder")
    taken = [name for name in (MARKDOWN, JSON) if (out / name).exists()]
    if taken and not overwrite:
        raise InvalidArgument(
            f"{out} holds {' and '.join(taken)}: choose another --out, or add --overwrite"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out).close()
    except OSError as error:
        raise InvalidArgument(
            f"--out {out} cannot be written to ({error}): choose another folder"
        ) from error


def describe(options: BenchOptions, command: str) -> dict[str, Any]:
    """Command, date, commit, hardware, versions and everything else the figures depend on."""
    environment = describe_environment(torch.device("cpu"))
    environment["versions"]["sparselab"] = _version("sparselab")
    return {
        "command": command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **environment,
        "threads": torch.get_num_threads(),
        "load_average_before": load_average(),
        "seed": options.seed,
        "rounds": options.rounds,
    }


def write(
    out: Path,
    description: Mapping[str, Any],
    parts: Mapping[str, Sequence[Comparison]],
    *,
    overwrite: bool,
) -> Path:
    """Write both files into the folder `out`; returns the path of the Markdown page."""
    record = {
        **description,
        "parts": {part: [c.as_record() for c in tables] for part, tables in parts.items()},
    }
    written = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_new(out / JSON, written.encode(), overwrite=overwrite)
    page = markdown(description, parts)
    write_new(out / MARKDOWN, page.encode(), overwrite=overwrite)
    return out / MARKDOWN


def markdown(description: Mapping[str, Any], parts: Mapping[str, Sequence[Comparison]]) -> str:
    """The page: one table for every comparison, what it was measured on above them."""
    hardware, versions = description["hardware"], description["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    lines = [
        "# scratchconv bench",
        "",
        f"`{description['command']}`",
        "",
        f"{description['date'][:10]}, commit {description['commit'] or 'unknown'};"
        f" {hardware['cpu']}, {hardware['cores']} cores, {description['threads']} threads,"
        f" {hardware['memory_gib']} GiB; {libraries}; seed {description['seed']}; load average"
        f" before it began: {description['load_average_before']}.",
        "",
        "*ours is ×*: what the row takes, divided by what ours (the row in bold) takes; above 1"
        " ours is ahead, below 1 it is behind. Where a spread is given, it is from the first to"
        " the third quartile of n readings, contenders taking turns in every round.",
    ]
    for tables in parts.values():
        for table in tables:
            lines += ["", f"## {table.title}", "", *_table(table)]
    return "\n".join(lines) + "\n"


def _table(table: Comparison) -> list[str]:
    lines = [f"| contender | {table.unit} | spread | n | ours is × |", "|---|---|---|---|---|"]
    lines += [_line(table, row) for row in table.rows]
    if table.baseline is not None:
        lines += ["", f"Strongest dense baseline: {table.baseline}."]
    for note in table.notes:
        lines += ["", note]
    return lines


def _line(table: Comparison, row: Row) -> str:
    name = f"**{row.name}**" if row.name == table.ours else row.name
    if row.name == table.baseline:
        name += " ← strongest dense baseline"
    if row.value is None:
        return f"| {name} | – | {_one_line(row.unavailable or '')} | | |"
    scale = _SCALE[table.unit]
    spread, readings = "", ""
    if row.timing is not None:
        first, third = row.timing.quartiles
        spread = f"{_figures(scale * first)} – {_figures(scale * third)}"
        readings = str(len(row.timing.seconds))
    ratio = table.ours_is(row)
    shown = "" if ratio is None else f"{_figures(ratio)}"
    return f"| {name} | {_figures(scale * row.value)} | {spread} | {readings} | {shown} |"


def _figures(value: float) -> str:
    """Three figures, written out."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 1:
        return f"{value:.2f}" if value < 10 else f"{value:.1f}"
    return f"{value:.3g}"


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def load_average() -> float | None:
    """Processes that ran or waited to, over the last minute; None where no system tells."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
