"""The command line: `scratchconv demo`, `train`, `reproduce`, `report`, `bench` and others."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
import tyro
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TaskID
from rich.table import Column, Table
from rich.text import Text
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo
from tyro.extras import SubcommandApp

import scratchconv
from scratchconv import data, prediction, report
from scratchconv.bench import BenchOptions, run_bench
from scratchconv.demo import run_demo
from scratchconv.display import Terminal
from scratchconv.errors import DataError, InvalidArgument, ScratchconvError
from scratchconv.experiments.catalogue import AS_PUBLISHED_CODE, EXPERIMENTS
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.reproduce import reproduce as reproduce_experiment
from scratchconv.lab import LabOptions
from scratchconv.lab.scales import SCALES
from scratchconv.training import RunConfig, Stopped, load_dataset, load_model, load_run
from scratchconv.training import train as train_run

app = SubcommandApp()
data_app = SubcommandApp()

_ABOUT = f"""{scratchconv.__doc__}

Begin with: scratchconv demo. The flags of a command: scratchconv train --help.
The version: scratchconv --version."""

_Dataset = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]


def train(
    config: RunConfig,
    out: Path,
    resume: bool = False,
) -> None:
    """Train one network and record the run.

    Args:
        config: What to train.
        out: Run directory to make: configuration, metrics, checkpoints and result go there.
        resume: Go on with the run in --out; begin it where there is none.
    """
    with Terminal() as terminal:
        train_run(config, out, resume=resume, progress=terminal)


def demo(
    dataset: Annotated[Literal["digits", "cifar10"], tyro.conf.arg(name="data")] = "digits",
    data_dir: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
) -> None:
    """Learn local filters from scratch, beside dense, local and convolutional networks.

    Args:
        dataset: digits takes about a minute and needs no files; cifar10 takes minutes.
        data_dir: Folder of CIFAR-10's files; without it $SCRATCHCONV_DATA, or else a cache folder.
        out: Folder for the runs and the report; without it, a new one under runs/.
        resume: Go on with the demo in --out.
    """
    run_demo(dataset, data_dir, out, resume=resume)


def report_command(
    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN_DIR ...", help_behavior_hint="(required)"),
    ],
    out: Path = Path("report.html"),
    title: str = "scratchconv report",
    overwrite: bool = False,
) -> None:
    """Draw one self-contained HTML page from run directories, finished or not.

    Args:
        runs: Run directories, as --out of train made them.
        out: The page to write.
        title: Its heading.
        overwrite: Replace --out if it exists.
    """
    print(f"wrote {report.write(runs, out, title=title, overwrite=overwrite)}")


def discover(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE_OR_DATASET")],
    target: str | None = None,
    drop: tuple[str, ...] = (),
    task: Literal["auto", "classification", "regression"] = "auto",
    ordered: bool = False,
    permute: int | None = None,
    whiten: float | None = None,
    control: Literal["none", "independent", "shuffled-rows"] = "none",
    source: Literal["auto", "data", "labels", "both"] = "auto",
    rows: int | None = None,
    no_networks: bool = False,
    seed: int = 0,
    out: Path | None = None,
    data_dir: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Find which columns of a table are neighbours, where they lie, and what they share.

    Args:
        name: A csv, tsv, txt, parquet, npz or npy file, or a dataset; data list shows those.
        target: Column to be predicted, by name or number; without it, the array y of an npz file,
            and of other files none: then the data alone are asked.
        drop: Columns to leave out, by name or number; y leaves out the array y of an npz file.
        task: auto: classification of text and of few whole numbers, else regression.
        ordered: The file's columns lie on a line as they stand: hold what is found against that.
        permute: Shuffle the columns first, by this seed.
        whiten: Take the correlations out first (ZCA); the ridge, in mean eigenvalues: 1e-3, say.
        control: Take the structure out first, to see that none is found. independent: each column
            is shuffled over the rows; shuffled-rows: the columns of each row are shuffled.
        source: data: what depends on what. labels: what is learned together. auto: both, if it can.
        rows: Look at so many training rows only, drawn at random.
        no_networks: Train no networks to compare.
        seed: Of all that is drawn.
        out: Folder for findings.json, arrays.safetensors and page.html; without it, a new one
            under runs/discover/.
        data_dir: Folder of the dataset's files; without it $SCRATCHCONV_DATA, or a cache folder.
        resume: Go on with the search in --out that was broken off; all else as it was.
        overwrite: Replace what is in --out.
    """
    # Not at the top: scikit-learn takes a second, and the other commands do without.
    from scratchconv.discover import DiscoverOptions, run_discover

    options = DiscoverOptions(
        name=name,
        target=target,
        drop=drop,
        task=None if task == "auto" else task,
        ordered=ordered,
        permute=permute,
        whiten=whiten,
        control=control,
        source=source,
        rows=rows,
        no_networks=no_networks,
        seed=seed,
        data_dir=data_dir,
    )
    run_discover(options, out, resume=resume, overwrite=overwrite)


