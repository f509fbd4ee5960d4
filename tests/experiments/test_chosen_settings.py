"""What was chosen on validation data, in words."""

from __future__ import annotations

from typing import Any

from scratchconv.experiments import chosen_settings
from scratchconv.lab import RunRecord


def record(failure: str | None = None, **settings: Any) -> RunRecord:
    sgd = {"model": "s-fc", "data": "cifar10", "method": "sgd", "momentum": 0.9}
    return RunRecord("k", {**sgd, "weight_decay": 5e-4, **settings}, {}, {}, failure=failure)


def test_in_words():
    lasso = record(method="lasso", lam=1e-5)
    assert chosen_settings.in_words(lasso) == "rate 0.1, λ first 1e-05, rest 1e-05"
    assert chosen_settings.in_words(record()) == "rate 0.1, momentum 0.9, weight decay 0.0005"


def test_each_network_and_method_once_and_data_only_where_they_differ():
    ours = {"method": "beta-lasso", "lam": 1e-5, "lam_first": 3e-5, "lr": 0.3}
    said = chosen_settings.note(
        [
            record(seed=0),
            record(seed=1),
            record(**ours),
            record(**ours, data="mnist"),
            record(**{**ours, "lr": 0.1}, data="cifar100"),
            record(method="lasso", lam=1e-5),
            record(model="s-conv", failure="the loss is nan"),
        ]
    )
    assert said == (
        "Trained with: S-FC by SGD: rate 0.1, momentum 0.9, weight decay 0.0005;"
        " S-FC by β = 50 on CIFAR-10 and MNIST: rate 0.3, λ first 3e-05, rest 1e-05;"
        " S-FC by β = 50 on CIFAR-100: rate 0.1, λ first 3e-05, rest 1e-05;"
        " S-FC by β = 0: rate 0.1, λ first 1e-05, rest 1e-05."
    )
