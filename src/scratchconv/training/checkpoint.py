"""Checkpoints: the full state of a run in one safetensors file that is whole or not there.

Every file carries the SHA-256 of its own contents, so that a damaged one is told from a good one.
Nothing in it is ever unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scratchconv import whole_file
from scratchconv.errors import RunDirectoryError

# The newest may be damaged by what killed the run; the one before is the way back.
KEPT = 2


@dataclass
class Checkpoint:
    """A point of a run: every tensor of its state by name, and what is not a tensor as JSON."""

    tensors: dict[str, Tensor]
    state: dict[str, Any] = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix.`, without it."""
        start = prefix + "."
        return {n[len(start) :]: t for n, t in self.tensors.items() if n.startswith(start)}


def save(checkpoint: Checkpoint, folder: Path, step: int) -> Path:
    """Write `folder/step-….safetensors` by rename, then drop all but the newest `KEPT`.

    Raises `RunDirectoryError` where the disk is full; the checkpoints before stay as they were.
    """
    path = path_of(folder, step)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _sorted(checkpoint)}
    state = json.dumps(checkpoint.state)
    metadata = {"state": state, "state_sha256": _text_digest(state), "sha256": digest(tensors)}
    try:
        with whole_file.whole_file(path) as partial:
            partial.touch()  # with the mode that the user's other files have
            mode = stat.S_IMODE(partial.stat().st_mode)
            save_file(tensors, partial, metadata=metadata)  # one that its owner alone may read
            partial.chmod(mode)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    for old in paths(folder)[KEPT:]:
        with contextlib.suppress(OSError):  # one too many does no harm
            old.unlink(missing_ok=True)
    return path


def load(path: Path) -> Checkpoint:
    """Read and verify one checkpoint; `RunDirectoryError` says what is wrong with it."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        whole = (
            digest(tensors) == metadata["sha256"]
            and _text_digest(metadata["state"]) == metadata["state_sha256"]
        )
        state = json.loads(metadata["state"]) if whole else {}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RunDirectoryError(f"{path} is not a readable checkpoint ({error})") from error
    if not whole:
        raise RunDirectoryError(f"{path} is damaged: its contents do not match its SHA-256")
    return Checkpoint(tensors, state)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a line for each newer one that is not.

    `None` where there is none at all. Raises `RunDirectoryError` where there are some and
    every one is damaged: starting over silently would throw away what the user believes to have.
    """
    damaged: list[str] = []
    for path in paths(folder):
        try:
            return load(path), damaged
        except RunDirectoryError as error:
            damaged.append(str(error))
    if damaged:
        raise RunDirectoryError(
            f"no checkpoint in {folder} can be used: {'; '.join(damaged)}."
            " Restore one of them from a copy, or start over with another --out"
        )
    return None, damaged


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint after so many steps stands, or would."""
    return folder / f"{_stem(step)}.safetensors"


def paths(folder: Path) -> list[Path]:
    """The checkpoint files of a run, newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def clear(folder: Path, *, after: int) -> None:
    """Make way for a run that goes on from step `after`.

    Checkpoints of later steps, which are damaged, become `….damaged`: left in place, they would
    pass for the newest and push good ones out. What a killed process left half-written goes.
    """
    try:
        whole_file.clear(folder, "step-*.safetensors")
        for begun in folder.glob(".tmp*"):  # by safetensors, which renames it to our partial
            begun.unlink(missing_ok=True)
        for path in paths(folder):
            if path.stem > _stem(after):
                path.replace(path.with_suffix(".damaged"))
    except OSError as error:
        raise cannot_write(folder, error) from error


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order given."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a small file by rename, so that a reader sees the old one or the new one."""
    try:
        whole_file.write_whole(path, text)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> RunDirectoryError:
    """One line for a failed write: names the file, and a full disk as such."""
    code = getattr(error, "errno", None)
    # safetensors reports the operating system's error as text alone.
    full = code in (errno.ENOSPC, errno.EDQUOT) or f"os error {errno.ENOSPC}" in str(error)
    if full:
        return RunDirectoryError(
            f"the disk is full: {path} could not be written."
            " Nothing saved before is lost: free some space, then go on with --resume"
        )
    return RunDirectoryError(f"{path} could not be written ({error})")


def _sorted(checkpoint: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    yield from sorted(checkpoint.tensors.items())


def _stem(step: int) -> str:
    return f"step-{step:010d}"


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
