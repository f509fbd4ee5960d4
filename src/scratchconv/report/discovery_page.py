"""The page of `discover`: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from scratchconv.discovery.findings import Findings
from scratchconv.discovery.neighbourhoods import channel_count
from scratchconv.errors import InvalidArgument
from scratchconv.report import discovery_pictures as pictures
from scratchconv.report import discovery_tables as tables
from scratchconv.report.discovery_map import column_map
from scratchconv.report.discovery_verdict import discovery_verdict
from scratchconv.report.output import check_writable, write_whole
from scratchconv.report.rendering import templates
from scratchconv.report.wording import MISSING, grouped


def write_discovery(
    findings: Findings,
    out: Path,
    *,
    title: str,
    made: Mapping[str, object] | None = None,
    examples: NDArray[Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Draw what was found as one HTML page without outside resources; returns `out`.

    The page begins with the verdict in words, then shows the map of the columns, the evidence, and
    how it was made. Everything shown is escaped.

    Args:
        findings: what `discover` returned.
        out: the file to write.
        title: its heading.
        made: how it was made: "command", and any other facts by name; tables in it are laid flat.
        examples: a few rows (m, d) to show as given and rearranged, all columns on one scale.
        overwrite: replace `out` if it exists.

    Raises InvalidArgument for an existing `out` without `overwrite`, or rows of another width.
    """
    out = Path(out)
    check_writable(out, overwrite=overwrite)
    page = render_discovery(findings, title=title, made=made, examples=examples)
    write_whole(out, page)
    return out


def render_discovery(
    findings: Findings,
    *,
    title: str,
    made: Mapping[str, object] | None = None,
    examples: NDArray[Any] | None = None,
) -> str:
    """The page's HTML; see `write_discovery`."""
    if examples is not None and (examples.ndim != 2 or examples.shape[1] != findings.columns):
        raise InvalidArgument(
            f"examples have shape {examples.shape}: give rows of {findings.columns} columns"
        )
    geometry, sharing, made = findings.geometry, findings.sharing, made or {}
    return (
        templates()
        .get_template("discovery.html.jinja")
        .render(
            title=title,
            about=f"{grouped(findings.columns)} columns · {grouped(findings.rows)} rows",
            verdict=discovery_verdict(findings),
            kind=geometry.kind,
            channels=channel_count(geometry),
            task=findings.task,
            map=column_map(geometry, findings.graph, findings.names),
            examples=() if examples is None else pictures.examples(examples, geometry),
            edges=tables.edge_rows(findings),
            edge_count=grouped(len(findings.graph)),
            sources=tables.source_rows(findings),
            places=tables.place_rows(findings),
            recovery=tables.recovery_rows(findings),
            fields=pictures.fields(findings.receptive_fields, geometry),
            field_maps=pictures.field_maps(findings.receptive_fields, geometry, findings.names),
            codes=tables.code_rows(sharing) if sharing else [],
            filters=pictures.shared_filters(sharing, geometry) if sharing else None,
            filter_sentence=tables.filter_sentence(sharing) if sharing else "",
            networks=tables.network_rows(findings),
            seconds=tables.second_rows(findings.seconds),
            command=made.get("command"),
            facts=tables.facts(made),
            constant=[findings.names[column] for column in findings.constant[:20].tolist()],
            constant_left_out=max(0, len(findings.constant) - 20),
            missing=MISSING,
        )
    )
