"""Templates of pages: everything that is put into one is escaped, and nothing may be missing."""

from __future__ import annotations

import re

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_NAME = re.compile(r"\b(?:[SD]-(?:FC|CONV|LOCAL)|3-FC|β-LASSO)\b")


def templates(*packages: str) -> Environment:
    """The templates of these packages, looked for in their order, and those of the report."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(p) for p in (*packages, "scratchconv.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    return environment


def unbroken(text: str) -> Markup:
    """Escaped, and with names of networks and of β-LASSO on one line: none ends as "S-"."""
    return Markup(_NAME.sub(r'<span class="name">\g<0></span>', str(escape(text))))
