"""The page: complete, self-contained, escaped, and made whatever the runs lack."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from page_elements import Elements

from scratchconv import report
from scratchconv.errors import InvalidArgument, RunDirectoryError

HOSTILE = "<script>alert(1)</script>\"'&$\\frac$"


def written(runs: list[Path], out: Path, **options: object) -> str:
    assert report.write(runs, out, title="A title", **options) == out
    return out.read_text(encoding="utf-8")


def test_nothing_is_loaded_from_outside(make_run, tmp_path):
    page = written([make_run("a"), make_run("b", method="sgd")], tmp_path / "report.html")
    assert "http:" not in page
    assert "https:" not in page
    tags = {tag for tag, _ in Elements(page).elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in Elements(page).elements:
        assert (attributes.get("src") or "data:image/png;").startswith("data:image/png;")
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_svg_references_lead_to_ids_that_are_there_once(make_run, tmp_path):
    page = written([make_run("a"), make_run("b", method="sgd")], tmp_path / "report.html")
    found = [attributes["id"] for _, attributes in Elements(page).elements if "id" in attributes]
    assert len(found) == len(set(found)) > 0
    wanted = {a["href"] for _, a in Elements(page).elements if a.get("href")}
    wanted |= set(re.findall(r"url\(([^)]*)\)", page))
    assert {target.lstrip("#") for target in wanted} <= set(found)


def test_chart_colours_follow_the_page(make_run, tmp_path):
    page = written([make_run("a")], tmp_path / "report.html")
    charts = "".join(re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL))
    assert "var(--series-0)" in charts
    assert not re.findall(r"#0[af]0[0-9a-f]{3}\b", charts)  # no stand-in is left


def test_pictures_and_charts_say_what_they_show(make_run, tmp_path):
    elements = Elements(written([make_run("a")], tmp_path / "report.html")).elements
    assert all(attributes.get("alt") for tag, attributes in elements if tag == "img")
    charts = [attributes for _, attributes in elements if attributes.get("role") == "img"]
    assert len(charts) == 6
    assert all(attributes["aria-label"] for attributes in charts)
    assert all(attributes.get("scope") for tag, attributes in elements if tag == "th")


def test_hostile_names_are_shown_and_not_run(make_run, tmp_path):
    run = make_run(
        "r<b>&",
        warnings=(HOSTILE,),
        config={"data": HOSTILE, HOSTILE: HOSTILE},
        result={"environment": {"command": HOSTILE, "versions": {HOSTILE: HOSTILE}}},
    )
    other = make_run("other", config={"data": "cifar10", "lr": HOSTILE})
    page = report.write([run, other], tmp_path / "report.html", title=HOSTILE).read_text("utf-8")
    assert "<script" not in page
    assert "r&lt;b&gt;&amp;" in page
    assert HOSTILE in Elements(page).text
    assert not [a for _, attributes in Elements(page).elements for a in attributes if "alert" in a]


def test_hostile_layer_names_reach_neither_markup_nor_mathematics(make_run, tmp_path):
    layers = [{"name": HOSTILE, "nonzero": 5, "size": 10, "units": 2, "dead_units": 0}]
    page = written([make_run("a", metrics={"layers": layers})], tmp_path / "report.html")
    assert "<script" not in page


def test_unfinished_run_says_so(make_run, tmp_path):
    page = written([make_run("a", epochs=15, done=4)], tmp_path / "report.html")
    text = Elements(page).text.replace("\u00a0", " ")
    assert "So far (4 of 15 epochs), β-LASSO kept" in text
    assert "unfinished" in text
    assert "4 of 15" in text


def test_run_without_epochs(make_run, tmp_path):
    run = make_run("a", done=0)
    page = written([run], tmp_path / "report.html")
    assert "No epoch has finished yet" in page
    assert "Non-zero weights of each layer" not in page
    (run / "metrics.jsonl").unlink()
    assert written([run], tmp_path / "report.html", overwrite=True) == page


def test_an_epoch_written_twice_counts_as_written_last_and_in_order(make_run, tmp_path):
    run = make_run("a", epochs=3, done=2, weights=False)
    first, second = (run / "metrics.jsonl").read_text().splitlines()
    anew = json.dumps({**json.loads(second), "train_accuracy": 0.125})
    (run / "metrics.jsonl").write_text("\n".join((second, first, anew)) + "\n")
    text = Elements(written([run], tmp_path / "report.html")).text.replace("\u00a0", " ")
    assert "2 of 3" in text
    assert "12.5 %" in text.split("Weights leave out")[0]


def test_missing_checkpoint(make_run, tmp_path):
    page = written(
        [make_run("a", weights=False), make_run("b", method="sgd")], tmp_path / "report.html"
    )
    assert "Filters unavailable: " in page
    assert page.count("<img") == 1
    assert "57.1" in page


@pytest.mark.parametrize("damage", ["truncated", "of another network"])
def test_checkpoint_that_cannot_be_used(make_run, tmp_path, damage):
    run, other = make_run("a"), make_run("b", model="s-conv")
    (checkpoint,) = (run / "checkpoints").iterdir()
    if damage == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    else:
        (found,) = (other / "checkpoints").iterdir()
        checkpoint.write_bytes(found.read_bytes())
    assert "Filters unavailable: " in written([run], tmp_path / "report.html")


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("resolved", {"alpha": 10**15}),
        ("resolved", {"image": [3, 10**12, 10**12]}),
        ("config", {"dropout": 3.0}),
        ("config", {"model": "resnet18", "kernel_size": "three"}),
        ("config", {"model": "no-such-network"}),
    ],
)
def test_a_network_that_cannot_be_is_told_in_its_place(make_run, tmp_path, part, changes):
    run = make_run("a")
    written_before = json.loads((run / "config.json").read_text())
    written_before[part].update(changes)
    (run / "config.json").write_text(json.dumps(written_before))
    assert "Filters unavailable: " in written([run], tmp_path / "report.html")


def test_existing_file_is_kept_unless_asked(make_run, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("mine")
    with pytest.raises(InvalidArgument, match="overwrite"):
        report.write([make_run("a")], out, title="A title")
    assert out.read_text() == "mine"
    assert written([tmp_path / "a"], out, overwrite=True) != "mine"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]


def test_a_name_that_is_not_utf8_is_written_with_a_question_mark(make_run, tmp_path):
    out = tmp_path / "report.html"
    report.write([make_run("a")], out, title="caf\udce9")  # as Python reads a byte of Latin-1
    assert "<h1>caf?</h1>" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("task", [float("nan"), "both", ["regression"], 1])
def test_a_task_that_is_none_is_refused(task, make_run, tmp_path):
    run = make_run("a")
    config = json.loads((run / "config.json").read_text())
    config["resolved"]["task"] = task
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunDirectoryError, match=r"config\.json has task .*neither classification"):
        report.write([run], tmp_path / "report.html", title="A title")


def test_data_that_are_not_equal_to_themselves_are_reported(make_run, tmp_path):
    run = make_run("a")
    config = json.loads((run / "config.json").read_text())
    config["config"]["data"] = float("nan")
    (run / "config.json").write_text(json.dumps(config))
    assert "nan" in written([run], tmp_path / "report.html")


def test_a_folder_is_no_place_for_a_page(make_run, tmp_path):
    with pytest.raises(InvalidArgument, match="folder"):
        report.write([make_run("a")], tmp_path, title="A title", overwrite=True)


def test_folders_on_the_way_are_made(make_run, tmp_path):
    assert written([make_run("a")], tmp_path / "new" / "deep" / "report.html")


def test_same_runs_same_page(make_run, tmp_path):
    runs = [make_run("a"), make_run("b", method="sgd")]
    assert written(runs, tmp_path / "1.html") == written(runs, tmp_path / "2.html")


def test_no_runs_and_runs_given_twice(make_run, tmp_path):
    with pytest.raises(InvalidArgument, match="no runs"):
        report.write([], tmp_path / "report.html", title="A title")
    run = make_run("a")
    with pytest.raises(InvalidArgument, match="twice"):
        report.write([run, run / "." / ".." / "a"], tmp_path / "report.html", title="A title")


def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunDirectoryError, match="empty"):
        report.write([tmp_path / "empty"], tmp_path / "report.html", title="A title")
    assert not (tmp_path / "report.html").exists()


def test_twelve_long_runs_stay_under_three_megabytes(make_run, tmp_path):
    runs = [
        make_run(f"run{k}", image=(3, 32, 32), epochs=400, seed=k, method="sgd") for k in range(12)
    ]
    page = written(runs, tmp_path / "report.html")
    assert len(page.encode()) < 3_000_000
    assert page.count("<img") == 12
    for k in range(12):
        assert f"S-FC, SGD, seed {k}" in page


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "?", True, 10**400])
def test_numbers_that_are_none(make_run, tmp_path, value):
    scores = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    unusable = dict.fromkeys(scores, value)
    layers = [{"name": "conv", "nonzero": value, "size": 10, "units": 0, "dead_units": value}]
    everything = {**unusable, "spread": value, "seconds": value, "layers": layers}
    run = make_run(
        "a",
        metrics=everything,
        result={
            **everything,
            "test_loss": value,
            "test_accuracy": value,
            "locality": {"z_score": value, "p_value": value},
        },
    )
    text = Elements(written([run], tmp_path / "report.html")).text
    assert not re.findall(r"\b(nan|NaN|inf|None)\b", text.split("How it was made")[0])
    assert "no score on record" in text


def test_layers_gone_to_zero_are_drawn_as_zero(make_run, tmp_path):
    layers = [{"name": "conv", "nonzero": 0, "size": 10, "units": 2, "dead_units": 2}]
    page = written(
        [make_run("a", metrics={"layers": layers}, result={"layers": layers})],
        tmp_path / "report.html",
    )
    assert re.search(r"<text[^>]*>0</text>", page)
    assert "took every weight out" in page


def test_every_run_is_in_the_table_with_its_numbers(make_run, tmp_path):
    run = make_run("a", seed=7, accuracy=0.4321, alpha=2)
    size = json.loads((run / "config.json").read_text())["resolved"]["parameters"]
    text = Elements(written([run], tmp_path / "report.html")).text.replace("\u00a0", " ")
    table = text.split("Weights leave out")[0].split()
    for cell in ("S-FC", "β-LASSO", "2e−4", "1e−4", "7", "43.2", "0.51", "80"):
        assert cell in table
    assert f"{size / 1e3:.3g}" in table


def test_warnings_beyond_fifty_are_counted(make_run, tmp_path):
    run = make_run("a", warnings=tuple(f"warning {k}" for k in range(60)))
    text = Elements(written([run], tmp_path / "report.html")).text
    assert "Epoch 1: warning 49" in text
    assert "warning 50" not in text
    assert "10 more in metrics.jsonl" in text
    assert "60 warnings" in text
