"""Two processes with half the batch each train the network that one process trains alone."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    worker = Path(__file__).with_name("distributed_worker.py")
    results = [tmp_path / f"rank{rank}.pt" for rank in range(2)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, worker, str(rank), tmp_path / "store", results[rank]],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    first, second = (torch.load(result, weights_only=True) for result in results)
    alone_worker = runpy.run_path(str(worker))
    alone = alone_worker["train"](alone_worker["net"](), slice(None))
    for one, other, single in zip(first, second, alone, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, single)
    assert (first[0] == 0).float().mean() > 0.05
