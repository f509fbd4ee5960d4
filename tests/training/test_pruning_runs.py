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
        "density": 0.1, "epochs": 4, "batch_size": 256, "precision": "fp32", "dropout": 0.1,
        "checkpoint_seconds": 0.0,
    }  # fmt: skip
    return RunConfig(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_in_slices_is_the_run_in_one_go(name: str, tmp_path: Path) -> None:
    asked = config(pruning=name)
    torch.manual_seed(1)
    train(asked, tmp_path / "whole")
    slices = 0
    while True:
        # Every slice may be a process of its own, whose global generator stands elsewhere.
        torch.manual_seed(1000 + slices)
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


def test_units_without_weights_are_blamed_on_the_density(tmp_path: Path) -> None:
    run = train(config(pruning="random", density=0.003, epochs=1), tmp_path)
    (warning, *_) = run.metrics[0]["warnings"]
    assert "have lost all their weights. --pruning left them none: try a larger" in warning


def test_snip_chooses_by_the_seed_alone(tmp_path: Path) -> None:
    """Not by what the process drew before (dropout is at work), nor by the precision."""
    masks = []
    for number, precision in enumerate(("fp32", "fp32", "bf16")):
        torch.manual_seed(number)
        with pytest.raises(SliceOver):
            train(config(pruning="snip", precision=precision), tmp_path / f"{number}", seconds=1e-9)
        saved = checkpoint.newest(tmp_path / f"{number}" / "checkpoints")[0]
        assert saved is not None
        masks.append({n: m for n, m in saved.part("pruning").items() if n.startswith("mask.")})
    assert masks[0]
    for other in masks[1:]:
        assert other.keys() == masks[0].keys()
        assert all(torch.equal(mask, other[name]) for name, mask in masks[0].items())


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
