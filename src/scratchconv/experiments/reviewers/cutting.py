"""What a trained network is worth once its smallest weights are cut.

L1 by subgradient steps and weight decay leave next to no weight exactly zero, and proximal LASSO as
many as its λ happens to: to compare them at a density, their smallest weights are set to zero after
training, magnitudes of all layers compared together, without training again. BatchNorm's running
statistics are those of the whole network, so they are taken anew on eight batches of training data;
without that the cut networks would do worse.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scratchconv import analysis, data
from scratchconv.errors import InvalidArgument
from scratchconv.pruning import prunable_weights
from scratchconv.training import RunConfig, load_model, load_run
from scratchconv.training.evaluation import evaluate
from scratchconv.training.precision import autocast, resolve_device
from scratchconv.training.samples import load_samples, split_samples, training_batches

DENSITIES = tuple(float(f"{10 ** (step / 20):.3g}") for step in range(-60, 1))
"""From 0.001 to 1, each 12 % above the one before: the densities that networks are cut to."""

_STATISTICS_BATCHES = 8

Batch = tuple[Tensor, Tensor]


def density_at_or_above(density: float) -> float:
    """The smallest of `DENSITIES` that is at least `density`.

    Raises `InvalidArgument` for a density that is not above 0 and at most 1.
    """
    if not 0 < density <= 1:
        raise InvalidArgument(f"density is {density:g}: it must be above 0 and at most 1")
    return DENSITIES[bisect_left(DENSITIES, density)]


def accuracy_after_cutting(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """Accuracies of a run's network cut to each of `DENSITIES`; a measure for `Lab.train`.

    Returns, one entry a density: `density`, `validation_accuracy` and `test_accuracy` (shares, or
    None where the run has no such data or was not to look at it), and `nonzero` by layer. A network
    with fewer weights than a density asks for is evaluated as it is.
    """
    run = load_run(directory)
    config = replace(RunConfig(**run.config), data_dir=data_dir)
    device = resolve_device(config.device)
    model = load_model(directory).to(device)
    splits, training = _batches(config, device)
    found: dict[str, list[Any]] = {
        "density": list(DENSITIES),
        **{f"{name}_accuracy": [] for name in splits},
        "nonzero": [],
    }
    known: dict[int, dict[str, float | None]] = {}
    trained = {name: w.detach().clone() for name, w in prunable_weights(model).items()}
    order = ranks(trained)
    for density in DENSITIES:
        nonzero = cut(model, trained, order, density)
        left = sum(nonzero.values())
        if left not in known:
            _renew_statistics(model, training, run.resolved["precision"], device)
            known[left] = {
                f"{name}_accuracy": evaluate(
                    model,
                    batches,
                    task="classification",
                    precision=run.resolved["precision"],
                    device=device,
                ).accuracy
                if batches
                else None
                for name, batches in splits.items()
            }
        for name, value in known[left].items():
            found[name].append(value)
        found["nonzero"].append(nonzero)
    return found


def ranks(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rank of every weight by its magnitude, all tensors together; the largest has rank 0.

    Of equal magnitudes the earlier ranks first.
    """
    flat = torch.cat([weight.abs().flatten() for weight in weights.values()])
    order = flat.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    parts = rank.split([weight.numel() for weight in weights.values()])
    return {
        name: part.view(weight.shape)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


@torch.no_grad()
def cut(
    model: nn.Module, trained: Mapping[str, Tensor], order: Mapping[str, Tensor], density: float
) -> dict[str, int]:
    """Give `model` the `trained` weights, those beyond `density` of all zeroed.

    `order` is that of `ranks`. Returns the non-zeros that are left, by layer.
    """
    kept = round(density * sum(weight.numel() for weight in trained.values()))
    for name, parameter in prunable_weights(model).items():
        parameter.copy_(trained[name].masked_fill(order[name] >= kept, 0))
    return {layer.name: layer.nonzero for layer in analysis.sparsity(model)}


def _batches(config: RunConfig, device: torch.device) -> tuple[dict[str, list[Batch]], list[Batch]]:
    """Batches of the validation and test data, none where there is none, and some to train on."""
    dataset = load_samples(config)
    splits = split_samples(config, dataset)
    permutation = None
    if config.permute is not None:
        permutation = data.pixel_permutation(dataset.image, config.permute)
    looked_at = {"validation": splits["validation"], "test": splits["test"]}
    evaluated: dict[str, list[Batch]] = {}
    for name, split in looked_at.items():
        hidden = len(split.targets) == 0 or (name == "test" and config.skip_test)
        batches: Iterable[Batch] = (
            ()
            if hidden
            else data.evaluation_batches(
                split,
                config.batch_size,
                mean=dataset.mean,
                std=dataset.std,
                permutation=permutation,
                device=device,
            )
        )
        evaluated[name] = list(batches)
    epoch = training_batches(config, dataset, splits["train"], permutation, device).epoch(0)
    return evaluated, [batch for _, batch in zip(range(_STATISTICS_BATCHES), epoch, strict=False)]


def _renew_statistics(
    model: nn.Module, batches: Sequence[Batch], precision: str, device: torch.device
) -> None:
    """Running statistics of every BatchNorm as plain averages over `batches`."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    with torch.no_grad(), autocast(precision, device):
        for inputs, _ in batches:
            model(inputs)
    model.eval()