def export(
    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")],
    out: Path,
    data_dir: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write a trained network for prediction: only the weights that are not zero.

    Of images the file takes the bytes as they are, and normalises them itself.

    Args:
        run: Run directory, as --out of train made it.
        out: File to write: .safetensors for scratchconv.load_predictor, .onnx for any ONNX runtime.
        data_dir: Folder of the run's dataset, whose mean and deviation go into the file.
        overwrite: Replace --out if it exists.
    """
    if out.suffix not in (".safetensors", ".onnx"):
        raise InvalidArgument(f"--out {out}: must end in .safetensors or .onnx")
    trained = load_run(run)
    config = trained.config
    if config["permute"] is not None:
        raise InvalidArgument(f"{run} was trained on permuted pixels: it would misread any image")
    dataset = load_dataset(run, data_dir)
    bytes_in = dataset.train.inputs.dtype == torch.uint8
    mean, std = (dataset.mean, dataset.std) if bytes_in else (None, None)
    model = load_model(run)
    if out.suffix == ".onnx":
        network = prediction.compact(model, mean=mean, std=std)
        prediction.export_onnx(network, out, overwrite=overwrite, bytes_in=bytes_in)
    else:
        prediction.export(model, out, overwrite=overwrite, mean=mean, std=std)
    print(f"wrote {out} ({out.stat().st_size:,} bytes)")
    if trained.result is None:
        done = len(trained.metrics)
        print(
            f"{run} is not finished ({done} of {config['epochs']} epochs are recorded): these are"
            " the weights of its newest checkpoint",
            file=sys.stderr,
        )


def bench(config: BenchOptions, out: Path, overwrite: bool = False) -> None:
    """Time the engine against the alternatives, all in one run, and write a record.

    Args:
        config: What to compare.
        out: Folder for bench.md (tables) and bench.json (every reading).
        overwrite: Replace the record in --out if there is one.
    """
    page = run_bench(config, out, overwrite=overwrite)
    print(page.read_text(encoding="utf-8"), end="")
    print(f"\nwrote {page} and {page.with_suffix('.json')}")


def reproduce(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = "",
    scale: Literal["smoke", "laptop", "ee411", "paper"] = "laptop",
    out: Path | None = None,
    data_dir: Path | None = None,
    datasets: tuple[str, ...] = (),
    resume: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    redraw: bool = False,
    any_version: bool = False,
    as_published_code: bool = False,
    show_list: Annotated[bool, tyro.conf.arg(name="list")] = False,
) -> None:
    """Make a published table or figure anew, with the published numbers beside ours.

    Args:
        name: Which one, or all of them; --list shows them.
        scale: smoke: seconds, on digits. laptop: two cores. ee411: the EE-411 report's size.
            paper: Neyshabur's own, on a GPU.
        out: Folder of runs, records and pages; without it, runs/reproduce/SCALE.
        data_dir: Folder of the datasets' files; without it $SCRATCHCONV_DATA, or a cache folder.
        datasets: Keep to these of the experiment's datasets; where settings are chosen on one for
            all, on the first.
        resume: Go on in --out: finished runs are reused, broken ones continued.
        jobs: Runs at once; they share the cores.
        cluster: Address of a Ray cluster that makes the runs (auto: the one of this machine).
        redraw: Make no run: draw from the records in --out.
        any_version: Take records of other versions of scratchconv too.
        as_published_code: As the published code has it, where that differs from the text (zhang-*).
        show_list: Show every experiment with its source and how long it takes.
    """
    if show_list or not name:
        _list_experiments()
        return
    if jobs < 1:
        raise InvalidArgument(f"--jobs {jobs}: must be at least 1")
    options = LabOptions(
        out=out or Path("runs", "reproduce", scale),
        data_dir=data_dir,
        jobs=jobs,
        cluster=cluster,
        redraw=redraw,
        any_version=any_version,
    )
    page = reproduce_experiment(
        name,
        scale,
        options,
        datasets=datasets,
        resume=resume,
        published_code=as_published_code,
    )
    print(f"wrote {page}")


def _list_experiments() -> None:
    table = Table(Column("name", no_wrap=True), "what", Column("laptop", no_wrap=True), box=None)
    for entry in EXPERIMENTS.values():
        told = f"{entry.title} ({entry.source}; {', '.join(entry.datasets) or 'no data'})"
        table.add_row(entry.name, Text(told), _took(entry))
        if entry.name in AS_PUBLISHED_CODE:
            other = AS_PUBLISHED_CODE[entry.name]
            table.add_row(
                "  --as-published-code", "the same, as the published code has it", _took(other)
            )
    Console().print(table)
    print(
        "\nlaptop: minutes on two cores at that scale, --jobs 2, none of its runs made before, by"
        "\nthe clock of its runs, pauses included; of datasets those that the item's page in"
        "\nresults/laptop has. ?: not measured yet\n"
    )
    for scale in SCALES.values():
        print(f"--scale {scale.name}: {scale.about}")


def _took(entry: Experiment) -> str:
    minutes = entry.laptop_minutes
    return "?" if minutes is None else f"{minutes:.0f} min" if minutes >= 1 else "< 1 min"


@data_app.command(name="list")
def list_data(data_dir: Path | None = None) -> None:
    """Show every dataset, and whether its files are at hand.

    Args:
        data_dir: Folder of the files; without it $SCRATCHCONV_DATA, or else a cache folder.
    """
    table = Table("name", "image", "classes", "train", "test", Column("files", overflow="fold"))
    for entry in data.describe(data_dir):
        missing = f"not here: {entry.remedy}" if entry.remedy else "not here"
        found = "built in" if entry.built_in else str(entry.found or missing)
        image = "×".join(str(side) for side in entry.image)
        sizes = (f"{entry.train_size:,}", f"{entry.test_size:,}")
        # Text: a folder's name may hold what rich would take for markup.
        table.add_row(entry.name, image, str(entry.classes or "–"), *sizes, Text(found))
    Console().print(table)


@data_app.command(name="fetch")
def fetch_data(name: _Dataset, data_dir: Path | None = None, overwrite: bool = False) -> None:
    """Download a dataset; a download that broke off goes on where it stopped.

    Args:
        name: Name of the dataset; data list shows them.
        data_dir: Folder to put it in; without it $SCRATCHCONV_DATA, or else a cache folder.
        overwrite: Replace files that are there but damaged.
    """
    console = Console(stderr=True)
    bar = Progress(*Progress.get_default_columns(), DownloadColumn(), console=console)
    tasks: dict[str, TaskID] = {}

    def show(file: str, done: int, size: int) -> None:
        if not tasks:
            bar.start()
        if file not in tasks:
            tasks[file] = bar.add_task(file, total=size)
        bar.update(tasks[file], completed=done)

    try:
        folder = data.fetch(name, data_dir, show, overwrite=overwrite)
    finally:
        if tasks:
            bar.stop()
    print(f"{name} is complete in {folder}")


@data_app.command(name="verify")
def verify_data(name: _Dataset, data_dir: Path | None = None) -> None:
    """Compare every file of a dataset with its published size and md5.

    Args:
        name: Name of the dataset; data list shows them.
        data_dir: Folder of the files; without it $SCRATCHCONV_DATA, or else a cache folder.
    """
    states = data.verify(name, data_dir)
    for state in states:
        found = "" if state.size is None else f" {state.size:,} bytes, md5 {state.md5}"
        print(f"{state.status:10} {state.path}{found}")
    bad = [state.path.name for state in states if state.status in ("missing", "damaged")]
    if bad:
        raise DataError(
            f"{', '.join(bad)} of {name} missing or damaged: get them anew by"
            f" {data.fetching(name, data_dir, overwrite=True)}"
        )


# The order in which help lists them: what to begin with first.
app.command(demo)
app.command(train)
app.command(reproduce)
app.command(discover)
app.command(name="report")(report_command)
app.command(export)
app.command(bench)
app.command(data_app, name="data", help="List, download and check datasets.")

_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Help shows an option that may be left out as `--alpha INT`, not `--alpha {None}|INT`."""
    kinds = set(get_args(info.type)) - {type(None)}
    if (
        type(None) not in get_args(info.type)
        or not kinds <= {int, float, str, Path}
        or len(kinds) > 1
    ):
        return None
    kind: Callable[[str], Any] = kinds.pop()
    # Of a number, the default that help shows can be given; a file may be called none.
    numeric = kind in (int, float)
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=lambda words: None if numeric and words == ["none"] else kind(words[0]),
        is_instance=lambda value: value is None or isinstance(value, kind),  # type: ignore[arg-type]
        str_from_instance=lambda value: ["none" if value is None else str(value)],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: what the user can put right becomes one line and an exit status.

    1 for an error, 2 for flags that cannot be understood, 130 after Ctrl-C or SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # no λ in this encoding is no reason to stop
    try:
        try:
            _run(arguments or ["--help"])
        finally:
            sys.stdout.flush()  # here, where a reader that has gone can be told from an error
    except Stopped as stopped:
        _fail(str(stopped), 130)
    except ScratchconvError as error:
        _fail(f"error: {error}", 1)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        # Whoever reads the output (head, say) has seen enough; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:  # a folder that may not be read, a file system that is gone
        _fail(f"error: {error}", 1)


def _run(arguments: list[str]) -> None:
    if arguments == ["--version"]:
        print(f"scratchconv {scratchconv.__version__}")
        return
    app.cli(
        prog="scratchconv",
        description=_ABOUT,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        registry=_REGISTRY,
    )


def _fail(line: str, status: int) -> None:
    print(" ".join(line.split()), file=sys.stderr)
    raise SystemExit(status)
