"""The command `discover`: a table in; findings, arrays and a page out.

What each stage finds is kept in the folder until all is written: a search that was broken off goes
on with --resume. It is finished when the page is there and the stages are not.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scratchconv.data.dataset import Task
from scratchconv.discovery.discovering import discover
from scratchconv.discovery.findings import Findings
from scratchconv.discovery.findings_file import (
    ARRAYS,
    FINDINGS,
    read_findings,
    read_origin,
    write_findings,
)
from scratchconv.discovery.kept_stages import KeptStages
from scratchconv.discovery.locating import Asked
from scratchconv.discovery.subjects import (
    Control,
    Subject,
    controlled,
    permuted,
    read_subject,
    whitened,
)
from scratchconv.display import Stages
from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.report.discovery_page import write_discovery
from scratchconv.report.discovery_tables import network_rows
from scratchconv.report.discovery_verdict import discovery_verdict
from scratchconv.report.wording import plural
from scratchconv.training import Stopped
from scratchconv.training.environment import describe_environment

# numpy's generators take no larger seed.
_LARGEST_SEED = 2**32 - 1

PAGE = "page.html"
STAGES = "stages"
"""Folder of the stages, beside the page while it is not there."""


@dataclass(frozen=True)
class DiscoverOptions:
    """What to look at, and how; each field is a flag of the command, whose help explains it."""

    name: str
    target: str | None = None
    drop: tuple[str, ...] = ()
    task: Task | None = None
    ordered: bool = False
    permute: int | None = None
    whiten: float | None = None
    control: Control = "none"
    source: Asked = "auto"
    rows: int | None = None
    no_networks: bool = False
    seed: int = 0
    data_dir: Path | None = None

    def command(self) -> str:
        """The command line that finds the same, the machine's own folders left open."""
        words = ["scratchconv", "discover", self.name]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("name", "data_dir") or value == field.default:
                continue
            words.append(f"--{field.name.replace('_', '-')}")
            if isinstance(value, tuple):
                words += value
            elif value is not True:
                words.append(str(value))
        return shlex.join(words) + ("" if self.data_dir is None else " --data-dir DIR")


