"""The formulas against the published numbers, the published polynomials and the built networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scratchconv import models
from scratchconv.nn import LocallyConnected2d

# Those of Neyshabur 2020, and res-mlp, take images of any size.
OF_THE_PAPER = [name for name in models.NAMES if not name.startswith(("tree-", "zhang-"))]


def counted(network: nn.Module) -> int:
    """Weights of all layers, biases and BatchNorm excluded."""
    kinds = (nn.Linear, nn.Conv2d, LocallyConnected2d)
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, kinds))


@pytest.mark.parametrize(
    ("name", "alpha", "millions"),
    [
        ("s-conv", 150, 138.31),
        ("s-local", 150, 147.61),
        ("s-fc", 150, 256.24),
        ("d-conv", 15, 1.45),
        ("d-local", 15, 11.71),  # Table 1 prints 3.42, which does not fit the architecture
    ],
)
def test_published_counts(name: str, alpha: int, millions: float) -> None:
    assert round(models.parameter_count(name, alpha=alpha) / 1e6, 2) == millions


def test_resnet18_of_base_width_64_is_the_standard_one() -> None:
    # 11 173 962 parameters for CIFAR-10, of which 9 600 are BatchNorm's and 10 the biases.
    assert models.parameter_count("resnet18", alpha=64) == 11_173_962 - 9_600 - 10
    with torch.device("meta"):
        network = models.build("resnet18", alpha=64)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962


@pytest.mark.parametrize("side", [16, 32, 48])
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("alpha", [1, 7, 150])
def test_published_polynomials(side: int, classes: int, alpha: int) -> None:
    s, c, a = side, classes, alpha
    polynomials = {
        "s-conv": 6 * s**2 * a**2 + (243 + 24 * c) * a,
        "s-local": 6 * s**2 * a**2 + (243 * s**2 // 4 + 24 * c) * a,
        "s-fc": 6 * s**2 * a**2 + (3 * s**4 // 4 + 24 * c) * a,
        "d-conv": (9 * 254 + 4 * s**2) * a**2 + (27 + 64 * c) * a,
        "d-local": (45 * s**2 + 4 * s**2) * a**2 + (27 * s**2 + 64 * c) * a,
        "d-fc": (127 * s**4 // 128 + 4 * s**2) * a**2 + (3 * s**4 + 64 * c) * a,
    }
    for name, expected in polynomials.items():
        assert models.parameter_count(name, (3, s, s), c, a) == expected, name


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(OF_THE_PAPER),
    image=st.tuples(st.integers(1, 4), st.integers(1, 35), st.integers(1, 35)),
    classes=st.integers(1, 12),
    alpha=st.integers(1, 5),
)
def test_the_formula_equals_the_network_for_any_image(
    name: str, image: tuple[int, int, int], classes: int, alpha: int
) -> None:
    with torch.device("meta"):
        network = models.build(name, image=image, classes=classes, alpha=alpha)
    assert models.parameter_count(name, image, classes, alpha) == counted(network)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 15])
def test_the_formula_equals_resnet18_for_any_kernel_size(kernel_size: int) -> None:
    with torch.device("meta"):
        network = models.build("resnet18", alpha=8, kernel_size=kernel_size)
    assert models.parameter_count("resnet18", alpha=8, kernel_size=kernel_size) == counted(network)


@pytest.mark.parametrize(
    ("name", "params", "alpha"),
    [
        ("s-fc", 256e6, 150),
        ("s-conv", 138.31e6, 150),
        ("s-local", 147.61e6, 150),
        ("d-conv", 1.45e6, 15),
        ("3-fc", 256e6, 14_533),
        ("resnet18", 11.16e6, 64),
        ("s-fc", models.parameter_count("s-fc", alpha=1), 1),
    ],
)
def test_a_budget_finds_the_published_alpha(name: str, params: float, alpha: int) -> None:
    with torch.device("meta"):
        assert models.build(name, params=params).alpha == alpha


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(OF_THE_PAPER),
    params=st.integers(1_000, 10**7),
    image=st.sampled_from([(1, 8, 8), (2, 7, 3)]),
)
def test_no_other_alpha_is_nearer_to_the_budget(
    name: str, params: int, image: tuple[int, int, int]
) -> None:
    def distance(alpha: int) -> int:
        return abs(models.parameter_count(name, image, alpha=alpha) - params)

    if params < models.parameter_count(name, image, alpha=1):
        return
    with torch.device("meta"):
        alpha = models.build(name, image=image, params=params).alpha
    assert distance(alpha) <= distance(alpha + 1)
    assert alpha == 1 or distance(alpha) < distance(alpha - 1)
