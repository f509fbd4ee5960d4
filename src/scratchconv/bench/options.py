"""What the bench is asked to do: a typed record from which its flags come."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from scratchconv import data
from scratchconv.bench.problem import Density
from scratchconv.bench.rule import Rule
from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.training.config import LARGEST_COUNT

Part = Literal["step", "small-batches", "prediction", "memory", "run"]
PARTS: tuple[Part, ...] = get_args(Part)

# S-FC is trained on classes here; tree is a regression.
_DATASETS = tuple(name for name in data.NAMES if name != "tree")

_LARGEST_SEED = 2**64 - 1  # torch's

_USUAL: dict[str, Any] = {
    "alpha": 28,
    "rounds": 15,
    "densities": ("20", "10", "5", "2", "1", "1/5", "0.3"),
    "epochs": 100,
    "dense_epochs": 3,
}
_QUICK: dict[str, Any] = {
    "alpha": 2,
    "rounds": 3,
    "densities": ("5", "1/5"),
    "epochs": 2,
    "dense_epochs": 1,
}


@dataclass(frozen=True)
class BenchOptions:
    """Settings of `scratchconv bench`. The defaults are those of the published comparison."""

    parts: tuple[Part, ...] = ("step", "prediction", "memory")
    """step: one training step. small-batches: the same, of few samples. prediction: one call.
    memory: peak of training. run: a whole run."""

    quick: bool = False
    """α = 2, three rounds, two densities, two epochs: to see that everything works."""

    alpha: int | None = None
    """Size of S-FC: its base channels. 28 (26 million weights); 2 with --quick."""

    batch_size: int = 512
    """Samples a step."""

    densities: tuple[str, ...] = ()
    """Percentages of weights left in layers 1 and 2; 1/5 where they differ. Usually 20 10 5 2 1
    1/5 0.3; 5 1/5 with --quick."""

    small_batches: tuple[int, ...] = (32, 128)
    """Samples a step of small-batches."""

    small_batch_densities: tuple[str, ...] = ("1/5",)
    """As --densities, for small-batches."""

    prediction_densities: tuple[str, ...] = ("1/5", "0.3")
    """As --densities, for prediction."""

    prediction_batches: tuple[int, ...] = (1, 512)
    """Samples a call of prediction."""

    memory_density: str = "1/5"
    """As --densities, for the peak memory of training."""

    rounds: int | None = None
    """Rounds in which every contender has its turn. 15; 3 with --quick."""

    seed: int = 0
    """Seed of the weights, their supports, the batch and the order within a round."""

    threads: int | None = None
    """Threads of torch and of the kernels; without it, as torch chooses."""

    skip_compile: bool = False
    """Leave out the contenders that need torch.compile, which takes minutes."""

    run: Path | None = None
    """Run directory of s-fc: step and prediction take its weights, not random supports."""

    data: str = "cifar10"
    """Dataset of the whole run."""

    data_dir: Path | None = None
    """Folder of the dataset's files; without it $SCRATCHCONV_DATA, or else a cache folder."""

    lr: float = 0.1
    """Learning rate η of a training run."""

    beta: float = 50.0
    """Threshold coefficient β."""

    lam: float = 1e-4
    """λ of a training run."""

    lam_first: float = 2e-4
    """λ of the first layer."""

    epochs: int | None = None
    """Epochs of the whole run. 100; 2 with --quick."""

    dense_epochs: int | None = None
    """Epochs measured of the dense run, scaled to all of them. 3; 1 with --quick."""

    def resolved(self) -> BenchOptions:
        """With every open number filled in, and checked.

        Raises InvalidArgument for a value that cannot be used.
        """
        filling = _QUICK if self.quick else _USUAL
        missing: dict[str, Any] = {
            name: value for name, value in filling.items() if getattr(self, name) in (None, ())
        }
        options = replace(self, **missing)
        options._check()
        return options

    def _check(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                raise unknown_name("--parts", part, PARTS)
        if not self.parts:
            raise InvalidArgument(f"--parts is empty: choose from {', '.join(PARTS)}")
        if "run" in self.parts and self.data not in _DATASETS:
            raise unknown_name("--data of a whole run", self.data, _DATASETS)
        for name, least, most in (
            ("alpha", 1, LARGEST_COUNT),
            ("batch_size", 2, LARGEST_COUNT),  # BatchNorm needs two samples
            ("rounds", 1, LARGEST_COUNT),
            ("epochs", 1, LARGEST_COUNT),
            ("dense_epochs", 1, LARGEST_COUNT),
            ("threads", 1, LARGEST_COUNT),
            ("seed", 0, _LARGEST_SEED),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                flag = name.replace("_", "-")
                raise InvalidArgument(
                    f"--{flag} {value}: must be a whole number from {least} to {most}"
                )
        for name in ("lr", "beta", "lam", "lam_first"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                flag = name.replace("_", "-")
                raise InvalidArgument(f"--{flag} {value}: must be a positive number")
        if any(not 1 <= batch <= LARGEST_COUNT for batch in self.prediction_batches):
            raise InvalidArgument(
                f"--prediction-batches {self.prediction_batches}: each must be at least 1"
                f" and at most {LARGEST_COUNT}"
            )
        if any(not 2 <= batch <= LARGEST_COUNT for batch in self.small_batches):
            raise InvalidArgument(
                f"--small-batches {self.small_batches}: each must be at least 2, for BatchNorm,"
                f" and at most {LARGEST_COUNT}"
            )
        if (self.dense_epochs or 0) > (self.epochs or math.inf):
            raise InvalidArgument(
                f"--dense-epochs {self.dense_epochs}: at most --epochs {self.epochs}"
            )
        for text in (
            *self.densities,
            *self.small_batch_densities,
            *self.prediction_densities,
            self.memory_density,
        ):
            Density.parse(text)

    @property
    def rule(self) -> Rule:
        """The settings of β-LASSO in a training run."""
        return Rule(self.lr, self.beta, self.lam_first, self.lam)

    def command(self) -> str:
        """The command line that repeats this, with the machine's own folders left open."""
        words = ["scratchconv bench"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            flag = f"--{field.name.replace('_', '-')}"
            if value is True:
                words.append(flag)
            elif isinstance(value, tuple):
                words.append(" ".join([flag, *(str(item) for item in value)]))
            else:
                words.append(f"{flag} {'DIR' if isinstance(value, Path) else value}")
        return " ".join([*words, "--out DIR"])
