"""Writing one file: never over another by accident, and never half."""

from __future__ import annotations

from pathlib import Path

from scratchconv import whole_file
from scratchconv.errors import InvalidArgument


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Raise InvalidArgument where `path` is taken or can hold no file, before work is spent."""
    if path.is_dir():
        raise InvalidArgument(
            f"{path} is a folder: name the file to write, e.g. {path / 'report.html'}"
        )
    if path.exists() and not overwrite:
        raise InvalidArgument(
            f"{path} exists: choose another name, or add --overwrite (overwrite=True)"
        )


def write_whole(path: Path, content: bytes | str) -> None:
    """Write by rename, folders included: a reader sees the old file or the new one.

    What UTF-8 cannot write of a text (names of files may hold such) becomes a question mark.
    Raises InvalidArgument where the disk or the permissions do not let it.
    """
    if isinstance(content, str):
        content = content.encode(errors="replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole_file.write_whole(path, content)
    except OSError as error:
        raise InvalidArgument(
            f"{path} could not be written ({error}): choose another place"
        ) from error
