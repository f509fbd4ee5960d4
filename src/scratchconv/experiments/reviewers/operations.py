"""Operations that a run's training took and that its network takes, counted from its non-zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from scratchconv import models
from scratchconv.analysis import flops
from scratchconv.pruning import cut_steps
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
    sizes = {of.name: of.size for of in layers}
    steps, epochs = int(run.resolved["steps"]), int(run.config["epochs"])
    pruned = run.config["pruning"]
    # The rivals cut at known steps, or exchange connections for as many: their counts are exact.
    cuts = None if pruned == "none" else cut_steps(pruned, steps, steps // epochs)
    passed = stretches(run.metrics, int(run.config["batch_size"]), sizes, cuts)
    bare = [flops.Stretch(part.samples, part.nonzero) for part in passed]
    return {
        "training": flops.training_flops(layers, passed).total,
        "training_screened": flops.training_flops(layers, bare).total,
        "inference": flops.inference_flops(layers, _nonzero(run.metrics[-1])),
        "uses": {layer.name: layer.uses for layer in layers},
    }


def stretches(
    metrics: Sequence[Mapping[str, Any]],
    batch_size: int,
    first: Mapping[str, int],
    cuts: Sequence[int] | None,
) -> list[flops.Stretch]:
    """One or two stretches for every line of `metrics.jsonl`.

    `first`: the non-zeros before the first step, by layer. `cuts`: the steps before which the
    support is cut; between two lines it is what the earlier says until then, and what the later
    says from then on, or all the time where there is no cut. None: a support that shrinks step by
    step, of which half of the samples count with the earlier line and half with the later.
    """
    found = []
    before, nonzero = 0, first
    for line in metrics:
        end, after = line["step"], _nonzero(line)
        share = line["dense_gradients"] / (end - before)
        samples = (end - before) * batch_size
        if cuts is None:
            early = samples - samples // 2
        else:
            early = max(
                (batch_size * (cut - before) for cut in cuts if before < cut < end), default=0
            )
        if early:
            found.append(flops.Stretch(early, nonzero, share))
        found.append(flops.Stretch(samples - early, after, share))
        before, nonzero = end, after
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
