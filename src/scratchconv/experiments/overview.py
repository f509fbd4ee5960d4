"""What all reproduced items of a scale say, on one page: their sentences, out of their Markdown."""

from __future__ import annotations

from pathlib import Path

from scratchconv.experiments.catalogue import PAGES
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
    whole = [name for name in PAGES if name not in {item.name for item in entries}]
    parts = []
    for item in entries:
        lacking = [d for d in PAGES[item.name].datasets if item.datasets and d not in item.datasets]
        parts += [f"`{item.name}`: {listed(lacking)}"] if lacking else []
    if whole or parts:
        lines += ["", "## Not made", ""]
    lines += [f"- Items: {', '.join(f'`{name}`' for name in whole)}."] if whole else []
    lines += [f"- Datasets: {'; '.join(parts)}."] if parts else []
    return "\n".join([*lines, ""])
