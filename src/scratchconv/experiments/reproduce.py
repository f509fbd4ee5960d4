"""`scratchconv reproduce`: make a published table or figure anew, or all of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scratchconv import data
from scratchconv.errors import DataError, InvalidArgument, RunDirectoryError
from scratchconv.experiments.catalogue import (
    AS_PUBLISHED_CODE,
    EXPERIMENTS,
    as_published_code,
    find_experiment,
)
from scratchconv.experiments.experiment import Experiment
from scratchconv.lab import Lab, LabOptions, Outcome
from scratchconv.lab.pages import Entry, Heading, write_index, write_outcome
from scratchconv.lab.progress import LabProgress
from scratchconv.lab.records import FILE, write_records
from scratchconv.lab.scales import Scale, find_scale


def reproduce(
    name: str,
    scale: str,
    options: LabOptions,
    *,
    datasets: Sequence[str] = (),
    resume: bool = False,
    published_code: bool = False,
) -> Path:
    """Make the experiment `name`, or `all`, at a scale; returns its page, or the index of all.

    `datasets` are those of the experiment's to keep to; none means all of them. Runs that are
    finished are reused; those broken off are gone on with. With `published_code` an experiment is
    made as its published code has it, in a folder of its own; of `all`, those whose code differs
    from their text. Raises `InvalidArgument` for unknown names, `DataError` where a dataset is
    missing, before any run begins, and `RunDirectoryError` where the experiment is there already
    and neither `resume` nor `options.redraw` was asked for.
    """
    chosen = find_scale(scale)
    experiments = list(EXPERIMENTS.values()) if name == "all" else [find_experiment(name)]
    if published_code:
        experiments = [
            as_published_code(e)
            for e in experiments
            if name != "all" or e.name in AS_PUBLISHED_CODE
        ]
    kept = {e.name: _datasets(e, datasets, by_name=name != "all") for e in experiments}
    experiments = [e for e in experiments if kept[e.name] or not e.datasets]
    if not options.redraw:
        _check_data(chosen, [d for e in experiments for d in kept[e.name]], options.data_dir)
        for experiment in experiments:
            folder = options.out / experiment.name
            if folder.exists() and any(folder.iterdir()) and not resume:
                raise RunDirectoryError(
                    f"{folder} holds this experiment already: add --resume to go on with it,"
                    " --redraw to draw it anew, or choose another --out"
                )
    progress = LabProgress()
    said = {}
    for experiment in experiments:
        progress.console.print(f"[bold]{experiment.name}[/]: {experiment.title}")
        lab = Lab(
            experiment.name, chosen, options, datasets=kept[experiment.name], progress=progress
        )
        outcome = experiment.reproduce(lab)
        if lab.used and chosen.stand_in is not None:
            trial = (
                f"A trial run: {chosen.stand_in} stood in for all files. Its numbers say nothing."
            )
            outcome = replace(outcome, sentences=(trial, *outcome.sentences))
        heading = Heading(
            experiment.name, experiment.title, experiment.source, _command(experiment, lab)
        )
        if lab.used:
            write_records(lab.folder / FILE, lab.used.values())
        page = write_outcome(lab.folder, heading, outcome, list(lab.used.values()))
        said[experiment.name] = outcome.sentences[0] if outcome.sentences else ""
    every = [*EXPERIMENTS.values(), *AS_PUBLISHED_CODE.values()]
    index = write_index(
        options.out,
        chosen.name,
        [
            Entry(e.name, e.title, e.source, said.get(e.name, ""))
            for e in every
            if (options.out / e.name / "page.html").exists()
        ],
    )
    return index if name == "all" else page


def draw(experiment: Experiment, scale: Scale, out: Path, datasets: Sequence[str]) -> Outcome:
    """The outcome as the records under `out` have it; makes no run and writes nothing."""
    options = LabOptions(out, redraw=True, any_version=True)
    return experiment.reproduce(Lab(experiment.name, scale, options, datasets=datasets))


def _datasets(experiment: Experiment, asked: Sequence[str], *, by_name: bool) -> tuple[str, ...]:
    unknown = [name for name in asked if name not in experiment.datasets]
    if unknown and by_name:
        raise InvalidArgument(
            f"--datasets {' '.join(unknown)}: {experiment.name} takes"
            f" {', '.join(experiment.datasets) or 'none'}"
        )
    return tuple(name for name in experiment.datasets if not asked or name in asked)


def _check_data(scale: Scale, datasets: Sequence[str], data_dir: Path | None) -> None:
    """Raise for datasets whose files are not there, all at once and before work is spent."""
    if scale.stand_in is not None:
        return
    there = {entry.name: entry.built_in or entry.found for entry in data.describe(data_dir)}
    missing = [name for name in dict.fromkeys(datasets) if not there[name]]
    if missing:
        folder = "" if data_dir is None else f" --data-dir {data_dir}"
        others = [name for name in dict.fromkeys(datasets) if name not in missing]
        without = f"; or leave them out: --datasets {' '.join(others)}" if others else ""
        fetching = " and ".join(f"scratchconv data fetch {name}{folder}" for name in missing)
        raise DataError(f"no files of {', '.join(missing)}: get them by {fetching}{without}")


def _command(experiment: Experiment, lab: Lab) -> str:
    names = {code.name: name for name, code in AS_PUBLISHED_CODE.items()}
    name = names.get(experiment.name, experiment.name)
    words = ["scratchconv", "reproduce", name, "--scale", lab.scale.name]
    if experiment.name in names:
        words.append("--as-published-code")
    if lab.datasets != experiment.datasets:
        words += ["--datasets", *lab.datasets]
    return f"{shlex.join(words)} --data-dir DIR --out DIR"
