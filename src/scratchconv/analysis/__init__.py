"""What a network has learned, read from its weights: sparsity, receptive fields, locality."""

from scratchconv.analysis.locality import Locality, locality, median_spread, spread
from scratchconv.analysis.receptive_field import FilterSelection, receptive_fields, select_filters
from scratchconv.analysis.sparsity import LayerSparsity, sparsity

__all__ = [
    "FilterSelection",
    "LayerSparsity",
    "Locality",
    "locality",
    "median_spread",
    "receptive_fields",
    "select_filters",
    "sparsity",
    "spread",
]
