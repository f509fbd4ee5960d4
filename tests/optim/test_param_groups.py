"""Which parameters each λ reaches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from scratchconv.errors import InvalidArgument
from scratchconv.optim import BetaLasso, param_groups


class Net(nn.Module):
    convolution_layers: tuple[str, ...] = ("first", "block")

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.block = nn.Sequential(nn.Linear(4, 5), nn.GroupNorm(1, 5))
        self.blocked = nn.Linear(5, 6)
        self.embedding = nn.Embedding(7, 6)
        self.layer_norm = nn.LayerNorm([2, 6])  # its weight has two dimensions
        self.last = nn.Linear(6, 7, bias=False)
        self.last.weight = self.embedding.weight
        self.position_bias = nn.Parameter(torch.zeros(4, 2, 2))


def names(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, set[str]]:
    of = {id(p): name for name, p in model.named_parameters()}
    return {group["name"]: {of[id(p)] for p in group["params"]} for group in groups}


EXPECTED = {
    "convolution_weights": {"first.weight", "block.0.weight"},
    "weights": {"blocked.weight", "embedding.weight"},
    "unregularised": {
        "position_bias", "first.bias", "norm.weight", "norm.bias", "block.0.bias", "block.1.weight",
        "block.1.bias", "blocked.bias", "layer_norm.weight", "layer_norm.bias",
    },
}  # fmt: skip


def test_every_parameter_once_in_its_group() -> None:
    model = Net()
    groups = param_groups(model, lam=1e-4, lam_first=2e-4)
    assert names(model, groups) == EXPECTED
    assert [group["lam"] for group in groups] == [2e-4, 1e-4, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_lam_first_defaults_to_lam_and_may_be_zero() -> None:
    assert [g["lam"] for g in param_groups(Net(), lam=3e-4)] == [3e-4, 3e-4, 0]
    assert [g["lam"] for g in param_groups(Net(), lam=3e-4, lam_first=0.0)] == [0, 3e-4, 0]


def test_without_named_convolutions_the_first_layer_with_a_weight_counts() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 5), nn.Linear(5, 6))
    found = names(model, param_groups(model, lam=1))
    assert found["convolution_weights"] == {"1.weight"}
    assert found["weights"] == {"2.weight"}


def test_a_model_may_name_no_convolutions() -> None:
    model = Net()
    model.convolution_layers = ()
    groups = param_groups(model, lam=1)
    assert groups[0]["params"] == []
    assert names(model, groups)["weights"] == EXPECTED["convolution_weights"] | EXPECTED["weights"]


def test_a_single_layer_is_a_model() -> None:
    model = nn.Linear(3, 4)
    assert names(model, param_groups(model, lam=1))["convolution_weights"] == {"weight"}


def test_wrapped_models_have_the_same_groups() -> None:
    model = Net()
    for wrapped in (nn.DataParallel(model), torch.compile(model)):
        assert names(model, param_groups(wrapped, lam=1)) == EXPECTED


def test_threshold_reaches_weights_only_and_lams_are_not_swapped() -> None:
    model = Net()
    for parameter in model.parameters():
        parameter.data.fill_(0.015)
        parameter.grad = torch.zeros_like(parameter)
    BetaLasso(param_groups(model, lam=1e-4, lam_first=5e-4), lr=1e-3, beta=50).step()
    zeroed = {name for name, p in model.named_parameters() if (p == 0).all()}
    assert zeroed == EXPECTED["convolution_weights"]  # 50·5e-4 > 0.015 > 50·1e-4
    for name, parameter in model.named_parameters():
        if name in EXPECTED["unregularised"]:
            assert (parameter == torch.tensor(0.015)).all()


def test_errors() -> None:
    model = Net()
    model.convolution_layers = ("frist",)
    with pytest.raises(InvalidArgument, match=r"'frist'.*Did you mean 'first'"):
        param_groups(model, lam=1)
    with pytest.raises(InvalidArgument, match="no weight"):
        param_groups(nn.BatchNorm1d(3), lam=1)
    with pytest.raises(InvalidArgument, match=r"lam_first.*-1"):
        param_groups(Net(), lam=1, lam_first=-1)
    with pytest.raises(InvalidArgument, match="lam must be"):
        param_groups(Net(), lam=float("nan"))
