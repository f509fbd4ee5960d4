"""What was published, as numbers: tables as quoted, figures as read off the page.

Each file names its source. Accuracies are in percent (in Zhang's table they are fractions, as
there); figures are digitised from the papers' vector graphics, to about ±0.05 points.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from scratchconv.errors import unknown_name

NAMES = ("neyshabur2020", "ee411", "zhang2021")


@cache
def load(name: str) -> dict[str, Any]:
    """The numbers of one of `NAMES`; raises `InvalidArgument` listing them for another name."""
    if name not in NAMES:
        raise unknown_name("published source", name, NAMES)
    text = files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content
