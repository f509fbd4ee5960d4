"""Optimizers that learn which weights may be zero, built by name or used by themselves."""

from scratchconv.optim.beta_lasso import BetaLasso
from scratchconv.optim.groups import param_groups
from scratchconv.optim.methods import METHODS, build
from scratchconv.optim.proximal_lasso import ProximalLasso

__all__ = ["METHODS", "BetaLasso", "ProximalLasso", "build", "param_groups"]
