"""The demonstration: a fully connected network learns local filters, beside those that have them.

Trains S-FC by SGD and by β-LASSO, S-LOCAL and S-CONV on one dataset, then shows a table and
draws a report. The settings of every dataset were chosen on its validation part.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scratchconv import report
from scratchconv.display import Terminal
from scratchconv.errors import InvalidArgument, RunDirectoryError, unknown_name
from scratchconv.training import Run, RunConfig, Stopped, train

# Small batches and many epochs: λ·Ση large enough to make a filter of 64 weights local, at a λ
# small enough to leave most units alive.
_DIGITS = RunConfig(data="digits", alpha=16, epochs=200, batch_size=32, method="sgd")
_CIFAR10 = RunConfig(data="cifar10", alpha=8, epochs=15, batch_size=512, method="sgd")

_DENSE = {"digits": _DIGITS, "cifar10": _CIFAR10}
_SPARSE = {
    "digits": replace(_DIGITS, method="beta-lasso", lam_first=4e-4, lam=1e-4),
    "cifar10": replace(_CIFAR10, method="beta-lasso", lam_first=2e-4, lam=1e-4),
}


def demo_configs(data: str, data_dir: Path | None = None) -> dict[str, RunConfig]:
    """The runs of the demonstration on `digits` or `cifar10`, by the name of their folder."""
    if data not in _DENSE:
        raise unknown_name("dataset of the demonstration", data, _DENSE)
    dense = replace(_DENSE[data], data_dir=data_dir)
    return {
        "s-fc-sgd": dense,
        "s-fc-beta-lasso": replace(_SPARSE[data], data_dir=data_dir),
        "s-local-sgd": replace(dense, model="s-local"),
        "s-conv-sgd": replace(dense, model="s-conv"),
    }


def run_demo(data: str, data_dir: Path | None, out: Path | None, *, resume: bool = False) -> Path:
    """Train, show the table, write the report; returns the report's path.

    `out` is a new folder under `runs/` where none is given. Raises `RunDirectoryError` where
    `out` holds something and `resume` was not asked for, `InvalidArgument` for `resume`
    without `out`, and `Stopped`, with the command that goes on, after a Ctrl-C or SIGTERM.
    """
    configs = demo_configs(data, data_dir)
    if resume and out is None:
        raise InvalidArgument("--resume needs --out: the folder of the demo to go on with")
    out = _new_folder(Path("runs"), f"demo-{data}") if out is None else out
    if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(f"{out} is not empty: add --resume, or choose another --out")
    try:
        with Terminal() as terminal:
            runs = [
                train(config, out / name, resume=True, progress=terminal)
                for name, config in configs.items()
            ]
    except Stopped:
        again = ["scratchconv", "demo", "--data", data, "--out", str(out)]
        again += [] if data_dir is None else ["--data-dir", str(data_dir)]
        again.append("--resume")
        raise Stopped(f"stopped as asked; go on with: {shlex.join(again)}") from None
    console = Console()
    console.print(_table(runs))
    page = report.write(
        [run.directory for run in runs],
        out / "report.html",
        title=f"Learning local filters from scratch: {data}",
        overwrite=resume,
    )
    print(f"The report, with the learned filters drawn: {page}")
    return page


def _new_folder(parent: Path, name: str) -> Path:
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _table(runs: list[Run]) -> Table:
    table = Table(title="What was learned")
    for heading in (
        "network",
        "method",
        "test %",
        "non-zeros, layer 1",
        "density",
        "spread",
        "seconds",
    ):
        table.add_column(heading, justify="left" if heading in ("network", "method") else "right")
    for run in runs:
        assert run.result is not None  # train() returns finished runs only
        first = run.result["layers"][0]
        spread = run.result["spread"]
        table.add_row(
            run.config["model"],
            run.config["method"],
            f"{100 * run.result['test_accuracy']:.1f}",
            f"{first['nonzero']:,}",
            f"{100 * first['nonzero'] / first['size']:.2f} %",
            "–" if spread is None else f"{spread:.2f}",
            f"{run.result['seconds']:.0f}",
        )
    table.caption = (
        "Spread: how far a filter reaches over the image; 1 = all over it, 0 = one pixel.\n"
        "S-LOCAL and S-CONV are told where pixels lie; S-FC is not."
    )
    return table
