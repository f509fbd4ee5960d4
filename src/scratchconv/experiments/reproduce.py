"""`scratchconv reproduce`: make a published table or figure anew, or all of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scratchconv import data
from scratchconv.errors import (
    DataError,
    InvalidArgument,
    RunDirectoryError,
    ScratchconvError,
    unknown_name,
)
from scratchconv.experiments.catalogue import (
    AS_PUBLISHED_CODE,
    EXPERIMENTS,
    PAGES,
    as_published_code,
    find_experiment,
)
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.trials import trials
from scratchconv.lab import Lab, LabOptions, Outcome, RunRecord, read_records
from scratchconv.lab.pages import Heading, made, write_index, write_outcome
from scratchconv.lab.progress import LabProgress
from scratchconv.lab.records import FILE
from scratchconv.lab.scales import Scale, find_scale
from scratchconv.report.output import write_whole
from scratchconv.report.wording import listed
from scratchconv.training import Stopped

SCALE_FILE = "scale"
"""In a folder of results: which scale they are of."""


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
    and neither `resume` nor `options.redraw` was asked for, or where the folder is of another
    scale. A page that is gone on with keeps the datasets it has. `all` goes on after an experiment
    that cannot be made, and raises `ScratchconvError` at its end, which names them; drawn anew it
    leaves out, and names, what has no records.
    """
    chosen = find_scale(scale)
    experiments = list(EXPERIMENTS.values()) if name == "all" else [find_experiment(name)]
    if published_code:
        experiments = [
            as_published_code(e)
            for e in experiments
            if name != "all" or e.name in AS_PUBLISHED_CODE
        ]
    _check_scale(options, chosen)
    kept = _kept(experiments, chosen, options, datasets, every=name == "all")
    if not options.redraw:
        _check_data(chosen, [d for of in kept.values() for d in of], options.data_dir)
        for each in kept:
            folder = options.out / each
            if folder.exists() and any(folder.iterdir()) and not resume:
                raise RunDirectoryError(
                    f"{folder} holds this experiment already: add --resume to go on with it,"
                    " --redraw to draw it anew, or choose another --out"
                )
    progress = LabProgress()
    left_out: list[str] = []
    pages: list[Path] = []
    for number, (each, of_each) in enumerate(kept.items(), start=1):
        experiment = PAGES[each]
        of = f"{number} of {len(kept)}, " if len(kept) > 1 else ""
        progress.console.print(f"{of}[bold]{each}[/]: {experiment.title}")
        if not options.redraw:
            of_each = _and_those_of_its_page(experiment, of_each, options, progress)
        lab = Lab(each, chosen, options, datasets=of_each, progress=progress)
        try:
            pages.append(_make(experiment, lab))
        except Stopped:
            raise
        except ScratchconvError as error:
            if name != "all":
                raise
            progress.note(f"left out: {error}")
            if not (options.redraw and isinstance(error, RunDirectoryError)):
                left_out.append(each)
            continue
        index = write_index(options.out, chosen.name, PAGES)
    if left_out:
        raise ScratchconvError(f"{listed(left_out)} could not be made: the reasons stand above")
    if not pages:
        raise RunDirectoryError(f"{options.out} has no records of anything that could be drawn")
    return index if name == "all" else pages[0]


def _kept(
    experiments: Sequence[Experiment],
    scale: Scale,
    options: LabOptions,
    asked: Sequence[str],
    *,
    every: bool,
) -> dict[str, tuple[str, ...]]:
    """The experiments to be made by their names, and which datasets of each.

    Of `every` one those that take one of the datasets that were asked for; where none was, what is
    drawn anew keeps to those of its page, or else to those that there are records of.
    """
    takes = sorted({data for experiment in experiments for data in experiment.datasets})
    for data_name in asked if every else ():
        if data_name not in takes:
            raise unknown_name("dataset", data_name, takes)
    kept = {e.name: _datasets(e, asked, by_name=not every) for e in experiments}
    if every and options.redraw and not asked:
        drawn = _drawn(options.out, [e.name for e in experiments])
        kept = {e.name: drawn.get(e.name) or _recorded(e, scale, options.out) for e in experiments}
    return {e.name: kept[e.name] for e in experiments if kept[e.name] or not e.datasets}


