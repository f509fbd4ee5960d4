"""The README's table of accuracies, drawn from the committed records of `sgd_and_beta_lasso`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scratchconv.errors import ScratchconvError
from scratchconv.experiments.machine import one_machine
from scratchconv.experiments.mean_difference import mean_difference
from scratchconv.experiments.sgd_and_beta_lasso import SEEDS, search_configs
from scratchconv.lab import mean_and_deviation
from scratchconv.training import Run, load_run

_GROUPS = {
    "fifteen/sgd": "SGD",
    "fifteen/beta-lasso": "β-LASSO",
    "fifteen/beta-lasso-permuted": "β-LASSO, pixels permuted",
    "sixty/sgd": "SGD",
    "sixty/sgd-tuned": "SGD, momentum and weight decay chosen",
    "sixty/beta-lasso": "β-LASSO, λ chosen",
    "sixty/beta-lasso-permuted": "β-LASSO, λ chosen, pixels permuted",
}


def results_table(records: Path) -> str:
    """The table in Markdown, with the commands and the machine below it.

    Raises ``RunDirectoryError`` where a record is missing, ``ScratchconvError`` where the records
    are not of one machine and one release of torch.
    """
    groups = {
        name: [load_run(records / f"{name}-seed{seed}") for seed in SEEDS] for name in _GROUPS
    }
    lines = [
        "| S-FC, α = 8, on CIFAR-10 | epochs | test accuracy | layer 1 kept | spread of its filters"
        " | with its weights shuffled | training |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(_GROUPS[name], runs) for name, runs in groups.items()]
    lines += ["", *_verdict(groups), "", _chosen(groups)]
    lines += ["", _provenance([run for runs in groups.values() for run in runs])]
    lines += ["", "<details><summary>The command of each row (seed 0)</summary>", "", "```"]
    lines += [str(_result(runs[0])["environment"]["command"]) for runs in groups.values()]
    lines += ["```", "", "</details>"]
    return "\n".join(lines)


def _row(label: str, runs: Sequence[Run]) -> str:
    results = [_result(run) for run in runs]
    densities = [r["layers"][0]["nonzero"] / r["layers"][0]["size"] for r in results]
    accuracy = mean_and_deviation([100 * r["test_accuracy"] for r in results])
    spread = mean_and_deviation([r["spread"] for r in results])
    by_chance = statistics.mean(r["locality"]["spread_by_chance"] for r in results)
    density = 100 * statistics.mean(densities)
    seconds = statistics.mean(r["seconds"] for r in results)
    cells = (
        label,
        str(results[0]["epochs"]),
        f"{accuracy} %",
        f"{density:.2f} %" if density < 10 else f"{density:.0f} %",
        spread,
        f"{by_chance:.2f}",
        f"{seconds:.0f} s",
    )
    return f"| {' | '.join(cells)} |"


_COMPARED = (
    ("15 epochs, β-LASSO against SGD", "fifteen/beta-lasso", "fifteen/sgd"),
    ("60 epochs, β-LASSO against SGD", "sixty/beta-lasso", "sixty/sgd"),
    ("60 epochs, β-LASSO against SGD with chosen settings", "sixty/beta-lasso", "sixty/sgd-tuned"),
    (
        "15 epochs, β-LASSO on permuted pixels against the same on pixels as they are",
        "fifteen/beta-lasso-permuted",
        "fifteen/beta-lasso",
    ),
    (
        "60 epochs, β-LASSO on permuted pixels against the same on pixels as they are",
        "sixty/beta-lasso-permuted",
        "sixty/beta-lasso",
    ),
)


def _verdict(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """What the rows say about each other, one line each."""
    accuracies = {
        name: [100 * _result(run)["test_accuracy"] for run in runs] for name, runs in groups.items()
    }
    lines = []
    for title, ours, theirs in _COMPARED:
        difference = mean_difference(accuracies[ours], accuracies[theirs])
        alike = "" if difference.separated else ": the seeds do not tell them apart"
        lines.append(f"- {title}: {difference}{alike}.")
    return lines


def _chosen(groups: Mapping[str, Sequence[Run]]) -> str:
    """How the settings came about, and what the runs were trained on."""
    tried = {method: len(configs) for method, configs in search_configs().items()}
    fifteen, sixty = (groups[f"{n}/sgd"][0].resolved["train_size"] for n in ("fifteen", "sixty"))
    return (
        f"“Chosen”: the best of {tried['sgd']} settings of SGD and {tried['beta-lasso']} of β-LASSO"
        " after 60 epochs, on validation data; the learning rate is 0.1 throughout. λ of the rows"
        f" of 15 epochs was not chosen so, and they have {fifteen:,} training images, the others"
        f" {sixty:,}. Spread: 1 is all over the image, 0 one pixel. Any sparse filter reaches less"
        " far by chance: shuffled are the same weights at"
        " random pixels."
    )


def _provenance(runs: Sequence[Run]) -> str:
    environments = [_result(run)["environment"] for run in runs]
    precisions = "/".join(sorted({run.resolved["precision"] for run in runs}))
    commits = ", ".join(sorted({str(e["commit"]) for e in environments}))
    return (
        f"Mean ± standard deviation over n = {len(SEEDS)} seeds, last epoch, test data looked at"
        f" once a run. {one_machine(environments)}, {precisions}, commit {commits}. Every"
        " number is in [`results/laptop`](results/laptop)."
    )


def _result(run: Run) -> dict[str, Any]:
    if run.result is None:
        raise ScratchconvError(f"{run.directory} is not finished")
    return run.result
