"""The record of an experiment that is a command of its own: JSON with every reading, and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scratchconv.errors import RunDirectoryError
from scratchconv.training.checkpoint import write_whole


def check_free(out: Path, name: str, *, overwrite: bool) -> None:
    """Raise RunDirectoryError where `out` holds this record already, before work is spent."""
    record = out / f"{name}.json"
    if record.exists() and not overwrite:
        raise RunDirectoryError(f"{record} exists: add --overwrite, or choose another --out")


def write_files(out: Path, name: str, record: Mapping[str, Any], page: str) -> None:
    """Write `NAME.json` and `NAME.md` into `out`, which is made if there is none."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / f"{name}.json", json.dumps(record, indent=1) + "\n")
    write_whole(out / f"{name}.md", page)
