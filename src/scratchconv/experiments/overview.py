"""What all reproduced items of a scale say, on one page: their sentences, out of their Markdown."""

from __future__ import annotations

from pathlib import Path

from scratchconv.experiments.catalogue import EXPERIMENTS
from scratchconv.lab.scales import find_scale


def overview(folder: Path) -> str:
    """The items under `folder`, which is named for its scale, in the order of `--list`.

    Takes what stands above the first heading of each `NAME/NAME.md`.
    """
    scale = find_scale(folder.name)
    lines = [
        f"# Reproduced at scale {scale.name}",
        "",
        f"{scale.about[0].upper()}{scale.about[1:]}.",
    ]
    for name in EXPERIMENTS:
        page = folder / name / f"{name}.md"
        if not page.exists():
            continue
        head, _, _ = page.read_text(encoding="utf-8").partition("\n### ")
        title, source, *said = [line for line in head.splitlines() if line]
        lines += ["", f"## [{title.removeprefix('# ')}]({name}/{page.name})", "", source, "", *said]
    return "\n".join([*lines, ""])
