"""Does the sparse engine learn what PyTorch's dense layers learn, and what does less regrowth cost?

S-FC on CIFAR-10, by β-LASSO, in one folder, resumable:

- `fifteen/every-1`: α = 8, 15 epochs, layers compressed from the first step on, exact; three seeds.
  The dense runs with the same settings are those of `sgd_and_beta_lasso`.
- `hundred/every-10`: α = 28, 100 epochs, zeros looked at for regrowth at every 10th step only. The
  exact run with the same settings is that of `scratchconv bench --parts run`.

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

_SFC = RunConfig(model="s-fc", data="cifar10", method="beta-lasso")
_FIFTEEN = replace(_SFC, alpha=8, epochs=15, lam_first=2e-4, lam=1e-4, engine="sparse")
_HUNDRED = replace(_SFC, alpha=28, epochs=100, lam_first=1e-4, lam=5e-5, regrowth=10)


def configs() -> dict[str, RunConfig]:
    """The runs by the name of their folder."""
    runs = {f"fifteen/every-1-seed{seed}": replace(_FIFTEEN, seed=seed) for seed in SEEDS}
    return {**runs, "hundred/every-10-seed0": _HUNDRED}


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
