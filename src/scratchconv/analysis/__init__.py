"""What a network has learned, read from its weights.

Its sparsity, its receptive fields and their locality, and how few bits describe it.
"""

from scratchconv.analysis.description_length import (
    DescriptionLength,
    GeneralisationBound,
    decode,
    description_length,
    encode,
    generalisation_bound,
)
from scratchconv.analysis.locality import Locality, locality, median_spread, spread
from scratchconv.analysis.receptive_field import FilterSelection, receptive_fields, select_filters
from scratchconv.analysis.sparsity import LayerSparsity, sparsity

__all__ = [
    "DescriptionLength",
    "FilterSelection",
    "GeneralisationBound",
    "LayerSparsity",
    "Locality",
    "decode",
    "description_length",
    "encode",
    "generalisation_bound",
    "locality",
    "median_spread",
    "receptive_fields",
    "select_filters",
    "sparsity",
    "spread",
]
