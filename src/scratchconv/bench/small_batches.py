"""Part `small-batches`: the training step again, of few samples."""

from __future__ import annotations

from dataclasses import replace

from scratchconv.bench.comparison import Comparison
from scratchconv.bench.options import BenchOptions
from scratchconv.bench.progress import Progress
from scratchconv.bench.step import compare_steps


def compare_small_batches(options: BenchOptions, progress: Progress) -> list[Comparison]:
    """As `compare_steps`, for every size in `small_batches`, at `small_batch_densities`.

    Sizes are timed one after the other, the contenders at one size interleaved: each size has the
    dense baseline that is the strongest at it. Raises as `compare_steps` does.
    """
    return [
        comparison
        for batch_size in dict.fromkeys(options.small_batches)
        for comparison in compare_steps(
            replace(options, batch_size=batch_size, densities=options.small_batch_densities),
            progress,
        )
    ]
