"""From a configuration to everything a run needs: data, network, optimizer, arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scratchconv import data, models, optim, pruning, sparse
from scratchconv.errors import InvalidArgument
from scratchconv.kernels import gpu
from scratchconv.nn import LargeKernelConv2d
from scratchconv.training import samples
from scratchconv.training.collapse import EmptiedBy
from scratchconv.training.config import RunConfig
from scratchconv.training.connections import Connections, given_masks, read_connections
from scratchconv.training.fixed_layers import hold_connections
from scratchconv.training.precision import gradient_scaler, resolve_device, resolve_precision
from scratchconv.training.schedule import SCHEDULES, lam_for_length

# Without gradients there is memory for more than a small training batch, and less to wait for.
_EVALUATED_AT_ONCE = 256


@dataclass
class Setup:
    """What a run works with.

    `lam` and `lam_first` are those in force, after scaling. `fixed_layers` hold their connections
    alone. `data_digest` is that of the whole dataset.
    """

    config: RunConfig
    dataset: data.Dataset
    data_digest: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    training: data.Batches
    splits: dict[str, data.Split]
    permutation: Tensor | None
    device: torch.device
    precision: str
    lam: float
    lam_first: float
    weights: int
    engine: sparse.Engine | None
    pruning: pruning.Pruning | None
    fixed_layers: list[str]
    connections: Connections | None

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return len(self.training) * self.config.epochs

    def rate(self, step: int) -> float:
        """The learning rate of `step`: pruning with rewinding anneals it once for each round."""
        length = self.steps
        if self.pruning is not None:
            step, length = self.pruning.schedule(step, length)
        return SCHEDULES[self.config.schedule](step, length, self.config.lr)

    @property
    def regularised(self) -> bool:
        """Whether an ℓ1 term is at work, which decides what a collapse is blamed on."""
        return self.lam > 0 or self.lam_first > 0

    @property
    def emptied_by(self) -> EmptiedBy:
        """What to blame for units without weights."""
        if self.connections is not None:
            return "connections"
        if self.pruning is not None:
            return "pruning"
        return "penalty" if self.regularised else "steps"

    def evaluation_batches(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of `validation` or `test`, in order and unaugmented."""
        return data.evaluation_batches(
            self.splits[split],
            max(self.config.batch_size, _EVALUATED_AT_ONCE),
            mean=self.dataset.mean,
            std=self.dataset.std,
            permutation=self.permutation,
            device=self.device,
        )

    def resolved(self) -> dict[str, Any]:
        """What the configuration came to, for `config.json`."""
        return {
            "precision": self.precision,
            "device": str(self.device),
            "alpha": self.model.alpha,
            "parameters": self.weights,
            "image": list(self.dataset.image),
            "classes": len(self.dataset.classes),
            "task": self.dataset.task,
            "lam": self.lam,
            "lam_first": self.lam_first,
            "steps": self.steps,
            "data_digest": self.data_digest,
            "kept": self.pruning.kept if self.pruning is not None else None,
            "switch_at": self._switch_at(),
            "fixed_layers": self.fixed_layers,
            "connections": self._connections(),
            **{f"{name}_size": len(split.targets) for name, split in self.splits.items()},
        }

    def _connections(self) -> dict[str, Any] | None:
        """Where the connections of this run came from, and how many of them each layer has."""
        if self.connections is None or self.pruning is None:
            return None
        return {**self.connections.record(), "kept": self.pruning.connections()}

    def _switch_at(self) -> dict[str, list[float]] | None:
        """The densities that each layer changes its form at: timed once, then part of the run.

        None on a GPU, where layers stay dense: a CPU that goes on with the run times them.
        """
        if self.engine is None or self.device.type != "cpu":
            return None
        return {
            name: [step.switch_at.below, step.switch_at.above]
            for name, step in self.engine.steps.items()
            if step.switch_at is not None
        }


