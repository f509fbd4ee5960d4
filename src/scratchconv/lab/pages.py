"""An experiment's outcome on disk: Markdown, pictures and a page; and the index of all of them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratchconv.lab.exhibits import Outcome, Picture
from scratchconv.lab.provenance import provenance, settings
from scratchconv.lab.records import RunRecord
from scratchconv.report.output import write_whole
from scratchconv.report.rendering import templates
from scratchconv.training import RunConfig


@dataclass(frozen=True)
class Heading:
    """What stands above an outcome: title, what it reproduces, the command that makes it.

    `trial` says that it was but tried, where it was.
    """

    name: str
    title: str
    source: str
    command: str
    trial: str = ""


def write_outcome(
    folder: Path, heading: Heading, outcome: Outcome, records: Sequence[RunRecord]
) -> Path:
    """Write `NAME.md`, the pictures and `page.html` into `folder`; returns the page."""
    for exhibit in outcome.exhibits:
        if isinstance(exhibit, Picture):
            write_whole(folder / f"{exhibit.name}.png", exhibit.png)
    write_whole(folder / f"{heading.name}.md", markdown(heading, outcome, records))
    page = folder / "page.html"
    html = _template("outcome.html.jinja").render(
        heading=heading,
        outcome=outcome,
        pictures={
            exhibit.name: base64.b64encode(exhibit.png).decode("ascii")
            for exhibit in outcome.exhibits
            if isinstance(exhibit, Picture)
        },
        made=_made(records),
        runs=[_run(record) for record in records],
    )
    write_whole(page, html)
    return page


def markdown(heading: Heading, outcome: Outcome, records: Sequence[RunRecord]) -> str:
    """The outcome as Markdown: sentences, tables, pictures beside it, how it was made."""
    lines = [f"# {heading.title}", "", f"{heading.source}.", ""]
    lines += [f"*{heading.trial}*", ""] if heading.trial else []
    lines += [f"- {sentence}" for sentence in outcome.sentences]
    for exhibit in outcome.exhibits:
        lines.append("")
        if isinstance(exhibit, Picture):
            lines += [f"### {exhibit.title}", "", f"![{exhibit.description}]({exhibit.name}.png)"]
            lines += ["", exhibit.note] if exhibit.note else []
        else:
            lines.append(exhibit.markdown())
    for paragraph in _made(records):
        lines += ["", paragraph]
    lines += ["", f"Made by `{heading.command}`.", ""]
    return "\n".join(lines)


def _made(records: Sequence[RunRecord]) -> list[str]:
    """Paragraphs on how the runs were made."""
    return [said for said in (settings(records), provenance(records)) if said]


@dataclass(frozen=True)
class Entry:
    """An item that was made, by its Markdown: what stands above the first heading there.

    `datasets` are those that its command keeps to; none where it takes all.
    """

    name: str
    title: str
    source: str
    sentences: tuple[str, ...]
    datasets: tuple[str, ...]
    link: str


def made(folder: Path, names: Iterable[str]) -> list[Entry]:
    """Those of the items that were made under `folder`."""
    entries = []
    for name in names:
        text, page = folder / name / f"{name}.md", folder / name / "page.html"
        if not text.exists():
            continue
        whole = text.read_text(encoding="utf-8")
        head, _, _ = whole.partition("\n### ")
        title, source, *lines = [line for line in head.splitlines() if line]
        said = tuple(line.removeprefix("- ") for line in lines if line.startswith("- "))
        datasets = tuple(whole.partition("--datasets ")[2].partition(" --")[0].split())
        link = f"{name}/{page.name if page.exists() else text.name}"
        entries.append(Entry(name, title.removeprefix("# "), source, said, datasets, link))
    return entries


def write_index(out: Path, scale: str, names: Iterable[str]) -> Path:
    """Write `index.html` into `out`: every item of these that was made, with a link."""
    page = out / "index.html"
    html = _template("index.html.jinja").render(scale=scale, items=made(out, names))
    write_whole(page, html)
    return page


def _run(record: RunRecord) -> Mapping[str, Any]:
    environment = record.result.get("environment", {})
    config = RunConfig(**{k: v for k, v in record.config.items() if k in _FIELDS})
    return {
        "key": record.key,
        "command": environment.get("command") or config.command(),
        "failure": record.failure,
    }


_FIELDS = frozenset(RunConfig().identity())


def _template(name: str) -> Any:
    environment = templates("scratchconv.lab")
    environment.tests["picture"] = lambda exhibit: isinstance(exhibit, Picture)
    return environment.get_template(name)
