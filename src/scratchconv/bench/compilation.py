"""torch.compile for the dense contenders, and a clear word where it cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., Any])

# Past this many variants of one function dynamo silently runs it uncompiled; its default is 8, and
# the contenders share their models' code.
_VARIANTS = 256

_REMEDY = "torch.compile needs a C++ compiler (on Debian and Ubuntu: apt-get install g++)"


def compiled(function: Function) -> Function:
    """`function` (or a module) through torch.compile, for the shapes it meets and no others."""
    torch._dynamo.config.cache_size_limit = _VARIANTS
    if hasattr(torch._dynamo.config, "accumulated_cache_size_limit"):
        torch._dynamo.config.accumulated_cache_size_limit = _VARIANTS
    return cast(Function, torch.compile(function, dynamic=False))


@lru_cache(maxsize=1)
def why_not() -> str | None:
    """Why torch.compile cannot be used here, as one line with the remedy; None where it can.

    Compiles a function of one line: a compiler may be there and lack its headers.
    """
    try:
        compiled(_probe)(torch.zeros(8))
    except Exception as error:  # whatever breaks in the compiler: its errors have no common type
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        return f"torch.compile does not work here ({reason[:200]}); {_REMEDY}"
    return None


def _probe(values: torch.Tensor) -> torch.Tensor:
    return (values + 1) * 2
