"""`scratchconv bench`: what the engine gains and loses against the alternatives, in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from scratchconv.bench import record
from scratchconv.bench.comparison import Comparison, Row
from scratchconv.bench.memory import compare_memory
from scratchconv.bench.options import BenchOptions, Part
from scratchconv.bench.predict import compare_predictions
from scratchconv.bench.progress import Progress
from scratchconv.bench.small_batches import compare_small_batches
from scratchconv.bench.step import compare_steps
from scratchconv.bench.timing import Timing
from scratchconv.bench.whole_run import compare_runs

__all__ = ["BenchOptions", "Comparison", "Row", "Timing", "run_bench"]

_BUSY = 0.5  # a load average above this leaves too little of two cores

_PARTS: dict[Part, Callable[[BenchOptions, Progress], Sequence[Comparison]]] = {
    "step": compare_steps,
    "small-batches": compare_small_batches,
    "prediction": compare_predictions,
    "memory": compare_memory,
    "run": compare_runs,
}


def run_bench(
    options: BenchOptions, out: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> Path:
    """Run the parts asked for and write `bench.md` and `bench.json` into `out`.

    The record is written after every part, so that a later failure costs nothing that was measured.

    Returns:
        The path of the Markdown page.

    Raises:
        InvalidArgument: an option that cannot be used, or a record in the way.
        WrongResult: a contender's step is not the plain fp32 loop's: nothing is timed then.
        DataError, RunDirectoryError: the data or the run directory asked for cannot be read.
    """
    command = options.command()
    options = options.resolved()
    record.check_writable(out, overwrite=overwrite)
    threads = torch.get_num_threads()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        description = record.describe(options, command)
        parts: dict[str, Sequence[Comparison]] = {}
        with progress or Progress() as shown:
            if (description["load_average_before"] or 0.0) > _BUSY:
                shown.note(
                    f"other work is running here (load average"
                    f" {description['load_average_before']}): the figures will not be worth much"
                )
            for part in dict.fromkeys(options.parts):
                parts[part] = _PARTS[part](options, shown)
                page = record.write(out, description, parts, overwrite=overwrite or len(parts) > 1)
    finally:
        torch.set_num_threads(threads)
    return page
