"""Operations that a run's training took and that its network takes, counted from its non-zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from scratchconv import models
from scratchconv.analysis import flops
from scratchconv.training import Run, load_run


def operations(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """FLOPs of a finished run as `analysis.flops` counts them; a measure for `Lab.train`.

    Returns `training`, in all, with the weight gradient of all weights wherever the method looks at
    it; `training_screened`, what would be left of that if no gradient of a zero were computed;
    `inference`, of one sample; and `uses`, by layer, how often a weight is used for one sample.
    The non-zeros at the end of an epoch stand for all of it.
    """
    run = load_run(directory)
    layers = _layers(run)
    passed = stretches(run.metrics, int(run.config["batch_size"]))
    bare = [flops.Stretch(part.samples, part.nonzero) for part in passed]
    return {
        "training": flops.training_flops(layers, passed).total,
        "training_screened": flops.training_flops(layers, bare).total,
        "inference": flops.inference_flops(layers, passed[-1].nonzero),
        "uses": {layer.name: layer.uses for layer in layers},
    }


def stretches(metrics: Sequence[Mapping[str, Any]], batch_size: int) -> list[flops.Stretch]:
    """One stretch for every line of `metrics.jsonl`."""
    found = []
    for before, line in pairwise([{"step": 0}, *metrics]):
        steps = line["step"] - before["step"]
        found.append(
            flops.Stretch(
                samples=steps * batch_size,
                nonzero={layer["name"]: layer["nonzero"] for layer in line["layers"]},
                dense_gradients=line["dense_gradients"] / steps,
            )
        )
    return found


def inference(uses: Mapping[str, int], nonzero: Mapping[str, int]) -> int:
    """FLOPs of one sample by a network of so many non-zeros a layer."""
    layers = [flops.LayerUse(name, nonzero[name], use) for name, use in uses.items()]
    return flops.inference_flops(layers, nonzero)


def _layers(run: Run) -> list[flops.LayerUse]:
    image = tuple(run.resolved["image"])
    with torch.device("meta"):  # shapes are all that counts
        model = models.build(
            run.config["model"],
            image=image,
            classes=max(1, run.resolved["classes"]),
            alpha=run.resolved["alpha"],
            kernel_size=run.config["kernel_size"],
        )
    return flops.layer_uses(model, image)
