"""What less regrowth costs: runs that differ in K alone, and what is written of them."""

import json

import pytest
import torch

from scratchconv.errors import RunDirectoryError
from scratchconv.experiments.regrowth_interval import Outcome, main, shared_support, table
from scratchconv.sparse import SwitchAt


def test_runs_differ_in_k_alone_and_are_compared_with_the_exact_one(tmp_path, monkeypatch):
    monkeypatch.setattr("scratchconv.sparse.engine.SMALLEST", 0)
    at_once = SwitchAt(0.9, 0.95)
    monkeypatch.setattr("scratchconv.sparse.calibration.switch_at", lambda *_, **__: at_once)
    settings = {"alpha": 1, "epochs": 2, "lam": 1e-3, "lam_first": 1e-3, "data": "digits"}
    out = tmp_path / "out"
    main(runs=tmp_path / "runs", out=out, every=(3,), seeds=(5,), **settings)
    record = json.loads((out / "regrowth.json").read_text("utf-8"))
    exact, seldom = record["runs"]
    assert (exact["every"], seldom["every"]) == (1, 3)
    assert exact["seed"] == seldom["seed"] == 5
    assert set(exact["shared"].values()) == {1.0}
    assert 0 < exact["left"]["conv1"] < 1
    assert exact["compressed_at"].keys() == exact["left"].keys()
    assert exact["compressed_at"]["conv1"] > 1
    assert record["settings"]["lam"] == 1e-3
    assert "--regrowth 3" in seldom["environment"]["command"]
    assert f"commit {exact['environment']['commit']}" in (out / "regrowth.md").read_text("utf-8")
    configs = [
        json.loads((tmp_path / "runs" / f"every-{k}-seed5" / "config.json").read_text("utf-8"))
        for k in (1, 3)
    ]
    differing = {k for k, v in configs[0]["config"].items() if configs[1]["config"][k] != v}
    assert differing == {"regrowth"}
    with pytest.raises(RunDirectoryError, match="add --overwrite, or choose another --out"):
        main(runs=tmp_path / "runs", out=out, **settings)


def test_shared_support_by_hand():
    one = {"a.weight": torch.tensor([[1.0, 0.0, -2.0, 3.0]]), "b.weight": torch.zeros(2, 2)}
    other = {"a.weight": torch.tensor([[5.0, 1.0, 0.0, 1.0]]), "b.weight": torch.zeros(2, 2)}
    assert shared_support(one, other, ["a", "b"]) == {"a": 0.5, "b": 1.0}


def test_the_table_has_means_over_seeds():
    def run(every: int, seed: int, accuracy: float) -> Outcome:
        share = {"conv1": 0.01, "fc1": 0.5, "fc2": 1.0}
        return Outcome(every, seed, accuracy, 9.0, 100 * seed, {}, share, {}, share, {})

    shown = table([run(1, 0, 0.5), run(1, 2, 0.52), run(10, 0, 0.4)])
    exact, seldom = shown.splitlines()[2:]
    assert exact.startswith("| every step | 51.00 ± 1.41 % | 1.00 ± 0.00 % | – |")
    assert exact.endswith("| 100 | 2 |")
    assert seldom.startswith("| every 10th step | 40.00 % | 1.00 % | 1.00 % | 50.00 % | 50.00 % |")
    assert seldom.endswith("| 0 | 1 |")
