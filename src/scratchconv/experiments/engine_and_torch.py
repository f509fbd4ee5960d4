"""Does the sparse engine learn what PyTorch's dense layers learn, and what does less regrowth cost?

S-FC, α = 8, CIFAR-10, the settings of `sgd_and_beta_lasso`, whose runs by dense layers these stand
beside; three seeds each, in one folder, resumable:

- `sixty/`: 60 epochs at the λ chosen there, with the engine.
- `fifteen/`: 15 epochs, layers always compressed, zeros looked at for regrowth at every step
  (exact), at every 10th and at every 100th.

`python -m scratchconv.experiments.engine_and_torch --data-dir DIR --out results/laptop/engine`
takes about ten minutes on two cores.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scratchconv.display import Terminal
from scratchconv.experiments.command import run_command
from scratchconv.experiments.sgd_and_beta_lasso import SEEDS
from scratchconv.training import RunConfig, train

_SFC = RunConfig(model="s-fc", alpha=8, data="cifar10", method="beta-lasso")
_SIXTY = replace(_SFC, epochs=60, validation=0.1, lam_first=1e-4, lam=5e-5)
_FIFTEEN = replace(_SFC, epochs=15, lam_first=2e-4, lam=1e-4, engine="sparse")

# Steps from one look for regrowth to the next.
INTERVALS = (1, 10, 100)


def configs() -> dict[str, RunConfig]:
    """The runs by the name of their folder."""
    runs = {f"fifteen/every-{every}": replace(_FIFTEEN, regrowth=every) for every in INTERVALS}
    runs["sixty/auto"] = _SIXTY
    return {
        f"{name}-seed{seed}": replace(config, seed=seed)
        for name, config in runs.items()
        for seed in SEEDS
    }


def main(data_dir: Path | None = None, out: Path = Path("results/laptop/engine")) -> None:
    """Run everything that is not finished yet.

    Args:
        data_dir: Folder of CIFAR-10's files.
        out: Folder of the runs.
    """
    for name, config in configs().items():
        with Terminal() as terminal:
            train(replace(config, data_dir=data_dir), out / name, resume=True, progress=terminal)


if __name__ == "__main__":
    run_command(main)
