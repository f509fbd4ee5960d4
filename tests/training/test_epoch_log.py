"""`metrics.jsonl` as it is written: a second's lines at once, none lost that a checkpoint needs."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.training import RunConfig, Silent, load_weights, train
from scratchconv.training import epoch_log as module
from scratchconv.training.epoch_log import EpochLog, is_recorded, keep_epochs
from scratchconv.training.start import SliceOver

SMALL = RunConfig(
    model="3-fc", alpha=4, data="digits", method="sgd", batch_size=600, epochs=11, precision="fp32"
)


def on_disk(directory: Path) -> list[int]:
    path = directory / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["epoch"] for line in lines]


def test_lines_wait_for_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, synced = [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(os, "fsync", synced.append)
    log = EpochLog(tmp_path)
    for epoch, seconds in ((1, 0.0), (2, 0.4), (3, 0.5), (4, 0.1), (5, 0.1)):
        now[0] += seconds
        log.add({"epoch": epoch})
        assert [line["epoch"] for line in log.lines] == list(range(1, epoch + 1))
    assert on_disk(tmp_path) == [1, 2, 3, 4]
    assert len(synced) == 2
    log.flush()
    log.flush()
    assert on_disk(tmp_path) == [1, 2, 3, 4, 5]
    assert len(synced) == 3
    assert [line["epoch"] for line in EpochLog(tmp_path).lines] == [1, 2, 3, 4, 5]


def test_what_is_recorded() -> None:
    recorded = [e for e in range(1, 12) if is_recorded(e, every=4, epochs=11)]
    assert recorded == [4, 8, 11]
    assert all(is_recorded(e, every=1, epochs=11) for e in range(1, 12))


def test_keeping_checks_that_nothing_is_missing(tmp_path: Path) -> None:
    log = EpochLog(tmp_path)
    for epoch in (4, 8, 11):
        log.add({"epoch": epoch})
    log.flush()
    keep_epochs(tmp_path, 9, every=4, epochs=11)
    assert on_disk(tmp_path) == [4, 8]
    keep_epochs(tmp_path, 7, every=4, epochs=11)
    assert on_disk(tmp_path) == [4]
    with pytest.raises(RunDirectoryError, match="does not hold the 2 epochs"):
        keep_epochs(tmp_path, 9, every=4, epochs=11)


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    log = EpochLog(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl could not be written"):
        log.add({"epoch": 1})


def test_nothing_is_written_behind_half_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for a moment; the run still ends by flushing its log."""
    monkeypatch.setattr(module, "_WAIT_SECONDS", 1e9)  # all lines but the first wait for the end
    opened, appending = Path.open, []

    def half(path: Path, mode: str = "r", **options: Any) -> Any:
        file = opened(path, mode, **options)
        if path.name == "metrics.jsonl" and mode == "a":
            appending.append(path)
            if len(appending) == 2:
                file.write('{"epoch": 2}\n{"epoch": 3, "st')
                file.close()
                raise OSError(errno.ENOSPC, "No space left on device")
        return file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", half)
        with pytest.raises(RunDirectoryError, match=r"full.*--resume"):
            train(SMALL, tmp_path / "run")
    resumed = train(SMALL, tmp_path / "run", resume=True)
    assert [line["epoch"] for line in resumed.metrics] == list(range(1, 12))


def test_lines_are_not_written_twice_after_a_second_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EpochLog(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.add({"epoch": 1})
    log.flush()
    assert on_disk(tmp_path) == [1]


def test_fewer_lines_of_the_same_run(tmp_path: Path) -> None:
    every = train(SMALL, tmp_path / "every")
    some = train(replace(SMALL, record_every=4), tmp_path / "some")
    assert [line["epoch"] for line in some.metrics] == [4, 8, 11]

    def told(line: dict[str, object]) -> dict[str, object]:
        return {k: v for k, v in line.items() if k not in ("seconds", "dense_gradients")}

    chosen = [line for line in every.metrics if line["epoch"] in (4, 8, 11)]
    assert [told(line) for line in some.metrics] == [told(line) for line in chosen]
    total = sum(line["dense_gradients"] for line in some.metrics)
    assert total == sum(line["dense_gradients"] for line in every.metrics) == 22
    ours, theirs = load_weights(tmp_path / "every"), load_weights(tmp_path / "some")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("every", [1, 3])
def test_in_slices_it_records_the_same(every: int, tmp_path: Path) -> None:
    config = replace(SMALL, epochs=5, record_every=every, checkpoint_seconds=0.0)
    whole = train(config, tmp_path / "whole")
    for _ in range(100):
        try:
            sliced = train(config, tmp_path / "slices", resume=True, seconds=1e-9)
            break
        except SliceOver:
            continue
    assert [{**line, "seconds": 0} for line in sliced.metrics] == [
        {**line, "seconds": 0} for line in whole.metrics
    ]


class Breaking(Silent):
    """Fails when it is told of the third epoch."""

    def epoch(self, metrics: dict[str, Any]) -> None:
        if metrics["epoch"] == 3:
            raise ZeroDivisionError


def test_a_run_that_breaks_leaves_the_lines_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT_SECONDS", 1e9)  # so that the lines do wait
    with pytest.raises(ZeroDivisionError):
        train(SMALL, tmp_path / "run", progress=Breaking())
    assert on_disk(tmp_path / "run") == [1, 2, 3]


def test_how_often_belongs_to_the_run(tmp_path: Path) -> None:
    config = replace(SMALL, epochs=2)
    train(config, tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="record_every 1 → 2"):
        train(replace(config, record_every=2), tmp_path / "run", resume=True)
    with pytest.raises(InvalidArgument, match=r"--record-every 1\.5"):
        replace(config, record_every=1.5).check()  # type: ignore[arg-type]
