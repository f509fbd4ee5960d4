"""Findings in a folder: `findings.json` and `arrays.safetensors`, read back exactly as they were.

Everything that is no array is in the JSON, with each array named where it belongs. Both files are
written beside their places and renamed, the JSON last: where it is, the other is whole. It holds
the SHA-256 of the arrays' file and of its own contents, so that a damaged file is told from a good
one. No pickle is written or loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from scratchconv.discovery.exact_values import decoded, encoded
from scratchconv.discovery.findings import Findings
from scratchconv.errors import DataError, InvalidArgument
from scratchconv.whole_file import whole_file

FINDINGS, ARRAYS = "findings.json", "arrays.safetensors"
FORMAT = 2
_SIGNED = ("findings", "origin", "arrays_sha256")
"""Of what the file's own SHA-256 is; in format 1, of the first two."""


def write_findings(
    findings: Findings,
    folder: Path | str,
    *,
    origin: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write both files into `folder`, which is made if there is none; returns the JSON's path.

    Args:
        findings: to be written.
        folder: where to.
        origin: how they came about (command, versions, …), as JSON can hold it; kept beside them.
        overwrite: whether findings that are there already may be replaced.

    Raises InvalidArgument if there are findings already, or the origin is not JSON; DataError where
    the folder cannot be written to. Nothing is left behind then, and what was there stays.
    """
    place = Path(folder)
    there = [name for name in (FINDINGS, ARRAYS) if (place / name).exists()]
    if there and not overwrite:
        raise InvalidArgument(
            f"{place / there[0]} exists: nothing is overwritten. Name another folder, or ask for"
            " it to be overwritten"
        )
    arrays: dict[str, NDArray[Any]] = {}
    try:
        noted = encoded(findings, "", arrays)
        saved = save(arrays)
        content = {
            "format": FORMAT,
            "arrays_sha256": hashlib.sha256(saved).hexdigest(),
            "findings": noted,
            "origin": dict(origin or {}),
        }
        content["sha256"] = _digest_of(content)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"origin is no JSON: {error}. Give text, numbers, lists") from error
    try:
        place.mkdir(parents=True, exist_ok=True)
        with ExitStack() as both:
            # Left in the reverse order: the arrays get their name first.
            text_file = both.enter_context(whole_file(place / FINDINGS))
            arrays_file = both.enter_context(whole_file(place / ARRAYS))
            # Written by us, not by safetensors, whose files nobody but their owner may read.
            arrays_file.write_bytes(saved)
            text = json.dumps(content, indent=1, allow_nan=False)
            text_file.write_text(text, encoding="utf-8")
            (place / FINDINGS).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"the findings cannot be written to {place}: {error}. Free space there, or name another"
            " folder"
        ) from error
    return place / FINDINGS


def read_findings(folder: Path | str) -> Findings:
    """The findings that `write_findings` wrote, equal to the last bit.

    Raises DataError, naming the file, where one is missing, damaged or of another format.
    """
    place = Path(folder)
    content = _checked(place / FINDINGS)
    path = place / ARRAYS
    try:
        if _digest_of_file(path) != content.get("arrays_sha256"):
            raise DataError(f"{path} is damaged, or belongs to other findings: {_ANEW}")
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {error}. {_ANEW.capitalize()}") from error
    try:
        findings: Findings = decoded(content["findings"], Findings, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{place / FINDINGS} was written by another version of scratchconv"
            f" ({type(error).__name__}: {error}): {_ANEW}"
        ) from error
    return findings


def read_origin(folder: Path | str) -> dict[str, Any]:
    """How the findings came about, as `write_findings` was told. Raises as `read_findings`."""
    origin: dict[str, Any] = _checked(Path(folder) / FINDINGS)["origin"]
    return origin


_ANEW = "make the findings anew"


def _checked(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = isinstance(content, dict) and content.get("format") in (1, FORMAT)
        whole = known and content.get("sha256") == _digest_of(content)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: name a folder that holds findings") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
        raise DataError(f"{path} is damaged: {error}. {_ANEW.capitalize()}") from error
    if not known:
        raise DataError(f"{path} is not of format 1 or {FORMAT}, which can be read: {_ANEW}")
    if not whole:
        raise DataError(f"{path} is damaged: its contents are not what was written. {_ANEW}")
    return content


def _digest_of(content: Mapping[str, Any]) -> str:
    signed = _SIGNED[:2] if content["format"] == 1 else _SIGNED
    own = {name: content.get(name) for name in signed}
    text = json.dumps(own, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
