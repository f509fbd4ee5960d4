"""The training methods by name, and the optimizer each of them builds for a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.optim.beta_lasso import BetaLasso
from scratchconv.optim.checks import nonnegative
from scratchconv.optim.groups import param_groups
from scratchconv.optim.proximal_lasso import ProximalLasso


@dataclass(frozen=True)
class Method:
    """A training method: the options it takes beside lr, and how its optimizer is built."""

    options: tuple[str, ...]
    build: Callable[..., torch.optim.Optimizer]


def _sgd(
    model: nn.Module, *, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    groups = param_groups(model, lam=0.0)
    for group in groups:
        del group["lam"]
        group["weight_decay"] = 0.0 if group["name"] == "unregularised" else weight_decay
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, foreach=True)


def _adam(model: nn.Module, *, lr: float) -> torch.optim.Optimizer:
    # Fused: on small networks the loop over parameters takes longer than their arithmetic.
    return torch.optim.Adam(model.parameters(), lr=lr, weight_decay=0.0, fused=True)


def _beta_lasso(
    model: nn.Module, *, lr: float, lam: float, lam_first: float | None, beta: float
) -> torch.optim.Optimizer:
    return BetaLasso(_regularised(model, lam, lam_first), lr, beta=beta)


def _lasso(
    model: nn.Module, *, lr: float, lam: float, lam_first: float | None
) -> torch.optim.Optimizer:
    return BetaLasso(_regularised(model, lam, lam_first), lr, beta=0.0)


def _proximal_lasso(
    model: nn.Module, *, lr: float, lam: float, lam_first: float | None
) -> torch.optim.Optimizer:
    return ProximalLasso(_regularised(model, lam, lam_first), lr)


def _regularised(model: nn.Module, lam: float, lam_first: float | None) -> list[dict[str, Any]]:
    """The groups of `model`; raises `InvalidArgument` where λ is of a group without weights."""
    groups = param_groups(model, lam=lam, lam_first=lam_first)
    penalised = [group for group in groups if group["lam"] > 0]
    if penalised and not any(group["params"] for group in penalised):
        first = penalised[0]["name"] == "convolution_weights"
        has, lacks = ("lam", "lam_first") if first else ("lam_first", "lam")
        raise InvalidArgument(
            f"{lacks} is of weights that this model has none of: nothing would be regularised;"
            f" give {has}"
        )
    return groups


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "sgd": Method(("momentum", "weight_decay"), _sgd),
        "adam": Method((), _adam),
        "beta-lasso": Method(("lam", "lam_first", "beta"), _beta_lasso),
        "lasso": Method(("lam", "lam_first"), _lasso),
        "proximal-lasso": Method(("lam", "lam_first"), _proximal_lasso),
    }
)

_DEFAULTS: dict[str, Any] = {
    "lam": 0.0,
    "lam_first": None,
    "beta": 50.0,  # Neyshabur 2020, §4
    "momentum": 0.0,
    "weight_decay": 0.0,
}


def build(
    method: str,
    model: nn.Module,
    *,
    lr: float = 0.1,
    lam: float = _DEFAULTS["lam"],
    lam_first: float | None = _DEFAULTS["lam_first"],
    beta: float = _DEFAULTS["beta"],
    momentum: float = _DEFAULTS["momentum"],
    weight_decay: float = _DEFAULTS["weight_decay"],
) -> torch.optim.Optimizer:
    """The optimizer of one of `METHODS` for all parameters of `model`, in groups.

    Every method regularises weights only, never biases or normalisation: weight decay too, so that
    methods differ in how they regularise and not in what (see `param_groups`).

    Args:
        method: "sgd" (momentum and weight decay), "adam" (Kingma & Ba 2015, PyTorch's defaults, no
            weight decay: Zhang 2021, §2.4), "beta-lasso" (Neyshabur 2020, Algorithm 1),
            "lasso" (its β = 0: the subgradient step) or "proximal-lasso" (soft threshold).
        model: the module to train.
        lr: learning rate; the paper tries 1, 0.1 and 0.01.
        lam: λ of the weights.
        lam_first: λ of the weights of the convolution layers; None means `lam`.
        beta: β of β-LASSO.
        momentum: momentum of SGD; β-LASSO is defined without.
        weight_decay: weight decay of SGD.

    Raises:
        InvalidArgument: an unknown method, an option set that the method does not take, a value
            that is negative or not finite, or a λ of weights that the model does not have, and no
            other (λ first of 3-FC, which stands for no convolution).
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    given = {
        "lam": lam,
        "lam_first": lam_first,
        "beta": beta,
        "momentum": momentum,
        "weight_decay": weight_decay,
    }
    nonnegative("lr", lr)
    chosen = METHODS[method]
    for name, value in given.items():
        if value is not None:
            nonnegative(name, value)
        if name not in chosen.options and value != _DEFAULTS[name]:
            raise InvalidArgument(
                f"method {method!r} does not take {name} (given {value:g}): "
                f"beside lr it takes {', '.join(chosen.options) or 'nothing'}"
            )
    return chosen.build(model, lr=lr, **{name: given[name] for name in chosen.options})
