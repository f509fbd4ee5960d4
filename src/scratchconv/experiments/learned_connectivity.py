"""Neighbours from labels alone, over rising budgets: images whitened and permuted, the truth known.

Whitening takes the correlations out, so that the columns of a table say next to nothing of who is
next to whom; β-LASSO has to learn it from the labels. More networks are more evidence: one training
is read after every few rounds. Each column is a position of its own at first, as nothing but labels
is looked at; then it is told which columns are the colours of one pixel, and no more.

``python -m scratchconv.experiments.learned_connectivity --data-dir DIR``
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import sem

from scratchconv.data.dataset import Task
from scratchconv.discovery import (
    Channels,
    Geometry,
    LearnedSupports,
    co_selection,
    learned_supports,
)
from scratchconv.discovery.combining import label_evidence
from scratchconv.discovery.geometry import no_geometry
from scratchconv.discovery.locating import located
from scratchconv.discovery.recovered import recovery_of
from scratchconv.discovery.subjects import permuted, read_subject, whitened
from scratchconv.errors import InvalidArgument
from scratchconv.experiments.command import run_command
from scratchconv.experiments.record_files import check_free, write_files
from scratchconv.lab import Table
from scratchconv.training.environment import describe_environment

_COMMAND = "python -m scratchconv.experiments.learned_connectivity"
_FILE = "learned-connectivity"


@dataclass(frozen=True)
class Reading:
    """What was found after some rounds.

    rounds: networks trained on each half of the rows.
    seconds: of training them, and of reading the edges.
    precision, recall: of the edges, each column a position of its own.
    chance: the precision that edges drawn at random would have.
    told_precision, told_recall: where it is known which columns share a position.
    kind: of the geometry laid through the edges; rank_correlation: of its distances, None where
        there is none.
    """

    data: str
    rows: int
    columns: int
    seed: int
    rounds: int
    seconds: float
    precision: float
    recall: float
    chance: float
    told_precision: float
    told_recall: float
    kind: str
    rank_correlation: float | None


def readings(
    data: str,
    directory: Path | None,
    rows: int | None,
    rounds: tuple[int, ...],
    ridge: float,
    seed: int,
) -> list[Reading]:
    """Train for as many rounds as the largest of `rounds`, and read the edges after each of them.

    Whitened with `ridge`, columns permuted by `seed`. Raises InvalidArgument for a dataset without
    a known geometry, and for rounds below 1.
    """
    if not rounds or min(rounds) < 1:
        raise InvalidArgument(f"--rounds {rounds}: give one or more numbers of at least 1")
    subject = read_subject(data, directory=directory, rows=rows, seed=seed)
    subject = whitened(permuted(subject, seed), ridge)
    true, task = subject.true_geometry, subject.task
    if true is None or subject.y is None:
        raise InvalidArgument(f"where the columns of {data} lie is not known: choose images")
    kept = _trained(subject.X, subject.y, task, max(rounds), seed)
    live = np.asarray(subject.X.max(axis=0) != subject.X.min(axis=0))
    d = len(live)
    chance = len(true.steps()) / (true.positions * (true.positions - 1) / 2)
    found = []
    for count in sorted(set(rounds)):
        start = time.perf_counter()
        networks = 2 * count
        evidence = co_selection(kept.weights[:networks], parts=kept.parts[:networks], seed=seed)
        place = located(None, evidence, live)
        taken = time.perf_counter() - start
        trained = sum(one["seconds"] for one in kept.record[:networks])
        alone = recovery_of(place.graphs["labels"], no_geometry(place.channels), true)
        laid = recovery_of(place.graph, place.geometry, true).rank_correlation
        channels = _true_channels(true)
        told = recovery_of(label_evidence(evidence, channels).graph(), no_geometry(channels), true)
        found.append(
            Reading(
                data=data,
                rows=len(subject.X),
                columns=d,
                seed=seed,
                rounds=count,
                seconds=trained + taken,
                precision=alone.precision,
                recall=alone.recall,
                chance=chance,
                told_precision=told.precision,
                told_recall=told.recall,
                kind=place.geometry.kind,
                rank_correlation=None if np.isnan(laid) else laid,
            )
        )
    return found


def _trained(X: Any, y: Any, task: Task | None, rounds: int, seed: int) -> LearnedSupports:
    def told(done: int, total: int) -> None:
        if done % 600 == 0:
            print(f"seed {seed}: {done:,} of {total:,} steps", file=sys.stderr)

    return learned_supports(
        X, y, classification=task == "classification", rounds=rounds, seed=seed, progress=told
    )


def _true_channels(true: Geometry) -> Channels:
    count = int(true.channel_of.max()) + 1
    return Channels(count, true.position_of, true.channel_of, 1.0)


def over_budgets(found: list[Reading]) -> Table:
    """A row for every number of rounds: means over the seeds, ± the standard error."""
    lines = []
    for rounds in dict.fromkeys(reading.rounds for reading in found):
        these = [reading for reading in found if reading.rounds == rounds]
        lines.append(
            (
                str(rounds),
                _mean([reading.seconds for reading in these], 0),
                _mean([reading.precision for reading in these]),
                _mean([reading.recall for reading in these]),
                _mean([reading.told_precision for reading in these]),
                _mean([reading.told_recall for reading in these]),
                ", ".join(sorted({reading.kind for reading in these})),
                str(len(these)),
            )
        )
    first = found[0]
    return Table(
        f"{first.data}, whitened and permuted: {first.rows:,} × {first.columns:,}",
        (
            "rounds",
            "seconds",
            "precision",
            "recall",
            "precision, colours told",
            "recall, colours told",
            "geometry",
            "seeds",
        ),
        tuple(lines),
        f"Edges of the grid of pixels; drawn at random, {100 * first.chance:.2f} % would be right."
        " ± standard error over the seeds, each with its own order of the columns, halves of the"
        " rows and networks.",
    )


def _mean(values: list[float], digits: int = 3) -> str:
    spread = f" ± {sem(values):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def main(
    data_dir: Path | None = None,
    out: Path = Path("results/discovery/learned-connectivity"),
    data: str = "cifar10",
    rows: int | None = None,
    rounds: tuple[int, ...] = (1, 2, 4, 8),
    ridge: float = 1e-3,
    seeds: int = 3,
    overwrite: bool = False,
) -> None:
    """Learn who is next to whom from labels alone, and tell how that grows with the budget.

    Args:
        data_dir: Folder of the dataset's files.
        out: Folder of the record.
        data: A dataset of images.
        rows: Training rows to look at; all of them without it.
        rounds: Budgets: networks on each half of the rows. One training serves all of them.
        ridge: Of the whitening.
        seeds: Orders of the columns.
        overwrite: Replace the record in --out.
    """
    check_free(out, _FILE, overwrite=overwrite)
    found: list[Reading] = []
    for seed in range(seeds):
        found += readings(data, data_dir, rows, rounds, ridge, seed)
        for reading in found[-len(set(rounds)) :]:
            print(reading, file=sys.stderr)
    few = "" if rows is None else f" --rows {rows}"
    budgets = " ".join(map(str, rounds))
    made: dict[str, Any] = {
        "command": f"{_COMMAND} --data {data}{few} --rounds {budgets} --ridge {ridge:g}"
        f" --seeds {seeds} --data-dir DIR --out DIR",
        "environment": describe_environment(torch.device("cpu")),
        "readings": [asdict(reading) for reading in found],
    }
    page = (
        "# Neighbours from what is learned alone\n\n"
        f"`{made['command']}`\n\n{over_budgets(found).markdown()}\n"
    )
    write_files(out, _FILE, made, page)
    print(page, end="")


if __name__ == "__main__":
    run_command(main)
