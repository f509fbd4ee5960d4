"""Runs with pruning: exact counts in the record, and going on bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scratchconv.errors import InvalidArgument
from scratchconv.pruning import METHODS
from scratchconv.training import checkpoint
from scratchconv.training.config import RunConfig
from scratchconv.training.start import SliceOver, train


def config(**changes: object) -> RunConfig:
    settings = {
        "alpha": 2, "data": "digits", "method": "sgd", "momentum": 0.9, "pruning": "rigl",
        "density": 0.1, "epochs": 6, "batch_size": 256, "precision": "fp32", "dropout": 0.1,
        "checkpoint_seconds": 0.0,
    }  # fmt: skip
    return RunConfig(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_in_slices_is_the_run_in_one_go(name: str, tmp_path: Path) -> None:
    asked = config(pruning=name)
    train(asked, tmp_path / "whole")
    slices = 0
    while True:
        try:
            train(asked, tmp_path / "slices", resume=True, seconds=1e-9)  # one step each
            break
        except SliceOver:
            slices += 1
    assert slices > 6
    whole, sliced = (
        checkpoint.newest(tmp_path / kind / "checkpoints")[0] for kind in ("whole", "slices")
    )
    assert whole is not None and sliced is not None  # noqa: PT018
    assert whole.tensors.keys() == sliced.tensors.keys()
    for key, value in whole.tensors.items():
        assert torch.equal(value, sliced.tensors[key]), key
    masks = [mask for key, mask in whole.tensors.items() if key.startswith("pruning.mask.")]
    assert sum(int(mask.sum()) for mask in masks) == round(0.1 * sum(m.numel() for m in masks))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruning": "rgl"}, "rigl"),
        ({"pruning": "none"}, "need --pruning"),
        ({"density": 0.0}, "above 0"),
        ({"density_by": "erk"}, "erdos-renyi"),
        ({"method": "beta-lasso", "momentum": 0.0, "lam": 1e-4}, "--method sgd"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        config(**changes).check()
