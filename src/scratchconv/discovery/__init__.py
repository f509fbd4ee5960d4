"""What structure the columns of a table have: who is next to whom, where they lie, what they share.

From the data alone, and from what β-LASSO keeps.
"""

from scratchconv.discovery.alignment import SharedFilters, shared_filters
from scratchconv.discovery.beta_lasso_classifier import BetaLassoClassifier
from scratchconv.discovery.beta_lasso_regressor import BetaLassoRegressor
from scratchconv.discovery.channels import Channels
from scratchconv.discovery.co_selection import co_selection, learned_graph, significant_edges
from scratchconv.discovery.comparison import Compared, compare_networks
from scratchconv.discovery.compiling import compile_network
from scratchconv.discovery.dependence import Dependence, dependence
from scratchconv.discovery.discovering import discover
from scratchconv.discovery.findings import Findings, Recovery
from scratchconv.discovery.findings_file import read_findings, read_origin, write_findings
from scratchconv.discovery.geometry import Geometry, find_geometry
from scratchconv.discovery.graph import Evidence, NeighbourGraph
from scratchconv.discovery.learning import LearnedSupports, learned_supports
from scratchconv.discovery.network_code import NetworkCode
from scratchconv.discovery.network_training import Course, train_network
from scratchconv.discovery.networks import Structure
from scratchconv.discovery.recovery import (
    EdgeRecovery,
    edge_recovery,
    procrustes_error,
    rank_correlation,
    true_grid_edges,
)
from scratchconv.discovery.sharing import Sharing, find_sharing, standard_samples
from scratchconv.discovery.structure_finder import StructureFinder
from scratchconv.discovery.structure_search import Choices
from scratchconv.discovery.tables import Table, read_table
from scratchconv.discovery.unsupervised import Unsupervised, unsupervised, unsupervised_graph

__all__ = [
    "BetaLassoClassifier",
    "BetaLassoRegressor",
    "Channels",
    "Choices",
    "Compared",
    "Course",
    "Dependence",
    "EdgeRecovery",
    "Evidence",
    "Findings",
    "Geometry",
    "LearnedSupports",
    "NeighbourGraph",
    "NetworkCode",
    "Recovery",
    "SharedFilters",
    "Sharing",
    "Structure",
    "StructureFinder",
    "Table",
    "Unsupervised",
    "co_selection",
    "compare_networks",
    "compile_network",
    "dependence",
    "discover",
    "edge_recovery",
    "find_geometry",
    "find_sharing",
    "learned_graph",
    "learned_supports",
    "procrustes_error",
    "rank_correlation",
    "read_findings",
    "read_origin",
    "read_table",
    "shared_filters",
    "significant_edges",
    "standard_samples",
    "train_network",
    "true_grid_edges",
    "unsupervised",
    "unsupervised_graph",
    "write_findings",
]
