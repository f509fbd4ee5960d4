"""A run as the report sees it: what its directory holds so far, unusable numbers left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from scratchconv import training
from scratchconv.data.dataset import Task
from scratchconv.errors import RunDirectoryError
from scratchconv.report.label import labels, used
from scratchconv.report.wording import finite, training_name

DENSE = 0.9999
"""Density from which on a layer counts as dense: initial weights are drawn from some 2²⁴ numbers,
one of them zero, so large layers hold a few zeros by chance."""

Connectivity = Literal["full", "local", "convolution"]
Sparsity = Literal["penalty", "pruning", "given"]
"""An ℓ1 penalty; a pruning method told how many weights to keep; or `--connections-from`."""


@dataclass(frozen=True)
class Layer:
    """One weight matrix or filter bank at one moment; the counts are of weights and of units."""

    name: str
    nonzero: float | None
    size: float | None
    units: float | None
    dead_units: float | None

    @property
    def density(self) -> float | None:
        """Non-zero weights per weight."""
        return self.nonzero / self.size if self.nonzero is not None and self.size else None

    @property
    def dead(self) -> float | None:
        """The fraction of units whose weights are all zero."""
        return self.dead_units / self.units if self.dead_units is not None and self.units else None


def _layers(entries: object) -> tuple[Layer, ...]:
    if not isinstance(entries, list):
        return ()
    return tuple(
        Layer(
            str(entry.get("name", "?")),
            *(finite(entry.get(key)) for key in ("nonzero", "size", "units", "dead_units")),
        )
        for entry in entries
        if isinstance(entry, dict)
    )


@dataclass(frozen=True)
class Epoch:
    """One line of metrics.jsonl."""

    epoch: float
    line: dict[str, Any]

    def number(self, key: str) -> float | None:
        """The finite number under that key, or None."""
        return finite(self.line.get(key))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers at the end of this epoch."""
        return _layers(self.line.get("layers"))

    @property
    def warnings(self) -> list[str]:
        """What training warned of during this epoch."""
        found = self.line.get("warnings")
        return [str(warning) for warning in found] if isinstance(found, list) else []


@dataclass(frozen=True)
class Record:
    """One run directory: finished where `result` is there, otherwise as far as it has come."""

    directory: Path
    config: dict[str, Any]
    resolved: dict[str, Any]
    epochs: tuple[Epoch, ...]
    result: dict[str, Any] | None
    label: str

    @property
    def finished(self) -> bool:
        """Whether training wrote its result."""
        return self.result is not None

    @property
    def planned_epochs(self) -> int | None:
        """How many epochs the run was asked for."""
        planned = finite(self.config.get("epochs"))
        return None if planned is None else round(planned)

    @property
    def model(self) -> str:
        """The network's name, as given."""
        return str(self.config.get("model", "?"))

    @property
    def method(self) -> str:
        """The training method's name, as given."""
        return str(self.config.get("method", "?"))

    @property
    def training(self) -> str:
        """How it was trained, in a sentence: the method, and what else chose its connections."""
        return training_name(self.config, connected=self.sparsity == "given")

    @property
    def sparsity(self) -> Sparsity:
        """What takes weights out of this run, if anything does."""
        if self.resolved.get("connections") is not None:
            return "given"
        return "penalty" if self.config.get("pruning", "none") == "none" else "pruning"

    @property
    def data(self) -> str:
        """The dataset's name or file, as given."""
        return str(self.config.get("data", "?"))

    @property
    def connectivity(self) -> Connectivity:
        """What the architecture gives the first layer before any training.

        `tree-oracle` is local and shares its weights: a convolution. `tree-weight` and
        `zhang-weight` share them, but every unit sees the whole input: full.
        """
        if self.model.endswith("-local"):
            return "local"
        if self.model.endswith("-conv") or self.model in ("resnet18", "tree-oracle"):
            return "convolution"
        return "full"

    @property
    def image(self) -> tuple[int, int, int] | None:
        """Channels, height, width of one input, or None where the record does not tell."""
        shape = self.resolved.get("image")
        if isinstance(shape, list) and len(shape) == 3 and all(finite(side) for side in shape):
            return int(shape[0]), int(shape[1]), int(shape[2])
        return None

    @property
    def is_picture(self) -> bool:
        """Whether inputs have two spatial directions."""
        return self.image is not None and min(self.image[1:]) > 1

    @property
    def regression(self) -> bool:
        """Whether only losses make sense."""
        return self.resolved.get("task") == "regression"

    @property
    def permutation_seed(self) -> int | None:
        """The seed by which the pixels were shuffled, or None where they were left in place."""
        seed = self.config.get("permute")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else None

    def setting(self, key: str) -> object:
        """A setting as it was used: resolved where training chose it, otherwise as configured."""
        return used(self.config, self.resolved, key)

    def latest(self, key: str) -> float | None:
        """The result's number under that key, or the last epoch's while there is no result."""
        if self.result is not None and (value := finite(self.result.get(key))) is not None:
            return value
        return self.epochs[-1].number(key) if self.epochs else None

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers as they are now."""
        if self.result is not None and (layers := _layers(self.result.get("layers"))):
            return layers
        return self.epochs[-1].layers if self.epochs else ()

    @property
    def first_layer(self) -> Layer | None:
        """The layer that sees the input."""
        return self.layers[0] if self.layers else None

    def locality(self, key: str) -> float | None:
        """A number of the locality test, which only a finished run has."""
        test = (self.result or {}).get("locality")
        return finite(test.get(key)) if isinstance(test, dict) else None

    @property
    def environment(self) -> dict[str, Any]:
        """Where and with what the run was made; empty until it is finished."""
        found = (self.result or {}).get("environment")
        return found if isinstance(found, dict) else {}


def read(directories: Sequence[Path]) -> list[Record]:
    """The runs in the order given, each with a label no other has.

    Raises RunDirectoryError where a directory holds no run, or one of an unknown task.
    """
    runs = [training.load_run(Path(directory)) for directory in directories]
    for run in runs:
        task = run.resolved.get("task")
        if task not in (None, *get_args(Task)):
            raise RunDirectoryError(
                f"{run.directory / 'config.json'} has task {task!r}, which is neither"
                f" {' nor '.join(get_args(Task))}: restore it from a copy"
            )
    names = labels([(run.directory, run.config, run.resolved) for run in runs])
    return [
        Record(run.directory, run.config, run.resolved, _epochs(run.metrics), run.result, label)
        for run, label in zip(runs, names, strict=True)
    ]


def _epochs(lines: Sequence[dict[str, Any]]) -> tuple[Epoch, ...]:
    """In order; where a resumed run wrote an epoch twice, the later line holds."""
    by_epoch = {
        epoch: Epoch(epoch, line)
        for line in lines
        if (epoch := finite(line.get("epoch"))) is not None
    }
    return tuple(by_epoch[epoch] for epoch in sorted(by_epoch))
