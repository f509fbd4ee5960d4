"""Every experiment on Neyshabur's figures and tables, made once at scale smoke and drawn again."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from matplotlib.image import imread

from scratchconv.errors import RunDirectoryError
from scratchconv.experiments.neyshabur import (
    bounds,
    figure1,
    figure2,
    figure3,
    figure4,
    figure5,
    permutation,
    table1,
)
from scratchconv.lab import Lab, LabOptions, Outcome, Picture, read_records
from scratchconv.lab.pages import Heading, write_outcome
from scratchconv.lab.records import FILE, write_records
from scratchconv.lab.scales import SMOKE

MODULES = (table1, figure1, figure2, figure3, figure4, figure5, bounds, permutation)
NAMES = [module.EXPERIMENT.name for module in MODULES]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, Outcome]]:
    """All of them in one folder, as `reproduce all` makes them; run directories thrown away."""
    out = tmp_path_factory.mktemp("smoke")
    outcomes = {}
    for module in MODULES:
        experiment = module.EXPERIMENT
        lab = Lab(experiment.name, SMOKE, LabOptions(out), datasets=experiment.datasets)
        outcomes[experiment.name] = experiment.reproduce(lab)
        heading = Heading(experiment.name, experiment.title, experiment.source, "a command")
        if lab.used:
            write_records(lab.folder / FILE, lab.used.values())
        write_outcome(lab.folder, heading, outcomes[experiment.name], list(lab.used.values()))
    shutil.rmtree(out / "runs")
    return out, outcomes


@pytest.mark.parametrize("name", NAMES)
def test_markdown_and_pictures_are_whole(made, name):
    out, outcomes = made
    text = (out / name / f"{name}.md").read_text(encoding="utf-8")
    assert outcomes[name].sentences
    for sentence in outcomes[name].sentences:
        assert f"- {sentence}\n" in text
    assert "nan" not in text.replace("nance", "")
    assert "None" not in text
    for exhibit in outcomes[name].exhibits:
        if isinstance(exhibit, Picture):
            assert f"]({exhibit.name}.png)" in text
            pixels = imread(io.BytesIO((out / name / f"{exhibit.name}.png").read_bytes()))
            assert pixels.shape[1] > pixels.shape[0] > 400
            assert pixels[..., :3].std() > 0.02  # something is drawn
        else:
            assert exhibit.rows
            assert all(len(row) == len(exhibit.columns) for row in exhibit.rows)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "figure1"])
def test_drawn_again_from_the_records_alone_it_is_the_same(made, name):
    out, outcomes = made
    experiment = next(m.EXPERIMENT for m in MODULES if name == m.EXPERIMENT.name)
    lab = Lab(name, SMOKE, LabOptions(out, redraw=True), datasets=experiment.datasets)
    assert experiment.reproduce(lab) == outcomes[name]
    assert sorted(lab.used) == sorted(read_records(out / name / FILE))


@pytest.mark.parametrize("name", ["table1", "figure3", "bounds"])
def test_datasets_can_be_left_out(made, name):
    out, _ = made
    experiment = next(m.EXPERIMENT for m in MODULES if name == m.EXPERIMENT.name)
    lab = Lab(name, SMOKE, LabOptions(out, redraw=True), datasets=experiment.datasets[:1])
    outcome = experiment.reproduce(lab)
    shown = " ".join(
        [*outcome.sentences]
        + [" ".join(" ".join(r) for r in e.rows) for e in outcome.exhibits if hasattr(e, "rows")]
    )
    assert "cifar10" in shown
    assert "svhn" not in shown


@pytest.mark.parametrize("name", [name for name in NAMES if name != "figure1"])
def test_without_records_nothing_is_drawn(tmp_path, name):
    experiment = next(m.EXPERIMENT for m in MODULES if name == m.EXPERIMENT.name)
    lab = Lab(name, SMOKE, LabOptions(tmp_path, redraw=True), datasets=experiment.datasets)
    with pytest.raises(RunDirectoryError, match="without --redraw"):
        experiment.reproduce(lab)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("table1", ("88.84 %", "63.62 %", "3.42 M", "11.71 M")),
        ("figure1", ("138,312,450", "256,240,800", "(9·2⁸ + 4s²)α² + (27 + 64c)α")),
        ("figure2", ("95.37 %", "16 M", "0.008 M")),
        ("figure3", ("124,928", "28,635,513", "39,815")),
        ("figure5", ("95.82 %", "74.79 %", "96.95 %")),
    ],
)
def test_the_published_numbers_stand_beside(made, name, published):
    text = (made[0] / name / f"{name}.md").read_text(encoding="utf-8")
    for number in published:
        assert number in text


def test_the_records_stay_small(made):
    for name in NAMES:
        path = made[0] / name / FILE
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            assert max(len(line) for line in lines) < 80_000
