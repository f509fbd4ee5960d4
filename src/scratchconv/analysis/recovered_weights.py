"""Did a network find the weights of the binary tree? (Zhang 2021, §2.5, Figure 2)

Different weights can compute the same function, so weights are compared modulo what cannot be told
apart by any data:

- **sign**: tanh is odd, so a unit's weights and the next level's weights on it may change sign
  together. WeightNet and OracleNet share weights over a level: one sign a level. LocalNet has one
  for every unit.
- **cyclic shift** (WeightNet): a filter turned by 2m gives its level's outputs turned by m, and the
  next level's filter turned by m undoes that. The two weights of a level with m' before it and m
  behind it therefore stand at 2m − m' and the position after. The first level can only be turned
  by an even number, and the last leaves nothing turned.

Of all these equivalents the one nearest to the true weights is found exactly, over all levels
together, by dynamic programming. Weights that are only nearly equivalent count as different: small
ones, for which tanh is almost linear, can leave their scale to the next level, and WeightNet's even
the choice of the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument
from scratchconv.models import Network

_SIGNS = (1, -1)


@dataclass(frozen=True, eq=False)
class RecoveredLevel:
    """The weights of one level beside what they should be, all float64 on the CPU.

    level: 1 next to the inputs.
    left, right: weights on the first and on the second of each pair of inputs, aligned. WeightNet
        has one for every pair of inputs (two of the four histograms of Figure 2 for level 1),
        LocalNet one for every unit, OracleNet one.
    true_left, true_right: what they should be, as long. θ₁ and θ₂, but for WeightNet followed by
        zeros.
    """

    level: int
    left: Tensor
    right: Tensor
    true_left: Tensor
    true_right: Tensor

    @property
    def error(self) -> float:
        """Root mean square difference between weights and true weights."""
        return float(self._difference().square().mean().sqrt())

    @property
    def relative_error(self) -> float:
        """‖weights − true weights‖ / ‖true weights‖: 0 recovered, 1 as good as all zeros."""
        true = torch.cat([self.true_left, self.true_right])
        return float(self._difference().norm() / true.norm())

    def _difference(self) -> Tensor:
        return torch.cat([self.left - self.true_left, self.right - self.true_right])


def recovered_weights(model: Network, theta: Tensor) -> tuple[RecoveredLevel, ...]:
    """The levels of a trained tree network, aligned with the tree's θ as described above.

    `model` is `tree-weight`, `tree-local` or `tree-oracle` at α = 1. `theta` is (levels, 2), as
    `data.tree.draw_theta` gives it. Of equivalents that are equally near the first is taken.

    Raises InvalidArgument for another network or size (the units of `tree-fc` can stand in any
    order), or if a weight is not finite.
    """
    theta = theta.detach().to("cpu", torch.float64)
    weights = _levels(model, theta)
    if model.name == "tree-local":
        return _aligned_local([level.view(-1, 2) for level in weights], theta)
    return _aligned_shared([level.flatten() for level in weights], theta)


def _levels(model: Network, theta: Tensor) -> list[Tensor]:
    """The weight of each level, float64 on the CPU."""
    name = getattr(model, "name", type(model).__name__)
    if name not in ("tree-weight", "tree-local", "tree-oracle") or model.alpha != 1:
        raise InvalidArgument(
            f"the weights of {name} cannot be held against a tree's: give tree-weight, tree-local "
            "or tree-oracle with alpha 1"
        )
    layers: list[nn.Module] = [model.get_submodule(layer) for layer in model.convolution_layers]
    if model.image[0] != 1 or model.classes != 1 or theta.shape != (len(layers), 2):
        raise InvalidArgument(
            f"theta of shape {tuple(theta.shape)} is no tree of the {len(layers)} levels, the one "
            f"channel and the one output that {name} needs: give ({len(layers)}, 2)"
        )
    weights = [layer.weight.detach().to("cpu", torch.float64) for layer in layers]  # type: ignore[operator]
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise InvalidArgument(f"the weights of {name} hold NaN or infinity")
    return weights


def _aligned_shared(filters: Sequence[Tensor], theta: Tensor) -> tuple[RecoveredLevel, ...]:
    """Find the shift m and the sign that each level leaves its outputs with.

    OracleNet's filters are two long, and then there is no shift.
    """
    # By what a level can leave its outputs with: the agreement Σ w θ so far, and how it came about.
    best: dict[tuple[int, int], tuple[float, tuple[tuple[int, int], ...]]] = {(0, 1): (0.0, ())}
    for weight, pair in zip(filters, theta, strict=True):
        positions = len(weight)
        agreement = (weight * pair[0] + weight.roll(-1) * pair[1]).tolist()
        reached: dict[tuple[int, int], tuple[float, tuple[tuple[int, int], ...]]] = {}
        for (shift, sign), (total, choices) in best.items():
            for shift_after in range(positions // 2):
                at = (2 * shift_after - shift) % positions
                for sign_after in _SIGNS:
                    sum_after = total + sign * sign_after * agreement[at]
                    known = reached.get((shift_after, sign_after))
                    if known is None or sum_after > known[0]:
                        chosen = (*choices, (at, sign * sign_after))
                        reached[shift_after, sign_after] = (sum_after, chosen)
        best = reached
    _, choices = best[0, 1]  # the root's output is neither turned nor negated
    levels = []
    for number, (weight, pair) in enumerate(zip(filters, theta, strict=True), start=1):
        at, sign = choices[number - 1]
        aligned = sign * weight.roll(-at)
        true = torch.zeros_like(aligned)
        true[:2] = pair
        levels.append(RecoveredLevel(number, aligned[::2], aligned[1::2], true[::2], true[1::2]))
    return tuple(levels)


def _aligned_local(pairs: Sequence[Tensor], theta: Tensor) -> tuple[RecoveredLevel, ...]:
    """Find the sign of every unit's output, `pairs` holding (units, 2) for every level."""
    signs = torch.tensor(_SIGNS, dtype=torch.float64)
    # below[i, s]: the agreement Σ w θ at best of all below node i, if its output has sign s. The
    # inputs have no choice.
    below = torch.tensor([0.0, -torch.inf], dtype=torch.float64).expand(2 * len(pairs[0]), 2)
    choices = []
    for weight, pair in zip(pairs, theta, strict=True):
        agreement = torch.einsum("s,c,ui->uisc", signs, signs, weight * pair)
        found = (agreement + below.view(-1, 2, 1, 2)).max(dim=3)
        choices.append(found.indices)  # (units, input, sign of the unit): sign of the input
        below = found.values.sum(dim=1)
    aligned = []
    sign = torch.zeros(1, dtype=torch.int64)  # of the root: +
    for weight, choice in zip(reversed(pairs), reversed(choices), strict=True):
        of_inputs = choice[torch.arange(len(weight)), :, sign]
        aligned.append(signs[sign][:, None] * signs[of_inputs] * weight)
        sign = of_inputs.flatten()
    return tuple(
        RecoveredLevel(
            number,
            weight[:, 0],
            weight[:, 1],
            pair[0].expand(len(weight)),
            pair[1].expand(len(weight)),
        )
        for number, (weight, pair) in enumerate(zip(reversed(aligned), theta, strict=True), start=1)
    )
