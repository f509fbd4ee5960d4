"""The README's table of what `discover` finds, from the committed findings under `discovery/`."""

from __future__ import annotations

from pathlib import Path

from scratchconv.discovery.findings import Findings
from scratchconv.discovery.findings_file import read_findings, read_origin
from scratchconv.experiments.machine import one_machine
from scratchconv.lab.exhibits import MISSING
from scratchconv.report.discovery_verdict import (
    columns_at_each,
    geometry_in_words,
    network_of,
    score,
    shortest_with_map,
)

SHOWN = {
    "cifar10": "CIFAR-10, pixels permuted",
    "cifar10-whitened": "20,000 of its images, whitened and permuted",
    "cifar10-grey": "10,000 in grey, from a file, permuted",
    "mnist": "MNIST, pixels permuted",
    "spoken-digits": "spoken digits, spectra permuted",
    "ecg": "heartbeats (ECG5000), samples permuted",
    "dna": "DNA (splice junctions), bases permuted",
    "tree": "the binary tree (made, 20,000 rows), inputs permuted",
}
"""Folders, in the order of the table."""
_NETWORKS = ("compiled", "true convolution", "dense", "boosted trees")


def discovery_table(records: Path) -> str:
    """The table in Markdown, with the commands and the machine below it.

    `records` holds a folder of findings for every row. Raises DataError where one is missing or
    damaged, ScratchconvError where they are not of one machine and one release of torch.
    """
    found = {folder: read_findings(records / folder) for folder in SHOWN}
    origins = [read_origin(records / folder) for folder in SHOWN]
    columns = (
        "columns of",
        "found",
        "edges: precision / recall",
        "rank correlation",
        "weights",
        *_NETWORKS,
        "time",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [_row(SHOWN[folder], findings) for folder, findings in found.items()]
    commits = ", ".join(dict.fromkeys(str(origin["commit"]) for origin in origins))
    lines += [
        "",
        "Weights: by the shortest code of the target, given the columns, from which their places"
        " were read; in brackets, where it differs, with the places written out as well. Networks:"
        " share of right answers (of the tree, R²) on test rows, settings chosen on validation"
        " rows; one seed. Compiled and true convolution (a network compiled for the true places,"
        " which the others are not told) begin with what β-LASSO learned; from there everyone may"
        " do the same multiply-adds. Trees see as many rows and columns as those allow. Every"
        f" page's findings are in [`results/discovery`](results/discovery). "
        f"{one_machine(origins, 'findings')}, commit {commits}.",
        "",
        "<details><summary>The command of each row</summary>",
        "",
        "```",
        *(str(origin["command"]) for origin in origins),
        "```",
        "",
        "</details>",
    ]
    return "\n".join(lines)


def _weights(findings: Findings) -> str:
    sharing = findings.sharing
    if sharing is None:
        return MISSING
    written_out = shortest_with_map(sharing, findings.geometry)
    return sharing.verdict + ("" if written_out == sharing.verdict else f" ({written_out})")


def _row(label: str, findings: Findings) -> str:
    geometry, recovery = findings.geometry, findings.recovery
    edges = rank = MISSING
    if recovery is not None:
        edges = f"{recovery.precision:.3f} / {recovery.recall:.3f}"
        rank = f"{recovery.rank_correlation:.3f}"
    networks = [network_of(findings, name) for name in _NETWORKS]
    cells = (
        label,
        geometry_in_words(geometry) + columns_at_each(geometry),
        edges,
        rank,
        _weights(findings),
        *(MISSING if one is None else score(findings, one.test) for one in networks),
        f"{sum(findings.seconds.values()) / 60:.1f} min",
    )
    return f"| {' | '.join(cells)} |"
