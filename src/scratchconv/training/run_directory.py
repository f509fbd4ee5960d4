"""A run directory: the only contract between training and everything after it.

`config.json` (what was asked, and what it resolved to), `metrics.jsonl` (one line an epoch,
or every so many; see `epoch_log`),
`checkpoints/*.safetensors` (full state) and `result.json`, written last and by rename. A run
whose `result.json` exists is finished; any other can be resumed. `engine.jsonl` tells of every step
what form each layer had and how many of its units were screened (`sparse.Engine.take_record`).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from scratchconv import whole_file
from scratchconv.errors import RunDirectoryError
from scratchconv.training import checkpoint

FORMAT = 1


@dataclass(frozen=True)
class Run:
    """A run as it stands on disk; `result` is `None` while it is not finished.

    `started` is when it was first begun (UTC, ISO 8601), where that was recorded.
    """

    directory: Path
    config: dict[str, Any]
    resolved: dict[str, Any]
    metrics: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    started: str | None = None


def load_run(directory: Path | str) -> Run:
    """Read a run directory, finished or not. Raises `RunDirectoryError` naming what is wrong."""
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise RunDirectoryError(f"{directory} is not a run directory: it holds no config.json")
    written = _read_json(directory / "config.json")
    config, resolved = written.get("config"), written.get("resolved")
    if not isinstance(config, dict) or not isinstance(resolved, dict):
        raise RunDirectoryError(
            f"{directory / 'config.json'} lacks 'config' or 'resolved': restore it from a copy"
        )
    result = directory / "result.json"
    return Run(
        directory,
        config,
        resolved,
        read_metrics(directory),
        _read_json(result, ", or delete it and --resume") if result.is_file() else None,
        written.get("started"),
    )


def load_weights(directory: Path | str) -> dict[str, Tensor]:
    """The model's `state_dict`: of a finished run the last one, else the newest that is whole.

    A damaged one that is passed over is told by a `UserWarning`. Raises `RunDirectoryError` where
    there is none, and where that of a finished run is not whole: what `result.json` says is of it.
    """
    directory = Path(directory)
    folder, result = directory / "checkpoints", directory / "result.json"
    if result.is_file() and checkpoint.paths(folder):
        last = checkpoint.path_of(folder, int(_read_json(result).get("steps", 0)))
        try:
            return checkpoint.load(last).part("model")
        except RunDirectoryError as error:
            remedy = "restore it from a copy, or make the run anew in another --out"
            if any(_is_whole(path) for path in checkpoint.paths(folder) if path != last):
                remedy = (
                    f"restore it from a copy, or delete {result} and go on with --resume, which"
                    " trains from the checkpoint before it"
                )
            raise RunDirectoryError(f"{error}: {remedy}") from error
    found, damaged = checkpoint.newest(folder)
    if found is None:
        raise RunDirectoryError(f"{directory} holds no checkpoint")
    for line in damaged:
        warnings.warn(f"{line}; these are the weights of the one before it", stacklevel=2)
    return found.part("model")


def _is_whole(path: Path) -> bool:
    try:
        checkpoint.load(path)
    except RunDirectoryError:
        return False
    return True


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold the directory against a second process; released when this one ends, however it ends."""
    held = FileLock(directory / "lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise RunDirectoryError(
            f"{directory} is in use by another process; wait for it, or choose another --out"
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise checkpoint.cannot_write(directory / "lock", error) from error
    try:
        yield
    finally:
        held.release()


def create(directory: Path) -> None:
    """Make the folders of a run."""
    try:
        (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise checkpoint.cannot_write(directory, error) from error


def clear(directory: Path) -> None:
    """Delete what a process that was killed left half-written beside the run's files."""
    try:
        whole_file.clear(directory, "*.json", "*.jsonl")
    except OSError as error:
        raise checkpoint.cannot_write(directory, error) from error


def write_config(
    directory: Path, config: dict[str, Any], resolved: dict[str, Any], started: str
) -> None:
    """Write `config.json`: from now on the run can be resumed."""
    written = {"format": FORMAT, "config": config, "resolved": resolved, "started": started}
    checkpoint.write_whole(directory / "config.json", json.dumps(written, indent=1) + "\n")


def write_result(directory: Path, result: dict[str, Any]) -> None:
    """Write `result.json`: from now on the run is finished."""
    written = {"format": FORMAT, **result}
    checkpoint.write_whole(directory / "result.json", json.dumps(written, indent=1) + "\n")


def append_engine_record(directory: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Add what the sparse engine did in some steps to `engine.jsonl`."""
    if not lines:
        return
    path = directory / _ENGINE_RECORD
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    except OSError as error:
        raise checkpoint.cannot_write(path, error) from error


def read_engine_record(directory: Path) -> list[dict[str, Any]]:
    """The lines of `engine.jsonl`, one a layer and step; none where there is no such file.

    A line that was cut short by a kill or a full disk is left out.
    """
    path = directory / _ENGINE_RECORD
    lines = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict) and isinstance(content.get("step"), int):
            lines.append(content)
    return lines


def keep_engine_record(directory: Path, steps: int) -> None:
    """Drop what the engine recorded after the first `steps` steps: it is made anew."""
    path = directory / _ENGINE_RECORD
    if path.exists():
        kept = [line for line in read_engine_record(directory) if line["step"] <= steps]
        checkpoint.write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))


_ENGINE_RECORD = "engine.jsonl"


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The epochs so far. A last line cut short by a kill is left out.

    Raises `RunDirectoryError` where another line is not the record of an epoch.
    """
    path = directory / "metrics.jsonl"
    epochs: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        try:
            epochs.append(read_epoch(line))
        except ValueError as error:
            if number < len(lines):
                raise RunDirectoryError(
                    f"{path}, line {number} is damaged ({error}): restore it from a copy, or start"
                    " over with another --out"
                ) from error
    return epochs


def read_epoch(line: bytes) -> dict[str, Any]:
    """One line of `metrics.jsonl`; raises ValueError where it is not the record of an epoch."""
    content = json.loads(line)
    if not isinstance(content, dict) or not isinstance(content.get("epoch"), int):
        raise ValueError("it is not an object with an epoch")
    return content


def _read_json(path: Path, other_remedy: str = "") -> dict[str, Any]:
    """One of the small files, which all carry the format they were written in."""
    remedy = f": restore it from a copy{other_remedy}"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path} cannot be read ({error}){remedy}") from error
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} does not hold a JSON object{remedy}")
    if content.get("format") != FORMAT:
        raise RunDirectoryError(
            f"{path} was written in format {content.get('format')!r};"
            f" this version reads format {FORMAT}"
        )
    return content
