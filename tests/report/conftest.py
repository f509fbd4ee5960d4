"""Run directories as training writes them, with weights and numbers of our choice."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scratchconv import data, models
from scratchconv.training import checkpoint

# Lets the tests of this folder import `page_elements`.
sys.path.insert(0, str(Path(__file__).parent))

MakeRun = Callable[..., Path]


def local_filters(units: int, image: tuple[int, int, int], seed: int) -> torch.Tensor:
    """(units, c·h·w): a blob of weights somewhere, zero elsewhere; every third is one pixel."""
    channels, height, width = image
    generator = torch.Generator().manual_seed(seed)
    fields = torch.zeros(units, channels, height, width)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for unit in range(units):
        row = torch.randint(height, (), generator=generator)
        column = torch.randint(width, (), generator=generator)
        radius = math.sqrt(0.5 + 5 * float(torch.rand((), generator=generator)))
        near = ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).float()
        if unit % 3 == 0:
            near = torch.zeros(height, width)
            near[row, column] = 1
        colour = torch.randn(channels, 1, 1, generator=generator)
        noise = 0.3 * torch.randn(channels, height, width, generator=generator)
        fields[unit] = near * (colour + noise)
    return fields.flatten(1)


def write_run(
    directory: Path,
    *,
    model: str = "s-fc",
    method: str = "beta-lasso",
    image: tuple[int, int, int] = (3, 8, 8),
    alpha: int = 1,
    epochs: int = 3,
    done: int | None = None,
    task: str = "classification",
    seed: int = 0,
    density: float = 0.0017,
    accuracy: float = 0.571,
    validation: bool = True,
    weights: bool = True,
    warnings: tuple[str, ...] = (),
    config: dict[str, Any] | None = None,
    result: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
) -> Path:
    """One run; `done` epochs of it, finished where that is all of them."""
    done = epochs if done is None else done
    sparse = method != "sgd"
    fully = model.endswith("fc")
    regression = task == "regression"
    directory.mkdir(parents=True)
    settings = {
        "model": model,
        "alpha": alpha,
        "params": None,
        "kernel_size": 3,
        "dropout": 0.0,
        "data": "cifar10",
        "permute": None,
        "validation": 0.1,
        "method": method,
        "beta": 50.0,
        "lam": 1e-4 if sparse else 0.0,
        "lam_first": 2e-4 if sparse else None,
        "lr": 0.1,
        "epochs": epochs,
        "batch_size": 512,
        "seed": seed,
        **(config or {}),
    }
    classes = 0 if regression else 10
    parameters = models.parameter_count(model, image, max(1, classes), alpha)
    resolved = {
        "precision": "bf16",
        "device": "cpu",
        "alpha": alpha,
        "parameters": parameters,
        "image": list(image),
        "classes": classes,
        "task": task,
        "lam": settings["lam"],
        "lam_first": settings["lam_first"] or settings["lam"],
        "train_size": 45000,
        "validation_size": 5000 if validation else 0,
        "test_size": 10000,
    }
    written = {"format": 1, "config": settings, "resolved": resolved}
    (directory / "config.json").write_text(json.dumps(written))

    with torch.device("meta"):
        names = [
            (name, parameter.shape)
            for name, parameter in models.build(
                model, image=image, classes=max(1, classes), alpha=alpha
            ).named_parameters()
            if parameter.ndim >= 2
        ]

    def layers(progress: float) -> list[dict[str, Any]]:
        entries = []
        for index, (name, shape) in enumerate(names):
            final = {0: density if fully else 1.0, len(names) - 1: 1.0}.get(index, 0.08)
            kept = final**progress if sparse else 1.0
            burst = 1.4 if sparse and 0.55 < progress < 0.62 and kept < 0.5 else 1.0
            entries.append(
                {
                    "name": name.removesuffix(".weight"),
                    "nonzero": int(shape.numel() * kept * burst),
                    "size": shape.numel(),
                    "units": shape[0],
                    "dead_units": 0,
                }
            )
        return entries

    spread = 0.51 if sparse else 1.0
    lines = []
    for epoch in range(1, done + 1):
        p = epoch / epochs
        gained = accuracy * (1 - math.exp(-4 * p)) / (1 - math.exp(-4))
        lines.append(
            {
                "epoch": epoch,
                "step": 88 * epoch,
                "seconds": 11.3 * epoch,
                "lr": 0.1 * (1 - p),
                "train_loss": 2.3 - 1.5 * p,
                "train_accuracy": None if regression else gained * 1.06,
                "validation_loss": 2.3 - 1.1 * p if validation else None,
                "validation_accuracy": gained if validation and not regression else None,
                "layers": layers(p),
                "spread": spread if fully else None,
                "warnings": list(warnings) if epoch == 1 else [],
                **(metrics or {}),
            }
        )
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if weights:
        _write_checkpoint(
            directory,
            model,
            image,
            max(1, classes),
            alpha,
            seed,
            sparse and fully,
            settings["permute"],
            88 * done,
        )
    if done == epochs:
        locality = {
            "units": 64,
            "dead_units": 0,
            "single_pixel_units": 3,
            "spread": spread,
            "spread_by_chance": 0.9,
            "statistic": 5.2 if sparse else 13.0,
            "null_mean": 13.1,
            "null_std": 0.1,
            "z_score": 80.3 if sparse else 0.4,
            "p_value": 0.005 if sparse else 0.4,
            "ratio": 0.4,
            "average_filter": 12.9,
            "positions": 1024,
            "shuffles": 199,
            "seed": 0,
        }
        last = lines[-1]
        final = {
            "format": 1,
            "epochs": epochs,
            "steps": 88 * epochs,
            "seconds": last["seconds"],
            **{
                k: last[k]
                for k in (
                    "train_loss",
                    "train_accuracy",
                    "validation_loss",
                    "validation_accuracy",
                    "layers",
                    "spread",
                )
            },
            "test_loss": 1.27,
            "test_accuracy": None if regression else accuracy,
            "locality": locality if fully else None,
            "environment": {
                "command": f"scratchconv train --model {model} --alpha {alpha} --data cifar10"
                f" --method {method} --epochs {epochs} --data-dir DIR --out RUN_DIR",
                "version": "0.1.0",
                "commit": "0123456789ab",
                "hardware": {"cpu": "Example CPU", "cores": 2, "gpu": None, "memory_gib": 8.0},
                "versions": {"python": "3.11.7", "torch": "2.13.0"},
                "started": "2026-01-02T03:04:05+00:00",
                "finished": "2026-01-02T03:07:00+00:00",
            },
            **(result or {}),
        }
        (directory / "result.json").write_text(json.dumps(final))
    return directory


def _write_checkpoint(
    directory: Path,
    model: str,
    image: tuple[int, int, int],
    classes: int,
    alpha: int,
    seed: int,
    sparse: bool,
    permute: int | None,
    step: int,
) -> None:
    network = models.build(model, image=image, classes=classes, alpha=alpha, seed=seed)
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    if sparse:
        first = next(n for n, m in network.named_modules() if m is network.first_layer)
        weight = state[f"model.{first}.weight"]
        true = local_filters(len(weight), image, seed).view(len(weight), image[0], -1)
        if permute is not None:
            true = true[:, :, data.pixel_permutation(image, permute)]
        state[f"model.{first}.weight"] = true.flatten(1)
    (directory / "checkpoints").mkdir()
    checkpoint.save(checkpoint.Checkpoint(state), directory / "checkpoints", step)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run directory named by its first argument; see `write_run`."""
    return lambda name, **options: write_run(tmp_path / name, **options)
