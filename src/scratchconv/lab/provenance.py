"""How records were made, in a few words: what every table and figure carries below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scratchconv.data import default_augmentation
from scratchconv.lab.records import RunRecord
from scratchconv.report.wording import data_name, duration, listed, network_name, plural

_SCHEDULES = {
    "cosine": "falling along a cosine",
    "step": "a tenth in the second half",
    "constant": "constant",
}
_FEW = 4
"""Values of a setting that are listed one by one; of more the first and the last are said."""


def settings(records: Sequence[RunRecord]) -> str:
    """What the runs, trials aside, were given: networks, lengths, batches, rates, samples, images.

    What a table's rows differ by beyond that (methods and what was chosen) stands in the table.
    """
    made = [record for record in records if not record.failure and not record.setting("skip_test")]
    if not made:
        return ""
    alphas: dict[str, set[int]] = {}
    for record in made:
        name = network_name(str(record.setting("model")))
        alphas.setdefault(name, set()).add(int(record.resolved.get("alpha", 1)))
    # Networks of one published size have α = 1.
    sizes = [
        f"{name} {_values(of)}{' units' * (name == '3-FC')}"
        for name, of in sorted(alphas.items())
        if of != {1}
    ]
    schedules = listed(sorted({_SCHEDULES[record.setting("schedule")] for record in made}))
    parts = [
        *([f"α: {', '.join(sizes)}"] if sizes else []),
        f"epochs: {_values({int(record.setting('epochs')) for record in made})}",
        f"batches of {_values({int(record.setting('batch_size')) for record in made})}",
        f"learning rate {schedules}",
        f"training samples: {_values({int(r.resolved.get('train_size', 0)) for r in made})}",
        f"augmentation: {augmentation(made) or 'none'}",
    ]
    return f"Settings: {'; '.join(parts)}."


def augmentation(records: Iterable[RunRecord]) -> str:
    """Which random changes training images go through, in words; nothing where there are none."""
    changes = {data_name(str(r.setting("data"))): _augmentation(r) for r in records}
    distinct = set(changes.values())
    if len(distinct) > 1:
        return ", ".join(f"{how} of {data}" for data, how in changes.items())
    return "" if distinct <= {"none"} else distinct.pop()


def _augmentation(record: RunRecord) -> str:
    """Of one run; `none` where there are none."""
    if record.setting("augment") == "none":
        return "none"
    usual = default_augmentation(str(record.setting("data")))
    changes = ["flips"] * usual.flip + ["crops"] * (usual.crop > 0)
    return listed(changes) if changes else "none"


def _values(numbers: set[int]) -> str:
    *first, last = (f"{number:,}" for number in sorted(numbers))
    if len(first) >= _FEW:
        return f"{first[0]} to {last}"
    return f"{', '.join(first)} or {last}" if first else last


def provenance(records: Sequence[RunRecord]) -> str:
    """Machines, versions, commits, arithmetic and seeds of all runs, each said once.

    Trials, which never looked at test data, are counted by themselves.
    """
    made = [record for record in records if not record.failure]
    if not made:
        return "No run."
    environments = [record.result.get("environment", {}) for record in made]
    machines = _listed(
        f"{e.get('hardware', {}).get('cpu') or 'a CPU of unknown make'}"
        f"{' + ' + str(e['hardware']['gpu']) if e.get('hardware', {}).get('gpu') else ''}"
        for e in environments
    )
    numbers = {int(e.get("hardware", {}).get("threads", 1)) for e in environments}
    threads = " or ".join(str(number) for number in sorted(numbers))
    torch = _listed(f"torch {e.get('versions', {}).get('torch')}" for e in environments)
    version = _listed(f"scratchconv {e.get('version')}" for e in environments)
    commits = _listed(e.get("commit") or "unknown (made from no checkout)" for e in environments)
    on_gpu = [record for record in made if record.gpu]
    on_cores = sum(record.core_seconds for record in made if not record.gpu)
    spent = [f"{duration(on_cores)} of a core"] if on_cores or not on_gpu else []
    if on_gpu:
        spent.append(f"{duration(sum(record.seconds for record in on_gpu))} of a GPU")
    precision = _listed(str(record.resolved.get("precision")) for record in made)
    trials = sum(bool(record.setting("skip_test")) for record in made)
    seeds = {record.setting("seed") for record in made if not record.setting("skip_test")}
    searched = f" and {plural(trials, 'trial')} on validation data" if trials else ""
    failed = len(records) - len(made)
    return (
        f"{plural(len(made) - trials, 'run')} of {plural(len(seeds), 'seed')}{searched}; last"
        f" epoch. {machines}, {threads} thread{'' if threads == '1' else 's'} a run; {version},"
        f" {torch}, {precision}; commit {commits}; {listed(spent)} by the clock, pauses included."
        + (f" {plural(failed, 'run')} ended without a finite loss." if failed else "")
    )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
