"""The whole bench on a network of a few thousand weights: what it writes, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch

from scratchconv import training
from scratchconv.bench import (
    BenchOptions,
    compilation,
    dense,
    memory,
    options,
    predict,
    record,
    run_bench,
)
from scratchconv.bench.memory import LEANEST_DENSE
from scratchconv.bench.progress import Progress
from scratchconv.bench.whole_run import _dense_epochs_due
from scratchconv.errors import InvalidArgument
from scratchconv.training import RunConfig

SMALL = {
    "quick": True,
    "alpha": 1,
    "batch_size": 64,
    "rounds": 1,
    "skip_compile": True,
    "threads": 1,  # so small a network gains nothing from more
    "lam": 5e-4,  # gradients are large on so small a network; see test_bench_contenders.py
    "lam_first": 1e-3,
}


@pytest.fixture(autouse=True)
def few_variants(monkeypatch):
    """Three dense variants stand for all: one eager, one with our update, one compiled."""
    few = [v for v in dense.VARIANTS if v.name == LEANEST_DENSE]
    few += [dense.Variant("fp32", "foreach"), dense.Variant("fp32", "compiled")]
    monkeypatch.setattr(dense, "VARIANTS", tuple(few))


def bench(out, **changes):
    page = run_bench(BenchOptions(**{**SMALL, **changes}), out)
    return page.read_text(encoding="utf-8"), json.loads((out / "bench.json").read_text("utf-8"))


def rows(comparison):
    return {row["name"]: row for row in comparison["rows"]}


def test_a_step_is_compared_dense_and_at_every_density(tmp_path):
    page, written = bench(tmp_path / "new" / "out", parts=("step",), densities=("2/10",))
    whole, sparse = written["parts"]["step"]
    assert "dense, α = 1, batch 64" in whole["title"]
    assert "2 % / 10 %" in sparse["title"]
    assert {"plain fp32 loop", "ours, mode=dense", "ours, mode=auto"} <= rows(whole).keys()
    assert rows(whole)["fp32, eager model, compiled update"] == {
        "name": "fp32, eager model, compiled update",
        "unavailable": "left out: --skip-compile",
    }
    measured = [row for row in whole["rows"] if "median_ms" in row]
    loops = [row for row in measured if not row["name"].startswith("ours")]
    assert whole["baseline"] == min(loops, key=lambda row: row["median_ms"])["name"]
    contenders = {"torch CSR", "sparselab", "ours, mode=sparse", "ours, mode=auto"}
    assert contenders | {"plain fp32 loop", whole["baseline"]} <= rows(sparse).keys()
    plain = rows(sparse)["plain fp32 loop"]
    ours = rows(sparse)["ours, mode=auto"]
    assert plain == {**rows(whole)["plain fp32 loop"], "ours_is": plain["ours_is"]}
    assert plain["ours_is"] == pytest.approx(plain["median_ms"] / ours["median_ms"], rel=0.01)
    assert len(ours["readings_ms"]) == 2
    assert ours["error_of_a_step"] <= 0.1
    assert rows(sparse)["ours, mode=sparse"]["compressed"] == dict.fromkeys(
        ("conv1", "fc1", "fc2"), True
    )
    assert "ours, mode=sparse: conv1 compressed, fc1 compressed, fc2 compressed." in page
    assert f"Strongest dense baseline: {whole['baseline']}." in page
    assert page.count("\n## ") == 2


def test_steps_of_few_samples_have_a_baseline_for_every_size(tmp_path):
    page, written = bench(
        tmp_path, parts=("small-batches",), small_batches=(8, 16), small_batch_densities=("10",)
    )
    tables = written["parts"]["small-batches"]
    assert [table["title"].rsplit(", ", 1)[1] for table in tables] == 2 * ["batch 8"] + 2 * [
        "batch 16"
    ]
    for whole, sparse in (tables[:2], tables[2:]):
        assert sparse["baseline"] == whole["baseline"]
        assert rows(sparse)["ours, mode=auto"]["median_ms"] > 0
        assert rows(sparse)["torch CSR"]["median_ms"] > 0
    assert "batch 64" not in page


def test_the_record_says_what_the_figures_depend_on(tmp_path):
    threads = torch.get_num_threads()
    _, written = bench(tmp_path, parts=("prediction",), prediction_batches=(1,), seed=3)
    assert written["command"] == (
        "scratchconv bench --parts prediction --quick --alpha 1 --batch-size 64"
        " --prediction-batches 1 --rounds 1 --seed 3 --threads 1 --skip-compile"
        " --lam 0.0005 --lam-first 0.001 --out DIR"
    )
    assert (written["threads"], written["seed"], written["rounds"]) == (1, 3, 1)
    assert written["hardware"]["cpu"]
    assert {"torch", "numba", "sparselab"} <= written["versions"].keys()
    assert written["date"].endswith("+00:00")
    assert torch.get_num_threads() == threads


def test_prediction_is_compared_at_every_density_and_batch(tmp_path):
    _, written = bench(tmp_path, parts=("prediction",), prediction_batches=(1, 100))
    tables = written["parts"]["prediction"]
    assert [table["title"].split("of the")[0] for table in tables] == [
        *(["Prediction, 1 % / 5 % "] * 2),
        *(["Prediction, 0.3 % "] * 2),
    ]
    assert [table["title"].split("batch ")[1] for table in tables] == ["1", "100"] * 2
    for table in tables:
        names = rows(table)
        assert {"ours", "dense fp32", "dense bf16", "torch CSR"} <= names.keys()
        assert names["ours"]["ours_is"] == 1.0
        assert "unavailable" in names["dense bf16, compiled"]
        assert table["baseline"].startswith("dense")


def test_wrong_logits_are_not_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        predict.FoldedCsr, "__call__", lambda self, images: torch.zeros(len(images), 10)
    )
    with pytest.raises(predict.WrongResult, match=r"torch CSR, 1 % / 5 %, batch 1: its logits"):
        bench(tmp_path, parts=("prediction",))
    assert not list(tmp_path.iterdir())


def test_memory_is_measured_in_processes_of_their_own(tmp_path, monkeypatch):
    if memory.why_not() is not None:
        pytest.skip(memory.why_not())
    chosen = memory.entries()
    few = {"plain fp32 loop": chosen["plain fp32 loop"]}
    monkeypatch.setattr(memory, "entries", lambda: few)
    _, written = bench(tmp_path, parts=("memory",), alpha=2)
    found = rows(written["parts"]["memory"][0])
    weights = 4 * (3072 * 512 + 512 * 48 + 48 * 10)
    plain = found["plain fp32 loop"]
    assert 2 * weights < plain["bytes"] < 10 * weights  # weights and gradient, at the least
    assert 0.5 * weights < plain["bytes_before_steps"] < plain["bytes"]


def test_where_the_system_tells_no_memory_the_table_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CLEAR", Path(tmp_path / "nowhere" / "clear_refs"))
    _, written = bench(tmp_path, parts=("memory",))
    for row in written["parts"]["memory"][0]["rows"]:
        assert "unavailable" in row
    assert "does not tell" in rows(written["parts"]["memory"][0])["plain fp32 loop"]["unavailable"]


def test_a_whole_run_beside_some_epochs_of_the_dense_one(tmp_path):
    page, written = bench(tmp_path, parts=("run",), data="digits", epochs=3, dense_epochs=1)
    (table,) = written["parts"]["run"]
    ours, baseline = rows(table)["ours, mode=auto"], rows(table)[table["baseline"]]
    assert (ours["epochs_measured"], baseline["epochs_measured"]) == (3, 1)
    assert ours["seconds"] == pytest.approx(sum(ours["epoch_seconds"]), rel=0.01)
    assert baseline["seconds"] == pytest.approx(3 * baseline["epoch_seconds"][0], rel=0.01)
    assert 0 < ours["test_accuracy"] <= 1
    assert baseline["test_accuracy"] is None
    assert len(ours["epoch_densities"]) == 3
    assert "Of the dense run 1 of 3 epochs were run" in page


def test_a_whole_dense_run_has_an_accuracy_near_ours(tmp_path):
    _, written = bench(
        tmp_path,
        parts=("run",),
        data="digits",
        epochs=4,
        dense_epochs=4,
        alpha=8,
        lam=1e-5,
        lam_first=1e-5,
    )
    (table,) = written["parts"]["run"]
    accuracies = [row["test_accuracy"] for row in table["rows"]]
    assert min(accuracies) > 0.8
    assert max(accuracies) - min(accuracies) < 0.05


@pytest.mark.parametrize(("epochs", "measured"), [(100, 3), (5, 5), (2, 1), (1, 1), (7, 4)])
def test_dense_epochs_are_spread_over_ours(epochs, measured):
    due = _dense_epochs_due(epochs, measured)
    assert len(set(due)) == measured
    assert due == sorted(due)
    assert 0 <= due[0] <= due[-1] < epochs
    assert abs((due[0] + due[-1]) - (epochs - 1)) <= 2


def test_the_weights_of_a_trained_run_can_be_taken(tmp_path):
    config = RunConfig(data="digits", alpha=2, epochs=3, lam=4e-4, lam_first=4e-4, batch_size=64)
    run = training.train(config, tmp_path / "run")
    _, written = bench(
        tmp_path / "out", parts=("step", "prediction"), run=tmp_path / "run", batch_size=256
    )
    (step,) = written["parts"]["step"]
    left = [layer["nonzero"] / layer["size"] for layer in run.result["layers"]]
    assert f"{100 * left[0]:g} % / {100 * left[1]:g} %" in step["title"]
    assert "weights of a trained run" in step["title"]
    assert {"plain fp32 loop", "torch CSR", "ours, mode=auto"} <= rows(step).keys()
    assert len(written["parts"]["prediction"]) == 2


def test_a_run_of_another_network_is_refused(tmp_path):
    config = RunConfig(data="digits", alpha=2, epochs=1, model="s-local", lam=1e-4)
    training.train(config, tmp_path / "run")
    with pytest.raises(InvalidArgument, match="trained s-local by beta-lasso"):
        bench(tmp_path / "out", parts=("step",), run=tmp_path / "run")


def test_a_record_is_not_written_over_by_accident(tmp_path):
    (tmp_path / "bench.json").write_text("mine")
    with pytest.raises(InvalidArgument, match="--overwrite"):
        bench(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match="is a file"):
        bench(tmp_path / "file")
    run_bench(
        BenchOptions(**SMALL, parts=("prediction",), prediction_batches=(1,)),
        tmp_path,
        overwrite=True,
    )
    assert json.loads((tmp_path / "bench.json").read_text("utf-8"))["parts"]


@pytest.mark.parametrize("fault", ["below a file", "read-only"])
def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_runs(
    fault, tmp_path, monkeypatch
):
    def read_only(**_):
        raise OSError(30, "Read-only file system")

    out = tmp_path
    if fault == "read-only":
        monkeypatch.setattr(record, "TemporaryFile", read_only)
    else:
        (tmp_path / "file").write_text("")
        out = tmp_path / "file" / "out"
    monkeypatch.setattr(record, "describe", lambda *_: pytest.fail("it ran"))
    with pytest.raises(InvalidArgument, match=r"cannot be written to .*choose another"):
        bench(out, parts=("prediction",))


def test_a_folder_is_tried_out_without_a_trace(tmp_path):
    record.check_writable(tmp_path / "new" / "out", overwrite=False)
    assert not list((tmp_path / "new" / "out").iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": ()}, "--parts is empty: choose from step, small-batches, prediction"),
        ({"parts": ("steps",)}, "Did you mean 'step'"),
        ({"alpha": 0}, "--alpha 0"),
        ({"batch_size": 1}, "--batch-size 1"),
        ({"rounds": 0}, "--rounds 0"),
        ({"threads": 0}, "--threads 0"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 10**20}, "--seed 10+: must be a whole number from 0 to 18446744073709551615"),
        ({"threads": 10**20}, "--threads 10+: must be a whole number from 1 to 2147483647"),
        ({"batch_size": 10**20}, "--batch-size 10+: "),
        ({"prediction_batches": (10**20,)}, "--prediction-batches .10+,.: .* at most"),
        ({"small_batches": (10**20,)}, "--small-batches .10+,.: .* at most"),
        ({"parts": ("run",), "data": "tree"}, "'tree': choose from cifar10, .*svhn"),
        ({"lam": 0.0}, "--lam 0.0"),
        ({"lr": float("inf")}, "--lr inf"),
        ({"densities": ("0",)}, "--densities 0"),
        ({"memory_density": "200"}, "200: give percentages"),
        ({"prediction_batches": (0,)}, "--prediction-batches"),
        ({"small_batches": (32, 1)}, "--small-batches .32, 1.: each must be at least 2"),
        ({"small_batch_densities": ("1/0",)}, "1/0: give percentages"),
        ({"epochs": 2, "dense_epochs": 3}, "at most --epochs 2"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_refused_before_anything_runs(changes, message, tmp_path):
    with pytest.raises(InvalidArgument, match=message):
        bench(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_data_that_only_a_whole_run_would_read_are_no_matter_without_one():
    assert BenchOptions(data="tree").resolved().data == "tree"


def test_quick_fills_in_only_what_was_left_open():
    chosen = BenchOptions(quick=True, alpha=3).resolved()
    assert (chosen.alpha, chosen.rounds) == (3, 3)
    usual = BenchOptions().resolved()
    assert (usual.alpha, usual.rounds, usual.batch_size) == (28, 15, 512)
    assert usual.densities == options._USUAL["densities"]


def test_without_a_compiler_the_bench_says_what_to_install(monkeypatch):
    def broken(function):
        raise RuntimeError("No working C++ compiler found\nand more")

    compilation.why_not.cache_clear()
    monkeypatch.setattr(compilation, "compiled", broken)
    try:
        reason = compilation.why_not()
    finally:
        compilation.why_not.cache_clear()
    assert "No working C++ compiler found" in reason
    assert "apt-get install g++" in reason
    assert "\n" not in reason


def test_progress_without_a_terminal_is_a_line_a_part(capsys):
    with Progress() as progress:
        progress.begin("step: 3 [contenders]", 2)
        progress.doing("one")
        progress.turn()
    assert capsys.readouterr().err == "step: 3 [contenders]\n"


@pytest.mark.parametrize(("load", "said"), [(3.5, True), (0.1, False), (None, False)])
def test_a_busy_machine_is_pointed_out(load, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "load_average", lambda: load)
    _, written = bench(tmp_path, parts=("prediction",), prediction_batches=(1,))
    assert written["load_average_before"] == load
    assert ("other work is running" in capsys.readouterr().err) == said
