"""Writing a file that is whole or not there, and that replaces no other by mistake."""

from __future__ import annotations

from pathlib import Path

from scratchconv import whole_file
from scratchconv.errors import DataError, InvalidArgument


def write_new(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write `content` by rename.

    Raises InvalidArgument where `path` exists and is not to be overwritten, DataError where it
    cannot be written.
    """
    if path.exists() and not overwrite:
        raise InvalidArgument(
            f"{path} exists: choose another path, or add --overwrite (overwrite=True)"
        )
    try:
        whole_file.write_whole(path, content)
    except OSError as error:
        raise DataError(f"{path} could not be written ({error.strerror or error})") from error
