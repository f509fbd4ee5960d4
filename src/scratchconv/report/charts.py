"""Line charts as inline SVG whose colours follow the page, light or dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from scratchconv.report.wording import compact, fixed, number

Scale = Literal["log", "fraction", "linear"]

COLOURS = 7  # series colours of the stylesheet; after so many, the dashes change
DASHES = ("", "5 2.5", "1.5 2", "6 2 1.5 2")

# Stand-ins that no chart would use by chance, replaced by the stylesheet's own variables.
_INK, _GRID = "#0a0b0c", "#0d0e0f"
_VARIABLES = {
    _INK: "var(--muted)",
    _GRID: "var(--line)",
    **{f"#0f00{k:02x}": f"var(--series-{k})" for k in range(COLOURS)},
}
_ZERO = 0.5  # where a logarithmic axis draws a count of zero, with its own tick


@dataclass(frozen=True)
class Series:
    """One line: `values` over `epochs`, NaN where there is none."""

    label: str
    epochs: Sequence[float]
    values: Sequence[float]
    style: int

    @property
    def colour(self) -> int:
        """Which of the stylesheet's series colours."""
        return self.style % COLOURS

    @property
    def dash(self) -> str:
        """SVG stroke-dasharray."""
        return DASHES[self.style // COLOURS % len(DASHES)]

    @property
    def drawable(self) -> bool:
        """Whether there is anything to draw."""
        return any(math.isfinite(value) for value in self.values)


@dataclass(frozen=True)
class Chart:
    """A finished chart: markup for the page, and the same in words for who cannot see it."""

    title: str
    svg: Markup
    description: str


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    scale: Scale,
    identity: str,
    limits: tuple[float, float] | None = None,
    from_zero: bool = False,
    until: float | None = None,
    points: int = 400,
) -> Chart | None:
    """Draw the series over epochs; None where there is nothing to draw.

    `until` is the last epoch planned: what an unfinished run still lacks is seen as a gap.
    `identity` keeps the SVG's own ids apart from those of other charts on the page. A line of
    more than `points` points is thinned to the extremes of equal stretches: bursts stay visible.
    """
    drawable = [line for line in series if line.drawable]
    if not drawable:
        return None
    # Text stays text, no label is ever parsed as mathematics, and ids do not change by the run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": identity, "text.parse_math": False}):
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        axes = figure.subplots()
        for line in drawable:
            _draw(axes, line, scale, points)
        _dress(axes, drawable, scale, limits)
        if from_zero:
            axes.set_ylim(bottom=0)
        if until is not None and until > axes.get_xlim()[1]:
            axes.set_xlim(right=until)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Chart(title, _inline(buffer.getvalue(), identity), _in_words(title, drawable, scale))


def log_limits(series: Sequence[Series]) -> tuple[float, float] | None:
    """Limits that several logarithmic charts can share."""
    values = [v for line in series for v in line.values if math.isfinite(v)]
    if not values:
        return None
    return (_ZERO if min(values) < 1 else max(1.0, min(values) / 1.6)), max(max(values), 2.0) * 1.6


def _draw(axes: Axes, line: Series, scale: Scale, points: int) -> None:
    kept = _thinned(line.values, points)
    epochs = [line.epochs[i] for i in kept]
    values = [line.values[i] for i in kept]
    if scale == "log":
        values = [max(value, _ZERO) if math.isfinite(value) else value for value in values]
    dash = [float(length) for length in line.dash.split()]
    lone = sum(math.isfinite(value) for value in values) == 1
    axes.plot(
        epochs,
        values,
        color=f"#0f00{line.colour:02x}",
        linewidth=1.6,
        linestyle=(0, tuple(dash)) if dash else "-",
        marker="o" if lone or len(values) <= 3 else "",
        markersize=4,
    )


def _thinned(values: Sequence[float], points: int) -> list[int]:
    """Indices of first, last, and the lowest and highest of each of equal stretches."""
    if len(values) <= points:
        return list(range(len(values)))
    stretches = max(1, points // 2 - 1)
    kept = {0, len(values) - 1}
    for k in range(stretches):
        stretch = range(k * len(values) // stretches, (k + 1) * len(values) // stretches)
        finite = [i for i in stretch if math.isfinite(values[i])]
        if finite:
            kept |= {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
        else:
            kept.add(stretch[0])  # keeps the gap in the line
    return sorted(kept)


def _dress(
    axes: Axes, lines: Sequence[Series], scale: Scale, limits: tuple[float, float] | None
) -> None:
    if scale == "log":
        axes.set_yscale("log")
        low, high = limits or log_limits(lines) or (1.0, 10.0)
        axes.set_ylim(low, high)
        between = (1, 2, 5) if high / low < 100 else (1,)  # never an axis without numbers
        axes.yaxis.set_major_locator(LogLocator(10, subs=between, numticks=7))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
        if low <= _ZERO:
            powers = [10.0**k for k in range(math.ceil(math.log10(high)))]
            axes.set_yticks([_ZERO, *powers[:: 1 + len(powers) // 7]])
            axes.yaxis.set_major_formatter(
                FuncFormatter(lambda value, _: "0" if value < 1 else compact(value))
            )
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        form = _points if scale == "fraction" else number
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_xlabel("epoch", color=_INK, fontsize=9)
    axes.tick_params(length=0, labelsize=9, labelcolor=_INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)


def _points(value: float) -> str:
    return f"{100 * value:.4g} %"


def _inline(svg: str, identity: str) -> Markup:
    """matplotlib's file as an element of our page: no namespaces, no styles, ids of its own."""
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", svg))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in list(element.attrib):
            value = element.attrib.pop(name)
            local = name.rpartition("}")[2]
            if local == "id":
                value = f"{identity}-{value}"
            elif local == "href":
                value = f"#{identity}-{value.lstrip('#')}"
            value = value.replace("url(#", f"url(#{identity}-")
            for stand_in, variable in _VARIABLES.items():
                value = value.replace(stand_in, variable)
            element.set(local, value)
    for unwanted in ("width", "height", "version"):
        root.attrib.pop(unwanted, None)
    root.set("aria-hidden", "true")  # the description beside it is what is read out
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _in_words(title: str, lines: Sequence[Series], scale: Scale) -> str:
    forms: dict[Scale, Callable[[float], str]] = {
        "log": compact,
        "fraction": _points,
        "linear": number,
    }
    write = forms[scale]
    parts = []
    for line in lines:
        finite = [
            (epoch, value)
            for epoch, value in zip(line.epochs, line.values, strict=True)
            if math.isfinite(value)
        ]
        (first, start), (last, end) = finite[0], finite[-1]
        parts.append(
            f"{line.label}: {write(start)} at epoch {fixed(first, 0)}"
            + (f", {write(end)} at epoch {fixed(last, 0)}" if len(finite) > 1 else "")
        )
    return f"{title}. " + "; ".join(parts) + "."
