"""The lab: makes every run that an experiment asks for once, and keeps its record.

An experiment is a function of a `Lab`. It asks for runs by their configurations and gets their
records; whether they were made just now, gone on with, or there before, in this experiment or in
another, is the lab's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from scratchconv import __version__
from scratchconv.errors import InvalidArgument, RunDirectoryError, ScratchconvError
from scratchconv.lab.jobs import STOPPED, Job, Measure, measure_name, run_jobs
from scratchconv.lab.progress import LabProgress
from scratchconv.lab.records import (
    FILE,
    RunRecord,
    add_records,
    merged,
    read_records,
    run_key,
    same_run,
)
from scratchconv.lab.scales import Scale
from scratchconv.report.wording import plural
from scratchconv.training import RunConfig, Stopped, load_run
from scratchconv.training.connections import read_connections
from scratchconv.training.environment import commit

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class LabOptions:
    """Where runs go and how they are made.

    Attributes:
        out: folder of the scale: `runs/` in it has the run directories, every other folder is an
            experiment's.
        data_dir: folder of the datasets' files.
        jobs: runs at once, which share the cores of this machine.
        cluster: address of a Ray cluster, or None.
        redraw: make no run; a record that is missing is an error.
        any_version: take records of other versions of scratchconv.
    """

    out: Path
    data_dir: Path | None = None
    jobs: int = 1
    cluster: str | None = None
    redraw: bool = False
    any_version: bool = False


class Lab:
    """Runs of one experiment at one scale.

    Attributes:
        scale: sizes, lengths and seeds.
        folder: where the experiment's records and exhibits go.
        used: records of all runs asked for so far, by key.
        tried: the scores of all trials that `choose` compared, by key and what the score is of.
    """

    def __init__(
        self,
        name: str,
        scale: Scale,
        options: LabOptions,
        *,
        datasets: Sequence[str] = (),
        progress: LabProgress | None = None,
    ) -> None:
        self.scale = scale
        self.options = options
        self.folder = options.out / name
        self.datasets = tuple(datasets)
        self.progress = progress or LabProgress()
        self.used: dict[str, RunRecord] = {}
        self.tried: dict[tuple[str, str], float] = {}
        self._told: set[str] = set()
        files = _records_under(options.out)
        self._kept = files.get(self.folder / FILE, {})
        self._known = _together(files.values())

    def config(self, model: str, data: str, **changes: Any) -> RunConfig:
        """A run of this scale: its size, length, batches and augmentation, SGD unless said."""
        settings: dict[str, Any] = {
            "model": model,
            "data": self.scale.stand_in or data,
            "method": "sgd",
            "epochs": self.scale.long,
            "validation": 0.1,
            "augment": self.scale.augment,
            "batch_size": self.scale.batch_size,
            **changes,
        }
        if "alpha" not in changes and "params" not in changes:
            settings |= self.scale.size(model)
        return RunConfig(**settings)

    def train(
        self,
        configs: Mapping[str, RunConfig],
        *,
        measure: Measure | None = None,
        epochs: bool = False,
        weights: bool = False,
    ) -> dict[str, RunRecord]:
        """The records of these runs, by the names they are given here.

        `measure` is called on each finished run directory, and what it returns is
        `measured(record, measure)`; `epochs` keeps the lines of `metrics.jsonl` in the records.
        `weights` is for what goes on from the run's `directory`: where only its record is left, it
        is made again; runs on its connections that have a record are, too, if these are others now.
        Raises `RunDirectoryError` for runs of another version, or where one is to be drawn that
        has no record; `Stopped` after Ctrl-C.
        """
        measures = () if measure is None else (measure_name(measure),)
        by_key = {run_key(config): config for config in configs.values()}
        labels: dict[str, str] = {}
        for name, config in configs.items():
            labels.setdefault(run_key(config), name)
        jobs = {}
        for key, config in by_key.items():
            config.check()
            record = self._recorded(config, measures, epochs)
            there = not weights or self.options.redraw or self._has_weights(config)
            if record is not None and there:
                self.used[key] = record
                continue
            if self._on_other_connections(config):
                raise RunDirectoryError(
                    f"{self.directory(config)} was trained on connections that"
                    f" {config.connections_from} no longer has: delete the former, and it is made"
                    " again"
                )
            if weights and self._weights_lost(config):
                raise RunDirectoryError(
                    f"{self.directory(config)} is finished, but its checkpoints are gone: delete"
                    " the folder, and the run is made again"
                )
            jobs[key] = Job(
                replace(config, data_dir=self.options.data_dir),
                self.directory(config),
                measures,
                epochs,
            )
        if jobs and self.options.redraw:
            raise self._no_records(len(jobs), len(by_key), labels[next(iter(jobs))])
        if not self.options.redraw:
            self._tell_commits(self.used[key] for key in by_key if key not in jobs)
        self.progress.plan(
            {key: labels[key] for key in jobs},
            {key: job.config for key, job in jobs.items()},
            len(by_key) - len(jobs),
            [key for key, job in jobs.items() if job.finished],
        )
        options = self.options
        try:
            with closing(
                run_jobs(
                    list(jobs.values()),
                    at_once=options.jobs,
                    cluster=options.cluster,
                    progress=self.progress,
                )
            ) as made:
                for record in made:
                    self._take(record)
        except KeyboardInterrupt:  # between two runs: one under way has saved its state and says so
            raise Stopped(STOPPED) from None
        return {name: self.used[run_key(config)] for name, config in configs.items()}

    def lacks(self, config: RunConfig) -> bool:
        """Whether a run has no record yet."""
        return self._recorded(config, (), epochs=False) is None

    def _take(self, record: RunRecord) -> None:
        """Keep the record of a run that was made just now."""
        if not self._may_take(record):
            raise self._other_version(record)
        known = self._known.get(record.key, [])
        record = reduce(merged, known, record)
        self._known[record.key] = [record, *known]
        self._kept[record.key] = record
        self.used[record.key] = record
        self.write()
        self.progress.finished(record)

    def _tell_commits(self, reused: Iterable[RunRecord]) -> None:
        """Say which commits runs that are reused were made at, where that is not this one."""
        commits = {record.commit: None for record in reused if record.commit}
        here = commit() if commits else None
        for there in commits:
            if here and there != here and there not in self._told:
                self._told.add(there)
                self.progress.note(
                    f"runs that are reused were made at commit {there}, this is {here}: another"
                    " --out makes them anew"
                )

    def write(self) -> None:
        """Write the records used so far; what the file held besides stays in it."""
        add_records(self.folder / FILE, self.used)

    def train_groups(
        self,
        groups: Mapping[Name, Mapping[str, RunConfig]],
        *,
        measure: Measure | None = None,
        weights: bool = False,
    ) -> dict[Name, list[RunRecord]]:
        """As `train`, of several groups side by side: the records of each, in its order.

        Raises `ValueError` where two runs have one name.
        """
        together: dict[str, RunConfig] = {}
        for runs in groups.values():
            for name, config in runs.items():
                if together.setdefault(name, config) != config:
                    raise ValueError(f"two runs are named {name!r}")
        made = self.train(together, measure=measure, weights=weights)
        return {group: [made[name] for name in runs] for group, runs in groups.items()}

    def choose(
        self,
        candidates: Mapping[Name, Sequence[RunConfig]],
        *,
        measure: Measure | None = None,
        score: Callable[[RunRecord], float] | None = None,
        scored: str = "",
    ) -> dict[Name, RunConfig]:
        """Of the candidates under each name, the one of the highest `score`.

        That is the validation accuracy (regression: the lowest loss) unless said; `scored` says in
        a few words what another accuracy, in percent, is of; `measure` as for `train`. All trials
        under all names are made side by side, each with the scale's `search_seed` and without a
        look at the test data; what is returned has the first seed that is compared, and looks at
        it. A single candidate is not tried. Runs whose loss did not stay finite are out; raises
        `ScratchconvError` where none is left.
        """
        score = score or _validation_score
        trials = {
            name: {
                f"trial {number} of {len(tried)}, {_named(config)}": replace(
                    config, seed=self.scale.search_seed, skip_test=True
                )
                for number, config in enumerate(tried, start=1)
            }
            for name, tried in candidates.items()
            if len(tried) > 1
        }
        best = dict.fromkeys(candidates, 0)
        for name, records in self.train_groups(trials, measure=measure).items():
            scores = {i: score(of) for i, of in enumerate(records) if not of.failure}
            if not scores:
                raise ScratchconvError(
                    "of no candidate did the loss stay finite, so that none can be chosen; the"
                    f" first was {_named(candidates[name][0])}"
                )
            best[name] = max(scores, key=lambda i: scores[i])
            for i, of in enumerate(records):
                self.tried[of.key, scored] = scores.get(i, -math.inf)
        return {
            name: replace(tried[best[name]], seed=self.scale.seeds[0])
            for name, tried in candidates.items()
        }

    def seeds(self, name: str, config: RunConfig) -> dict[str, RunConfig]:
        """The run with every seed of the scale, as `name, seed 0` and so on."""
        return {f"{name}, seed {seed}": replace(config, seed=seed) for seed in self.scale.seeds}

    def directory(self, config: RunConfig) -> Path:
        """The run directory of a run; what it is can be read from its name."""
        names = [config.model, config.data, config.method, f"seed{config.seed}", run_key(config)]
        return self.options.out / "runs" / "-".join(names)

    def _no_records(self, missing: int, asked: int, first: str) -> RunDirectoryError:
        there = dict.fromkeys(str(record.setting("data")) for record in self._kept.values())
        some = [name for name in self.datasets if name in there]
        fewer = "" if len(some) in (0, len(self.datasets)) else f" --datasets {' '.join(some)}, or"
        return RunDirectoryError(
            f"{self.folder}: {missing} of {plural(asked, 'run')} have no record, the first is"
            f" {first}:{fewer} make them first, without --redraw"
        )

    def _has_weights(self, config: RunConfig) -> bool:
        return any((self.directory(config) / "checkpoints").glob("*.safetensors"))

    def _weights_lost(self, config: RunConfig) -> bool:
        finished = (self.directory(config) / "result.json").exists()
        return finished and not self._has_weights(config)

    def _recorded(
        self, config: RunConfig, measures: Sequence[str], epochs: bool
    ) -> RunRecord | None:
        """A record that has all that is asked of the run; raises where all are other versions'.

        The experiment's own before those that others made later: a page is what the records beside
        it say.
        """
        key = run_key(config)
        known = [
            record for record in self._known.get(key, []) if self._of_its_source(config, record)
        ]
        own = self._kept.get(key)
        if own is not None:
            known = sorted(known, key=lambda record: not same_run(record, own))
        taken = [record for record in known if self._may_take(record)]
        if known and not taken:
            raise self._other_version(known[0])
        return next((record for record in taken if _complete(record, measures, epochs)), None)

    def _of_its_source(self, config: RunConfig, record: RunRecord) -> bool:
        """Whether a run on another's connections was trained on those that one has by now.

        It may have been made anew, and on another machine come to others.
        """
        had = record.resolved.get("connections")
        if config.connections_from is None or had is None:
            return True
        source = self.used.get(config.connections_from.name.rpartition("-")[2])
        if source is None or had["from"].get("started") == source.started:
            return True
        return bool(had["sha256"] == _connections_now(config))

    def _on_other_connections(self, config: RunConfig) -> bool:
        """Whether a run directory is there that was trained on other connections than these."""
        directory = self.directory(config)
        if config.connections_from is None or not (directory / "config.json").exists():
            return False
        had = (load_run(directory).resolved.get("connections") or {}).get("sha256")
        now = _connections_now(config)
        return had is not None and now is not None and had != now

    def _may_take(self, record: RunRecord) -> bool:
        return self.options.any_version or record.version == __version__

    def _other_version(self, record: RunRecord) -> RunDirectoryError:
        return RunDirectoryError(
            f"the run {record.key} under {self.options.out} was made by scratchconv"
            f" {record.version or 'of an unknown version'}, this is {__version__}: choose another"
            " --out, or mix them by --any-version (the page then names both)"
        )


def measured(record: RunRecord, measure: Measure) -> dict[str, Any]:
    """What `measure` returned for a run."""
    values: dict[str, Any] = record.measured[measure_name(measure)]
    return values


def _connections_now(config: RunConfig) -> str | None:
    """The digest of the connections a run would be trained on; None where they are not at hand."""
    try:
        connections = read_connections(config)
    except (InvalidArgument, RunDirectoryError):
        return None
    return None if connections is None else connections.sha256


def _complete(record: RunRecord, measures: Sequence[str], epochs: bool) -> bool:
    if record.failure:
        return True
    return all(name in record.measured for name in measures) and bool(record.epochs or not epochs)


def _validation_score(record: RunRecord) -> float:
    """Accuracy on validation data in percent; of regression the loss, negative."""
    if record.result.get("validation_accuracy") is not None:
        return record.accuracy("validation")
    return -record.loss("validation")


def _named(config: RunConfig) -> str:
    return config.command().partition("--model ")[2].partition(" --data-dir")[0]


def _records_under(out: Path) -> dict[Path, dict[str, RunRecord]]:
    """All records of a scale by their files, whichever experiment made them."""
    return {path: read_records(path) for path in sorted(out.glob(f"*/{FILE}"))}


def _together(files: Iterable[Mapping[str, RunRecord]]) -> dict[str, list[RunRecord]]:
    """Those of all files by key, one of each run: this version's first, of these the newest."""
    found: dict[str, list[RunRecord]] = {}
    for records in files:
        for key, record in records.items():
            others = found.setdefault(key, [])
            together = reduce(merged, others, record)
            others[:] = [together, *(other for other in others if not same_run(other, record))]
    for runs in found.values():
        runs.sort(key=lambda run: (run.version == __version__, run.started or ""), reverse=True)
    return found
