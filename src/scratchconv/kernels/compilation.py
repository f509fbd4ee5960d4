"""How kernels are compiled (cached on disk where possible) and with how many threads they run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import numba
import torch

from scratchconv.kernels.code_cache import CodeCache

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

# Numba's fallback thread pool ("workqueue") ends the process if two threads enter it at once.
_launch = threading.Lock()
_launched_by: int | None = None  # the process that first ran kernels

_MOST_THREADS: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]

# Elements below which a second thread costs more than it saves (torch's own choice on the CPU).
_GRAIN = 32768


# Rows are handed to threads in about this many blocks: enough to even out what each has to do.
BLOCKS = 64


def compiled(function: Kernel) -> Kernel:
    """Compile `function` for the CPU at its first call: parallel over `prange`, GIL released.

    IEEE arithmetic is kept: no reordering, no contraction into fused multiply-adds. The machine
    code is cached on disk (`code_cache`), so that only the first process after a change pays for
    the compilation; where no folder can be written, each process compiles for itself.
    """
    return _cached(function, parallel=True)


def compiled_serial(function: Kernel) -> Kernel:
    """As `compiled`, for work that is not split between threads."""
    return _cached(function, parallel=False)


# numpy: a division by zero gives NaN or infinity. Python's error could not leave a parallel loop.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def _cached(function: Kernel, *, parallel: bool) -> Kernel:
    dispatcher = numba.njit(function, parallel=parallel, **_OPTIONS)
    # No folder that can be written, or no sources that can be read (in a zip file).
    with suppress(RuntimeError, OSError):
        dispatcher._cache = CodeCache(function)  # where numba's cache=True puts its own
    return cast(Kernel, dispatcher)


# Left to itself LLVM may find such a function too long to be put where it is called, and loops are
# then not vectorised: a layer's forward pass took twice as long, in the process that compiled it.
# Loaded from the cache, where code is optimised once more, it was fast, and nobody saw it.
_PART_OF_ITS_CALLER: dict[str, Any] = {"error_model": "numpy", "forceinline": True}


def compiled_inline(function: Kernel) -> Kernel:
    """Compile a `function` that kernels call in their inner loop."""
    return cast(Kernel, numba.njit(function, **_PART_OF_ITS_CALLER))


_ANY_ORDER = {"reassoc", "contract", "nsz"}


def compiled_reduction(function: Kernel) -> Kernel:
    """Compile a `function` that kernels call to reduce a row, free to sum in several lanes.

    Sums are then taken in another order than written, the same one at every call.
    """
    return cast(Kernel, numba.njit(function, fastmath=_ANY_ORDER, **_PART_OF_ITS_CALLER))


def kernels_can_run() -> bool:
    """Whether kernels may run in this process: not in one forked from a process that ran some.

    Threads do not survive a fork, and GNU OpenMP ends a process that asks for them again.
    """
    return _launched_by in (None, os.getpid())


@contextmanager
def torch_threads(elements: int) -> Iterator[None]:
    """Run a kernel on `elements` elements with as many threads as torch would use for them.

    One setting then rules both: `torch.set_num_threads`, or `OMP_NUM_THREADS` as `torchrun` sets
    it. Blocks of different Python threads take turns; do not nest them.
    """
    global _launched_by
    worthwhile = -(-elements // _GRAIN)
    with _launch:
        _launched_by = os.getpid()
        of_torch = torch.get_num_threads()
        before = numba.get_num_threads()
        numba.set_num_threads(max(1, min(of_torch, worthwhile, _MOST_THREADS)))
        try:
            yield
        finally:
            numba.set_num_threads(before)
            # Numba starts its OpenMP threads by setting OpenMP's own number, which is torch's too:
            # torch would go on with another number of threads, and so with other rounding.
            if torch.get_num_threads() != of_torch:
                torch.set_num_threads(of_torch)
