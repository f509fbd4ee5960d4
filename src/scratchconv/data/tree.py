"""Zhang's binary-tree task: a regression that is both local and weight-sharing (Zhang 2021, §2).

His published code departs from the text in one thing: it draws one number of noise and adds it to
the targets of all training samples (`shared_noise`), where the text has a draw for every sample.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchconv.data.dataset import Split
from scratchconv.data.random_streams import Purpose, stream
from scratchconv.errors import InvalidArgument

DEPTH = 6
INPUTS = 2**DEPTH

_EVEN = 16  # torch draws normal numbers in blocks: of whole ones, more begin with the fewer


def draw_theta(seed: int) -> Tensor:
    """The weights θ of a tree, uniform on [0, 2): float64 (6, 2), row k-1 holding θₖ₁ and θₖ₂."""
    return 2 * torch.rand(DEPTH, 2, generator=stream(Purpose.TREE, seed, 0), dtype=torch.float64)


def tree_function(x: Tensor, theta: Tensor) -> Tensor:
    """f_θ(x) of Zhang 2021, §2.1: x (n, 64) -> (n,).

    Each level joins neighbours two by two, z' = θₖ₁ z₁ + θₖ₂ z₂, and all but the last apply tanh.
    The inputs themselves pass through no tanh, so that the networks of §2.2 can compute f exactly.
    """
    values = x
    for level in range(DEPTH):
        values = values.view(len(x), -1, 2) @ theta[level].to(x.dtype)
        if level < DEPTH - 1:
            values = values.tanh()
    return values.squeeze(1)


def make_tree(
    train_size: int = 4096,
    test_size: int = 1024,
    noise: float = 0.0,
    seed: int = 0,
    *,
    shared_noise: bool = False,
) -> tuple[Split, Split]:
    """Draw a tree and samples of it: float32 inputs (n, 1, 1, 64) and targets (n,).

    x ~ N(0, I). The training targets get N(0, noise) drawn for every sample, `noise` being the
    standard deviation ε (0, 0.1 or 0.3 in the paper); the test targets are exact (§2.3). With
    `shared_noise` one draw is added to all of them, as in the published code. θ, the training
    samples, their noise and the test samples each have their own random stream: with the same seed
    a larger training set keeps θ and the test set, and begins with the smaller one. Default sizes:
    the largest of §2.3.
    """
    for what, size in (("train_size", train_size), ("test_size", test_size)):
        if size < 1:
            raise InvalidArgument(f"{what} {size} of the tree task must be at least 1")
    if not (noise >= 0 and math.isfinite(noise)):
        raise InvalidArgument(f"noise {noise} of the tree task must be a number, 0 or more")
    theta = draw_theta(seed)
    drawn = math.ceil(train_size / _EVEN) * _EVEN
    errors = torch.randn(drawn, generator=stream(Purpose.TREE, seed, 3), dtype=torch.float64)
    errors = errors[:1] if shared_noise else errors[:train_size]
    splits = []
    for part, (size, added) in enumerate(
        ((train_size, noise * errors), (test_size, torch.zeros(1))), start=1
    ):
        generator = stream(Purpose.TREE, seed, part)
        x = torch.randn(size, INPUTS, generator=generator, dtype=torch.float64)
        y = tree_function(x, theta) + added
        splits.append(Split(x.float().view(size, 1, 1, INPUTS), y.float()))
    return splits[0], splits[1]
