"""What a network has learned, read from its weights.

Its sparsity, its receptive fields and their locality, how few bits describe it, whether it found
the weights of a tree, and what an attack does to it.
"""

from scratchconv.analysis.description_length import (
    DescriptionLength,
    GeneralisationBound,
    decode,
    description_length,
    encode,
    generalisation_bound,
)
from scratchconv.analysis.fgsm import AttackedAccuracy, adversarial_examples, attacked_accuracy
from scratchconv.analysis.locality import Locality, locality, median_spread, spread
from scratchconv.analysis.receptive_field import FilterSelection, receptive_fields, select_filters
from scratchconv.analysis.recovered_weights import RecoveredLevel, recovered_weights
from scratchconv.analysis.sparsity import LayerSparsity, sparsity

__all__ = [
    "AttackedAccuracy",
    "DescriptionLength",
    "FilterSelection",
    "GeneralisationBound",
    "LayerSparsity",
    "Locality",
    "RecoveredLevel",
    "adversarial_examples",
    "attacked_accuracy",
    "decode",
    "description_length",
    "encode",
    "generalisation_bound",
    "locality",
    "median_spread",
    "receptive_fields",
    "recovered_weights",
    "select_filters",
    "sparsity",
    "spread",
]