def _drawn(out: Path, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The datasets of those experiments' pages that there are."""
    return {entry.name: entry.datasets or PAGES[entry.name].datasets for entry in made(out, names)}


def _and_those_of_its_page(
    experiment: Experiment, asked: tuple[str, ...], options: LabOptions, progress: LabProgress
) -> tuple[str, ...]:
    """What a page that is there has, of which nothing is to be lost, and what was asked for.

    The page's come first: some items choose their settings on the first dataset for all.
    """
    of_page = _drawn(options.out, [experiment.name]).get(experiment.name, ())
    besides = [data_name for data_name in of_page if data_name not in asked]
    if not besides:
        return asked
    progress.note(f"the page is there already, and keeps what it has of {listed(besides)}")
    return tuple(dict.fromkeys((*of_page, *asked)))


def _make(experiment: Experiment, lab: Lab) -> Path:
    """Make the experiment's runs, or take their records, and write its page."""
    # Before the first run: what is broken off is of this scale too.
    scale_file = lab.options.out / SCALE_FILE
    if not lab.options.redraw:
        write_whole(scale_file, f"{lab.scale.name}\n")
    outcome = _with_trials(experiment.reproduce(lab), lab)
    if lab.options.redraw:
        write_whole(scale_file, f"{lab.scale.name}\n")
    elif lab.used:
        lab.write()
    return write_outcome(lab.folder, _heading(experiment, lab), outcome, list(lab.used.values()))


def _heading(experiment: Experiment, lab: Lab) -> Heading:
    stand_in = lab.scale.stand_in
    trial = ""
    if lab.used and stand_in is not None:
        replaced = any(record.setting("data") == stand_in for record in lab.used.values())
        files = f"{stand_in} stood in for all files, and " if replaced else ""
        trial = f"A trial run: {files}its numbers say nothing."
    return Heading(
        experiment.name, experiment.title, experiment.source, _command(experiment, lab), trial
    )


def _check_scale(options: LabOptions, scale: Scale) -> None:
    """Raise where the folder holds another scale's results: its index can be of one alone."""
    marked = options.out / SCALE_FILE
    if not marked.is_file():
        if any(options.out.glob(f"*/{FILE}")):
            raise RunDirectoryError(
                f"{options.out} holds records, and no file {marked.name!r} that says of which"
                f" scale: write its name into {marked}, or choose another --out"
            )
        if (foreign := options.out / "index.html").exists():
            raise RunDirectoryError(
                f"{foreign} is not of reproductions (no file {marked.name!r} beside it), and would"
                " be replaced: choose another --out"
            )
        return
    if list(options.out.iterdir()) == [marked]:
        return  # marked, then refused before its first run: it holds nothing of that scale
    there = marked.read_text(encoding="utf-8").strip()
    if there != scale.name:
        raise RunDirectoryError(
            f"{options.out} holds results of scale {there}, not {scale.name}: choose another --out"
        )


def draw(
    experiment: Experiment, scale: Scale, out: Path, datasets: Sequence[str]
) -> tuple[Outcome, list[RunRecord]]:
    """The outcome as the records under `out` have it, and those records.

    Makes no run and writes nothing.
    """
    options = LabOptions(out, redraw=True, any_version=True)
    lab = Lab(experiment.name, scale, options, datasets=datasets)
    return _with_trials(experiment.reproduce(lab), lab), list(lab.used.values())


def _with_trials(outcome: Outcome, lab: Lab) -> Outcome:
    """What settings were chosen from, at the end of what an experiment shows."""
    tried = trials(lab)
    return outcome if tried is None else replace(outcome, exhibits=(*outcome.exhibits, tried))


def _datasets(experiment: Experiment, asked: Sequence[str], *, by_name: bool) -> tuple[str, ...]:
    unknown = [name for name in asked if name not in experiment.datasets]
    if unknown and by_name:
        raise InvalidArgument(
            f"--datasets {' '.join(unknown)}: {experiment.name} takes"
            f" {', '.join(experiment.datasets) or 'none'}"
        )
    # In the order asked for: some items choose their settings on the first.
    return tuple(name for name in dict.fromkeys(asked) if name in experiment.datasets) or (
        () if asked else experiment.datasets
    )


def _recorded(experiment: Experiment, scale: Scale, out: Path) -> tuple[str, ...]:
    """Of the experiment's datasets those it has records of; all of them where it has none."""
    records = read_records(out / experiment.name / FILE).values()
    there = {str(record.setting("data")) for record in records}
    some = tuple(name for name in experiment.datasets if name in there)
    return experiment.datasets if scale.stand_in is not None else some or experiment.datasets


def _check_data(scale: Scale, datasets: Sequence[str], data_dir: Path | None) -> None:
    """Raise for datasets whose files are not there, all at once and before work is spent."""
    if scale.stand_in is not None:
        return
    there = {entry.name: entry.built_in or entry.found for entry in data.describe(data_dir)}
    missing = [name for name in dict.fromkeys(datasets) if not there[name]]
    if missing:
        others = [name for name in dict.fromkeys(datasets) if name not in missing]
        without = f"; or leave them out: --datasets {' '.join(others)}" if others else ""
        fetching = " && ".join(data.fetching(name, data_dir) for name in missing)
        nowhere = data_dir is not None and not data_dir.is_dir()
        absent = f" ({data_dir} is no folder)" if nowhere else ""
        raise DataError(
            f"no files of {', '.join(missing)}{absent}: get them by {fetching}{without}"
        )


def _command(experiment: Experiment, lab: Lab) -> str:
    names = {code.name: name for name, code in AS_PUBLISHED_CODE.items()}
    name = names.get(experiment.name, experiment.name)
    words = ["scratchconv", "reproduce", name, "--scale", lab.scale.name]
    if experiment.name in names:
        words.append("--as-published-code")
    if lab.datasets != experiment.datasets:
        words += ["--datasets", *lab.datasets]
    files = " --data-dir DIR" if experiment.datasets else ""
    return f"{shlex.join(words)}{files} --out RUNS"
