"""What all reproduced items of a scale say, on one page: their sentences, out of their Markdown."""

from __future__ import annotations

from pathlib import Path

from scratchconv.experiments.catalogue import PAGES
from scratchconv.lab.pages import made
from scratchconv.lab.scales import find_scale


def overview(folder: Path) -> str:
    """The items under `folder`, which is named for its scale, in the order of `--list`."""
    scale = find_scale(folder.name)
    lines = [f"# Reproduced at scale {scale.name}", "", f"Scale: {scale.about}."]
    for item in made(folder, PAGES):
        lines += ["", f"## [{item.title}]({item.name}/{item.name}.md)", "", item.source, ""]
        lines += [f"- {sentence}" for sentence in item.sentences]
    return "\n".join([*lines, ""])