def run_discover(
    options: DiscoverOptions,
    out: Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Find the structure, tell it in the terminal, write files; returns the path of the page.

    `out` is a new folder under runs/discover where none is given. With `resume` the search that was
    broken off there goes on; `options` must be what they were. Raises RunDirectoryError where `out`
    holds something and neither `resume` nor `overwrite` was asked for, another search than the one
    to be resumed, or a page or arrays of none; InvalidArgument and DataError for what cannot be
    looked at.
    """
    for flag, seed in (("seed", options.seed), ("permute", options.permute or 0)):
        if seed < 0:
            raise InvalidArgument(f"--{flag} {seed}: must be a whole number of at least 0")
    if options.seed > _LARGEST_SEED:
        raise InvalidArgument(f"--seed {options.seed}: must be at most {_LARGEST_SEED}")
    if resume and (out is None or overwrite):
        raise InvalidArgument("--resume goes on in the folder given by --out, without --overwrite")
    out = _new_folder(options.name) if out is None else out
    kept = KeptStages(out / STAGES)
    page_only = _only_the_page_is_missing(out, kept, options, resume=resume, overwrite=overwrite)
    started = _now()
    try:
        with Stages() as stages:
            if kept.names():
                stages.console.print(f"there already: {'; '.join(kept.names())}", markup=False)
            stages("reading", 0, 1)
            subject = read_options(options)
            stages.console.print(_read(subject), markup=False)
            if page_only:
                findings, origin = read_findings(out), read_origin(out)
            else:
                findings = discover(
                    subject.X,
                    subject.y,
                    names=subject.names,
                    variables=subject.variables,
                    task=subject.task,
                    test=subject.test,
                    source=options.source,
                    networks=not options.no_networks,
                    true_geometry=subject.true_geometry,
                    seed=options.seed,
                    progress=stages,
                    kept=kept,
                )
                origin = {
                    "command": options.command(),
                    "seed": options.seed,
                    **describe_environment(torch.device("cpu")),
                    "started": started,
                    "finished": _now(),
                }
                # One that was broken off while it wrote has left files of its own.
                write_findings(findings, out, origin=origin, overwrite=overwrite or resume)
        page = write_discovery(
            findings,
            out / PAGE,
            title=_title(options),
            made=origin,
            examples=subject.examples(),
            overwrite=overwrite or resume,
        )
        kept.clear()
    except KeyboardInterrupt:
        if not kept.names():
            raise
        raise Stopped(
            f"stopped; the stages that are done are kept: add --resume --out {out} to go on"
        ) from None
    _tell(findings)
    print(f"wrote {page}, {FINDINGS} and {ARRAYS}")
    return page


def _only_the_page_is_missing(
    out: Path, kept: KeptStages, options: DiscoverOptions, *, resume: bool, overwrite: bool
) -> bool:
    """Whether `out` has the findings, to be gone on with; raises what `run_discover` raises."""
    if overwrite:
        kept.clear()
        return False
    if resume:
        return _has_findings_alone(out, kept, options)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        unfinished = kept.names() or ((out / FINDINGS).exists() and not (out / PAGE).exists())
        going_on = "--resume to go on with it, " if unfinished else ""
        raise RunDirectoryError(
            f"{out} is not empty: add {going_on}--overwrite, or choose another --out"
        )
    return False


def _has_findings_alone(out: Path, kept: KeptStages, options: DiscoverOptions) -> bool:
    """Raises RunDirectoryError where there is nothing to go on with, or what is there is not ours.

    The stages tell by themselves whether they are of the same search.
    """
    there = {name for name in (FINDINGS, ARRAYS, PAGE) if (out / name).exists()}
    if FINDINGS not in there:
        # Arrays beside stages were written last, before the findings.
        others = there - {ARRAYS} if kept.names() else there
        if others:
            raise RunDirectoryError(
                f"{out / min(others)} is there without the findings of a search, and would be"
                " replaced: move it away, or choose another --out"
            )
        return False
    if kept.names():
        return False
    if PAGE in there:
        raise RunDirectoryError(
            f"{out} is finished: there is nothing to go on with. --overwrite makes it anew"
        )
    command = read_origin(out).get("command")
    if command != options.command():
        raise RunDirectoryError(
            f"the findings in {out} are those of `{command}`: repeat it as it was, or choose"
            " another --out"
        )
    return True


def _read(subject: Subject) -> str:
    """What was taken for rows, for names of columns and for a target."""
    names = [*subject.names[:3], "…", subject.names[-1]]
    if len(subject.names) <= 4:
        names = list(subject.names)
    target = "no target"
    if subject.y is not None and subject.task == "classification":
        target = f"target: {plural(len(np.unique(subject.y)), 'value')}, each a class"
    elif subject.y is not None:
        target = "target: numbers"
    rows, columns = plural(len(subject.X), "row"), plural(len(subject.names), "column")
    return f"read {rows} of {columns} ({', '.join(names)}); {target}"


def read_options(options: DiscoverOptions) -> Subject:
    """The table that the options ask for, in the form that they ask for."""
    subject = read_subject(
        options.name,
        target=options.target,
        drop=options.drop,
        task=options.task,
        ordered=options.ordered,
        directory=options.data_dir,
        rows=options.rows,
        seed=options.seed,
    )
    subject = controlled(subject, options.control, options.seed)
    if options.permute is not None:
        subject = permuted(subject, options.permute)
    return subject if options.whiten is None else whitened(subject, options.whiten, options.seed)


def _tell(findings: Findings) -> None:
    """The verdict and the networks, as the page has them."""
    console = Console(highlight=False)
    verdict = discovery_verdict(findings)
    console.print(Text(verdict.headline, style="bold"))
    for sentence in verdict.sentences:
        console.print(Text(f"- {sentence}"))
    if findings.networks:
        table = Table("network", "settings", "validation", "test", "weights", "time", box=None)
        for row in network_rows(findings):
            table.add_row(*map(Text, row))
        console.print(table)


def _title(options: DiscoverOptions) -> str:
    """The file's or dataset's name, and what was done to it."""
    parts = [Path(options.name).name]
    if options.control == "independent":
        parts.append("each column shuffled over the rows")
    elif options.control == "shuffled-rows":
        parts.append("columns of each row shuffled")
    if options.permute is not None:
        parts.append("columns in random order")
    if options.whiten is not None:
        parts.append("whitened")
    return ", ".join(parts)


def _new_folder(name: str) -> Path:
    stem = Path(name).stem or "table"
    parent, number = Path("runs", "discover"), 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
