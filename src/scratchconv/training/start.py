"""Begin a run, or go on with one."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone
from pathlib import Path

from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.training import checkpoint, run_directory
from scratchconv.training.allocation import freed_memory_kept
from scratchconv.training.config import RunConfig
from scratchconv.training.connections import read_connections
from scratchconv.training.environment import describe_environment
from scratchconv.training.epoch_log import keep_epochs
from scratchconv.training.interruption import Interruption
from scratchconv.training.loop import Loop, Stopped
from scratchconv.training.precision import memory_errors_in_words, subnormals_flushed
from scratchconv.training.progress import Progress, Silent
from scratchconv.training.records import final_result
from scratchconv.training.run_directory import Run, load_run
from scratchconv.training.setup import Setup, prepare
from scratchconv.training.state import Position, restore, rounding_changed
from scratchconv.whole_file import PARTIAL


class SliceOver(Stopped):
    """The seconds given to `train` are over; the state is saved, and the run can go on."""


def train(
    config: RunConfig,
    out: Path | str,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    seconds: float | None = None,
) -> Run:
    """Train as `config` says, in the run directory `out`; returns the finished run.

    With `resume` an interrupted run goes on from its newest whole checkpoint and ends with the
    weights, bit for bit, that it would have had (on the same processor, with as many threads and
    the same torch; otherwise `progress` is told); a finished one is returned as it is, and where
    there is none yet it is begun. `seconds` is how long this call may train, loading included:
    the step under way is finished and saved. Raises `RunDirectoryError` where `out` holds another
    run, is in use or cannot be written, `Collapse` where the loss stops being finite, `Stopped`
    after a Ctrl-C or SIGTERM, and `SliceOver`, a kind of `Stopped`, after `seconds`.
    """
    config.check()
    if seconds is not None and not seconds > 0:
        raise InvalidArgument(f"seconds is {seconds}: give a positive number, or none")
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    with freed_memory_kept(), subnormals_flushed(), memory_errors_in_words(config.device):
        return _train(config, Path(out), resume, progress or Silent(), deadline)


def _train(config: RunConfig, out: Path, resume: bool, progress: Progress, deadline: float) -> Run:
    before = _begun_before(config, out, resume)
    if before is not None and before.result is not None:
        return _finished_already(before, progress)
    # Everything that can be refused is refused before the directory is touched.
    setup = prepare(config, before=before.resolved if before else None)
    if before is not None:
        _check_data(setup, before)
    run_directory.create(out)
    with run_directory.lock(out), Interruption(deadline) as interruption:
        # While this process was waiting or loading data, another may have been here.
        seen, before = before, _begun_before(config, out, resume=True)
        if before is not None and seen is None:
            raise RunDirectoryError(f"{out} was begun by another process; choose another --out")
        if before is not None and before.result is not None:
            return _finished_already(before, progress)
        started = now = _now()
        run_directory.clear(out)
        if before is None:
            position = Position()
            run_directory.write_config(out, config.identity(), setup.resolved(), started)
        else:
            position = _go_on(setup, out, progress)
            started = before.started or now
        environment = describe_environment(setup.device)
        loop = Loop(setup, out, progress, interruption, position)
        progress.begin(config, setup.resolved(), loop.steps_done)
        try:
            last = loop.run()
        except Stopped as stopped:
            raise stopped if interruption.signalled else SliceOver(str(stopped)) from None
        result = final_result(setup, last)
        if result["test_loss"] is not None:
            loop.check_finite("test loss", result["test_loss"])
        result["environment"] = {
            "command": config.command(),
            **environment,
            "started": started,
            "finished": _now(),
        }
        run_directory.write_result(out, result)
        progress.end(result)
        if interruption.signalled:
            raise Stopped(f"stopped as asked; the run in {out} is finished")
    return load_run(out)


def _finished_already(run: Run, progress: Progress) -> Run:
    progress.note(f"{run.directory} is finished already; nothing to do")
    return run


def _begun_before(config: RunConfig, out: Path, resume: bool) -> Run | None:
    """The run that `out` holds, `None` where it is free; raises where it is neither."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise RunDirectoryError(f"{out} is a file: choose another --out")
    if not (out / "config.json").exists():
        left = _LEFT_BEFORE_BEGINNING
        others = [p for p in out.iterdir() if p.name not in left and p.suffix != PARTIAL]
        if others or checkpoint.paths(out / "checkpoints"):
            raise RunDirectoryError(
                f"{out} is not empty and holds no run (no config.json): choose another --out"
            )
        return None
    if not resume:
        raise RunDirectoryError(
            f"{out} already holds a run: add --resume to go on with it, or choose another --out"
        )
    before = load_run(out)
    _check_same(config, before)
    return before


# With what is half-written, what a process leaves that was killed before it wrote config.json.
_LEFT_BEFORE_BEGINNING = ("checkpoints", "lock")


def _check_same(config: RunConfig, before: Run) -> None:
    asked, defaults = config.identity(), RunConfig().identity()
    # A setting that came after the run was begun had its default then, but for one.
    had = {name: before.config.get(name, defaults[name]) for name in asked}
    had["engine"] = before.config.get("engine", "torch")
    if not config.engine_counts():
        had["engine"] = asked["engine"]
    asked["connections-from"] = _connections_asked(config, before)
    had["connections-from"] = _connections_had(before)
    unknown = sorted(before.config.keys() - asked.keys() - {"connections_from"})
    if unknown:
        raise RunDirectoryError(
            f"{before.directory} was begun with {', '.join(unknown)}, which this version does not"
            " know: go on with the version that began it, or choose another --out"
        )
    different = [name for name in asked if asked[name] != had[name]]
    if different:
        listed = ", ".join(f"{name} {had[name]!r} → {asked[name]!r}" for name in different)
        raise RunDirectoryError(
            f"{before.directory} holds another run ({listed}): resume it with its own settings,"
            " or choose another --out"
        )


def _check_data(setup: Setup, before: Run) -> None:
    had = before.resolved.get("data_digest")
    if had not in (None, setup.data_digest):
        raise RunDirectoryError(
            f"{before.directory} was begun on other data of the name {setup.config.data}: give the"
            " --data-dir that it had, or choose another --out"
        )


def _connections_asked(config: RunConfig, before: Run) -> str | None:
    """What the connections to be kept are: where they lie may change."""
    try:
        connections = read_connections(config)
    except RunDirectoryError:
        if before.result is None:
            raise
        return _connections_had(before)  # a finished run needs them no more: they may be gone
    return None if connections is None else connections.sha256


def _connections_had(before: Run) -> str | None:
    recorded = before.resolved.get("connections")
    return None if recorded is None else str(recorded["sha256"])


def _go_on(setup: Setup, out: Path, progress: Progress) -> Position:
    folder = out / "checkpoints"
    found, damaged = checkpoint.newest(folder)
    for line in damaged:
        progress.note(f"{line}; going back to the checkpoint before it")
    position = Position()
    if found is None and run_directory.read_metrics(out):
        progress.note(f"{folder} holds no checkpoint: the run begins anew")
    if found is not None:
        position = restore(setup, found)
        if changed := rounding_changed(found, setup.device):
            progress.note(f"{changed}: last digits may differ from those of a run in one go")
    checkpoint.clear(folder, after=position.epoch * len(setup.training) + position.step)
    every, epochs = setup.config.record_every, setup.config.epochs
    keep_epochs(out, position.epoch, every=every, epochs=epochs)
    run_directory.keep_engine_record(out, position.epoch * len(setup.training) + position.step)
    return position


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
