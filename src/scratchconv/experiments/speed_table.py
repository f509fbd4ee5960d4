"""The README's tables of speed, drawn from the committed records of `scratchconv bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scratchconv.errors import ScratchconvError
from scratchconv.experiments.machine import one_machine

OURS = "ours, mode=auto"
_PLAIN, _AUTOCAST, _BY_HAND = "plain fp32 loop", "bf16 autocast", "bf16 weights"
_SPARSE = ("torch CSR", "sparselab")
_RUNS = ("run", "run400")


def speed_table(records: Path) -> str:
    """The tables in Markdown, with the machine below them.

    Raises `ScratchconvError` where a record is missing or is not one of the bench.
    """
    bench, *runs = (_read(records / name / "bench.json") for name in ("steps", *_RUNS))
    try:
        steps = bench["parts"]["step"]
        dense = _times(steps[0])
        lines = [
            "| weights left in layers 1 and 2 | ours | plain fp32 loop | bf16 autocast, compiled"
            " | bf16 weights by hand, compiled | torch CSR | sparselab |",
            "|---|---|---|---|---|---|---|",
            *(_step_row(part, dense) for part in steps),
            "",
            "| a whole run | ours | the fastest dense step |",
            "|---|---|---|",
            *(_run_row(part) for run in runs for part in run["parts"]["run"]),
            "",
            _provenance([bench, *runs]),
        ]
    except (KeyError, IndexError, ValueError) as error:
        raise ScratchconvError(f"{records} lacks what the table shows ({error!r})") from error
    return "\n".join(lines)


def _times(part: dict[str, Any]) -> dict[str, float]:
    return {row["name"]: row["median_ms"] for row in part["rows"] if "median_ms" in row}


def _step_row(part: dict[str, Any], dense: dict[str, float]) -> str:
    """One density; what others take is given as a multiple of what ours takes.

    What a dense step takes depends on no density: it was timed once.
    """
    times = _times(part)
    ours = times[OURS]
    contenders = [
        [dense[name] for name in dense if name.startswith(kind)]
        for kind in (_PLAIN, _AUTOCAST, _BY_HAND)
    ]
    contenders += [[times[name] for name in times if name.startswith(kind)] for kind in _SPARSE]
    cells = [f"{min(found) / ours:.1f} ×" if found else "–" for found in contenders]
    what = part["title"].removeprefix("Training step, ").split(",")[0]
    what = what.replace(" of the weights of layers 1 and 2", "").replace("dense", "all")
    return f"| {what} | {ours:.1f} ms | {' | '.join(cells)} |"


def _run_row(part: dict[str, Any]) -> str:
    rows = {row["name"]: row for row in part["rows"]}
    ours, dense = rows[OURS], rows[part["baseline"]]
    what = part["title"].split(", ", 3)[3]
    measured, epochs = dense["epochs_measured"], ours["epochs_measured"]
    scaled = f" ({measured} epochs timed, scaled)" if measured < epochs else ""
    return (
        f"| CIFAR-10, {what}: {100 * ours['test_accuracy']:.1f} % on test data"
        f" | {ours['seconds']:.0f} s | {dense['seconds'] / ours['seconds']:.1f} ×{scaled} |"
    )


def _provenance(records: list[dict[str, Any]]) -> str:
    commits = ", ".join(sorted({str(record["commit"]) for record in records}))
    return (
        "S-FC, α = 28 (26.8 M weights), batch 512: one training step, the median of contenders that"
        ' took turns in one run; × is how many times as long as ours. Supports are random. "By'
        ' hand" keeps a bf16 copy of the weights beside the fp32 ones, which PyTorch does not do by'
        f" itself. {one_machine(records)}, commit {commits}. Every reading, and"
        " where we lose, is in [`results/bench`](results/bench)."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScratchconvError(f"{path} cannot be read ({error})") from error
    return record
