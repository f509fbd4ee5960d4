"""A training step on a GPU never makes the host wait: data, augmentation, network and update."""

from __future__ import annotations

import pytest
import torch

from scratchconv.training import RunConfig, Silent
from scratchconv.training.interruption import Interruption
from scratchconv.training.loop import Loop
from scratchconv.training.setup import prepare

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("engine", ["dense", "torch"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_no_step_waits_for_the_device(tmp_path, precision, engine):
    if engine == "dense":
        pytest.importorskip("triton", reason="the engine needs triton: the extra 'gpu'")
    config = RunConfig(
        alpha=2,
        data="digits",
        lam=1e-4,
        precision=precision,
        device="cuda",
        engine=engine,
        cutout=2,
        batch_size=128,
    )
    setup = prepare(config)
    loop = Loop(setup, tmp_path, Silent(), Interruption())
    batches = setup.training.epoch(0)
    loop._step(0, *next(batches))  # the order of the epoch, kernels compiled, memory taken
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 4):
            loop._step(step, *next(batches))
    finally:
        torch.cuda.set_sync_debug_mode("default")
