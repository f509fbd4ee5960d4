"""What is timed: S-FC at a given density of its two large layers, and one batch for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchconv import data, models
from scratchconv.bench.rule import FIRST, LAYERS, SECOND, SPARSE_LAYERS, Rule
from scratchconv.errors import InvalidArgument
from scratchconv.training import load_dataset, load_model, load_run

IMAGE, CLASSES = (3, 32, 32), 10

# The timed steps take η and λ this much smaller than a training run's. The bar βλ/η that a zero
# weight's gradient has to reach is the run's; the weights hardly move, so the density stays put.
STANDSTILL = 1e-3


@dataclass(frozen=True)
class Density:
    """Shares of non-zero weights in layers 1 and 2."""

    first: float
    second: float

    @classmethod
    def parse(cls, text: str) -> Density:
        """From percentages: `5`, or `1/5` where layers 1 and 2 differ.

        Raises InvalidArgument for anything else.
        """
        try:
            first, _, second = text.partition("/")
            density = cls(float(first) / 100, float(second or first) / 100)
        except ValueError:
            density = cls(0.0, 0.0)
        if not (0 < density.first <= 1 and 0 < density.second <= 1):
            raise InvalidArgument(
                f"--densities {text}: give percentages above 0 and up to 100, as 5, or as 1/5 for"
                " layers 1 and 2"
            )
        return density

    @property
    def dense(self) -> bool:
        return self.first == self.second == 1.0

    def __str__(self) -> str:
        if self.first == self.second:
            return f"{100 * self.first:g} %"
        return f"{100 * self.first:g} % / {100 * self.second:g} %"


@dataclass(frozen=True)
class Problem:
    """A network, drawn anew and alike by every call of `model`, and its batch.

    Args:
        alpha: size of S-FC, from which a network with random supports is drawn.
        density: of layers 1 and 2; the classifier is always dense.
        batch_size, seed: of the batch and of the draw.
        rule: settings of a training run; the timed steps take them `STANDSTILL` times as large.
        run: a run directory whose trained weights are taken instead, with its λ; its dataset's
            files in `data_dir` then give the batch.
    """

    alpha: int
    density: Density
    batch_size: int
    seed: int
    rule: Rule
    run: Path | None = None
    data_dir: Path | None = None

    def model(self) -> models.Network:
        """The network in training mode: a new one every time, always with the same weights."""
        if self.run is not None:
            return load_model(self.run).train()
        model = models.build(
            "s-fc", image=IMAGE, classes=CLASSES, alpha=self.alpha, seed=self.seed
        ).train()
        generator = torch.Generator().manual_seed(self.seed)
        for name, density in ((FIRST, self.density.first), (SECOND, self.density.second)):
            weight = model.get_submodule(name).get_parameter("weight")
            with torch.no_grad():
                weight.copy_(_random_weights(weight.shape, density, generator))
        return model

    @cached_property
    def batch(self) -> tuple[Tensor, Tensor]:
        """Inputs (batch_size, 3, 32, 32) and classes: of the run's training data, or random."""
        if self.run is not None:
            return _batch_of_run(self.run, self.data_dir, self.batch_size, self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        inputs = torch.randn(self.batch_size, *IMAGE, generator=generator)
        return inputs, torch.randint(0, CLASSES, (self.batch_size,), generator=generator)


def _random_weights(shape: torch.Size, density: float, generator: torch.Generator) -> Tensor:
    """Weights whose support is drawn uniformly, far enough from zero to stay where they are.

    Their scale is PyTorch's for a layer with that many inputs; magnitudes lie in its upper half.
    """
    bound = (shape[1] * density) ** -0.5
    magnitude = torch.rand(shape, generator=generator).mul_(bound / 2).add_(bound / 2)
    sign = torch.rand(shape, generator=generator).sub_(0.5).sign_()
    if density < 1:
        magnitude.mul_(torch.rand(shape, generator=generator) < density)
    return magnitude.mul_(sign)


def _batch_of_run(
    run: Path, data_dir: Path | None, batch_size: int, seed: int
) -> tuple[Tensor, Tensor]:
    config = load_run(run).config
    dataset = load_dataset(run, data_dir)
    permutation = None
    if config["permute"] is not None:
        permutation = data.pixel_permutation(dataset.image, config["permute"])
    batches = data.Batches(
        dataset.train,
        batch_size,
        mean=dataset.mean,
        std=dataset.std,
        augmentation=data.default_augmentation(config["data"]),
        permutation=permutation,
        seed=seed,
    )
    return next(iter(batches.epoch(0)))


def problem_of_run(
    run: Path, data_dir: Path | None, *, batch_size: int, seed: int, lr: float
) -> Problem:
    """The trained network of a run directory as a problem, at the densities it ended with.

    Raises InvalidArgument where the run is of another network than S-FC or had no λ.
    """
    record = load_run(run)
    resolved: dict[str, Any] = record.resolved
    if record.config["model"] != "s-fc" or record.config["method"] != "beta-lasso":
        raise InvalidArgument(
            f"--run {run}: trained {record.config['model']} by {record.config['method']};"
            " the bench takes runs of s-fc by beta-lasso"
        )
    model = load_model(run)
    shares = [
        float((model.get_submodule(name).get_parameter("weight") != 0).float().mean())
        for name in SPARSE_LAYERS
    ]
    rule = Rule(lr, record.config["beta"], resolved["lam_first"], resolved["lam"])
    return Problem(
        alpha=resolved["alpha"],
        density=Density(*shares),
        batch_size=batch_size,
        seed=seed,
        rule=rule,
        run=run,
        data_dir=data_dir,
    )


def checking_rule(problem: Problem) -> Rule:
    """Settings under which one step has everything in it: some weights die, some zeros return.

    βλ lies above the smallest twenty-fifth of a layer's weights. η is what brings back one zero
    weight in a thousand, in the layer where that takes less; far larger than in training, which
    does no harm to a single step and makes a wrong gradient show.
    """
    model = problem.model()
    inputs, targets = problem.batch
    F.cross_entropy(model(inputs), targets).backward()
    threshold, lr = {}, float("inf")
    for name in SPARSE_LAYERS:
        weight = model.get_submodule(name).get_parameter("weight")
        assert weight.grad is not None
        alive = weight.detach() != 0
        threshold[name] = _quantile(weight.detach().abs()[alive], 0.04)
        idle = weight.grad.abs() if bool(alive.all()) else weight.grad.abs()[~alive]
        lr = min(lr, threshold[name] / max(_quantile(idle, 0.999), 1e-12))
    beta = problem.rule.beta
    return Rule(lr, beta, threshold[FIRST] / beta, threshold[SECOND] / beta)


def _quantile(values: Tensor, share: float) -> float:
    return float(values.flatten().kthvalue(max(1, round(share * values.numel()))).values)


def densities(weights: dict[str, Tensor]) -> dict[str, float]:
    """Share of non-zero weights in each layer."""
    return {name: float((weights[name] != 0).float().mean()) for name in LAYERS}


def linear_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of S-FC's layers, as they are held by plain linear layers."""
    return {
        name: model.get_submodule(name).get_parameter("weight").detach().clone() for name in LAYERS
    }
