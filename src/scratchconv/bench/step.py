"""Part `step`: one whole training step, dense and at every density asked for."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from scratchconv.bench import dense, engine, plain_loop, sparselab_layers, torch_csr
from scratchconv.bench.comparison import Comparison, Row, fastest
from scratchconv.bench.contender import Contender, Entry
from scratchconv.bench.correctness import check, check_standstill, reference_step
from scratchconv.bench.options import BenchOptions
from scratchconv.bench.problem import STANDSTILL, Density, Problem, densities, problem_of_run
from scratchconv.bench.progress import Progress
from scratchconv.bench.timing import time_interleaved
from scratchconv.training.precision import subnormals_flushed

_DENSE = Density(1.0, 1.0)

_NOTE = (
    "Timed with η and λ a thousandth of a training run's: the bar βλ/η for zero weights is the"
    " run's, and the density stays put. torch CSR, sparselab and fixed connections train only the"
    " weights they began with. error_of_a_step in the record: distance of one step from the plain"
    " loop's."
)


@dataclass
class Task:
    """One contender at one density: checked, built, and then timed."""

    problem: Problem
    entry: Entry
    error: float
    contender: Contender
    density_before: dict[str, float]

    @property
    def label(self) -> str:
        return label(self.problem, self.entry)

    @property
    def call(self) -> Callable[[], None]:
        return partial(self.contender.step, *self.problem.batch)


def label(problem: Problem, entry: Entry) -> str:
    """What tells a contender at one density from all others."""
    return f"{problem.density}: {entry.name}"


def problems(options: BenchOptions, texts: Sequence[str]) -> list[Problem]:
    """One for each density below 100 %, or the one that a run directory holds."""
    if options.run is not None:
        return [
            problem_of_run(
                options.run,
                options.data_dir,
                batch_size=options.batch_size,
                seed=options.seed,
                lr=options.lr,
            )
        ]
    wanted = dict.fromkeys(Density.parse(text) for text in texts)
    return [problem_at(options, density) for density in wanted if density != _DENSE]


def problem_at(options: BenchOptions, density: Density) -> Problem:
    """S-FC with random supports of this density."""
    assert options.alpha is not None  # filled in by `resolved`
    return Problem(options.alpha, density, options.batch_size, options.seed, options.rule)


def compare_steps(options: BenchOptions, progress: Progress) -> list[Comparison]:
    """Check every contender's step, then time all of them interleaved, all densities in one go.

    What a dense step takes does not depend on the density: the dense contenders are timed once, on
    dense weights (or on those of the run), and stand in every table.

    Raises WrongResult where a contender's step is not the plain loop's, or the timed steps moved
    the density.
    """
    loops = [plain_loop.ENTRY, *dense.entries(skip_compile=options.skip_compile)]
    others = [torch_csr.ENTRY, *sparselab_layers.entries()]
    sparse = [*others, engine.fixed_entry(), engine.entry("sparse")]
    plan = [
        (problem, [*sparse, engine.entry("auto")])
        for problem in problems(options, options.densities)
    ]
    if options.run is None:
        whole = problem_at(options, _DENSE)
        plan.insert(0, (whole, [*loops, engine.entry("dense"), engine.entry("auto")]))
    else:
        plan = [(problem, [*loops, *entries]) for problem, entries in plan]

    with subnormals_flushed():
        rows = _measure(plan, options, progress)

    names = {entry.name for entry in loops}
    loop_rows = [row for row in rows[0] if row.name in names]
    baseline = fastest(loop_rows)
    leading = [row for row in loop_rows if row.name in (plain_loop.NAME, baseline)]
    return [
        Comparison(
            title=_title(problem, options),
            rows=of_problem if of_problem is rows[0] else leading + of_problem,
            unit="ms",
            ours=engine.NAMES["auto"],
            baseline=baseline,
            notes=[*_forms(of_problem), *([_NOTE] if of_problem is rows[0] else [])],
        )
        for (problem, _), of_problem in zip(plan, rows, strict=True)
    ]


def _forms(rows: Sequence[Row]) -> list[str]:
    """In which form the engine held each layer in the end."""
    return [
        f"{row.name}: "
        + ", ".join(f"{name} {'compressed' if c else 'dense'}" for name, c in compressed.items())
        + "."
        for row in rows
        if (compressed := row.more.get("compressed"))
    ]


def _title(problem: Problem, options: BenchOptions) -> str:
    of_run = "" if options.run is None else ", weights of a trained run"
    if problem.density == _DENSE:
        return f"Training step, dense, α = {problem.alpha}, batch {problem.batch_size}"
    return (
        f"Training step, {problem.density} of the weights of layers 1 and 2, α = {problem.alpha},"
        f" batch {problem.batch_size}{of_run}"
    )


def _measure(
    plan: Sequence[tuple[Problem, Sequence[Entry]]], options: BenchOptions, progress: Progress
) -> list[list[Row]]:
    """The rows of every problem, in the order of the plan."""
    tasks = _checked_and_built(plan, progress)
    assert options.rounds is not None
    progress.begin(f"step: {len(tasks)} contenders", len(tasks) * options.rounds)
    timings = time_interleaved(
        {task.label: task.call for task in tasks},
        rounds=options.rounds,
        seed=options.seed,
        after_turn=progress.turn,
    )
    rows = {}
    for task in tasks:
        check_standstill(
            task.entry.name, task.problem, task.density_before, task.contender.weights()
        )
        error = float(f"{task.error:.2g}")
        rows[task.label] = Row.timed(
            task.entry.name,
            timings[task.label],
            error_of_a_step=error,
            **task.contender.details(),
        )
    return [
        [
            rows.get(label(problem, entry), Row(entry.name, unavailable=entry.unavailable))
            for entry in entries
        ]
        for problem, entries in plan
    ]


def _checked_and_built(
    plan: Sequence[tuple[Problem, Sequence[Entry]]], progress: Progress
) -> list[Task]:
    """Every contender that is available: its step checked, then built anew to be timed.

    Timed with η and λ both `STANDSTILL` times a training run's.
    """
    available = sum(not entry.unavailable for _, entries in plan for entry in entries)
    progress.begin("step: is every contender's step the plain fp32 loop's?", available)
    tasks = []
    for problem, entries in plan:
        reference = reference_step(problem)
        before = densities(reference.before)
        for entry in entries:
            if entry.unavailable:
                continue
            progress.doing(label(problem, entry))
            error = check(entry, problem, reference)
            contender = entry.build(problem.model(), problem.rule.scaled(STANDSTILL))
            tasks.append(Task(problem, entry, error, contender, before))
            progress.turn()
        del reference
        gc.collect()  # models and their graphs refer to themselves
    return tasks
