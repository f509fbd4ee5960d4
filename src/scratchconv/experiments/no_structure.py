"""Where there is no structure, none must be found: real data with all of it taken out.

Each column shuffled over the rows on its own leaves the columns as they are, but independent of
each other and of the labels. The columns of each row shuffled, each row its own way, leaves the
rows as they are; which columns were neighbours is gone. What is found in these is a false
discovery.

``python -m scratchconv.experiments.no_structure --data-dir DIR``
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from scratchconv.discovery import StructureFinder
from scratchconv.discovery.locating import Asked
from scratchconv.discovery.subjects import Control, controlled, read_subject
from scratchconv.experiments.command import run_command
from scratchconv.experiments.record_files import check_free, write_files
from scratchconv.lab import Table
from scratchconv.training.environment import describe_environment

CONTROLS: tuple[Control, ...] = ("independent", "shuffled-rows")
_COMMAND = "python -m scratchconv.experiments.no_structure"
_FILE = "no-structure"


@dataclass(frozen=True)
class Trial:
    """What was found in one table without structure.

    edges: found by each source, and by both together: every one of them is false.
    kind: of the geometry that was found.
    """

    data: str
    rows: int
    columns: int
    control: str
    seed: int
    edges: dict[str, int]
    kind: str


def trial(
    data: str,
    directory: Path | None,
    rows: int,
    control: Control,
    seed: int,
    source: Asked = "both",
) -> Trial:
    """Take the structure out of `rows` rows of a dataset, and look for it all the same."""
    subject = read_subject(data, directory=directory, rows=rows, seed=seed)
    subject = controlled(subject, control, seed)
    finder = StructureFinder(source, sharing=False, task=subject.task, random_state=seed)
    finder.fit(subject.X, subject.y)
    edges = {str(name): len(graph) for name, graph in finder.graphs_.items()}
    n, d = subject.X.shape
    return Trial(data, n, d, control, seed, edges, finder.geometry_.kind)


def false_discoveries(trials: list[Trial]) -> Table:
    """Of each set and control: how many seeds found an edge, by source, and how many a geometry."""
    rows = []
    for data, control in dict.fromkeys((trial.data, trial.control) for trial in trials):
        these = [one for one in trials if (one.data, one.control) == (data, control)]
        size = f"{these[0].rows:,} × {these[0].columns:,}"
        found = [sum(one.edges[source] > 0 for one in these) for source in these[0].edges]
        found.append(sum(one.kind != "none" for one in these))
        rows.append((data, size, control, str(len(these)), *map(str, found)))
    sources = tuple(f"edges from {source}" for source in trials[0].edges)
    return Table(
        "Seeds in which something was found",
        ("data", "table", "control", "seeds", *sources, "a geometry"),
        tuple(rows),
    )


def main(
    data_dir: Path | None = None,
    out: Path = Path("results/discovery/no-structure"),
    datasets: tuple[str, ...] = ("mnist", "digits"),
    rows: int = 3000,
    seeds: int = 20,
    overwrite: bool = False,
) -> None:
    """Look for structure where there is none.

    Args:
        data_dir: Folder of the datasets' files.
        out: Folder of the record.
        datasets: Whose structure is taken out.
        rows: Rows of each table, at most.
        seeds: Tables of each set and control.
        overwrite: Replace the record in --out.
    """
    check_free(out, _FILE, overwrite=overwrite)
    trials = []
    for data in datasets:
        for control in CONTROLS:
            for seed in range(seeds):
                trials.append(trial(data, data_dir, rows, control, seed))
                print(f"{data}, {control}, seed {seed}: {trials[-1].edges}", file=sys.stderr)
    asked = f"--datasets {' '.join(datasets)} --rows {rows} --seeds {seeds}"
    made: dict[str, Any] = {
        "command": f"{_COMMAND} {asked} --data-dir DIR --out DIR",
        "environment": describe_environment(torch.device("cpu")),
        "trials": [asdict(one) for one in trials],
    }
    found = false_discoveries(trials).markdown()
    page = f"# No structure, no discovery\n\n`{made['command']}`\n\n{found}\n"
    write_files(out, _FILE, made, page)
    print(page, end="")


if __name__ == "__main__":
    run_command(main)
