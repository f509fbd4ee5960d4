"""One line a run: what a table or a figure is drawn from, small enough to be kept for ever.

A record holds what the run directory says (settings, result, where it was made, and the epochs
where they are drawn) and what was measured on its weights. The weights themselves stay in the run
directory, which may be thrown away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from scratchconv.errors import RunDirectoryError, ScratchconvError
from scratchconv.training import Run, RunConfig
from scratchconv.training.checkpoint import cannot_write, write_whole

FILE = "records.jsonl"


@dataclass(frozen=True)
class RunRecord:
    """A finished run, or one that failed: its `result` then has the environment alone.

    Attributes:
        key: which run it is, see `run_key`.
        config: the settings that are not the defaults.
        resolved: what they came to, as in `config.json`.
        result: as in `result.json`.
        epochs: lines of `metrics.jsonl`, where an experiment draws them; else empty.
        measured: what was measured on the weights, by the name of the measure.
        failure: why it could not be finished; empty where it was.
    """

    key: str
    config: dict[str, Any]
    resolved: dict[str, Any]
    result: dict[str, Any]
    epochs: list[dict[str, Any]] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    failure: str = ""

    def setting(self, name: str) -> Any:
        """A setting of the run, the default's where it was left at that."""
        return self.config.get(name, getattr(RunConfig(), name))

    def accuracy(self, split: str = "test") -> float:
        """Accuracy in percent of `train`, `validation` or `test`.

        Raises `ScratchconvError` where the run failed or never looked at that split.
        """
        value = self.result.get(f"{split}_accuracy")
        if value is None:
            reason = self.failure or "it was not measured"
            raise ScratchconvError(f"run {self.key} has no {split} accuracy: {reason}")
        return 100.0 * float(value)

    def loss(self, split: str = "test") -> float:
        """Loss of `train`, `validation` or `test`; raises as `accuracy` does."""
        value = self.result.get(f"{split}_loss")
        if value is None:
            reason = self.failure or "it was not measured"
            raise ScratchconvError(f"run {self.key} has no {split} loss: {reason}")
        return float(value)

    def nonzeros(self) -> list[int]:
        """Weights that are not zero, by layer."""
        return [int(layer["nonzero"]) for layer in self.result["layers"]]

    @property
    def version(self) -> str | None:
        """The version of scratchconv that made the run."""
        version = self.result.get("environment", {}).get("version")
        return None if version is None else str(version)

    @property
    def commit(self) -> str | None:
        """The commit that made the run, where it was made from a checkout."""
        commit = self.result.get("environment", {}).get("commit")
        return None if commit is None else str(commit)

    @property
    def started(self) -> str | None:
        """When the run began."""
        started = self.result.get("environment", {}).get("started")
        return None if started is None else str(started)

    @property
    def gpu(self) -> str | None:
        """The GPU that the run was trained on, if it was on one."""
        gpu = self.result.get("environment", {}).get("hardware", {}).get("gpu")
        return None if gpu is None else str(gpu)

    @property
    def seconds(self) -> float:
        """Seconds of training."""
        return float(self.result.get("seconds", 0.0))

    @property
    def core_seconds(self) -> float:
        """Seconds of training times the threads it had."""
        hardware = self.result.get("environment", {}).get("hardware", {})
        return self.seconds * int(hardware.get("threads", 1))


def run_key(config: RunConfig) -> str:
    """Twelve hexadecimal digits that stand for all settings that decide a run's result.

    Only settings that differ from their defaults count: a setting that a later version adds leaves
    the keys of earlier runs as they are.
    """
    text = json.dumps(own_settings(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that decide the result and are not the defaults, as JSON."""
    defaults = RunConfig().identity()
    own = {k: v for k, v in config.identity().items() if v != defaults[k]}
    if not config.engine_counts():
        own.pop("engine", None)
    if config.connections_from is not None:
        own["connections_from"] = config.connections_from.name  # in a lab, it ends in a key
    return own


def record_of(run: Run, config: RunConfig, *, epochs: bool, measured: dict[str, Any]) -> RunRecord:
    """The record of a finished run."""
    assert run.result is not None
    result = {k: v for k, v in run.result.items() if k != "format"}
    lines = run.metrics if epochs else []
    return RunRecord(run_key(config), own_settings(config), run.resolved, result, lines, measured)


def write_records(path: Path, records: Iterable[RunRecord]) -> None:
    """Write all records, sorted by key, in place of what was there."""
    by_key = {record.key: record for record in records}
    lines = [json.dumps(_short(vars(by_key[key])), ensure_ascii=False) for key in sorted(by_key)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(f"{line}\n" for line in lines))


def add_records(path: Path, records: Mapping[str, RunRecord]) -> None:
    """Write records, by their keys, into a file; what others wrote there meanwhile stays in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _held(path.parent / "lock"):
        there = read_records(path)
        mine = {key: merged(record, there.get(key)) for key, record in records.items()}
        write_records(path, {**there, **mine}.values())


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock; another process that holds it, for the time of a write, is waited for."""
    lock = FileLock(path)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        lock.release()


def read_records(path: Path) -> dict[str, RunRecord]:
    """The records of a file by their keys; none where there is no file.

    Raises `RunDirectoryError` naming the line that is damaged.
    """
    if not path.is_file():
        return {}
    records = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise TypeError("it is no record")
            record = RunRecord(**fields)
        except (ValueError, TypeError) as error:  # UnicodeDecodeError is a ValueError
            raise RunDirectoryError(
                f"{path}, line {number} is damaged ({error}): restore the file, or delete the line;"
                " that loses this run alone, and --resume makes it again"
            ) from error
        records[record.key] = record
    return records


def merged(record: RunRecord, other: RunRecord | None) -> RunRecord:
    """`record` with what only another record of the same run has measured or kept.

    A run made anew, by another version say, is another run: its weights were not the same.
    """
    if other is None or not same_run(record, other):
        return record
    return RunRecord(
        record.key,
        record.config,
        record.resolved,
        record.result,
        record.epochs or other.epochs,
        {**other.measured, **record.measured},
        record.failure,
    )


def same_run(record: RunRecord, other: RunRecord) -> bool:
    """Whether both are of one training, and not of two by the same settings."""
    if record.key != other.key or record.started is None:
        return False
    return (record.started, record.version) == (other.started, other.version)


def _short(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value not in ("", [], {})} | {
        name: record[name] for name in ("key", "config", "resolved", "result")
    }
