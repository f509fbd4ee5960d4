"""Where a dataset's files lie in the user's folder, and whether they are the published ones."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scratchconv.data.published_files import PUBLISHED, DataFile, Published
from scratchconv.data.spoken_digits import SPOKEN_DIGITS, how_to_get
from scratchconv.errors import DataError, InvalidArgument, unknown_name


def default_directory() -> Path:
    """The folder used when none is named: $SCRATCHCONV_DATA, else the user's cache folder."""
    named = os.environ.get("SCRATCHCONV_DATA")
    if named:
        return _expanded(Path(named))
    import pooch  # not at the top: only those who name no folder need it

    return Path(pooch.os_cache("scratchconv"))


def data_folder(directory: str | Path | None) -> Path:
    """The folder named, or the default one; raises DataError for the home of nobody (`~name`)."""
    return default_directory() if directory is None else _expanded(Path(directory))


def _expanded(folder: Path) -> Path:
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise DataError(f"{folder}: no such home is known; give the folder's whole path") from error


def fetching(name: str, directory: Path | None, *, overwrite: bool = False) -> str:
    """The command that downloads a dataset into `directory`, None for the default one."""
    words = ["scratchconv", "data", "fetch", name]
    words += ["--overwrite"] if overwrite else []
    words += [] if directory is None else ["--data-dir", str(directory)]
    return shlex.join(words)


def published(
    name: str, directory: Path, registry: Mapping[str, Published] = PUBLISHED
) -> Published:
    """The published files of `name`, to lie in `directory`.

    Raises InvalidArgument where it is not a dataset of files.
    """
    if name == SPOKEN_DIGITS:
        raise InvalidArgument(
            f"{SPOKEN_DIGITS} has no published hashes to fetch or check it by: "
            f"{how_to_get(directory)}"
        )
    if name not in registry:
        raise unknown_name("dataset of files", name, registry)
    return registry[name]


def present(folder: Path, file: DataFile) -> Path | None:
    """The path of `file` in `folder`, as published or, for .gz files, decompressed; else None.

    The .gz file is preferred, because only its md5 is published.
    """
    for path in (folder / file.path, folder / file.path.removesuffix(".gz")):
        if path.is_file():
            return path
    return None


def find_folder(
    source: Published, directory: Path, registry: Mapping[str, Published] = PUBLISHED
) -> Path | None:
    """The folder that holds most of the dataset's files; None where there are none at all.

    Files directly in the user's folder do not count where they are another dataset's, which has
    files of the same names.
    """
    counts = {
        folder: sum(
            path is not None and not (folder == "." and _is_anothers(path, file, source, registry))
            for file in source.files
            for path in (present(directory / folder, file),)
        )
        for folder in source.folders
    }
    best = max(counts, key=lambda folder: counts[folder])  # the first of equals
    return directory / best if counts[best] else None


def _is_anothers(
    path: Path, file: DataFile, source: Published, registry: Mapping[str, Published]
) -> bool:
    if path.name != Path(file.path).name:  # decompressed: nothing tells them apart
        return not source.decompressed_anywhere
    same_name = {
        other for each in registry.values() for other in each.files if other.path == file.path
    }
    return path.stat().st_size in {other.size for other in same_name - {file}}


def find_files(
    name: str, directory: Path, registry: Mapping[str, Published] = PUBLISHED
) -> list[Path]:
    """The paths of all files of a dataset, in the published order.

    Raises DataError where any is missing; it says which, and how to get them.
    """
    source = published(name, directory, registry)
    remedy = f"get them by: {fetching(name, directory)}"
    folder = find_folder(source, directory, registry)
    if folder is None:
        for download in source.downloads:
            archive = directory / download.path
            if download.unpack and archive.is_file():
                raise DataError(
                    f"{archive} is there but not unpacked: run {fetching(name, directory)}, "
                    f"which checks and unpacks it"
                )
        looked_for = directory / source.folders[0] / source.files[0].path
        raise DataError(f"{directory} holds no files of {name} (such as {looked_for}); {remedy}")
    paths = [present(folder, file) for file in source.files]
    missing = [file.path for file, path in zip(source.files, paths, strict=True) if path is None]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)} of {name}; {remedy}")
    return [path for path in paths if path is not None]


Status = Literal["ok", "missing", "damaged", "unverified"]


@dataclass(frozen=True)
class FileState:
    """What `verify` found of one file: its path, size in bytes and md5 (None where missing).

    "unverified" is a decompressed file, for which no md5 is published.
    """

    path: Path
    status: Status
    size: int | None
    expected_size: int
    md5: str | None
    expected_md5: str


def verify(
    name: str,
    directory: str | Path | None = None,
    *,
    registry: Mapping[str, Published] = PUBLISHED,
) -> list[FileState]:
    """Compare every file of a dataset with the published size and md5. Reads all of them."""
    root = data_folder(directory)
    source = published(name, root, registry)
    folder = find_folder(source, root, registry) or root / source.folders[0]
    return states(source, folder)


def states(source: Published, folder: Path) -> list[FileState]:
    """As `verify`, of the dataset's files in one folder."""
    return [_state(folder, file) for file in source.files]


def _state(folder: Path, file: DataFile) -> FileState:
    path = present(folder, file)
    if path is None:
        missing = folder / file.path
        return FileState(missing, "missing", None, file.size, None, file.md5)
    size = path.stat().st_size
    md5 = md5_of(path)
    status: Status
    if path.name != Path(file.path).name:
        status = "unverified"
    else:
        status = "ok" if (size, md5) == (file.size, file.md5) else "damaged"
    return FileState(path, status, size, file.size, md5, file.md5)


def md5_of(path: Path) -> str:
    """The md5 of a file in hexadecimal: a check against damage, not against malice."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
