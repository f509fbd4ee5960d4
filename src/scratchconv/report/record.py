"""A run as the report sees it: what its directory holds so far, unusable numbers left out."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from scratchconv import training
from scratchconv.data.dataset import Task
from scratchconv.errors import RunDirectoryError
from scratchconv.report.wording import method_name, network_name, number

# Settings that make two runs different experiments, in the order in which labels name them.
SETTINGS = (
    ("data", "data"),
    ("permute", "pixels permuted by seed"),
    ("alpha", "α"),
    ("beta", "β"),
    ("lam_first", "λ first"),
    ("lam", "λ"),
    ("lr", "lr"),
    ("momentum", "momentum"),
    ("weight_decay", "weight decay"),
    ("dropout", "dropout"),
    ("kernel_size", "kernel"),
    ("epochs", "epochs"),
    ("batch_size", "batch"),
    ("augment", "augment"),
    ("precision", "precision"),
)

DENSE = 0.9999
"""Density from which on a layer counts as dense: initial weights are drawn from some 2²⁴ numbers,
one of them zero, so large layers hold a few zeros by chance."""

Connectivity = Literal["full", "local", "convolution"]


def finite(value: object) -> float | None:
    """The value as a float; None for null, NaN, infinities and anything that is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        converted = float(value)
    except OverflowError:  # JSON knows integers of any length
        return None
    return converted if math.isfinite(converted) else None


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
        return self.resolved[key] if self.resolved.get(key) is not None else self.config.get(key)

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
    labels = _labels([(run.directory, run.config, run.resolved) for run in runs])
    return [
        Record(run.directory, run.config, run.resolved, _epochs(run.metrics), run.result, label)
        for run, label in zip(runs, labels, strict=True)
    ]


def _epochs(lines: Sequence[dict[str, Any]]) -> tuple[Epoch, ...]:
    """In order; where a resumed run wrote an epoch twice, the later line holds."""
    by_epoch = {
        epoch: Epoch(epoch, line)
        for line in lines
        if (epoch := finite(line.get("epoch"))) is not None
    }
    return tuple(by_epoch[epoch] for epoch in sorted(by_epoch))


def _labels(runs: Sequence[tuple[Path, dict[str, Any], dict[str, Any]]]) -> list[str]:
    """Network and method, then whatever tells apart the runs that share both."""
    base = [
        ", ".join(
            (
                network_name(str(config.get("model", "?"))),
                method_name(str(config.get("method", "?"))),
            )
        )
        for _, config, _ in runs
    ]
    labels = []
    for name, (_, config, resolved) in zip(base, runs, strict=True):
        alike = [run for other, run in zip(base, runs, strict=True) if other == name]
        parts = [name]
        for key, word in (*SETTINGS, ("seed", "seed")):
            if len({_canonical(c, r, key) for _, c, r in alike}) > 1:
                value = resolved[key] if resolved.get(key) is not None else config.get(key)
                parts.append(_written(word, value))
        labels.append(", ".join(parts))
    for place in (lambda directory: directory.name, str):
        times = Counter(labels)
        labels = [
            f"{label} ({place(directory)})" if times[label] > 1 else label
            for label, (directory, _, _) in zip(labels, runs, strict=True)
        ]
    return labels


def _canonical(config: dict[str, Any], resolved: dict[str, Any], key: str) -> str:
    value = resolved[key] if resolved.get(key) is not None else config.get(key)
    return json.dumps(value, sort_keys=True, default=str)


def _written(word: str, value: object) -> str:
    if value is None:
        return f"no {word}" if word != "pixels permuted by seed" else "pixels in place"
    numeric = finite(value)
    return f"{word} {value if numeric is None else number(numeric, 6)}"
