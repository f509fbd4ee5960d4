"""Safe screening: which units may regrow a zero weight in this step, for less than the gradient.

With X (features, samples), dY (units, samples) and g = dY Xᵀ, a zero weight returns only where
|g_ij| ≥ bar = βλ/η (Neyshabur 2020, Algorithm 1). A unit is let go as soon as one of these bounds
on all its |g_ij| is below the bar; docs/regrowth.md has the proofs. The dearer bounds are formed
for the units that the cheaper ones kept.

1. `norms`: |g_ij| ≤ ‖dY_i‖ ‖X_j‖ (Cauchy-Schwarz).
2. `blocks`: for P with orthonormal columns, cut into blocks P_b, A = dY P and C = X P,
   |g_ij| ≤ Σ_b ‖A_ib‖ ‖C_jb‖ + ‖dY_i − A_i Pᵀ‖ ‖X_j − C_j Pᵀ‖, and each factor of j by its
   largest: a number for each unit and block. Inputs lie mostly in few directions of the batch and
   dY in all of them, so this is several times smaller than 1.
3. `pairs`: |g_ij| ≤ |A_i · C_j| + ‖dY_i − A_i Pᵀ‖ ‖X_j − C_j Pᵀ‖, for every pair.

P is the direction in which all samples are equal (dY has nothing along it behind a BatchNorm) and
the leading directions of X, found by subspace iteration that goes on from step to step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scratchconv.kernels import screening
from scratchconv.sparse.activations import numbers, tiles
from scratchconv.sparse.product import Gradient

# Directions of the batch that are split off, beside the constant one.
_RANK = 63

# Ends of the blocks of directions: the spectrum of natural inputs falls by powers of two or so.
_BLOCK_ENDS = (1, 2, 3, 5, 9, 17, 33, 64)

# A split that keeps more than this share of the units is not tried again for some steps.
_USEFUL = 0.5
_SKIPS = 20


@dataclass(frozen=True)
class Screened:
    """How many units each level was asked about, from cheap to dear, and what it left.

    units: of the layer. norms, blocks, pairs: kept by each bound (a level not needed keeps what it
    was given). Of `pairs` units every gradient was looked at; `revived` weights came back.
    """

    units: int
    norms: int
    blocks: int
    pairs: int
    revived: int = 0


class Screen:
    """Screens the units of one layer, step after step."""

    def __init__(self, features: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        # Directions in feature space whose images under Xᵀ span the leading ones of the batch.
        self._directions = torch.randn(features, _RANK, generator=generator)
        self._skipped = 0

    def units_to_check(self, gradient: Gradient, bar: float) -> tuple[Tensor, Screened]:
        """The units for which no bound is below `bar` (int64), and how many each level kept.

        What is not finite is never let go.
        """
        units = len(gradient.outputs)
        squares = torch.from_numpy(screening.row_squares(numbers(gradient.inputs)))
        lengths, longest = gradient.square.sqrt(), squares.max().sqrt()
        rounding = _rounding(gradient.inputs.dtype, gradient.inputs.shape[1])
        by_norms = torch.nonzero(~(lengths * longest * (1 + rounding) < bar)).flatten()
        kept = len(by_norms)
        if kept == 0 or self._skips():
            return by_norms, Screened(units, kept, kept, kept)
        basis, error = self._basis(gradient.inputs)
        # What finite arithmetic may add to the bounds below (docs/regrowth.md, "Rounding").
        slack = (2 * error + rounding) * longest * lengths
        split = _Split.of(gradient, by_norms, basis, squares, 2 * error + rounding)
        stays = ~(split.block_bounds() * (1 + rounding) + slack[by_norms] < bar)
        by_blocks, split = by_norms[stays], split.only(stays)
        stays = ~(split.pair_bounds() + slack[by_blocks] < bar)
        by_pairs = by_blocks[stays]
        self._skipped = _SKIPS if len(by_pairs) > _USEFUL * kept else 0
        return by_pairs, Screened(units, kept, len(by_blocks), len(by_pairs))

    def _skips(self) -> bool:
        """Whether the last split let too few units go to be worth another one now."""
        self._skipped -= 1
        return self._skipped >= 0

    def _basis(self, inputs: Tensor) -> tuple[Tensor, float]:
        """P (samples, directions) in the dtype of `inputs`, and ‖PᵀP − I‖ of it.

        One round of subspace iteration, from the directions of the step before.
        """
        samples = inputs.shape[1]
        rank = min(_RANK, samples - 1)
        images = torch.mm(inputs.t(), self._directions[:, :rank].to(inputs.dtype)).float()
        together = torch.cat([torch.ones(samples, 1), images], 1)
        # A Q with the constant direction first, orthonormal whatever the images are.
        basis = torch.linalg.qr(together)[0].to(inputs.dtype)
        wide = basis.float()
        excess = wide.t() @ wide - torch.eye(1 + rank)
        finite = bool(excess.isfinite().all())
        error = torch.linalg.matrix_norm(excess, 2).item() if finite else math.nan
        leading = torch.mm(inputs, basis[:, 1:]).float()
        self._directions[:, :rank] = leading / leading.norm(dim=0).clamp_min(1e-20)
        return basis, error


@dataclass(frozen=True)
class _Split:
    """A = dY P of some units and C = X P, and the lengths of what P leaves of each."""

    units: Tensor
    unit_rest: Tensor
    features: Tensor
    feature_rest: Tensor

    @classmethod
    def of(
        cls, gradient: Gradient, units: Tensor, basis: Tensor, squares: Tensor, margin: float
    ) -> _Split:
        features = torch.mm(gradient.inputs, basis)
        along = torch.mm(gradient.outputs[units], basis)
        return cls(
            along,
            _rest(gradient.square[units], along, margin),
            features,
            _rest(squares, features, margin),
        )

    def only(self, kept: Tensor) -> _Split:
        return replace(self, units=self.units[kept], unit_rest=self.unit_rest[kept])

    def block_bounds(self) -> Tensor:
        """Bound 2 of every unit, float32."""
        largest = _block_lengths(self.features).amax(0)
        return _block_lengths(self.units) @ largest + self.unit_rest * self.feature_rest.max()

    def pair_bounds(self) -> Tensor:
        """Bound 3 of every unit, float32."""
        bounds = torch.empty(len(self.units))
        rest = self.feature_rest.numpy()
        for tile in tiles(len(bounds), len(self.features)):
            products = torch.mm(self.units[tile], self.features.t())
            found = screening.largest_bounds(numbers(products), self.unit_rest[tile].numpy(), rest)
            bounds[tile] = torch.from_numpy(found)
        return bounds


def _rest(squares: Tensor, along: Tensor, margin: float) -> Tensor:
    """At least ‖x − (xP)Pᵀ‖, from ‖x‖² and xP."""
    rest = squares * (1 + margin) - along.float().square().sum(1)
    # NaN and infinity must stay what they are: they are never let go.
    return rest.clamp_min(0).sqrt()


def _block_lengths(along: Tensor) -> Tensor:
    """Lengths of the blocks of every row: float32 (rows, blocks)."""
    sums = torch.nn.functional.pad(along.float().square().cumsum(1), (1, 0))
    ends = [0, *(end for end in _BLOCK_ENDS if end < along.shape[1]), along.shape[1]]
    return (sums[:, ends[1:]] - sums[:, ends[:-1]]).clamp_min(0).sqrt()


def _rounding(dtype: torch.dtype, samples: int) -> float:
    """What rounding may take from a bound, as a share of ‖dY_i‖ · max ‖X_j‖."""
    rounded_to = 2**-7 if dtype == torch.bfloat16 else 2**-12
    return max(rounded_to, product_rounding(samples))


def product_rounding(samples: int) -> float:
    """What sums over the samples in a matrix product may lose, as a share of the two lengths."""
    if torch.get_float32_matmul_precision() != "highest":
        return 2**-7  # torch may round the operands to bfloat16
    return samples * 2**-24
