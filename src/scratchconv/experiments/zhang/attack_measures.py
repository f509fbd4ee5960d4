"""What is measured on an attacked network, right after its training: accuracies, and some images.

ε is in units of pixels in [0, 1], as `analysis.fgsm` takes it. The published code's is in units of
[−1, 1], half of that, which the measures named `…_halved` take.
"""

from __future__ import annotations

import base64
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.image import imsave
from torch import Tensor
from torch.nn import functional

from scratchconv import analysis
from scratchconv.training import load_dataset, load_model

_EPSILON = {"mnist": 0.1, "cifar10": 0.01, "digits": 0.1}
_IMAGES = 8


def attack(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """Accuracy before and after the attack, on all test images; ε as the text has it."""
    return _attacked(directory, data_dir, 1.0)


def attack_halved(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """The same with half the ε, as the published code."""
    return _attacked(directory, data_dir, 0.5)


def images(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """The first test images, before and after, as one small PNG (base64); and what each is read
    as. ε as the text has it."""
    return _images(directory, data_dir, 1.0)


def images_halved(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """The same with half the ε, as the published code."""
    return _images(directory, data_dir, 0.5)


def _attacked(directory: Path, data_dir: Path | None, share: float) -> dict[str, Any]:
    dataset = load_dataset(directory, data_dir)
    return asdict(
        analysis.attacked_accuracy(
            load_model(directory),
            dataset.test,
            share * _EPSILON[dataset.name],
            mean=dataset.mean,
            std=dataset.std,
        )
    )


def _images(directory: Path, data_dir: Path | None, share: float) -> dict[str, Any]:
    dataset, model = load_dataset(directory, data_dir), load_model(directory)
    pixels, targets = dataset.test.inputs[:_IMAGES], dataset.test.targets[:_IMAGES]
    epsilon = share * _EPSILON[dataset.name]
    before = pixels.float() / 255
    after = analysis.adversarial_examples(
        model, pixels, targets, epsilon, mean=dataset.mean, std=dataset.std
    )
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (dataset.mean, dataset.std))
    with torch.no_grad():
        read = model((after - mean) / std).argmax(1).tolist()
    names = dataset.classes
    return {
        "epsilon": epsilon,
        "before": side_by_side(before),
        "after": side_by_side(after),
        "true": [names[k] for k in targets.tolist()],
        "read_after": [names[k] for k in read],
    }


def side_by_side(tiles: Tensor) -> str:
    """Images (n, c, h, w) with pixels in [0, 1], side by side with a white column between."""
    tiles = functional.pad(tiles.expand(-1, 3, -1, -1), (0, 1), value=1.0)
    row = torch.cat(list(tiles), dim=2)[:, :, :-1].permute(1, 2, 0)
    stream = io.BytesIO()
    pixels = np.rint(255 * row.numpy()).astype(np.uint8)
    imsave(stream, pixels, format="png", metadata={"Software": ""})
    return base64.b64encode(stream.getvalue()).decode("ascii")
