"""The demonstration: four runs, a table and a report, in one folder that can be gone on with."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from scratchconv import data, demo
from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.training import Stopped, load_run


@pytest.fixture
def short(monkeypatch):
    """The demonstration on digits with one epoch a run, and two for the sparse one."""
    monkeypatch.setitem(demo._DENSE, "digits", replace(demo._DIGITS, epochs=1, batch_size=256))
    sparse = replace(demo._SPARSE["digits"], epochs=2, batch_size=256)
    monkeypatch.setitem(demo._SPARSE, "digits", sparse)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_its_runs_can_be_made_and_differ_only_in_what_is_compared(name, tmp_path):
    assert name in data.NAMES
    configs = demo.demo_configs(name, tmp_path)
    for config in configs.values():
        config.check()
        assert (config.data, config.data_dir, config.skip_test) == (name, tmp_path, False)
    dense, sparse = configs["s-fc-sgd"], configs["s-fc-beta-lasso"]
    assert (dense.model, dense.method, sparse.method) == ("s-fc", "sgd", "beta-lasso")
    assert dense == replace(sparse, method="sgd", lam=0.0, lam_first=None)
    for model in ("s-local", "s-conv"):
        assert configs[f"{model}-sgd"] == replace(dense, model=model)


def test_a_dataset_without_demonstration_is_refused():
    with pytest.raises(InvalidArgument, match="choose from cifar10, digits"):
        demo.demo_configs("mnist")


def test_it_ends_with_a_table_and_a_report_and_can_be_gone_on_with(short, tmp_path, capsys):
    out = tmp_path / "demo"
    page = demo.run_demo("digits", None, out)
    shown = capsys.readouterr().out
    assert page == out / "report.html"
    assert shown.endswith(f"The report, with the learned filters drawn: {page}\n")
    for word in ("s-fc", "s-local", "s-conv", "beta-lasso", "spread", "seconds"):
        assert word in shown
    html = page.read_text(encoding="utf-8")
    for name in ("S-FC", "S-LOCAL", "S-CONV", "β-LASSO"):
        assert name in html
    results = {name: load_run(out / name).result for name in demo.demo_configs("digits")}
    assert [result["epochs"] for result in results.values()] == [1, 2, 1, 1]

    with pytest.raises(RunDirectoryError, match=r"not empty.*--resume"):
        demo.run_demo("digits", None, out)

    page.unlink()
    assert demo.run_demo("digits", None, out, resume=True) == page
    assert page.exists()
    assert {name: load_run(out / name).result for name in results} == results
    assert "finished already" in capsys.readouterr().err


def test_stopped_it_says_how_to_go_on(short, tmp_path, monkeypatch):
    out = tmp_path / "the demo"

    class Impatient(demo.Terminal):
        def epoch(self, metrics):
            os.kill(os.getpid(), 2)

    monkeypatch.setattr(demo, "Terminal", Impatient)
    with pytest.raises(Stopped) as stopped:
        demo.run_demo("digits", tmp_path, out)
    assert str(stopped.value) == (
        f"stopped as asked; go on with: scratchconv demo --data digits --out '{out}'"
        f" --data-dir {tmp_path} --resume"
    )
    assert [path.name for path in out.iterdir()] == ["s-fc-sgd"]


def test_without_a_folder_each_gets_a_new_one(short, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo-digits-1").mkdir(parents=True)
    assert demo.run_demo("digits", None, None) == Path("runs/demo-digits-2/report.html")
    with pytest.raises(InvalidArgument, match="--resume needs --out"):
        demo.run_demo("digits", None, None, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_in_its_place_is_refused(resume, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunDirectoryError, match="file"):
        demo.run_demo("digits", None, tmp_path / "file", resume=resume)
    assert (tmp_path / "file").read_text() == "mine"
