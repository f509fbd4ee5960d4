"""`scratchconv reproduce`: what is refused, reused, drawn anew, and written."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scratchconv import cli, published
from scratchconv.errors import DataError, InvalidArgument, RunDirectoryError, ScratchconvError
from scratchconv.experiments import reproduce as reproduce_module
from scratchconv.experiments.catalogue import AS_PUBLISHED_CODE, EXPERIMENTS
from scratchconv.experiments.neyshabur import table2
from scratchconv.experiments.reproduce import SCALE_FILE, reproduce
from scratchconv.experiments.trials import trials
from scratchconv.lab import Lab, LabOptions, Outcome, RunRecord, read_records
from scratchconv.lab.records import FILE, add_records
from scratchconv.lab.scales import SMOKE


def reproduced(out: Path, name: str = "table2", scale: str = "smoke", **options: object) -> Path:
    resume, datasets = bool(options.pop("resume", False)), options.pop("datasets", ())
    return reproduce(name, scale, LabOptions(out, **options), datasets=datasets, resume=resume)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("smoke")
    reproduced(out)
    return out


def test_an_item_is_a_page_a_table_and_its_records(made):
    page = (made / "table2" / "page.html").read_text(encoding="utf-8")
    text = (made / "table2" / "table2.md").read_text(encoding="utf-8")
    assert "85.19 %" in page  # the published number stands beside ours
    assert "85.19 %" in text
    assert "http" not in page.partition("</head>")[0].replace("http-equiv", "")
    assert "scratchconv reproduce table2 --scale smoke" in text
    assert "A trial run: digits stood in for all files" in text
    records = read_records(made / "table2" / FILE)
    assert len(records) == 13  # three datasets, one stand-in: every run was made once


def test_what_is_there_is_not_touched_unless_asked(made):
    with pytest.raises(RunDirectoryError, match=r"--resume.*--redraw"):
        reproduced(made)


def test_redrawing_and_resuming_give_the_same_text(made):
    before = (made / "table2" / "table2.md").read_text(encoding="utf-8")
    for asked in ({"redraw": True}, {"resume": True}):
        reproduced(made, **asked)
        assert (made / "table2" / "table2.md").read_text(encoding="utf-8") == before


def test_what_was_tried_is_listed(made):
    text = (made / "table2" / "table2.md").read_text(encoding="utf-8")
    _, _, tried = text.partition("### What was tried, on validation data")
    best, other = (line for line in tried.splitlines() if "| β-LASSO, β = 50 |" in line)
    trials = [r for r in read_records(made / "table2" / FILE).values() if r.setting("skip_test")]
    mine = [r for r in trials if (r.setting("method"), r.setting("beta")) == ("beta-lasso", 50)]
    scores = sorted((r.accuracy("validation") for r in mine), reverse=True)
    for line, score in zip((best, other), scores, strict=True):
        assert line.startswith("| S-FC | β-LASSO, β = 50 | ")
        assert f"| {score:.2f} % |" in line
        assert "rate 0.1, λ first" in line


def test_a_trial_that_failed_comes_last_and_another_score_is_told(tmp_path):
    lab = Lab("tree", SMOKE, LabOptions(tmp_path))
    for lam, loss in ((1.0, None), (0.1, 0.25), (0.2, 0.2)):
        config = {"model": "tree-fc", "method": "lasso", "lam": lam, "skip_test": True}
        result = {} if loss is None else {"validation_loss": loss}
        failure = "the loss is infinite" if loss is None else ""
        lab.used[f"{lam}"] = RunRecord(f"{lam}", config, {}, result, failure=failure)
        lab.tried[f"{lam}", ""] = -(math.inf if loss is None else loss)
    result = {"validation_accuracy": 0.7}
    lab.used["cut"] = RunRecord("cut", {"model": "s-fc", "method": "sgd", "epochs": 3}, {}, result)
    lab.used["long"] = replace(lab.used["cut"], config={**lab.used["cut"].config, "epochs": 20})
    lab.tried |= {("cut", ""): 70.0, ("cut", "after cutting"): 40.0, ("long", ""): 70.0}
    table = trials(lab)
    assert table is not None
    assert [(row[3], row[-1]) for row in table.rows if row[0] == "S-FC"] == [
        ("3", "70.00 %"),
        ("3", "40.00 % after cutting"),
        ("20", "70.00 %"),
    ]
    assert [row[-1] for row in table.rows if row[0] != "S-FC"] == ["loss 0.2", "loss 0.25", "–"]
    assert trials(Lab("none", SMOKE, LabOptions(tmp_path))) is None


def test_records_that_do_not_tell_their_scale_are_left_alone(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made / "table2", copy / "table2")
    with pytest.raises(RunDirectoryError, match=r"no file 'scale' .* write its name into"):
        reproduced(copy, "figure3", resume=True)
    (copy / SCALE_FILE).write_text("smoke\n")
    reproduced(copy, redraw=True)
    with pytest.raises(RunDirectoryError, match=r"results of scale smoke, not laptop"):
        reproduced(copy, scale="laptop", redraw=True)


def test_an_index_of_others_is_not_replaced(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"index.html is not of reproductions"):
        reproduced(tmp_path, "figure1")
    assert (tmp_path / "index.html").read_text() == "mine"


def test_all_is_drawn_anew_with_the_datasets_that_there_are(tmp_path):
    committed = Path(__file__).resolve().parents[2] / "results" / "laptop"
    for name in ("figure3", "zhang-attacks"):
        shutil.copytree(committed / name, tmp_path / name)
    shutil.copy(committed / SCALE_FILE, tmp_path)
    texts = [tmp_path / name / f"{name}.md" for name in ("figure3", "zhang-attacks")]
    before = [path.read_text(encoding="utf-8") for path in texts]
    for path in texts:
        path.unlink()
    reproduced(tmp_path, "all", "laptop", redraw=True, any_version=True)
    assert [path.read_text(encoding="utf-8") for path in texts] == before


def test_a_page_that_is_gone_on_with_keeps_the_datasets_it_has(tmp_path):
    text = tmp_path / "table2" / "table2.md"
    reproduced(tmp_path, datasets=("cifar10",))
    assert "svhn: ours" not in text.read_text(encoding="utf-8")
    reproduced(tmp_path, datasets=("svhn",), resume=True)
    both = text.read_text(encoding="utf-8")
    assert "| cifar10: ours | the paper | svhn: ours |" in both
    assert "--datasets cifar10 svhn" in both
    reproduced(tmp_path, datasets=("svhn",), redraw=True)  # which asks for no other
    assert "cifar10: ours" not in text.read_text(encoding="utf-8")


def test_one_record_of_another_dataset_does_not_keep_all_from_drawing_a_page_anew(tmp_path):
    committed = Path(__file__).resolve().parents[2] / "results" / "laptop"
    shutil.copytree(committed / "figure3", tmp_path / "figure3")
    shutil.copy(committed / SCALE_FILE, tmp_path)
    records = read_records(tmp_path / "figure3" / FILE)
    one = next(iter(records.values()))
    begun = replace(one, key="of another", config={**one.config, "data": "cifar100"})
    add_records(tmp_path / "figure3" / FILE, {begun.key: begun})
    text = tmp_path / "figure3" / "figure3.md"
    before = text.read_text(encoding="utf-8")
    reproduced(tmp_path, "all", "laptop", redraw=True, any_version=True)
    assert text.read_text(encoding="utf-8") == before


def test_all_goes_on_after_what_cannot_be_made_and_says_so_at_the_end(
    tmp_path, monkeypatch, capsys
):
    def without_a_finite_loss(lab: Lab) -> Outcome:
        raise ScratchconvError("no run of it ended with a finite loss")

    names = ("table1", "figure1")
    some = {name: EXPERIMENTS[name] for name in names}
    some["table1"] = replace(some["table1"], reproduce=without_a_finite_loss)
    for catalogue in ("EXPERIMENTS", "PAGES"):
        monkeypatch.setattr(reproduce_module, catalogue, some)
    with pytest.raises(ScratchconvError, match=r"^table1 could not be made"):
        reproduced(tmp_path, "all")
    assert "left out: no run of it ended with a finite loss" in capsys.readouterr().err
    assert "figure1/page.html" in (tmp_path / "index.html").read_text(encoding="utf-8")
    with pytest.raises(ScratchconvError, match="no run of it ended"):
        reproduced(tmp_path, "table1", resume=True)


def test_what_was_drawn_without_records_can_be_gone_on_with(tmp_path):
    reproduced(tmp_path, "figure1", redraw=True)
    assert (tmp_path / SCALE_FILE).read_text() == "smoke\n"
    reproduced(tmp_path, "figure1", resume=True)
    with pytest.raises(RunDirectoryError, match="results of scale smoke, not laptop"):
        reproduced(tmp_path, "figure1", "laptop", redraw=True)


def test_unknown_names_list_the_valid_ones(tmp_path):
    with pytest.raises(InvalidArgument, match=r"tabel2.*table2"):
        reproduced(tmp_path, "tabel2")
    with pytest.raises(InvalidArgument, match=r"desktop.*laptop"):
        reproduced(tmp_path, scale="desktop")
    with pytest.raises(InvalidArgument, match=r"mnist: table2 takes cifar10, cifar100, svhn"):
        reproduced(tmp_path, datasets=("mnist",))


def test_a_missing_dataset_says_how_to_get_it_and_how_to_do_without(tmp_path):
    with pytest.raises(DataError, match="scratchconv data fetch svhn --data-dir") as error:
        reproduced(tmp_path / "out", scale="laptop", data_dir=tmp_path)
    assert "cifar10" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_list_names_every_experiment_and_scale(capsys):
    cli.main(["reproduce", "--list"])
    shown = capsys.readouterr().out
    for word in (*EXPERIMENTS, "smoke", "laptop", "ee411", "paper"):
        assert word in shown
    assert shown.count("--as-published-code") == len(AS_PUBLISHED_CODE)


def test_an_experiment_is_named_as_the_catalogue_has_it():
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert experiment.title
        assert experiment.source


def _records(*accuracies: float, nonzero: int = 100) -> list[RunRecord]:
    layers = [{"nonzero": nonzero, "size": 1000}]
    return [
        RunRecord(
            "k", {}, {"image": [3, 32, 32]}, {"test_accuracy": accuracy / 100, "layers": layers}
        )
        for accuracy in accuracies
    ]


def _order(*accuracies: tuple[float, ...]) -> list[str]:
    """What is said of rows given best to worst in the paper."""
    rows = [f"{model}/{method}" for _, model, method in table2.ROWS]
    found = {key: _records(*of) for key, of in zip(rows, accuracies, strict=True)}
    return table2.order("cifar10", found, published.load("neyshabur2020")["table2"])


def test_table_2_says_whether_the_published_order_holds():
    (holds,) = _order((70,), (68,), (65,), (64,), (63,), (62,), (55,))
    assert "S-CONV 70.00 > S-LOCAL 68.00 > S-FC β = 50 65.00" in holds
    assert holds.endswith("> 3-FC 55.00 (the published order).")
    broken, fell = _order(
        (70, 70.1), (68, 68.1), (65, 65.1), (60, 60.1), (58, 58.1), (62, 62.1), (61, 60.9)
    )
    assert broken.endswith("(the published order but for S-FC β = 1 and S-FC β = 0).")
    assert fell == (
        "cifar10: S-FC β = 1 and S-FC β = 0, in the paper above S-FC by SGD and 3-FC, are below."
    )
    order, close = _order((70,), (68,), (65,), (64,), (63,), (62, 62.4), (62.1, 62.5))
    assert order.endswith("(the published order, as far as the seeds tell).")
    assert close == "cifar10: the seeds do not tell S-FC by SGD from 3-FC."


def test_table_2_counts_the_weights_of_s_local_that_meet_a_pixel():
    found = {
        "s-fc/beta-lasso-50": _records(60, nonzero=200),
        "s-local/sgd": _records(60, nonzero=6912),
    }
    # Of 9 taps a side at 16 places, 134 of 144 lie on an image of 32 pixels.
    times = 6912 * (134 / 144) ** 2 / 200
    assert f"S-LOCAL's has {times:.0f} times as many" in table2.kept("cifar10", found)
    found["s-fc/beta-lasso-50"] = _records(60, nonzero=0)
    assert "β = 50 keeps no weight of its first layer; 5,985 of" in table2.kept("cifar10", found)


def test_every_record_has_the_command_that_makes_it(made):
    for line in (made / "table2" / FILE).read_text(encoding="utf-8").splitlines():
        assert json.loads(line)["result"]["environment"]["command"].startswith("scratchconv train")


def _to_stop(monkeypatch: pytest.MonkeyPatch, error: Exception, *, begun: bool) -> None:
    """Whatever is to be trained ends in `error`, with its directory there if it was begun."""

    def stopped(jobs, **_):
        if begun:
            jobs[0].directory.mkdir(parents=True, exist_ok=True)
        raise error

    monkeypatch.setattr("scratchconv.lab.lab.run_jobs", stopped)


def test_what_was_broken_off_cannot_be_gone_on_with_at_another_scale(tmp_path, monkeypatch):
    _to_stop(monkeypatch, RuntimeError("the power failed"), begun=True)
    with pytest.raises(RuntimeError, match="the power failed"):
        reproduced(tmp_path, "zhang-tree", scale="laptop")
    with pytest.raises(RunDirectoryError, match="results of scale laptop, not smoke"):
        reproduced(tmp_path, "zhang-tree", scale="smoke", resume=True)
    with pytest.raises(RuntimeError, match="the power failed"):  # as far as the runs
        reproduced(tmp_path, "zhang-tree", scale="laptop", resume=True)


def test_what_was_refused_before_its_first_run_takes_no_folder(tmp_path, monkeypatch):
    _to_stop(monkeypatch, InvalidArgument("no cluster"), begun=False)
    for scale in ("laptop", "smoke"):
        with pytest.raises(InvalidArgument, match="no cluster"):
            reproduced(tmp_path, "zhang-tree", scale=scale)
