"""Writing one file: never over another by accident, and never half."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from scratchconv.errors import InvalidArgument


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Raise InvalidArgument where `path` is taken or can hold no file, before work is spent."""
    if path.is_dir():
        raise InvalidArgument(
            f"{path} is a folder: name the file to write, e.g. {path / 'report.html'}"
        )
    if path.exists() and not overwrite:
        raise InvalidArgument(
            f"{path} exists: choose another name, or overwrite it (overwrite=True)"
        )


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write by rename, folders included: a reader sees the old file or the new one.

    Raises InvalidArgument where the disk or the permissions do not let it.
    """
    partial: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            partial = Path(file.name)
            write(file)
        # Temporary files are private; this one gets the permissions of any other new file.
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        partial.replace(path)
    except OSError as error:
        raise InvalidArgument(
            f"{path} could not be written ({error}): choose another place"
        ) from error
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)  # gone where the renaming went well
