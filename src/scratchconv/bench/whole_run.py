"""Part `run`: a whole training run with the engine, beside epochs of the strongest dense baseline.

Both train S-FC from the same weights on the same batches with the same schedule. Dense epochs all
take the same time: a few are measured, spread evenly between ours, and scaled to all of them.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from functools import partial

from scratchconv.bench import dense, engine
from scratchconv.bench.comparison import Comparison, Row
from scratchconv.bench.contender import Contender, Entry
from scratchconv.bench.options import BenchOptions
from scratchconv.bench.problem import STANDSTILL, densities
from scratchconv.bench.progress import Progress
from scratchconv.bench.rule import Rule
from scratchconv.bench.timing import time_interleaved
from scratchconv.models import Network
from scratchconv.training import RunConfig
from scratchconv.training.evaluation import evaluate
from scratchconv.training.precision import subnormals_flushed
from scratchconv.training.schedule import cosine
from scratchconv.training.setup import Setup, prepare

_SELECTION_ROUNDS = 3


@dataclass
class _Side:
    """One side of the comparison: what it trains with and what its epochs took."""

    contender: Contender
    setup: Setup
    seconds: list[float] = field(default_factory=list)
    densities: list[dict[str, float]] = field(default_factory=list)

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch; its data is prepared within the time, as in any training run."""
        setup = self.setup
        self.contender.model.train()
        begun = time.perf_counter()
        for number, (inputs, targets) in enumerate(setup.training.epoch(epoch)):
            step = epoch * len(setup.training) + number
            self.contender.set_lr(cosine(step, setup.steps, setup.config.lr))
            self.contender.step(inputs, targets)
        self.seconds.append(time.perf_counter() - begun)
        self.densities.append(densities(self.contender.weights()))

    def test_accuracy(self) -> float | None:
        setup = self.setup
        return evaluate(
            self.contender.model,
            setup.evaluation_batches("test"),
            task=setup.dataset.task,
            precision=self.contender.precision,
            device=setup.device,
        ).accuracy


def run_config(options: BenchOptions) -> RunConfig:
    """The run that both sides train."""
    assert options.epochs is not None
    return RunConfig(
        model="s-fc",
        alpha=options.alpha,
        data=options.data,
        data_dir=options.data_dir,
        method="beta-lasso",
        beta=options.beta,
        lam=options.lam,
        lam_first=options.lam_first,
        lr=options.lr,
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        device="cpu",
        engine="torch",  # each side makes of the plain network what it needs
    )


def compare_runs(options: BenchOptions, progress: Progress) -> list[Comparison]:
    """Train to the last epoch by the engine, and a few epochs by the strongest dense step.

    Raises InvalidArgument for settings that no run can have, DataError where files are missing.
    """
    config = run_config(options)
    config.check()
    assert options.dense_epochs is not None
    title = (
        f"A whole training run: S-FC, α = {options.alpha}, {options.data}, {config.epochs} epochs,"
        f" batch {options.batch_size}, λ first {options.lam_first:g}, rest {options.lam:g}"
    )
    entry = engine.entry("auto")
    with subnormals_flushed():
        strongest = _strongest(options, config, progress)
        ours, baseline = _side(entry, config), _side(strongest, config)
        progress.begin("run: training", config.epochs + options.dense_epochs)
        due = _dense_epochs_due(config.epochs, options.dense_epochs)
        for epoch in range(config.epochs):
            ours.train_epoch(epoch)
            progress.turn()
            for _ in range(due.count(epoch)):
                baseline.train_epoch(len(baseline.seconds))
                progress.turn()
        rows = [_measured(strongest.name, baseline), _measured(entry.name, ours)]
    return [
        Comparison(
            title,
            rows,
            "s",
            ours=entry.name,
            baseline=strongest.name,
            notes=[_note(config, baseline, ours)],
        )
    ]


def _side(entry: Entry, config: RunConfig) -> _Side:
    setup = prepare(config)
    rule = Rule(config.lr, config.beta, setup.lam_first, setup.lam)
    assert isinstance(setup.model, Network)  # `prepare` builds nothing else
    return _Side(entry.build(setup.model, rule), setup)


def _strongest(options: BenchOptions, config: RunConfig, progress: Progress) -> Entry:
    """The dense step that is the fastest on this run's own network and batch."""
    found = [e for e in dense.entries(skip_compile=options.skip_compile) if not e.unavailable]
    progress.begin("run: which dense step is the fastest?", len(found) * _SELECTION_ROUNDS)
    calls = {}
    for entry in found:
        side = _side(entry, config)
        side.contender.set_lr(STANDSTILL * config.lr)
        calls[entry.name] = partial(side.contender.step, *next(side.setup.training.epoch(0)))
    timings = time_interleaved(
        calls, rounds=_SELECTION_ROUNDS, seed=options.seed, after_turn=progress.turn
    )
    return min(found, key=lambda entry: timings[entry.name].median)


def _measured(name: str, side: _Side) -> Row:
    """The whole run's seconds; scaled from the mean epoch where not all were run."""
    epochs = side.setup.config.epochs
    whole = len(side.seconds) == epochs
    return Row(
        name,
        statistics.mean(side.seconds) * epochs,
        more={
            "epochs_measured": len(side.seconds),
            "epoch_seconds": [round(seconds, 4) for seconds in side.seconds],
            "epoch_densities": side.densities,
            "test_accuracy": side.test_accuracy() if whole else None,
            **side.contender.details(),
        },
    )


def _dense_epochs_due(epochs: int, measured: int) -> list[int]:
    """After which of our epochs a dense one is run: spread evenly over them."""
    return [(2 * number + 1) * epochs // (2 * measured) for number in range(measured)]


def _note(config: RunConfig, baseline: _Side, ours: _Side) -> str:
    left = ", ".join(f"{name} {share:.2%}" for name, share in ours.densities[-1].items())
    note = (
        "Seconds of training steps with their data, without evaluation. Weights left after our"
        f" last epoch: {left}."
    )
    if len(baseline.seconds) < config.epochs:
        note += (
            f" Of the dense run {len(baseline.seconds)} of {config.epochs} epochs were run, spread"
            " between ours, and scaled to all; it has no accuracy for that reason."
        )
    return note
