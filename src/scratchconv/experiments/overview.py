"""What all reproduced items of a scale say, on one page: their sentences, out of their Markdown."""

from __future__ import annotations

from pathlib import Path

from scratchconv.experiments.catalogue import PAGES
from scratchconv.experiments.experiment import Experiment
from scratchconv.lab.pages import made
from scratchconv.lab.scales import find_scale
from scratchconv.report.wording import listed


def overview(folder: Path) -> str:
    """The items under `folder`, which is named for its scale, in the order of `--list`.

    What was not made stands at the end: whole items, and datasets of others.
    """
    scale = find_scale(folder.name)
    lines = [f"# Reproduced at scale {scale.name}", "", f"Scale: {scale.about}."]
    entries = made(folder, PAGES)
    for item in entries:
        lines += ["", f"## [{item.title}]({item.name}/{item.name}.md)", "", item.source, ""]
        lines += [f"- {sentence}" for sentence in item.sentences]
    there = {item.name for item in entries}
    whole = [name for name in PAGES if name not in there]
    parts = [
        f"`{name}`: {listed(lacking)}"
        for name in PAGES
        if name in there and (lacking := _datasets_not_made(folder, PAGES[name]))
    ]
    if whole or parts:
        lines += ["", "## Not made", ""]
    lines += [f"- Items: {', '.join(f'`{name}`' for name in whole)}."] if whole else []
    lines += [f"- Datasets: {'; '.join(parts)}."] if parts else []
    return "\n".join([*lines, ""])


def _datasets_not_made(folder: Path, experiment: Experiment) -> list[str]:
    text = (folder / experiment.name / f"{experiment.name}.md").read_text(encoding="utf-8")
    _, fewer, rest = text.partition("--datasets ")
    kept = rest.partition(" --")[0].split() if fewer else experiment.datasets
    return [name for name in experiment.datasets if name not in kept]
