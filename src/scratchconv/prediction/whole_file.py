"""Writing a file that is whole or not there, and that replaces no other by mistake."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from scratchconv.errors import DataError, InvalidArgument


def write_whole(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write `content` to a new file beside `path`, then rename it.

    Raises InvalidArgument where `path` exists and is not to be overwritten, DataError where it
    cannot be written.
    """
    if path.exists() and not overwrite:
        raise InvalidArgument(f"{path} exists: choose another path, or overwrite=True")
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise DataError(f"{path} could not be written ({error.strerror or error})") from error
