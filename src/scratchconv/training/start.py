"""Begin a run, or go on with one."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from scratchconv.errors import RunDirectoryError
from scratchconv.training import checkpoint, run_directory
from scratchconv.training.config import RunConfig
from scratchconv.training.environment import describe_environment
from scratchconv.training.interruption import Interruption
from scratchconv.training.loop import Loop
from scratchconv.training.progress import Progress, Silent
from scratchconv.training.records import final_result
from scratchconv.training.run_directory import Run, load_run
from scratchconv.training.setup import Setup, prepare
from scratchconv.training.state import Position, restore


def train(
    config: RunConfig, out: Path | str, *, resume: bool = False, progress: Progress | None = None
) -> Run:
    """Train as ``config`` says, in the run directory ``out``; returns the finished run.

    With ``resume`` an interrupted run goes on from its newest whole checkpoint and ends with the
    weights, bit for bit, that it would have had; a finished one is returned as it is, and where
    there is none yet it is begun. Raises ``RunDirectoryError`` where ``out`` holds another run,
    is in use or cannot be written, ``Collapse`` where the loss stops being finite, and
    ``Stopped`` after a Ctrl-C or SIGTERM.
    """
    config.check()
    out = Path(out)
    progress = progress or Silent()
    _check_free(out, resume=resume)
    before = load_run(out) if (out / "config.json").exists() else None
    if before is not None:
        _check_same(config, before)
        if before.result is not None:
            progress.note(f"{out} is finished already; nothing to do")
            return before
    # Everything that can be refused is refused before the directory is touched.
    setup = prepare(config, precision=before.resolved["precision"] if before else None)
    run_directory.create(out)
    with run_directory.lock(out), Interruption() as interruption:
        position = Position()
        if before is not None:
            position = _go_on(setup, out, progress)
        elif (out / "config.json").exists():
            raise RunDirectoryError(f"{out} was begun by another process; choose another --out")
        else:
            run_directory.write_config(out, config.identity(), setup.resolved())
        progress.begin(
            config, setup.resolved(), position.epoch * len(setup.training) + position.step
        )
        started = _now()
        last = Loop(setup, out, progress, interruption, position).run()
        result = final_result(setup, last)
        result["environment"] = {
            "command": config.command(),
            **describe_environment(),
            "started": started,
            "finished": _now(),
        }
        run_directory.write_result(out, result)
        progress.end(result)
    return load_run(out)


def _check_free(out: Path, *, resume: bool) -> None:
    if resume or not out.exists():
        return
    if not out.is_dir():
        raise RunDirectoryError(f"{out} is a file: choose another --out")
    if (out / "config.json").exists():
        raise RunDirectoryError(
            f"{out} already holds a run: add --resume to go on with it, or choose another --out"
        )
    if any(out.iterdir()):
        raise RunDirectoryError(f"{out} is not empty: choose another --out")


def _check_same(config: RunConfig, before: Run) -> None:
    asked = config.identity()
    different = [name for name in asked if asked[name] != before.config.get(name)]
    if different:
        listed = ", ".join(f"{n} {before.config.get(n)!r} → {asked[n]!r}" for n in different)
        raise RunDirectoryError(
            f"{before.directory} holds another run ({listed}): resume it with its own settings,"
            " or choose another --out"
        )


def _go_on(setup: Setup, out: Path, progress: Progress) -> Position:
    found, damaged = checkpoint.newest(out / "checkpoints")
    for line in damaged:
        progress.note(f"{line}; going back to the checkpoint before it")
    position = Position() if found is None else restore(setup, found)
    run_directory.keep_metrics(out, position.epoch)
    return position


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
