"""The one training loop: every network, every method, saved so that it can go on bit for bit."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scratchconv.errors import ScratchconvError
from scratchconv.training import checkpoint, run_directory
from scratchconv.training.collapse import collapsed
from scratchconv.training.epoch_log import EpochLog, is_recorded
from scratchconv.training.evaluation import loss_of
from scratchconv.training.interruption import Interruption
from scratchconv.training.precision import autocast
from scratchconv.training.progress import Progress
from scratchconv.training.records import epoch_metrics
from scratchconv.training.setup import Setup
from scratchconv.training.state import Position, capture

# How often the loss is brought to the host, in seconds: a GPU waits for nothing in between.
_LOOK_SECONDS = 0.25


class Stopped(ScratchconvError):
    """The run was asked to stop (Ctrl-C, SIGTERM), and did so after saving its state."""


@dataclass
class Loop:
    """Trains `setup` from `position` to the last epoch, recording in `directory`."""

    setup: Setup
    directory: Path
    progress: Progress
    interruption: Interruption
    position: Position = field(default_factory=Position)
    _saved: float = field(default_factory=time.monotonic, init=False)
    _log: EpochLog = field(init=False)

    def __post_init__(self) -> None:
        self._log = EpochLog(self.directory)

    def run(self) -> dict[str, Any]:
        """All remaining epochs; returns the metrics of the last one."""
        if self.setup.pruning is not None and self.steps_done == 0:
            self.setup.model.train()
            self.setup.pruning.begin(self._first_loss)
        config = self.setup.config
        try:
            while self.position.epoch < config.epochs:
                self._epoch()
                self._write_engine_record()
                done = self.position.epoch + 1
                if is_recorded(done, every=config.record_every, epochs=config.epochs):
                    self._record_epoch()
                self.position = self.position.next_epoch()
                self._save_if_due(last=done == config.epochs)
        finally:
            self._log.flush()
        return self._log.lines[-1]

    def _record_epoch(self) -> None:
        before = self._log.lines[-1] if self._log.lines else None
        metrics = epoch_metrics(self.setup, self.position, before)
        if metrics["validation_loss"] is not None:
            self.check_finite("validation loss", metrics["validation_loss"])
        self._log.add(metrics)
        self.progress.epoch(metrics)
        for warning in metrics["warnings"]:
            self.progress.note(warning)

    def _epoch(self) -> None:
        """Train to the end of the current epoch, from wherever `position` stands in it."""
        setup, position = self.setup, self.position
        if position.step == 0:
            self._seed_dropout(position.epoch)
        loss_sum = torch.full((), position.loss_sum, dtype=torch.float64, device=setup.device)
        right = torch.full((), position.right, dtype=torch.int64, device=setup.device)
        looked = begun = time.monotonic()
        setup.model.train()
        for inputs, targets in setup.training.epoch(position.epoch, start=position.step):
            loss, outputs = self._step(self.steps_done, inputs, targets)
            loss_sum += loss.detach() * len(targets)
            if setup.dataset.task == "classification":
                right += (outputs.detach().argmax(1) == targets).sum()
            position.step += 1
            position.samples += len(targets)
            now = time.monotonic()
            if now - looked >= _LOOK_SECONDS or self._due(now):
                self.check_finite("loss", loss.item())
                self.progress.step(self.steps_done, loss.item())
                self._write_engine_record()
                position.loss_sum, position.right = loss_sum.item(), int(right.item())
                position.seconds += time.monotonic() - begun
                if position.step < len(setup.training):
                    self._save_if_due()
                looked = begun = time.monotonic()
        position.loss_sum, position.right = loss_sum.item(), int(right.item())
        position.seconds += time.monotonic() - begun
        self.check_finite("loss", position.loss_sum)
        # The last step's loss came before its update.
        self.check_finite("largest weight", largest(setup.model))

    def _step(
        self, step: int, inputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        setup, pruning = self.setup, self.setup.pruning
        rate = setup.rate(step)
        for group in setup.optimizer.param_groups:
            group["lr"] = rate
        if pruning is not None:
            pruning.before_forward(step)
        with autocast(setup.precision, setup.device):
            outputs = setup.model(inputs)
        loss = loss_of(outputs, targets, setup.dataset.task)
        setup.optimizer.zero_grad()
        setup.scaler.scale(loss).backward()
        if pruning is None or not pruning.before_update(step):
            setup.scaler.step(setup.optimizer)
            setup.scaler.update()
        if pruning is not None:
            pruning.after_update(step)
        return loss, outputs

    def _first_loss(self) -> torch.Tensor:
        """The loss that step 0 has, of the first batch with its dropout; the same at every call.

        In fp32 at any precision: connections chosen by it should not depend on the hardware, nor on
        an fp16 scale that is still too large.
        """
        setup = self.setup
        self._seed_dropout(0)
        inputs, targets = next(iter(setup.training.epoch(0)))
        return loss_of(setup.model(inputs), targets, setup.dataset.task)

    def _seed_dropout(self, epoch: int) -> None:
        """Dropout draws from the global generator: each epoch has its own stream."""
        seed = self.setup.config.seed * 1_000_003 + epoch
        # As torch.manual_seed, which on a machine without a GPU spends longer on noting from where
        # it was called, for one that may yet appear, than an epoch of a small network may take.
        torch.default_generator.manual_seed(seed)
        if self.setup.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def _write_engine_record(self) -> None:
        if self.setup.engine is not None:
            run_directory.append_engine_record(self.directory, self.setup.engine.take_record())

    def check_finite(self, what: str, value: float) -> None:
        """Raise `Collapse` where `value` is not a finite number."""
        if math.isfinite(value):
            return
        saved = checkpoint.paths(self.directory / "checkpoints")
        raise collapsed(
            f"the {what} is {value} after {self.steps_done} steps",
            regularised=self.setup.regularised,
            checkpoint=saved[0].name if saved else None,
        )

    @property
    def steps_done(self) -> int:
        """Optimizer steps behind us."""
        return self.position.epoch * len(self.setup.training) + self.position.step

    def _due(self, now: float) -> bool:
        wait = self.setup.config.checkpoint_seconds
        return self.interruption.requested or now - self._saved >= wait

    def _save_if_due(self, *, last: bool = False) -> None:
        if not (last or self._due(time.monotonic())):
            return
        self._write_engine_record()
        self._log.flush()
        state = capture(self.setup, self.position)
        path = checkpoint.save(state, self.directory / "checkpoints", self.steps_done)
        self._saved = time.monotonic()
        if self.interruption.requested:
            raise Stopped(f"stopped as asked after saving {path.name}; go on by adding --resume")


def largest(model: nn.Module) -> float:
    """The largest magnitude in the state of `model`; NaN where it holds one."""
    tensors = [t for t in model.state_dict().values() if t.is_floating_point()]
    return torch.stack([torch.linalg.vector_norm(t, ord=math.inf) for t in tensors]).max().item()
