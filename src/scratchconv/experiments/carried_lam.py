"""How far can λ be carried from one run length to another by keeping λ·Ση? CIFAR-10, S-FC, α = 8.

The λ that ``sgd_and_beta_lasso`` chose for 60 epochs, carried to 15 epochs by
``--lam-scale steps``, and beside it the same λ left as it is. Scored on validation data only.

``python -m scratchconv.experiments.carried_lam --data-dir DIR --records results/laptop`` takes
about two minutes on two cores; finished runs are not run again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scratchconv.display import Terminal
from scratchconv.experiments.command import run_command
from scratchconv.training import RunConfig, load_run, train

CHOSEN_FOR = 60
LENGTHS = (15,)


def carried_configs(chosen: RunConfig) -> dict[str, RunConfig]:
    """The runs, by the name of their folder, from the settings ``chosen`` for 60 epochs."""
    configs = {}
    for epochs in LENGTHS:
        same = replace(chosen, epochs=epochs, skip_test=True)
        configs[f"epochs{epochs}-same"] = same
        configs[f"epochs{epochs}-carried"] = replace(same, lam_scale="steps", lam_epochs=CHOSEN_FOR)
    return configs


def main(data_dir: Path | None = None, records: Path = Path("results/laptop")) -> None:
    """Run everything that is not finished yet.

    Args:
        data_dir: Folder of CIFAR-10's files.
        records: Folder of the runs of sgd_and_beta_lasso; the new ones go to carried/ in it.
    """
    # Its record is of a time before the sparse engine, when all layers were torch's.
    record = load_run(records / "sixty" / "beta-lasso-seed0").config
    chosen = RunConfig(**{"engine": "torch", **record})
    for name, config in carried_configs(chosen).items():
        out = records / "carried" / name
        with Terminal() as terminal:
            train(replace(config, data_dir=data_dir), out, resume=True, progress=terminal)


if __name__ == "__main__":
    run_command(main)
