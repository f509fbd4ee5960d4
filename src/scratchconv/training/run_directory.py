"""A run directory: the only contract between training and everything after it.

``config.json`` (what was asked, and what it resolved to), ``metrics.jsonl`` (one line an epoch),
``checkpoints/*.safetensors`` (full state) and ``result.json``, written last and by rename. A run
whose ``result.json`` exists is finished; any other can be resumed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from scratchconv.errors import RunDirectoryError
from scratchconv.training import checkpoint

FORMAT = 1


@dataclass(frozen=True)
class Run:
    """A run as it stands on disk; ``result`` is ``None`` while it is not finished."""

    directory: Path
    config: dict[str, Any]
    resolved: dict[str, Any]
    metrics: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None


def load_run(directory: Path | str) -> Run:
    """Read a run directory, finished or not. Raises ``RunDirectoryError`` naming what is wrong."""
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise RunDirectoryError(f"{directory} is not a run directory: it holds no config.json")
    written = _read_json(directory / "config.json")
    if written.get("format") != FORMAT:
        raise RunDirectoryError(
            f"{directory} was written in format {written.get('format')!r};"
            f" this version reads format {FORMAT}"
        )
    result = directory / "result.json"
    return Run(
        directory,
        written["config"],
        written["resolved"],
        read_metrics(directory),
        _read_json(result) if result.is_file() else None,
    )


def load_weights(directory: Path | str) -> dict[str, Tensor]:
    """The model's ``state_dict`` from the newest checkpoint that is whole."""
    found, _ = checkpoint.newest(Path(directory) / "checkpoints")
    if found is None:
        raise RunDirectoryError(f"{directory} holds no checkpoint")
    return found.part("model")


def lock(directory: Path) -> FileLock:
    """Hold the directory against a second process; released when this one ends, however it ends."""
    held = FileLock(directory / "lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise RunDirectoryError(
            f"{directory} is in use by another process; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise checkpoint.cannot_write(directory / "lock", error) from error
    return held


def create(directory: Path) -> None:
    """Make the folders of a run."""
    try:
        (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise checkpoint.cannot_write(directory, error) from error


def write_config(directory: Path, config: dict[str, Any], resolved: dict[str, Any]) -> None:
    """Write ``config.json``."""
    written = {"format": FORMAT, "config": config, "resolved": resolved}
    checkpoint.write_whole(directory / "config.json", json.dumps(written, indent=1) + "\n")


def write_result(directory: Path, result: dict[str, Any]) -> None:
    """Write ``result.json``: from now on the run is finished."""
    written = {"format": FORMAT, **result}
    checkpoint.write_whole(directory / "result.json", json.dumps(written, indent=1) + "\n")


def append_metrics(directory: Path, line: dict[str, Any]) -> None:
    """Add one epoch to ``metrics.jsonl`` and put it on the disk before returning."""
    path = directory / "metrics.jsonl"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise checkpoint.cannot_write(path, error) from error


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The epochs so far. A last line cut short by a kill is left out."""
    path = directory / "metrics.jsonl"
    epochs: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            epochs.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise RunDirectoryError(f"{path}, line {number} is damaged ({error})") from error
    return epochs


def keep_metrics(directory: Path, epochs: int) -> None:
    """Drop what was recorded after the checkpoint of ``epochs`` whole epochs: it is made anew."""
    kept = [json.dumps(line) + "\n" for line in read_metrics(directory) if line["epoch"] <= epochs]
    checkpoint.write_whole(directory / "metrics.jsonl", "".join(kept))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} does not hold a JSON object")
    return content
