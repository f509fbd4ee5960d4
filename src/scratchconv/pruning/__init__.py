"""Rivals of β-LASSO that are told how many weights to keep: pruning, and sparse training.

Each method holds masks on the weights and changes them at its own time; `build` makes one by name.
"""

from scratchconv.pruning.densities import layer_counts
from scratchconv.pruning.fixed import GivenConnections, RandomConnections
from scratchconv.pruning.magnitude import MagnitudePruning
from scratchconv.pruning.method import Pruning, prunable_weights
from scratchconv.pruning.methods import METHODS, build, cut_steps, iterative_rounds, rigl_interval
from scratchconv.pruning.rewiring import Rewiring
from scratchconv.pruning.rigl import RigL
from scratchconv.pruning.snip import Snip
from scratchconv.pruning.sparse_evolution import SparseEvolution

__all__ = [
    "METHODS",
    "GivenConnections",
    "MagnitudePruning",
    "Pruning",
    "RandomConnections",
    "Rewiring",
    "RigL",
    "Snip",
    "SparseEvolution",
    "build",
    "cut_steps",
    "iterative_rounds",
    "layer_counts",
    "prunable_weights",
    "rigl_interval",
]
