"""The updates, line by line, on one tensor: what every fast path is tested against.

The arithmetic contract. Each operation below is computed in float32 (in float64 for float64
parameters) and rounded to nearest by itself, with no contraction into a fused multiply-add; options
are rounded to that dtype after βλ or ηλ is formed in double precision. The result is rounded once
to the dtype of the parameter. With λ = 0 every method is plain SGD (`sgd`), in torch's own
arithmetic, so groups that are not regularised move bit for bit as under torch.optim.SGD.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scratchconv.optim.checks import compute_dtype


def sgd(theta: Tensor, gradient: Tensor, lr: float) -> Tensor:
    """θ − ηg, as torch.optim.SGD computes it."""
    return torch.add(theta, gradient, alpha=-lr)


def beta_lasso(theta: Tensor, gradient: Tensor, lr: float, lam: float, beta: float) -> Tensor:
    """One step of β-LASSO (Neyshabur 2020, Algorithm 1): a new tensor like `theta`.

    The threshold is hard and is not multiplied by η, as in the algorithm (the text of the paper
    says soft). sign(0) = 0, so a zero weight comes back exactly when η|g| ≥ βλ.
    """
    dtype = theta.dtype
    theta, gradient = theta.to(compute_dtype(dtype)), gradient.to(compute_dtype(dtype))
    theta = theta - lr * (gradient + lam * torch.sign(theta))
    theta = torch.where(theta.abs() < beta * lam, 0.0, theta)
    return theta.to(dtype)


def lasso(theta: Tensor, gradient: Tensor, lr: float, lam: float) -> Tensor:
    """One subgradient step on the loss + λ‖θ‖₁: β-LASSO with β = 0. Seldom exactly zero."""
    dtype = theta.dtype
    theta, gradient = theta.to(compute_dtype(dtype)), gradient.to(compute_dtype(dtype))
    theta = theta - lr * (gradient + lam * torch.sign(theta))
    return theta.to(dtype)


def proximal_lasso(theta: Tensor, gradient: Tensor, lr: float, lam: float) -> Tensor:
    """One proximal gradient step on the loss + λ‖θ‖₁ (Beck & Teboulle 2009, §1.1, ISTA).

    A gradient step, then a soft threshold by ηλ: sign(θ)·max(|θ| − ηλ, 0), written as what is left
    of θ after its part within [−ηλ, ηλ] is taken away.
    """
    dtype = theta.dtype
    theta, gradient = theta.to(compute_dtype(dtype)), gradient.to(compute_dtype(dtype))
    theta = theta - lr * gradient
    theta = theta - theta.clamp(-lr * lam, lr * lam)
    return theta.to(dtype)
