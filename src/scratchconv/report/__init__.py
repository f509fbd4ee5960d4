"""HTML reports and pictures, drawn from run directories alone."""

from __future__ import annotations

from scratchconv.report.filters_figure import filters_figure
from scratchconv.report.page import write

__all__ = ["filters_figure", "write"]
