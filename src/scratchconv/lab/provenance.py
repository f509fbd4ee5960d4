"""How records were made, in a few words: what every table and figure carries below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scratchconv.lab.records import RunRecord
from scratchconv.report.wording import plural


def provenance(records: Sequence[RunRecord]) -> str:
    """Machines, versions, commits, arithmetic and seeds of all runs, each said once.

    Trials, which never looked at test data, are counted by themselves.
    """
    made = [record for record in records if not record.failure]
    if not made:
        return "No run."
    environments = [record.result.get("environment", {}) for record in made]
    machines = _listed(
        f"{e.get('hardware', {}).get('cpu')}"
        f"{' + ' + str(e['hardware']['gpu']) if e.get('hardware', {}).get('gpu') else ''}"
        for e in environments
    )
    numbers = {int(e.get("hardware", {}).get("threads", 1)) for e in environments}
    threads = " or ".join(str(number) for number in sorted(numbers))
    torch = _listed(f"torch {e.get('versions', {}).get('torch')}" for e in environments)
    version = _listed(f"scratchconv {e.get('version')}" for e in environments)
    commits = _listed(str(e.get("commit")) for e in environments)
    precision = _listed(str(record.resolved.get("precision")) for record in made)
    trials = sum(bool(record.setting("skip_test")) for record in made)
    seeds = {record.setting("seed") for record in made if not record.setting("skip_test")}
    searched = f" and {plural(trials, 'trial')} on validation data" if trials else ""
    failed = len(records) - len(made)
    return (
        f"{plural(len(made) - trials, 'run')} of {plural(len(seeds), 'seed')}{searched}; last"
        f" epoch. {machines}, {threads} thread{'' if threads == '1' else 's'} a run; {version},"
        f" {torch}, {precision}; commit {commits}."
        + (f" {failed} runs ended without a finite loss." if failed else "")
    )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
