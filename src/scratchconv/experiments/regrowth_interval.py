"""What `--regrowth K` costs: zeros looked at in every step, every 10th or every 100th.

S-FC on CIFAR-10 by β-LASSO, alike in all but K. Exact (K = 1) is Algorithm 1. Runs that differ in
a rounding already part ways once weights come back in bursts (docs/engine.md), so the differences
between K are to be seen beside those between seeds.

`python -m scratchconv.experiments.regrowth_interval --data-dir DIR --runs RUNS --out OUT` trains
what is not finished in RUNS, resumable, and writes `regrowth.json` and `regrowth.md` into OUT.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from scratchconv.display import Terminal
from scratchconv.errors import RunDirectoryError
from scratchconv.experiments.command import run_command
from scratchconv.experiments.machine import one_machine
from scratchconv.experiments.record_files import check_free, write_files
from scratchconv.training import RunConfig, load_run, load_weights, train
from scratchconv.training.run_directory import read_engine_record

EXACT = 1

NAME = "regrowth"


@dataclass(frozen=True)
class Outcome:
    """One run.

    returned: weights that came back while their layer was compressed. compressed_at: the step
    before which each layer was first compressed, None where it never was.
    left: share of non-zero weights, dead_units: units without any, by layer.
    shared: of the weights that this run or the exact run with its seed kept in a layer, the share
    that both kept.
    environment: as the run's `result.json` has it: command, commit, machine, versions.
    """

    every: int
    seed: int
    test_accuracy: float
    seconds: float
    returned: int
    compressed_at: dict[str, int | None]
    left: dict[str, float]
    dead_units: dict[str, int]
    shared: dict[str, float]
    environment: dict[str, Any]


def folder(runs: Path, every: int, seed: int) -> Path:
    """Where the run is kept."""
    return runs / f"every-{every}-seed{seed}"


def outcome(runs: Path, every: int, seed: int) -> Outcome:
    """Read a finished run, and the exact one with its seed, from their directories."""
    directory = folder(runs, every, seed)
    result = load_run(directory).result
    assert result is not None  # `train` has returned
    lines = read_engine_record(directory)
    layers = result["layers"]
    first: dict[str, int | None] = {line["layer"]: None for line in lines}
    for line in lines:
        if line["compressed"] and first[line["layer"]] is None:
            first[line["layer"]] = line["step"]
    return Outcome(
        every=every,
        seed=seed,
        test_accuracy=result["test_accuracy"],
        seconds=result["seconds"],
        returned=sum(line.get("revived", 0) for line in lines),
        compressed_at=first,
        left={layer["name"]: layer["nonzero"] / layer["size"] for layer in layers},
        dead_units={layer["name"]: layer["dead_units"] for layer in layers},
        shared=shared_support(
            load_weights(directory),
            load_weights(folder(runs, EXACT, seed)),
            [layer["name"] for layer in layers],
        ),
        environment=result["environment"],
    )


def shared_support(
    one: dict[str, Tensor], other: dict[str, Tensor], layers: Sequence[str]
) -> dict[str, float]:
    """|A ∩ B| / |A ∪ B| of the supports A and B of two networks, by layer; 1 where both are empty.

    one, other: `state_dict`s with a dense weight for each layer.
    """
    shared = {}
    for name in layers:
        mine, theirs = one[f"{name}.weight"] != 0, other[f"{name}.weight"] != 0
        either = int((mine | theirs).sum())
        shared[name] = int((mine & theirs).sum()) / either if either else 1.0
    return shared


def table(outcomes: Sequence[Outcome]) -> str:
    """One row for every K: means over the seeds, ± the spread between them, in Markdown."""
    layers = list(outcomes[0].left)[:2]
    lines = [
        "| zeros looked at | test accuracy | "
        + " | ".join(f"left in {name} | as exact in {name}" for name in layers)
        + " | weights returned | n |",
        "|---|---|" + "---|---|" * len(layers) + "---|---|",
    ]
    for every in dict.fromkeys(run.every for run in outcomes):
        runs = [run for run in outcomes if run.every == every]
        cells = ["every step" if every == EXACT else f"every {every}th step"]
        cells.append(_mean([100 * run.test_accuracy for run in runs], " %"))
        for name in layers:
            cells.append(_mean([100 * run.left[name] for run in runs], " %"))
            cells.append(
                "–" if every == EXACT else _mean([100 * run.shared[name] for run in runs], " %")
            )
        cells.append(f"{statistics.mean(run.returned for run in runs):,.0f}")
        lines.append("| " + " | ".join([*cells, str(len(runs))]) + " |")
    return "\n".join(lines)


def _mean(values: Sequence[float], unit: str) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}{unit}"


def main(
    data_dir: Path | None = None,
    runs: Path = Path("runs/regrowth"),
    out: Path = Path("results/bench/regrowth"),
    alpha: int = 28,
    epochs: int = 15,
    lam: float = 1e-4,
    lam_first: float = 2e-4,
    lr: float = 0.1,
    data: str = "cifar10",
    every: tuple[int, ...] = (EXACT, 10, 100),
    seeds: tuple[int, ...] = (0, 1, 2),
    overwrite: bool = False,
) -> None:
    """Run everything that is not finished yet, and write what came out.

    Args:
        data_dir: Folder of the dataset's files.
        runs: Folder of the runs and their checkpoints.
        out: Folder of `regrowth.json` and `regrowth.md`.
        alpha: Size of S-FC.
        epochs: Of each run.
        lam: λ.
        lam_first: λ of the first layer.
        lr: Learning rate at the first step.
        data: Dataset.
        every: The K to compare; exact (1) is always among them.
        seeds: Of the runs with each K.
        overwrite: Write over what is in `out`.
    """
    check_free(out, NAME, overwrite=overwrite)
    config = RunConfig(
        model="s-fc", alpha=alpha, data=data, data_dir=data_dir, method="beta-lasso", lr=lr
    )
    config = replace(config, epochs=epochs, lam=lam, lam_first=lam_first)
    intervals = list(dict.fromkeys((EXACT, *every)))
    outcomes = []
    for interval in intervals:
        for seed in seeds:
            with Terminal() as terminal:
                train(
                    replace(config, regrowth=interval, seed=seed),
                    folder(runs, interval, seed),
                    resume=True,
                    progress=terminal,
                )
            outcomes.append(outcome(runs, interval, seed))
    write(outcomes, config, out)


def write(outcomes: Sequence[Outcome], config: RunConfig, out: Path) -> None:
    """`regrowth.json` and `regrowth.md` in the folder `out`.

    Raises ScratchconvError where the runs were made by different commits or machines.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        name: getattr(config, name)
        for name in ("model", "alpha", "data", "epochs", "lam", "lam_first", "lr", "beta")
    }
    record = {"settings": settings, "runs": [asdict(run) for run in outcomes]}
    said = ", ".join(f"{name} {value}" for name, value in settings.items())
    page = (
        f"# What `--regrowth K` costs\n\n{said}.\n\n{table(outcomes)}\n\n"
        f"{_made([run.environment for run in outcomes])}\n"
    )
    write_files(out, NAME, record, page)


def _made(environments: Sequence[dict[str, Any]]) -> str:
    """Where the runs were made."""
    commits = {e["commit"] for e in environments}
    if len(commits) > 1:
        raise RunDirectoryError(f"the runs are of different commits: {commits}")
    return f"{one_machine(environments, 'runs')}, commit {commits.pop()}. Last epoch, ± over seeds."


if __name__ == "__main__":
    run_command(main)
