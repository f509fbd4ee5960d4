"""The full state of a run, to and from a checkpoint: going on equals never having stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from scratchconv.errors import RunDirectoryError
from scratchconv.training.checkpoint import Checkpoint
from scratchconv.training.environment import rounding
from scratchconv.training.setup import Setup


@dataclass
class Position:
    """Where a run stands: whole epochs done, steps into the current one, and its sums so far."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    right: int = 0
    samples: int = 0

    def next_epoch(self) -> Position:
        """The position at the start of the epoch after this one."""
        return Position(epoch=self.epoch + 1, seconds=self.seconds)


def capture(setup: Setup, position: Position) -> Checkpoint:
    """Everything that the rest of the run depends on."""
    optimizer = setup.optimizer.state_dict()
    tensors = {f"model.{name}": value for name, value in setup.model.state_dict().items()}
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in optimizer["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                plain.setdefault(str(index), {})[key] = value
    pruning: dict[str, Any] = {}
    if setup.pruning is not None:
        masks, pruning = setup.pruning.state()
        tensors |= {f"pruning.{name}": value for name, value in masks.items()}
    # Order and augmentation are functions of (seed, epoch, step); dropout draws from these.
    tensors["random.cpu"] = torch.get_rng_state()
    if setup.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(setup.device)
    return Checkpoint(
        tensors,
        {
            "position": asdict(position),
            "optimizer": {"groups": optimizer["param_groups"], "state": plain},
            "scaler": setup.scaler.state_dict(),
            "rounding": rounding(setup.device),
            "engine": setup.engine.state() if setup.engine else {},
            "pruning": pruning,
        },
    )


def restore(setup: Setup, checkpoint: Checkpoint) -> Position:
    """Put `setup` into the state of `checkpoint`; returns where the run stood.

    Raises `RunDirectoryError` where the checkpoint is of another network or method.
    """
    try:
        setup.model.load_state_dict(checkpoint.part("model"))
        saved = checkpoint.state["optimizer"]
        state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in saved["state"].items()}
        for name, tensor in checkpoint.part("optimizer").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        setup.optimizer.load_state_dict({"state": state, "param_groups": saved["groups"]})
        _lay_out_like_parameters(setup.optimizer)
        setup.scaler.load_state_dict(checkpoint.state["scaler"])
        if setup.engine is not None:
            setup.engine.load_state(checkpoint.state.get("engine", {}))
        if setup.pruning is not None:
            setup.pruning.load_state(
                checkpoint.part("pruning"), checkpoint.state.get("pruning", {})
            )
        torch.set_rng_state(checkpoint.tensors["random.cpu"])
        if setup.device.type == "cuda" and "random.cuda" in checkpoint.tensors:
            torch.cuda.set_rng_state(checkpoint.tensors["random.cuda"], setup.device)
        return Position(**checkpoint.state["position"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunDirectoryError(f"the checkpoint does not fit this run ({reason})") from error


def rounding_changed(checkpoint: Checkpoint, device: torch.device) -> str | None:
    """What now rounds otherwise than when `checkpoint` was written, in words."""
    now = rounding(device)
    before = checkpoint.state.get("rounding", now)
    changed = [
        f"{key} {before.get(key)} → {now[key]}" for key in now if now[key] != before.get(key)
    ]
    return ", ".join(changed) or None


def _lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded momentum the strides of its weights, as it had: other loops round otherwise."""
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
