"""Loss and accuracy of a network on a split that it is not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchconv.training.precision import autocast


@dataclass(frozen=True)
class Score:
    """Mean loss, and the share of right answers (`None` for regression)."""

    loss: float
    accuracy: float | None


def loss_of(outputs: Tensor, targets: Tensor, task: str, reduction: str = "mean") -> Tensor:
    """Cross entropy for classes, squared error for numbers; always in fp32."""
    if task == "classification":
        return F.cross_entropy(outputs.float(), targets, reduction=reduction)
    return F.mse_loss(outputs.float().squeeze(1), targets, reduction=reduction)


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    task: str,
    precision: str,
    device: torch.device,
) -> Score:
    """Score `model` on all `batches`; leaves it in the mode it was in."""
    was_training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    right = torch.zeros((), dtype=torch.int64, device=device)
    samples = 0
    with torch.no_grad(), autocast(precision, device):
        for inputs, targets in batches:
            outputs = model(inputs)
            loss += loss_of(outputs, targets, task, reduction="sum")
            if task == "classification":
                right += (outputs.argmax(1) == targets).sum()
            samples += len(targets)
    model.train(was_training)
    accuracy = right.item() / samples if task == "classification" else None
    return Score(loss.item() / samples, accuracy)