def prepare(config: RunConfig, *, before: Mapping[str, Any] | None = None) -> Setup:
    """Load the data and build the rest. `before`: what a run to be resumed had `resolved` to.

    Raises `DataError` for missing or damaged data, `InvalidArgument` for impossible sizes.
    """
    device = resolve_device(config.device)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    dataset = samples.load_samples(config)
    splits = samples.split_samples(config, dataset)
    permutation = None
    if config.permute is not None:
        permutation = data.pixel_permutation(dataset.image, config.permute)
    training = samples.training_batches(config, dataset, splits["train"], permutation, device)
    model = models.build(
        config.model,
        image=dataset.image,
        classes=max(1, len(dataset.classes)),  # regression has one output
        alpha=config.alpha,
        params=config.params,
        dropout=config.dropout,
        kernel_size=config.kernel_size,
        seed=config.seed,
    ).to(device)
    samples.check_batch_norm(config, model, len(splits["train"]))
    if _faster_channels_last(model):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    lam, lam_first = _lams(config, len(training))
    optimizer = optim.build(
        config.method,
        model,
        lr=config.lr,
        lam=lam,
        lam_first=lam_first,
        beta=config.beta,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    weights = sum(weight.numel() for weight in pruning.prunable_weights(model).values())
    had = before or {}
    precision = resolve_precision(had.get("precision") or config.precision, device, weights)
    timed = had.get("switch_at") if device.type == "cpu" else None
    engine = _engine(config, model, optimizer, device, precision, timed)
    pruner: pruning.Pruning | None = None
    connections = read_connections(config)
    if connections is not None:
        masks = given_masks(connections, config, model, permutation)
        pruner = pruning.GivenConnections(model, optimizer, masks=masks)
    elif config.pruning != "none":
        pruner = pruning.build(
            config.pruning,
            model,
            optimizer,
            density=config.density,
            steps=len(training) * config.epochs,
            epoch_steps=len(training),
            distribution=None if config.density_by == "paper" else config.density_by,
            seed=config.seed,
        )
    fixed_layers = []
    if pruner is not None and pruner.fixed and config.engine == "auto":
        fixed_layers = hold_connections(model, pruner, before=before)
    return Setup(
        config=config,
        dataset=dataset,
        data_digest=dataset.digest(),
        model=model,
        optimizer=optimizer,
        scaler=gradient_scaler(precision, device),
        training=training,
        splits=splits,
        permutation=permutation,
        device=device,
        precision=precision,
        lam=lam,
        lam_first=lam if lam_first is None else lam_first,
        weights=weights,
        engine=engine,
        pruning=pruner,
        fixed_layers=fixed_layers,
        connections=connections,
    )


def _engine(
    config: RunConfig,
    model: models.Network,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    precision: str,
    timed: Mapping[str, Any] | None,
) -> sparse.Engine | None:
    """The sparse training engine where it can serve; `timed`: the densities of a resumed run."""
    cannot = None
    if not isinstance(optimizer, optim.BetaLasso):
        cannot = f"it trains by beta-lasso, not by {config.method}"
    elif device.type == "cuda" and not gpu.available(device):
        cannot = f"on {device} it needs {gpu.NEEDED}"
    elif device.type == "cuda" and config.engine == "sparse":
        cannot = f"on {device} its layers are always dense"
    elif precision == "fp16":
        cannot = "it computes in fp32 or bf16, not in fp16"
    if config.engine == "torch" or (cannot and config.engine == "auto"):
        return None
    if cannot:
        raise InvalidArgument(f"--engine {config.engine}: {cannot}; leave --engine away")
    assert isinstance(optimizer, optim.BetaLasso)
    engine = sparse.sparsify(
        model,
        optimizer,
        mode=config.engine,
        regrowth=config.regrowth,
        switch_at={name: sparse.SwitchAt(*pair) for name, pair in (timed or {}).items()},
    )
    # Timed before the run rather than in it: what it does is then a function of its record.
    for step in engine.steps.values():
        step.time_forms(
            samples=config.batch_size,
            dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
            input_gradient=step.layer is not model.first_layer,
        )
    return engine


def _faster_channels_last(model: nn.Module) -> bool:
    """Whether convolutions read channel by channel of a pixel, which small ones are faster at.

    Measured on two AVX-512 cores at batch 512: d-conv and resnet18 gain a fifth to a quarter,
    s-conv gains half in bf16 at 8 channels and loses a quarter at 32. Kernels as large as the
    image lose, up to several times.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if any(isinstance(layer, LargeKernelConv2d) for layer in layers):
        return False
    return any(max(layer.kernel_size) <= 3 or layer.out_channels < 16 for layer in layers)


def _lams(config: RunConfig, steps_per_epoch: int) -> tuple[float, float | None]:
    if config.lam_scale == "none" or config.lam_epochs is None:
        return config.lam, config.lam_first
    first, lam = (
        None
        if value is None
        else lam_for_length(
            value,
            chosen_for=config.lam_epochs * steps_per_epoch,
            steps=config.epochs * steps_per_epoch,
            schedule=config.schedule,
        )
        for value in (config.lam_first, config.lam)
    )
    assert lam is not None
    return lam, first
