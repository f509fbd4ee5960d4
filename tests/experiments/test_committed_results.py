"""What was drawn under results/ is what its records say: a drawing that is stale fails here."""

from pathlib import Path

import pytest

from scratchconv.experiments.catalogue import PAGES
from scratchconv.experiments.reproduce import draw
from scratchconv.lab import Table
from scratchconv.lab.pages import made
from scratchconv.lab.scales import find_scale

RESULTS = Path(__file__).resolve().parents[2] / "results"
DRAWN = [
    (scale, name)
    for scale in ("laptop", "ee411", "paper")
    for name in PAGES
    if (RESULTS / scale / name / f"{name}.md").exists()
]


@pytest.mark.parametrize(("scale", "name"), DRAWN)
def test_committed_tables_are_those_of_the_records(scale: str, name: str) -> None:
    text = (RESULTS / scale / name / f"{name}.md").read_text(encoding="utf-8")
    experiment = PAGES[name]
    (item,) = made(RESULTS / scale, [name])
    datasets = item.datasets or experiment.datasets
    outcome, records = draw(experiment, find_scale(scale), RESULTS / scale, datasets)
    remedy = f"make it anew: scratchconv reproduce … --scale {scale} --out results/{scale} --redraw"
    for sentence in outcome.sentences:
        assert f"- {sentence}" in text, remedy
    for exhibit in outcome.exhibits:
        if isinstance(exhibit, Table):
            assert exhibit.markdown() in text, remedy
    if scale == "laptop" and records:  # what --list says of it
        minutes = sum(record.core_seconds for record in records) / 120
        assert experiment.laptop_minutes == pytest.approx(minutes, abs=0.6)


def test_some_results_are_there() -> None:
    assert {("laptop", "figure3"), ("laptop", "bounds")} <= set(DRAWN)
