"""scratchconv: learn convolution-like structure from data, with no geometry built in."""

from scratchconv import analysis, data, models, nn, optim, prediction, pruning, sparse
from scratchconv.optim import BetaLasso, ProximalLasso, param_groups
from scratchconv.prediction import export, export_onnx, load_predictor
from scratchconv.sparse import fix_connections, sparsify

__version__ = "0.1.0"

__all__ = [
    "BetaLasso",
    "ProximalLasso",
    "__version__",
    "analysis",
    "data",
    "export",
    "export_onnx",
    "fix_connections",
    "load_predictor",
    "models",
    "nn",
    "optim",
    "param_groups",
    "prediction",
    "pruning",
    "sparse",
    "sparsify",
]
