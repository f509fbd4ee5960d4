"""`scratchconv reproduce`: what is refused, reused, drawn anew, and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scratchconv import cli
from scratchconv.errors import DataError, InvalidArgument, RunDirectoryError
from scratchconv.experiments.catalogue import EXPERIMENTS
from scratchconv.experiments.neyshabur import table2
from scratchconv.experiments.reproduce import reproduce
from scratchconv.lab import LabOptions, RunRecord, read_records
from scratchconv.lab.records import FILE


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


def test_an_experiment_is_named_as_the_catalogue_has_it():
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert experiment.title
        assert experiment.source


def _records(accuracy: float, nonzero: int = 100) -> list[RunRecord]:
    layers = [{"nonzero": nonzero, "size": 1000}]
    return [RunRecord("k", {}, {}, {"test_accuracy": accuracy / 100, "layers": layers})]


def _found(**accuracies: float) -> dict[str, list[RunRecord]]:
    names = {"conv": "s-conv/sgd", "local": "s-local/sgd", "fc": "3-fc/sgd", "sgd": "s-fc/sgd"}
    names["beta"] = "s-fc/beta-lasso-50"
    nonzeros = {"beta": 20, "local": 300}
    return {names[k]: _records(v, nonzeros.get(k, 100)) for k, v in accuracies.items()}


def test_table_2_says_whether_the_published_order_holds():
    holds = table2.order("cifar10", _found(conv=70, local=68, beta=65, sgd=62, fc=55))
    assert "S-CONV 70.00 > S-LOCAL 68.00" in holds[0]
    assert "(the published order)" in holds[0]
    assert "is +3.00 points from SGD" in holds[1]
    assert "15.0 times as many" in holds[1]
    broken = table2.order("cifar10", _found(conv=67, local=68, beta=61, sgd=62, fc=55))
    assert "S-LOCAL 68.00 > S-CONV 67.00" in broken[0]
    assert "(not the published order)" in broken[0]
    assert "is −1.00 points from SGD" in broken[1]
    close = _found(conv=70, local=68, beta=65, sgd=62, fc=62.1)
    close["s-fc/sgd"] += _records(62.4)
    close["3-fc/sgd"] += _records(62.5)
    said = table2.order("cifar10", close)
    assert "as far as the seeds tell: they do not part 3-FC from S-FC)" in said[0]


def test_every_record_has_the_command_that_makes_it(made):
    for line in (made / "table2" / FILE).read_text(encoding="utf-8").splitlines():
        assert json.loads(line)["result"]["environment"]["command"].startswith("scratchconv train")
