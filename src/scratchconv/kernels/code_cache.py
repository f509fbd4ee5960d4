"""The machine code of kernels on disk: found again, or compiled anew if it is old or damaged.

Numba's own cache asks only whether the file that a kernel stands in has changed. But kernels
inline functions of other files, so a change there left old code running; and a damaged file of the
cache ended every later run with a traceback. Here one file holds the code of one kernel for one
set of argument types, and begins with a hash over all that made it and over the code itself. Where
the hash differs, for whichever reason, the kernel is compiled and the file overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from scratchconv.whole_file import write_whole

_HASH_BYTES = hashlib.sha256().digest_size

_NumbaCache: Any = FunctionCache  # which has types only here and there


class CodeCache(_NumbaCache):  # type: ignore[misc]
    """Numba's cache of one kernel, in the folder that numba chooses, with files of our own.

    Raises RuntimeError where numba finds no folder that it can write, and OSError where the sources
    of the kernels cannot be read.
    """

    def __init__(self, kernel: Callable[..., Any]) -> None:
        super().__init__(kernel)
        its_file = self._impl.locator.get_source_stamp()
        its_line = kernel.__code__.co_firstlineno  # tells functions of one name in a file apart
        sources = (sources_hash(Path(__file__).parent), its_file, its_line)
        made_from = (*sources, numba.__version__, llvmlite.__version__)
        module = Path(kernel.__code__.co_filename).stem
        name = f"{module}.{kernel.__qualname__}".replace("<", "").replace(">", "")
        self._cache_file = CodeFiles(Path(self.cache_path), name, made_from)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The code for these argument types, or None, upon which numba compiles it."""
        try:
            return super().load_overload(signature, target_context)
        except Exception:  # what it takes to load machine code can fail in any way
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep what was compiled. On a full disk it still serves this process."""
        with contextlib.suppress(OSError):
            super().save_overload(signature, compiled)


class CodeFiles:
    """The files of one kernel: what numba's cache reads and writes through.

    Args:
        folder: where they lie.
        name: of the kernel, begins the names of the files.
        made_from: all that the code depends on, other than the types of its arguments and the
            processor; what `repr` says of it must be the same in every process.
    """

    def __init__(self, folder: Path, name: str, made_from: tuple[Any, ...]) -> None:
        self._folder = folder
        self._name = name
        self._made_from = made_from

    def load(self, key: tuple[Any, ...]) -> Any:
        """What was saved under `key`, or None."""
        try:
            content = self.path(key).read_bytes()
        except OSError:
            return None
        begins, code = content[:_HASH_BYTES], content[_HASH_BYTES:]
        # Compared first, so that nothing damaged is ever unpickled or run.
        return pickle.loads(code) if begins == self._hash(key, code) else None

    def save(self, key: tuple[Any, ...], data: Any) -> None:
        """Put `data` in the place of what was saved for the same types and processor."""
        code = dumps(data)
        # Code and hash are one file, put there by rename: two processes cannot mix theirs.
        write_whole(self.path(key), self._hash(key, code) + code)

    def flush(self) -> None:
        """Delete all of the kernel's files."""
        for path in self._folder.glob(f"{self._name}-*.nbc"):
            path.unlink(missing_ok=True)

    def path(self, key: tuple[Any, ...]) -> Path:
        """The file for numba's `key`: argument types, processor, hash of the function's bytecode.

        Only the first two name it: new code overwrites what is old, and old files do not pile up.
        """
        types_and_processor = hashlib.sha256(repr(key[:2]).encode()).hexdigest()[:16]
        python = sys.implementation.cache_tag
        return self._folder / f"{self._name}-{types_and_processor}.{python}.nbc"

    def _hash(self, key: tuple[Any, ...], code: bytes) -> bytes:
        return hashlib.sha256(repr((self._made_from, key)).encode() + code).digest()


@cache
def sources_hash(folder: Path) -> str:
    """A hash over the names and contents of the Python files in `folder` and below it.

    Taken once in a process, when the first kernel is defined: later it might tell of files that
    are newer than what the process runs. Raises OSError, also where there are none (a zip file).
    """
    paths = sorted(folder.rglob("*.py"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no Python files")
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()
