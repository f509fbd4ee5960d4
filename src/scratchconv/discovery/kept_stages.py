"""What the stages of a search found, a file each, so that one broken off goes on where it was.

A file is written beside its place and renamed, and holds the SHA-256 of its contents: a damaged one
is named, and its stage is made again. It holds the key of its search as well, which stands for the
table and all that decides what is found in it; stages of two searches are never mixed. No pickle is
written or loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scratchconv import whole_file
from scratchconv.discovery.exact_values import decoded, encoded
from scratchconv.errors import RunDirectoryError

_ENDING = ".safetensors"


class KeptStages:
    """The files of one search in one folder.

    Attributes:
        folder: of the files; it is made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ""

    def names(self) -> tuple[str, ...]:
        """Of the stages that have a file; other files in the folder are not looked at."""
        stems = (path.stem for path in self.folder.glob(f"*{_ENDING}"))
        return tuple(sorted(stem for stem in stems if self._key_of(stem) is not None))

    def begin(self, key: str) -> None:
        """Keep and find stages of the search that `key` stands for.

        Raises RunDirectoryError where there are stages of another one.
        """
        self._key = key
        for name in self.names():
            # Read whole only to tell another search from damage: stages can be large.
            if self._key_of(name) != key and self._read(name) is not None:
                raise RunDirectoryError(
                    f"{self._path(name)} is of other data, options or another version of"
                    " scratchconv: repeat the command as it was, or choose another --out"
                )

    def get(self, name: str, hint: Any) -> tuple[Any, float] | None:
        """What the stage found, of type `hint`, and its seconds; None where it has no good file."""
        if not self._path(name).exists():
            return None
        there = self._read(name)
        if there is None:
            return None
        note, arrays = there
        try:
            return decoded(note["value"], hint, arrays), float(note["seconds"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._warn(name, f"{type(error).__name__}: {error}")
            return None

    def keep(self, name: str, value: object, seconds: float) -> None:
        """Write what the stage found; where the disk does not let it, say so and go on."""
        arrays: dict[str, NDArray[Any]] = {}
        note = {"key": self._key, "value": encoded(value, "value", arrays), "seconds": seconds}
        text = json.dumps(note, allow_nan=False)
        path = self._path(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            metadata = {"note": text, "sha256": _digest(text, arrays)}
            whole_file.write_whole(path, save(arrays, metadata=metadata))
        except (OSError, SafetensorError) as error:
            warnings.warn(
                f"{path} could not be written ({error}): the search goes on, but broken off it"
                " would have to make this stage again",
                UserWarning,
                stacklevel=2,
            )

    def clear(self) -> None:
        """Delete the stages, also what a killed process left of one, and the folder if it is empty.

        What cannot be deleted stays, and so do files that are no stages.
        """
        with contextlib.suppress(OSError):
            for name in self.names():
                self._path(name).unlink()
            whole_file.clear(self.folder, f"*{_ENDING}")
            self.folder.rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"

    def _key_of(self, name: str) -> str | None:
        """The key that a file holds; None where it is no stage, or damaged (`get` will say so)."""
        try:
            with safe_open(self._path(name), framework="numpy") as file:
                key = json.loads((file.metadata() or {})["note"])["key"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        return key if isinstance(key, str) else None

    def _read(self, name: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        """The note and the arrays of a file; None, and a warning, where it is damaged."""
        try:
            with safe_open(self._path(name), framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            text = metadata["note"]
            if _digest(text, arrays) != metadata["sha256"]:
                raise ValueError("its contents are not what was written")
            note: dict[str, Any] = json.loads(text)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            self._warn(name, str(error))
            return None
        return note, arrays

    def _warn(self, name: str, why: str) -> None:
        warnings.warn(
            f"{self._path(name)} is damaged ({why}): this stage is made again",
            UserWarning,
            stacklevel=3,
        )


def search_key(arrays: Mapping[str, NDArray[Any] | None], settings: Mapping[str, object]) -> str:
    """What stands for a search: a digest of its arrays and of its settings' representations."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {None if array is None else (array.dtype, array.shape)}\n".encode())
        if array is None:
            continue
        if array.dtype.kind in "OUT":  # of text, what memory holds depends on the process
            digest.update("\0".join(map(str, array.ravel().tolist())).encode())
        else:
            digest.update(np.ascontiguousarray(array).data)
    digest.update(repr(sorted(settings.items())).encode())
    return digest.hexdigest()


def _digest(text: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(text.encode())
    digest.update(save(dict(arrays)))
    return digest.hexdigest()
