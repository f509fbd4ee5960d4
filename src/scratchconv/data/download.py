"""Downloading datasets: from the first mirror that answers, resumable, checked before use."""

from __future__ import annotations

import errno
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scratchconv.data.files_on_disk import (
    data_folder,
    find_folder,
    md5_of,
    published,
    states,
)
from scratchconv.data.published_files import PUBLISHED, DataFile, Download, Published
from scratchconv.errors import DataError

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes it has by now, and its size in bytes."""

_BLOCK = 1 << 16
_TIMEOUT = 30  # seconds without an answer before the next mirror is tried
_REPLACE = "replace it by --overwrite (overwrite=True)"


def fetch(
    name: str,
    directory: str | Path | None = None,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
    registry: Mapping[str, Published] = PUBLISHED,
) -> Path:
    """Download what is missing of a dataset; return the folder that holds its files.

    A download that was cut short goes on where it stopped, if the server allows. Every file gets
    its name only once its md5 is right. Whole files are left alone; damaged ones are replaced
    only with `overwrite`. Raises DataError where a file is damaged, no mirror answers, or what
    they send is not the published file.
    """
    from filelock import FileLock

    root = data_folder(directory)
    source = published(name, root, registry)
    folder = _folder(source, root, registry)
    if not _missing_or_damaged(source, folder, overwrite):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # By the folder of its files, since two datasets may share them.
        shared = "-".join(Path(source.folders[0]).parts) or name
        lock = FileLock(root / f".{shared}.lock").acquire()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise DataError(
            f"{folder} cannot be made or written to ({error}): name a folder you may write"
        ) from error
    with lock:
        # Once more: another process may have fetched them while this one waited.
        wanted = _missing_or_damaged(source, folder, overwrite)
        for download in source.downloads:
            if not download.unpack:
                if any(file.path == download.path for file in wanted):
                    _obtain(download, folder / download.path, overwrite, progress)
            elif wanted:
                archive = root / download.path
                _obtain(download, archive, overwrite, progress)
                beside = [file for file in source.unread if not (folder / file.path).exists()]
                _unpack(archive, [*wanted, *beside], folder)
    return folder


def _folder(source: Published, root: Path, registry: Mapping[str, Published]) -> Path:
    """Where the dataset's files are, or are to be.

    That is a folder of its own where the user's has but something else under their names.
    """
    found, own = find_folder(source, root, registry), root / source.folders[0]
    if found is None:
        return own
    there = {one.status for one in states(source, found)} - {"missing"}
    return own if found == root and there == {"damaged"} else found


def _missing_or_damaged(source: Published, folder: Path, overwrite: bool) -> list[DataFile]:
    wanted = []
    for file, state in zip(source.files, states(source, folder), strict=True):
        if state.status == "damaged" and not overwrite:
            raise DataError(
                f"{state.path} is not the published file ({state.size} bytes, md5 {state.md5}; "
                f"should be {file.size}, {file.md5}): {_REPLACE}"
            )
        if state.status in ("missing", "damaged"):
            wanted.append(file)
    return wanted


def _obtain(download: Download, target: Path, overwrite: bool, progress: Progress | None) -> None:
    """Leave the published file at `target`: as it is if it is right, else downloaded."""
    import pooch
    import requests

    if target.exists():
        if md5_of(target) == download.md5:
            return
        if not overwrite:
            raise DataError(f"{target} is not the published file: {_REPLACE}")
    pooch.get_logger().setLevel("WARNING")  # what is going on is shown by `progress`
    failures = []
    for url in download.urls:
        try:
            pooch.retrieve(
                url,
                known_hash=f"md5:{download.md5}",
                fname=target.name,
                path=target.parent,
                downloader=_Resuming(target, download.size, progress),
            )
        except (requests.RequestException, OSError, ValueError) as error:
            failures.append(f"{url}: {' '.join(str(error).split())}")
        else:
            return
    raise DataError(
        f"{target.name} could not be downloaded ({'; '.join(failures)}): try again later, "
        f"or put the file into {target.parent} yourself"
    )


class _Resuming:
    """A downloader for pooch that keeps what it has in TARGET.part and goes on from there."""

    def __init__(self, target: Path, size: int, progress: Progress | None) -> None:
        self.name = target.name
        self.part = target.with_name(target.name + ".part")
        self.size = size
        self.progress = progress

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        if have != self.size:
            have = have if have < self.size else 0
            headers = {"Accept-Encoding": "identity"}
            if have:
                headers["Range"] = f"bytes={have}-"
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
                if response.status_code == 416:  # longer than what the server has: of no use
                    self.part.unlink(missing_ok=True)
                response.raise_for_status()
                if response.status_code == 206:
                    sent = response.headers.get("Content-Range", "")
                    if not sent.startswith(f"bytes {have}-"):
                        raise ValueError(f"asked from byte {have} on, it sent {sent!r}")
                else:
                    have = 0
                self._save(response, have)
        # From here on pooch checks the md5, and deletes the file where it is wrong.
        shutil.move(self.part, output_file)

    def _save(self, response: Any, have: int) -> None:
        with self.part.open("ab" if have else "wb") as file:
            for block in response.iter_content(_BLOCK):
                have += len(block)
                if have > self.size:
                    break
                file.write(block)
                if self.progress is not None:
                    self.progress(self.name, have, self.size)
        if have != self.size:
            if have > self.size:
                self.part.unlink()
            raise ValueError(f"{have} bytes came of {self.size}")


def _unpack(archive: Path, wanted: list[DataFile], folder: Path) -> None:
    """Take the wanted files out of a tar archive, checking each before it gets its name.

    Files are taken by their names and written to names of our own, so that no entry of the
    archive can lead outside the folder; links and devices are never followed.
    """
    remaining = {file.path: file for file in wanted}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                file = remaining.get(Path(member.name).name)
                content = tar.extractfile(member) if file and member.isreg() else None
                if file is None or content is None or member.size != file.size:
                    continue
                partial = folder / f"{file.path}.part"
                try:
                    with content, partial.open("wb") as output:
                        shutil.copyfileobj(content, output)
                    if md5_of(partial) == file.md5:
                        partial.replace(folder / file.path)
                        del remaining[file.path]
                finally:
                    partial.unlink(missing_ok=True)
    except (tarfile.TarError, OSError, EOFError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"the disk is full: {archive} could not be unpacked into {folder}; free some space,"
                " then fetch again (the archive is kept)"
            ) from error
        raise DataError(f"{archive} cannot be unpacked ({error}): delete it and fetch again") from (
            error
        )
    if remaining:
        raise DataError(
            f"{archive} does not hold the published {', '.join(remaining)}: "
            f"delete it and fetch again"
        )
