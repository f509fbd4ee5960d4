"""What a run writes down: a line an epoch, and the result at its end."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from scratchconv import analysis
from scratchconv.nn import LocallyConnected2d
from scratchconv.training.collapse import new_warnings
from scratchconv.training.evaluation import Score, evaluate
from scratchconv.training.setup import Setup
from scratchconv.training.state import Position


def epoch_metrics(
    setup: Setup, position: Position, before: dict[str, Any] | None
) -> dict[str, Any]:
    """One line of `metrics.jsonl` for the epoch that `position` stands at the end of.

    `before` is the line before it, if there is one. Training loss and accuracy are of this epoch
    alone; dense gradients and warnings are what came since that line.
    """
    batches = len(setup.training)
    step = (position.epoch + 1) * batches
    accuracy = None
    if setup.dataset.task == "classification":
        accuracy = position.right / position.samples
    layers = _layers(setup.model)
    first = setup.model.first_layer
    return {
        "epoch": position.epoch + 1,
        "step": step,
        "seconds": round(position.seconds, 3),
        "lr": setup.rate(step - 1),
        **_score("train", Score(position.loss_sum / position.samples, accuracy)),
        **_score("validation", _evaluate(setup, "validation")),
        "layers": layers,
        "dense_gradients": _dense_gradients(setup, before["step"] if before else 0, step),
        # A local or convolutional layer's spread is given by its kernel: measured at the end.
        "spread": _spread(setup, first.weight) if isinstance(first, nn.Linear) else None,
        "warnings": new_warnings(layers, before["layers"] if before else [], by=setup.emptied_by),
    }


def final_result(setup: Setup, last: dict[str, Any]) -> dict[str, Any]:
    """What `result.json` says of the network after its last epoch; the one look at test data."""
    first, image = setup.model.first_layer, setup.dataset.image
    measured = None
    # Every unit of a convolution has the same filter: nothing to be found out about its places.
    if isinstance(first, nn.Linear | LocallyConnected2d):
        fields = analysis.receptive_fields(first, image)
        measured = analysis.locality(fields, image, permutation=setup.permutation)
    kept = ("seconds", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    return {
        "epochs": last["epoch"],
        "steps": last["step"],
        **{name: last[name] for name in kept},
        **_score("test", None if setup.config.skip_test else _evaluate(setup, "test")),
        "layers": last["layers"],
        "spread": None if measured is None else measured.spread,
        "locality": None if measured is None else asdict(measured),
    }


def _dense_gradients(setup: Setup, start: int, end: int) -> int:
    """Steps whose weight gradient is of all weights: for the count of operations."""
    if setup.pruning is None:
        return end - start
    return setup.pruning.dense_gradients(start, end)


def _evaluate(setup: Setup, split: str) -> Score | None:
    if len(setup.splits[split].targets) == 0:
        return None
    return evaluate(
        setup.model,
        setup.evaluation_batches(split),
        task=setup.dataset.task,
        precision=setup.precision,
        device=setup.device,
    )


def _score(split: str, score: Score | None) -> dict[str, float | None]:
    return {
        f"{split}_loss": None if score is None else score.loss,
        f"{split}_accuracy": None if score is None else score.accuracy,
    }


def _layers(model: nn.Module) -> list[dict[str, Any]]:
    return [asdict(layer) for layer in analysis.sparsity(model)]


def _spread(setup: Setup, weight: torch.Tensor) -> float | None:
    value = analysis.median_spread(weight.detach(), setup.dataset.image, setup.permutation)
    return value if value == value else None  # NaN (all units dead) has no place in JSON
