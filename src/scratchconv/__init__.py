"""scratchconv: learn convolution-like structure from data, with no geometry built in."""

from scratchconv import analysis, data, models, nn, optim
from scratchconv.optim import BetaLasso, ProximalLasso, param_groups

__version__ = "0.1.0"

__all__ = [
    "BetaLasso",
    "ProximalLasso",
    "__version__",
    "analysis",
    "data",
    "models",
    "nn",
    "optim",
    "param_groups",
]
