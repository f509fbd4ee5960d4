"""One run as a job: train it, measure its weights, return its record; here or elsewhere."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch

from scratchconv.errors import Collapse, InvalidArgument, ScratchconvError
from scratchconv.lab.records import RunRecord, own_settings, record_of, run_key
from scratchconv.training import Progress, RunConfig, Stopped, train
from scratchconv.training.environment import describe_environment
from scratchconv.training.epoch_log import epochs_done
from scratchconv.training.interruption import serve_parent
from scratchconv.training.precision import resolve_device
from scratchconv.training.progress import Silent

Measure = Callable[[Path, Path | None], dict[str, Any]]
"""Measures a finished run's weights: given its directory and the data folder, returns JSON.

A function of a module, so that other processes find it by its name.
"""


STOPPED = "stopped as asked; go on by adding --resume"

# Seconds between two looks at how far the runs of other processes are.
_LOOK = 2.0


class JobsProgress(Progress, Protocol):
    """Listens to several runs at once."""

    def under_way(self, epochs: Mapping[str, int]) -> None:
        """The epochs that runs in other processes have behind them, by key."""


@dataclass(frozen=True)
class Job:
    """A run to be made in `directory`, or gone on with there, and what to measure on it."""

    config: RunConfig
    directory: Path
    measures: tuple[str, ...] = ()
    epochs: bool = False

    @property
    def finished(self) -> bool:
        """Whether the run was made before, and lacks its record or a measurement alone."""
        return (self.directory / "result.json").exists()


def measure_name(measure: Measure) -> str:
    """`module:function`, which says in a record what a measurement was made by."""
    return f"{measure.__module__}:{measure.__qualname__}"


def run_job(job: Job, progress: Progress | None = None) -> RunRecord:
    """Train and measure. A run whose loss does not stay finite is a record with a `failure`."""
    if job.finished:
        progress = None  # it is here to be measured: that it is finished need not be told
    try:
        run = train(job.config, job.directory, resume=True, progress=progress)
    except Collapse as collapse:
        return _failed(job.config, str(collapse))
    measured = {}
    for name in job.measures:
        module, function = name.split(":")
        measure: Measure = getattr(import_module(module), function)
        measured[name] = measure(job.directory, job.config.data_dir)
    return record_of(run, job.config, epochs=job.epochs, measured=measured)


@dataclass
class _Notes(Silent):
    """Keeps what a run in another process would tell, each once."""

    texts: dict[str, None] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.texts.setdefault(text)


def _run_noting(job: Job) -> tuple[RunRecord, list[str]]:
    notes = _Notes()
    return run_job(job, notes), list(notes.texts)


def _failed(config: RunConfig, reason: str) -> RunRecord:
    """A failure is as much a version's as a result is: a later one may not fail."""
    environment = describe_environment(resolve_device(config.device))
    result = {"environment": {"command": config.command(), **environment}}
    return RunRecord(run_key(config), own_settings(config), {}, result, failure=reason)


def run_jobs(
    jobs: Sequence[Job], *, at_once: int, cluster: str | None, progress: JobsProgress
) -> Generator[RunRecord, None, None]:
    """The records of `jobs`, as they come to be finished.

    `at_once` processes share this machine's cores; with `cluster`, the address of a Ray cluster
    ("auto" for the one this machine belongs to), Ray places them. Raises what a job raised, after
    the others have saved their state.
    """
    if cluster is not None:
        yield from _on_cluster(jobs, cluster, progress, threads=threads_for(at_once))
    elif at_once == 1 or len(jobs) == 1:
        for job in jobs:
            yield run_job(job, progress)
    else:
        yield from _in_processes(jobs, at_once, progress)


def threads_for(at_once: int) -> int:
    return max(1, (os.cpu_count() or 1) // at_once)


def _in_processes(jobs: Sequence[Job], at_once: int, progress: JobsProgress) -> Iterator[RunRecord]:
    # spawn: a process forked after torch's threads have started may hang.
    with _stopping_together(
        ProcessPoolExecutor(
            at_once,
            mp_context=get_context("spawn"),
            initializer=_begin_process,
            initargs=(threads_for(at_once),),
        ),
        progress,
    ) as pool:
        waiting = iter(jobs)

        def begin(count: int) -> dict[Future[tuple[RunRecord, list[str]]], Job]:
            return {pool.submit(_run_noting, job): job for job in islice(waiting, count)}

        # No more than are made at once: what waits in the pool cannot be called back, and would
        # begin when those before it were asked to stop.
        running = begin(at_once)
        while running:
            done, _ = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                record, notes = future.result()
                running |= begin(1)
                for text in notes:
                    progress.note(text)
                yield record
            if not done:
                looks = {run_key(job.config): job.directory for job in running.values()}
                progress.under_way({key: epochs_done(where) for key, where in looks.items()})


def _begin_process(threads: int) -> None:
    torch.set_num_threads(threads)  # numba's kernels follow torch
    serve_parent()


@contextmanager
def _stopping_together(
    pool: ProcessPoolExecutor, progress: JobsProgress
) -> Iterator[ProcessPoolExecutor]:
    """After an error, Ctrl-C or SIGTERM no new run begins, and those under way save their state."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if in_main else None
    others = {process.pid for process in active_children()}  # the caller's own
    try:
        with pool:
            try:
                yield pool
            except BaseException:
                if under_way := [p for p in active_children() if p.pid not in others]:
                    progress.note("stopping; runs under way save their state first")
                for process in under_way:
                    process.terminate()  # train takes SIGTERM as a request to save and stop
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    except KeyboardInterrupt:
        raise Stopped(STOPPED) from None
    except BrokenProcessPool as error:
        raise ScratchconvError(
            "a process was killed, most likely for want of memory: ask for fewer --jobs, then go on"
            " with --resume"
        ) from error
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _on_cluster(
    jobs: Sequence[Job], address: str, progress: JobsProgress, *, threads: int
) -> Iterator[RunRecord]:
    try:
        import ray
    except ImportError:
        raise InvalidArgument(
            "--cluster needs Ray: pip install 'scratchconv[cluster]', on every machine of it"
        ) from None
    ray.init(address=None if address == "local" else address, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=threads, max_retries=3)(_cluster_job)
        left = [remote.remote(job, threads) for job in jobs]
        while left:
            done, left = ray.wait(left)
            record, notes = ray.get(done[0])
            for text in notes:
                progress.note(text)
            yield record
    finally:
        ray.shutdown()


def _cluster_job(job: Job, threads: int) -> tuple[RunRecord, list[str]]:
    torch.set_num_threads(threads)
    return _run_noting(job)
