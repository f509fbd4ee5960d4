"""Writing a file that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Ends the name of a file that is not whole yet; what a killed process leaves can be told by it.
PARTIAL = ".partial"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to, which becomes `path` once the block has ended well.

    A reader sees the old file or the new one, after a power failure too. Where the block raises,
    or the disk or the permissions do not let it, the old file stays and nothing else is left.
    Raises OSError then; what to tell the user about it is the caller's to know.
    """
    # Processes of two containers may have one number, and threads of one process have.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        yield partial
        _flush_file(partial)
        partial.replace(path)
        _flush_folder(path.parent)
    except (Exception, KeyboardInterrupt):
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write `content`, text as UTF-8, as `whole_file` does."""
    with whole_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def clear(folder: Path, *names: str) -> None:
    """Delete what a process that was killed left half-written of these files in `folder`.

    `names` may hold wildcards, as for `Path.glob`. Raises OSError.
    """
    for name in names:
        for partial in folder.glob(f".{name}.*{PARTIAL}"):
            partial.unlink(missing_ok=True)


def _flush_file(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Put a rename on the disk, where the system can: Windows and some file systems cannot."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
