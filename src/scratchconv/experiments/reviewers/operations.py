"""Operations that a run's training took and that its network takes, counted from its non-zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    Supports that shrink are counted by the mean of an epoch's ends; see `stretches`.
    """
    run = load_run(directory)
    layers = _layers(run)
    # The rivals cut between epochs, or exchange connections for as many: their counts are exact.
    first = None if run.config["pruning"] != "none" else {of.name: of.size for of in layers}
    passed = stretches(run.metrics, int(run.config["batch_size"]), first)
    bare = [flops.Stretch(part.samples, part.nonzero) for part in passed]
    return {
        "training": flops.training_flops(layers, passed).total,
        "training_screened": flops.training_flops(layers, bare).total,
        "inference": flops.inference_flops(layers, _nonzero(run.metrics[-1])),
        "uses": {layer.name: layer.uses for layer in layers},
    }


def stretches(
    metrics: Sequence[Mapping[str, Any]], batch_size: int, first: Mapping[str, int] | None
) -> list[flops.Stretch]:
    """One or two stretches for every line of `metrics.jsonl`.

    `first`: the non-zeros before the first step, by layer. Half of the samples between two lines
    are then counted with those of the earlier, half with those of the later. None: a support that
    changes at the lines only, so that each counts for all samples before it.
    """
    found = []
    before, nonzero = 0, first
    for line in metrics:
        steps, after = line["step"] - before, _nonzero(line)
        share = line["dense_gradients"] / steps
        samples = steps * batch_size
        if nonzero is None:
            found.append(flops.Stretch(samples, after, share))
        else:
            half = samples // 2
            found.append(flops.Stretch(samples - half, nonzero, share))
            found.append(flops.Stretch(half, after, share))
            nonzero = after
        before = line["step"]
    return found


def _nonzero(line: Mapping[str, Any]) -> dict[str, int]:
    return {layer["name"]: layer["nonzero"] for layer in line["layers"]}


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
