"""Templates of pages: everything that is put into one is escaped, and nothing may be missing."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def templates(*packages: str) -> Environment:
    """The templates of these packages, looked for in their order, and those of the report."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(p) for p in (*packages, "scratchconv.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
