"""The README's tables of speed, drawn from the committed records of `scratchconv bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scratchconv.errors import ScratchconvError

OURS = "ours, mode=auto"
_PLAIN = "plain fp32 loop"
_AUTOCAST = "bf16 autocast"
_OTHERS = ("torch CSR", "sparselab")


def speed_table(records: Path) -> str:
    """The tables in Markdown, with the machine below them.

    Raises `ScratchconvError` where a record is missing or lacks a contender.
    """
    bench, run = (_read(records / name / "bench.json") for name in ("steps", "run"))
    lines = [
        "| one training step of S-FC, α = 28, batch 512 | ours | dense: plain fp32 loop"
        " | bf16 autocast, compiled | bf16 weights kept by hand | torch CSR | sparselab |",
        "|---|---|---|---|---|---|---|",
        *(_step_row(part) for part in bench["parts"]["step"]),
        "",
        "| a whole run of S-FC, α = 28, on CIFAR-10 | ours | dense: the fastest of all |",
        "|---|---|---|",
        *(_run_row(part) for part in run["parts"]["run"]),
        "",
        _provenance([bench, run]),
    ]
    return "\n".join(lines)


def _step_row(part: dict[str, Any]) -> str:
    """One density; what others take is given as a multiple of what ours takes."""
    times = {row["name"]: row["median_ms"] for row in part["rows"] if row.get("median_ms")}
    ours = times[OURS]
    groups = [
        [name for name in times if name == _PLAIN],
        [name for name in times if name.startswith(_AUTOCAST)],
        [name for name in times if name.startswith("bf16 weights")],
        *([name for name in times if name.startswith(other)] for other in _OTHERS),
    ]
    what = part["title"].removeprefix("Training step, ").split(", α")[0]
    cells = [
        f"{min(times[name] for name in names) / ours:.1f} ×" if names else "–" for names in groups
    ]
    return f"| {what} | {ours:.1f} ms | {' | '.join(cells)} |"


def _run_row(part: dict[str, Any]) -> str:
    rows = {row["name"]: row for row in part["rows"]}
    ours, dense = rows[OURS], rows[part["baseline"]]
    what = part["title"].split(", ", 3)[3]
    measured, epochs = dense["epochs_measured"], ours["epochs_measured"]
    scaled = f" ({measured} epochs measured, scaled)" if measured < epochs else ""
    return (
        f"| {what}: test accuracy {100 * ours['test_accuracy']:.1f} % | {ours['seconds']:.0f} s"
        f" | {dense['seconds'] / ours['seconds']:.1f} ×{scaled} |"
    )


def _provenance(records: list[dict[str, Any]]) -> str:
    machines = {
        (record["hardware"]["cpu"], record["threads"], record["versions"]["torch"])
        for record in records
    }
    if len(machines) != 1:
        raise ScratchconvError(f"the records are of {len(machines)} machines: {sorted(machines)}")
    ((cpu, threads, torch),) = machines
    commits = ", ".join(sorted({str(record["commit"]) for record in records}))
    return (
        "Medians of contenders taking turns in one run; × is how many times as long as ours. Random"
        " supports of the given density; bf16. \"By hand\": a bf16 copy of the weights beside the"
        f" fp32 ones and a compiled update, not something PyTorch offers. {cpu}, {threads} threads,"
        f" torch {torch}, commit {commits}. Every reading, and what is lost, is in"
        " [`results/bench`](results/bench)."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScratchconvError(f"{path} cannot be read ({error})") from error
    return record
