"""How records were made, in a few words: what every table and figure carries below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scratchconv.lab.records import RunRecord


def provenance(records: Sequence[RunRecord]) -> str:
    """Machines, versions, commits, arithmetic and seeds of all runs, each said once."""
    made = [record for record in records if not record.failure]
    if not made:
        return "No run."
    environments = [record.result.get("environment", {}) for record in made]
    machines = _listed(
        f"{e.get('hardware', {}).get('cpu')}"
        f"{' + ' + str(e['hardware']['gpu']) if e.get('hardware', {}).get('gpu') else ''}"
        for e in environments
    )
    threads = _listed(str(e.get("hardware", {}).get("threads")) for e in environments)
    torch = _listed(f"torch {e.get('versions', {}).get('torch')}" for e in environments)
    version = _listed(f"scratchconv {e.get('version')}" for e in environments)
    commits = _listed(str(e.get("commit")) for e in environments)
    precision = _listed(str(record.resolved.get("precision")) for record in made)
    seeds = {record.config.get("seed", 0) for record in made}
    failed = len(records) - len(made)
    return (
        f"{len(made)} runs, {len(seeds)} seed{'' if len(seeds) == 1 else 's'}; last epoch. "
        f"{machines}, {threads} thread{'' if threads == '1' else 's'} a run; {version}, {torch}, "
        f"{precision}; commit {commits}."
        + (f" {failed} runs ended without a finite loss." if failed else "")
    )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
