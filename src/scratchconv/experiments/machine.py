"""The one machine that the records below a table were made on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scratchconv.errors import ScratchconvError


def one_machine(environments: Sequence[Mapping[str, Any]], what: str = "records") -> str:
    """Processor, threads and torch of all `environments` (`describe_environment`), in words.

    Raises ScratchconvError, calling them `what`, where they are of several machines or releases of
    torch: their seconds could not stand in one table.
    """
    machines = {
        (e["hardware"]["cpu"], e["hardware"]["threads"], e["versions"]["torch"])
        for e in environments
    }
    if len(machines) != 1:
        raise ScratchconvError(f"the {what} are of {len(machines)} machines: {sorted(machines)}")
    ((cpu, threads, torch),) = machines
    return f"{cpu}, {threads} threads, torch {torch}"
