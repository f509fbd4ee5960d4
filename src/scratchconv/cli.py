"""The command line: ``scratchconv train``, ``demo``, ``report`` and ``data``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TaskID
from rich.table import Column, Table
from tyro.extras import SubcommandApp

import scratchconv
from scratchconv import data, report
from scratchconv.demo import run_demo
from scratchconv.display import Terminal
from scratchconv.errors import DataError, ScratchconvError
from scratchconv.training import RunConfig, Stopped
from scratchconv.training import train as train_run

app = SubcommandApp()
data_app = SubcommandApp()
app.command(data_app, name="data")
_ERRORS = Console(stderr=True)


@app.command
def train(
    config: RunConfig,
    out: Path,
    resume: bool = False,
) -> None:
    """Train one network and record the run.

    Args:
        config: What to train.
        out: Run directory: configuration, metrics, checkpoints and result are kept here.
        resume: Go on with the run in --out; begin it where there is none.
    """
    terminal = Terminal()
    try:
        train_run(config, out, resume=resume, progress=terminal)
    finally:
        terminal.close()


@app.command
def demo(
    dataset: Annotated[Literal["digits", "cifar10"], tyro.conf.arg(name="data")] = "digits",
    data_dir: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
) -> None:
    """Learn local filters from scratch, beside dense, local and convolutional networks.

    Args:
        dataset: digits needs no files and about a minute; cifar10 needs its files, and minutes.
        data_dir: Folder of the dataset's files (cifar10).
        out: Folder for the runs and the report. Default: a new one under runs/.
        resume: Go on with the demo in --out.
    """
    run_demo(dataset, data_dir, out, resume=resume)


@app.command(name="report")
def report_command(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    out: Path = Path("report.html"),
    title: str = "scratchconv report",
    overwrite: bool = False,
) -> None:
    """Draw one self-contained HTML page from run directories, finished or not.

    Args:
        runs: Run directories.
        out: The page to write.
        title: Its heading.
        overwrite: Replace --out if it exists.
    """
    Console().print(f"wrote {report.write(runs, out, title=title, overwrite=overwrite)}")


@data_app.command(name="list")
def list_data(data_dir: Path | None = None) -> None:
    """Show every dataset, and whether its files are at hand.

    Args:
        data_dir: Folder of the datasets' files. Default: $SCRATCHCONV_DATA, else a cache folder.
    """
    table = Table("name", "image", "classes", "train", "test", Column("files", overflow="fold"))
    for entry in data.describe(data_dir):
        found = "built in" if entry.built_in else str(entry.found or "not here")
        image = "×".join(str(side) for side in entry.image)
        sizes = (f"{entry.train_size:,}", f"{entry.test_size:,}")
        table.add_row(entry.name, image, str(entry.classes or "–"), *sizes, found)
    Console().print(table)


@data_app.command(name="fetch")
def fetch_data(
    name: tyro.conf.Positional[str], data_dir: Path | None = None, overwrite: bool = False
) -> None:
    """Download a dataset; a download that broke off goes on where it stopped.

    Args:
        name: Dataset, as in data list.
        data_dir: Where to. Default: $SCRATCHCONV_DATA, else a cache folder.
        overwrite: Replace files that are there but damaged.
    """
    with Progress(*Progress.get_default_columns(), DownloadColumn(), console=_ERRORS) as bar:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, size: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=size)
            bar.update(tasks[file], completed=done)

        folder = data.fetch(name, data_dir, show, overwrite=overwrite)
    print(f"{name} is complete in {folder}")


@data_app.command(name="verify")
def verify_data(name: tyro.conf.Positional[str], data_dir: Path | None = None) -> None:
    """Compare every file of a dataset with its published size and md5.

    Args:
        name: Dataset, as in data list.
        data_dir: Folder of the datasets' files. Default: $SCRATCHCONV_DATA, else a cache folder.
    """
    states = data.verify(name, data_dir)
    for state in states:
        found = "" if state.size is None else f" {state.size:,} bytes, md5 {state.md5}"
        print(f"{state.status:10} {state.path}{found}")
    bad = [state.path.name for state in states if state.status in ("missing", "damaged")]
    if bad:
        raise DataError(
            f"{', '.join(bad)} of {name} missing or damaged: get them anew by"
            f" scratchconv data fetch {name} --overwrite"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors the user can put right become one line and exit status 1."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"scratchconv {scratchconv.__version__}")
        return
    # Weights that shrink towards zero pass through subnormals, which CPUs multiply 8× slower.
    torch.set_flush_denormal(True)
    try:
        app.cli(
            prog="scratchconv",
            description=scratchconv.__doc__,
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    except Stopped as stopped:
        _fail(str(stopped), 130)
    except ScratchconvError as error:
        _fail(f"error: {error}", 1)
    except KeyboardInterrupt:
        _fail("stopped", 130)


def _fail(line: str, status: int) -> None:
    print(line, file=sys.stderr)
    raise SystemExit(status)
