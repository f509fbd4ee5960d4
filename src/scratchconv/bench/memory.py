"""Part `memory`: the peak memory of training steps, each contender in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratchconv.bench import dense, engine, plain_loop, sparselab_layers, torch_csr
from scratchconv.bench.comparison import Comparison, Row
from scratchconv.bench.contender import Entry
from scratchconv.bench.options import BenchOptions
from scratchconv.bench.problem import Density
from scratchconv.bench.progress import Progress
from scratchconv.errors import ScratchconvError

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

# The dense step with the fewest copies of the weights: fp32 ones, their gradient, and the bf16
# copy that autocast makes.
LEANEST_DENSE = dense.Variant("bf16 autocast", "fused").name


@dataclass(frozen=True)
class Peak:
    """Bytes of resident memory above the level before the model was built."""

    peak: int
    before_steps: int
    details: dict[str, Any]


def entries(*, skip_compile: bool = True) -> dict[str, Entry]:
    """The contenders of this part, by name."""
    all_dense = {entry.name: entry for entry in dense.entries(skip_compile=skip_compile)}
    chosen = [
        plain_loop.ENTRY,
        all_dense[LEANEST_DENSE],
        torch_csr.ENTRY,
        *sparselab_layers.entries()[:1],
        engine.entry("sparse"),
        engine.entry("auto"),
    ]
    return {entry.name: entry for entry in chosen}


def compare_memory(options: BenchOptions, progress: Progress) -> list[Comparison]:
    """The peak of every contender at one density, where the system tells it (Linux).

    Raises ScratchconvError where a contender's process fails.
    """
    density = Density.parse(options.memory_density)
    found = entries()
    missing = why_not()
    progress.begin("memory: a process for each contender", len(found))
    rows = []
    for name, entry in found.items():
        progress.doing(name)
        unavailable = entry.unavailable or missing
        if unavailable:
            rows.append(Row(name, unavailable=unavailable))
        else:
            peak = _in_child(name, options)
            more = {"bytes_before_steps": peak.before_steps, **peak.details}
            rows.append(Row(name, float(peak.peak), more=more))
        progress.turn()
    return [
        Comparison(
            title=(
                f"Peak memory of training steps, {density} of the weights of layers 1 and 2,"
                f" α = {options.alpha}, batch {options.batch_size}"
            ),
            rows=rows,
            unit="MiB",
            ours=engine.NAMES["auto"],
            baseline=LEANEST_DENSE,
            notes=(
                "Peak resident memory during five steps, above the level before the model was"
                " built (libraries loaded, batch drawn); memory that building had freed is handed"
                " back to the system first. One process each. The dense row is the leanest of the"
                " dense variants, not the fastest.",
            ),
        )
    ]


def why_not() -> str | None:
    """Why the peak cannot be measured here; None where it can."""
    try:
        reset_peak()
        peak_bytes()
    except (OSError, KeyError) as error:
        return f"this system does not tell a process's peak memory ({type(error).__name__})"
    return None


def reset_peak() -> None:
    """Begin a new peak of resident memory. Raises OSError where the system has no such thing."""
    _CLEAR.write_text("5")


def peak_bytes() -> int:
    """The largest resident memory of this process since `reset_peak`."""
    return _status("VmHWM")


def resident_bytes() -> int:
    """The resident memory of this process."""
    return _status("VmRSS")


def _status(key: str) -> int:
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(fields[key].split()[0]) * 1024


def _in_child(name: str, options: BenchOptions) -> Peak:
    """Measure in a process that has held nothing else."""
    asked = {
        "name": name,
        "alpha": options.alpha,
        "density": options.memory_density,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "threads": options.threads,
        "rule": [options.lr, options.beta, options.lam_first, options.lam],
    }
    command = [sys.executable, "-m", "scratchconv.bench.memory_child", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ScratchconvError(
            f"the process that measured the memory of {name} ended with {done.returncode}: {last}"
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Peak(answer["peak"], answer["before_steps"], answer["details"])
