"""Figures 4 and 7 to 9: first-layer filters of S-LOCAL and of S-FC by SGD and by β = 50.

The runs are Table 2's (its first seed), so that beyond it this costs nothing. As in the paper, the
filters of S-FC are a random sample of the units with at least 20 non-zero weights; where there are
too few, the units that have the most, and the picture says so. What is drawn is kept in the record,
in steps of a fifth of the largest weight, so that the figure can be drawn without the weights.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from scratchconv.experiments import chosen_settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.figures import INK, MUTED, new_figure
from scratchconv.experiments.neyshabur.table2_runs import table2_records
from scratchconv.lab import Lab, Outcome, Picture, RunRecord, Table
from scratchconv.lab.lab import measured
from scratchconv.report import wording
from scratchconv.report.filters import load_filters, mosaic, panel, png
from scratchconv.report.record import read

PANELS = (
    ("S-LOCAL, SGD", "s-local", "sgd"),
    ("S-FC, SGD", "s-fc", "sgd"),
    ("S-FC, β-LASSO, β = 50", "s-fc", "beta-lasso-50"),
)
_UNITS = 25
_GAP = 2
_LEVELS = 5
_GAP_COLOUR = 220
"""Between filters: told from the white and from the mid-grey of a zero."""


def reproduce(lab: Lab) -> Outcome:
    """Train the three networks on every dataset, draw their filters."""
    by_title = table2_records(lab, PANELS, measure=first_layer)
    found = {data: list(records.values()) for data, records in by_title.items()}
    said = [sentence for data, records in found.items() for sentence in sentences(data, records)]
    pictures = [picture(data, records) for data, records in found.items()]
    return Outcome(tuple(said), (*pictures, table(found)))


def first_layer(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """Up to 25 filters as one small PNG (base64), with the words that say which they are."""
    drawn = panel(load_filters(read([directory])[0]), _UNITS)
    picture = mosaic(drawn.tiles, drawn.columns, scale=1, gap=_GAP)
    return {
        "png": base64.b64encode(png(_quantised(picture))).decode("ascii"),
        "caption": drawn.caption,
        "tile": list(drawn.tiles[0].shape[:2]),
        "columns": drawn.columns,
    }


def picture(data: str, records: list[RunRecord]) -> Picture:
    """The three networks side by side."""
    figure, panels = new_figure(9.6, 3.6, columns=len(PANELS), space=0.06)
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(h_pad=0.12)  # of a title that stands higher, for a line below it, it sees less
    captions = []
    for axes, (title, _, _), record in zip(panels, PANELS, records, strict=True):
        drawn = measured(record, first_layer)
        axes.imshow(decoded(drawn["png"]), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(title, fontsize=10, color=INK, loc="left", pad=16)
        axes.annotate(
            _subtitle(record),
            (0, 1),
            xytext=(0, 5),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8,
            color=MUTED,
        )
        captions.append(f"{title}: {drawn['caption']}")
    return Picture.of(
        figure,
        title=f"First-layer filters on {data}",
        name=f"figure4-{data}",
        description=f"First-layer filters as small images on {data}, three networks.",
        note="Every filter has its own scale of colours, in steps of a fifth of its largest weight;"
        " mid-grey (colour images) or white is zero and what is below a tenth of the largest."
        f" {'. '.join(captions)}.",
    )


def table(found: dict[str, list[RunRecord]]) -> Table:
    """What the pictures show, as numbers."""
    rows = []
    for data, records in found.items():
        for (title, _, _), record in zip(PANELS, records, strict=True):
            first = record.result["layers"][0]
            local = record.result["locality"]
            rows.append(
                (
                    title,
                    data,
                    f"{first['nonzero'] / max(1, first['units'] - first['dead_units']):,.1f}",
                    f"{first['dead_units']:,} of {first['units']:,}",
                    _number(record.result["spread"]),
                    _number(None if local is None else local["spread_by_chance"]),
                    f"{record.accuracy():.2f} %",
                )
            )
    return Table(
        "How local the filters are",
        (
            "network",
            "data",
            "non-zeros of a living unit",
            "dead units",
            "spread",
            "with its weights shuffled",
            "test accuracy",
        ),
        tuple(rows),
        note="Spread: how far a filter's weights lie from their centre (root mean square), as a"
        " share of a uniform filter's; the median over units. Shuffled: each unit's weights at"
        " random pixels, the spread that their number alone would give. S-LOCAL's weights on the"
        " border's padding count, as in Neyshabur 2020."
        f" {chosen_settings.note(record for records in found.values() for record in records)}",
    )


def sentences(data: str, records: list[RunRecord]) -> list[str]:
    """Whether β-LASSO's filters are more local than SGD's and than chance."""
    local, sgd, lasso = (record.result for record in records)
    spread, chance = lasso["spread"], (lasso["locality"] or {}).get("spread_by_chance")
    if spread is None or chance is None or sgd["spread"] is None:
        return [f"{data}: no unit of S-FC by β = 50 has a weight left: no filters to compare."]
    against = "more" if spread < sgd["spread"] else "not more"
    by_chance = "less" if spread < chance else "not less"
    return [
        f"{data}: the filters by β = 50 have spread {spread:.3f}, {against} local than SGD's"
        f" ({sgd['spread']:.3f}), and {by_chance} than as many weights at random pixels have"
        f" ({chance:.3f}); S-LOCAL's, made local, have {local['spread']:.3f}."
    ]


def decoded(kept: str) -> NDArray[Any]:
    """The picture that `first_layer` kept."""
    return np.asarray(imread(io.BytesIO(base64.b64decode(kept))))


def _quantised(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours in `_LEVELS` steps to either side of the middle, which stays; a tenth of the size."""
    signed = (picture[..., :3].astype(np.float64) - 128) / 127
    steps = np.rint(signed * _LEVELS) / _LEVELS
    colours = np.clip(np.rint(128 + 127 * steps), 0, 255).astype(np.uint8)
    return np.where(picture[..., 3:] == 0, np.uint8(_GAP_COLOUR), colours)


def _subtitle(record: RunRecord) -> str:
    first = record.result["layers"][0]
    share = wording.percent(first["nonzero"] / first["size"])
    return f"{share} of its weights, spread {_number(record.result['spread'])}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


EXPERIMENT = Experiment(
    name="figure4",
    title="Figures 4 and 7 to 9: first-layer filters",
    source="Neyshabur 2020, Figures 4, 7, 8 and 9",
    datasets=("cifar10", "cifar100", "svhn"),
    reproduce=reproduce,
    laptop_minutes=57,
)
