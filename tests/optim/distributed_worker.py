"""One of two processes that train together: `distributed_worker.py RANK STORE_FILE RESULT_FILE`."""

from __future__ import annotations

import sys

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from scratchconv.optim import BetaLasso, param_groups


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 300), nn.ReLU(), nn.Linear(300, 150), nn.Linear(150, 3))


def train(model: nn.Module, rows: slice) -> list[torch.Tensor]:
    """Ten steps on `rows` of each batch of 16; returns the trained parameters."""
    generator = torch.Generator().manual_seed(1)
    optimizer = BetaLasso(param_groups(model, lam=1e-3, lam_first=2e-3), lr=0.1, beta=50)
    for _ in range(10):
        inputs = torch.randn(16, 20, generator=generator)
        targets = torch.randint(3, (16,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


if __name__ == "__main__":
    rank, store, result = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    trained = train(DistributedDataParallel(net()), slice(8 * rank, 8 * rank + 8))
    torch.save(trained, result)
    torch.distributed.destroy_process_group()
