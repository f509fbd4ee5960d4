"""Networks whose only purpose is to show which inputs belong together.

A dense layer under β-LASSO becomes local because nearby pixels are of use together. On whitened
inputs few of its units find that out: all of them reach for the same few columns, and what two
columns say together is of second order, which a unit that adds them hardly sees. So here every
column j has a unit of its own that *multiplies*,

    h_j = x_j · Σ_{i≠j} w_ji x_i,    prediction of the target t:  v_j · (h_j − mean) / deviation,

fully connected to all columns, trained on the labels alone, and kept small by β-LASSO (Neyshabur
2020, Algorithm 1). With one unit to a network no unit is spared the work by another; d of them
train side by side as one d×d product. Gated units: Dauphin et al., "Language modeling with gated
convolutional networks", ICML 2017; one regression for each column, with a penalty that leaves its
neighbours: Meinshausen and Bühlmann, "High-dimensional graphs and variable selection with the
Lasso", Annals of Statistics 34 (2006).

**Rows are divided in two.** Networks trained on the same rows agree about accidents of those rows,
whatever their seeds; those trained on other rows do not. `co_selection` believes what both find.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor, nn

from scratchconv.discovery.dependence import checked_table, normal_scores
from scratchconv.discovery.fitting import threads_for
from scratchconv.discovery.graph import Floats32
from scratchconv.errors import InvalidArgument
from scratchconv.optim import BetaLasso

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the steps taken and the steps there will be, over all networks."""

PARTS = 2
LAMS = (2 / 3, 1 / 3)
"""λ·√(rows a network sees). An accident of n rows has a gradient of the order 1/√n, and has to be
weaker than λ. On whitened images the first keeps some eight columns a unit, and sees neighbours
best; the second helps where there are few rows. At 4/3 most units have died."""
STEPS = 600
BETA = 3.0
"""Not the paper's 50, which is for Ση of thousands. Here Ση is about 30: with 50, weights would be
cut by what they were drawn as, not by what they learned."""
LR = 0.1
_BATCH = 512
_HEAD = 0.3  # deviation of v at the start: enough for w to see the labels from the first step
_EPSILON = 1e-2
# Beside the variance of h, which starts at about 1. A unit whose weights are all gone has h = 0,
# and with the usual 1e-5 its gradients would be 300 times what they were: it would come back at
# random, again and again.
_RIDGE = 1e-3  # of the mean eigenvalue of the correlations
_NO_CORRELATION = 1.5  # mean square of n correlations: 1 for independent columns
FEWEST_ROWS = 40
MOST_CLASSES = 256
_COLUMNS = 64  # standardised at a time, so that no float64 copy of the table is made
_LEARNING = 2_000  # keeps these streams apart from those of other purposes


@dataclass(frozen=True, eq=False)
class LearnedSupports:
    """What the networks kept, one entry a network.

    weights: float32 CSR (d, d): row j holds |w_ji| of the unit of column j over their root sum of
        squares, and `ANCHOR` at column j itself; nothing if no weight is left.
    parts: 0 or 1, which half of the rows the network saw.
    record: one dict a network: part, round, lam, kept (mean number of weights a unit), dead (units
        without weights), explained (mean share of the targets' variance that a unit explains on
        its rows), seconds.
    """

    weights: list[sparse.csr_array]
    parts: list[int]
    record: list[dict[str, Any]]


ANCHOR = 2.0
"""What a unit's own column counts beside its other weights, whose squares add to 1: h_j holds the
products x_j·x_i, but none of two other columns, which are together only for sharing j."""


def learned_supports(
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    classification: bool | None = None,
    rounds: int = 2,
    steps: int = STEPS,
    lams: Sequence[float] = LAMS,
    beta: float = BETA,
    seed: int = 0,
    progress: Progress | None = None,
) -> LearnedSupports:
    """Train 2·`rounds` networks on `inputs` (n, d) and `targets` (n,), and tell what they kept.

    The columns are decorrelated (ZCA, which changes each as little as can be: of columns that say
    the same, β-LASSO would keep any one), standardised and squashed by tanh (products of heavy
    tails are ruled by a few rows). A constant column gets no weights. The same arguments give the
    same supports (on the same kind of machine); more rounds go on where fewer ended, and give more
    evidence.

    Args:
        inputs: numbers, at least 40 rows; some 40·d² bytes are needed beside them.
        targets: classes of any type, or numbers to be predicted.
        classification: None: unless the targets are floating-point numbers.
        rounds: networks trained on each half of the rows, each with a seed of its own; the r-th has
            λ = lams[r mod len(lams)] / √rows.
        steps: of each network, with batches of up to 512 rows.
        lams: λ in units of 1/√rows.
        beta: β of β-LASSO.
        seed: divides the rows, and draws weights and batches.
        progress: called from time to time.

    Raises InvalidArgument: values that cannot be used.
    """
    table = checked_table(inputs)
    n = len(table)
    if n < FEWEST_ROWS:
        raise InvalidArgument(f"{n} rows are too few to learn from: give {FEWEST_ROWS} or more")
    if min(rounds, steps) < 1:
        raise InvalidArgument(f"rounds is {rounds} and steps {steps}: both must be at least 1")
    if not lams or min(lams) < 0 or not all(map(math.isfinite, lams)):
        raise InvalidArgument(f"lams is {list(lams)!r}: give one or more numbers of at least 0")
    if seed < 0:
        raise InvalidArgument(f"seed {seed} must be 0 or more")
    x = _squashed(table)
    varied = x.any(dim=0)
    t = torch.from_numpy(standard_targets(targets, n, classification))
    order = np.random.default_rng((_LEARNING, seed)).permutation(n)
    halves = [torch.from_numpy(np.sort(half)) for half in np.array_split(order, PARTS)]
    found = LearnedSupports([], [], [])
    with threads_for(x.shape[1] ** 2 * min(_BATCH, n)):
        for r in range(rounds):
            for part, rows in enumerate(halves):
                generator = _generator(seed, r, part)
                network = _Products(varied, t.shape[1], generator)
                lam = lams[r % len(lams)] / math.sqrt(len(rows))
                done = len(found.parts) * steps
                start = time.perf_counter()
                training = _train(network, x[rows], t[rows], steps, lam, beta, generator)
                for step, share in enumerate(training, 1):
                    explained = share
                    if progress is not None and (step % 20 == 0 or step == steps):
                        progress(done + step, rounds * PARTS * steps)
                kept = network.weight.detach().numpy()
                counts = np.count_nonzero(kept, axis=1)
                found.weights.append(_scaled(kept))
                found.parts.append(part)
                found.record.append(
                    {
                        "part": part,
                        "round": r,
                        "lam": lam,
                        "kept": float(counts.mean()),
                        "dead": int((counts == 0).sum()),
                        "explained": explained,
                        "seconds": time.perf_counter() - start,
                    }
                )
    return found


def standard_targets(targets: ArrayLike, n: int, classification: bool | None = None) -> Floats32:
    """(n, targets) What the units predict, each column of mean 0 and variance 1.

    Of classes, an indicator for each; of numbers, their normal scores. (Not the squares of those: a
    square of a sum is full of products of columns that have nothing else to do with each other.)
    """
    values = np.asarray(targets)
    if values.shape != (n,):
        raise InvalidArgument(f"targets of shape {values.shape} do not fit: give ({n},)")
    if classification is None:
        classification = values.dtype.kind != "f"
    if classification:
        names, labels = np.unique(values, return_inverse=True)
        if not 2 <= len(names) <= MOST_CLASSES:
            raise InvalidArgument(
                f"the targets have {len(names)} classes: give 2 to {MOST_CLASSES}, "
                "or numbers with classification=False"
            )
        columns = np.eye(len(names), dtype=np.float32)[labels]
    else:
        if values.dtype.kind not in "buif" or not np.isfinite(values.astype(np.float64)).all():
            raise InvalidArgument("the targets hold NaN, infinity or what is no number: drop those")
        score = normal_scores(values[:, None])
        if not score.any():
            raise InvalidArgument("the targets are all the same: there is nothing to learn")
        columns = score
    return np.asarray((columns - columns.mean(axis=0)) / columns.std(axis=0), np.float32)


class _Products(nn.Module):
    """The d units: `weight` (d, d) with nothing on its diagonal, `head` (d, targets).

    Columns that are not `varied` (d,) get no weights, and as they are 0 they never will.
    """

    def __init__(self, varied: Tensor, targets: int, generator: torch.Generator) -> None:
        super().__init__()
        columns = len(varied)
        weight = torch.randn(columns, columns, generator=generator) / math.sqrt(columns)
        weight *= varied & varied[:, None]
        self.weight = nn.Parameter(weight.fill_diagonal_(0))
        self.weight.register_hook(lambda gradient: gradient.fill_diagonal_(0))
        self.head = nn.Parameter(_HEAD * torch.randn(columns, targets, generator=generator))

    def losses(self, x: Tensor, t: Tensor) -> Tensor:
        """(d,) Mean over the batch of ‖t − v_j h_j‖² − ‖t‖², of each unit on its own."""
        h = x * F.linear(x, self.weight.to(x.dtype))
        h = F.batch_norm(h.float(), None, None, training=True, eps=_EPSILON)
        size = self.head.square().sum(dim=1)
        return size * h.square().mean(dim=0) - 2 * (h * (t @ self.head.T)).mean(dim=0)


def _train(
    network: _Products,
    x: Tensor,
    t: Tensor,
    steps: int,
    lam: float,
    beta: float,
    generator: torch.Generator,
) -> Iterator[float]:
    """One step at a time; yields the share of variance that the units explained, on average."""
    groups: list[dict[str, Any]] = [
        {"params": [network.weight], "lam": lam},
        {"params": [network.head]},
    ]
    optimizer = BetaLasso(groups, lr=LR, beta=beta)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    batches = _batches(len(x), generator)
    for _ in range(steps):
        rows = next(batches)
        losses = network.losses(x[rows], t[rows])
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        schedule.step()
        yield -float(losses.detach().mean()) / t.shape[1]


def _batches(n: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows in random order, over and over, in batches of equal size."""
    size = min(_BATCH, n)
    while True:
        yield from torch.randperm(n, generator=generator)[: n // size * size].split(size)


def _squashed(table: NDArray[Any]) -> Tensor:
    """(n, d) in the precision of the products: decorrelated, squashed, of mean 0 and variance 1."""
    x = _decorrelated(_standardised(table))
    return torch.from_numpy(_standardised(np.tanh(x, out=x))).to(_precision())


def _standardised(table: NDArray[Any]) -> Floats32:
    """(n, d) Each column less its mean, over its deviation; a constant column becomes 0."""
    x = np.zeros(table.shape, np.float32)
    for start in range(0, table.shape[1], _COLUMNS):
        # In float64: in float32 large numbers would lose what tells them apart, and squares of
        # very large or small ones would be infinite or 0, as in float64 those not divided first.
        columns = table[:, start : start + _COLUMNS].astype(np.float64)
        varied = columns.max(axis=0) > columns.min(axis=0)
        columns /= np.where(varied, np.abs(columns).max(axis=0), 1)
        columns -= columns.mean(axis=0)
        columns /= np.where(varied, columns.std(axis=0), 1)
        x[:, start : start + _COLUMNS] = np.where(varied, columns, 0)
    return x


def _decorrelated(x: Floats32) -> Floats32:
    """x C^(−1/2) for the correlations C, shrunk the more, the fewer the rows that tell them.

    Left as it is if its correlations are what as many rows of independent columns have.
    """
    varied = x.any(axis=0)
    live = x[:, varied]
    n, d = live.shape
    correlation = live.T @ live / n
    off = correlation[~np.eye(d, dtype=bool)]
    if d < 2 or float(np.square(off).mean()) < _NO_CORRELATION / n:
        return x
    values, vectors = np.linalg.eigh(correlation)
    ridge = max(_RIDGE, d / n) * float(values.mean())
    root = (vectors / np.sqrt(values.clip(0) + ridge)) @ vectors.T
    live = live @ root
    x[:, varied] = _standardised(live)
    return x


def _precision() -> torch.dtype:
    """bfloat16 where the processor multiplies it: twice to five times as fast."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if supported else torch.float32


def _scaled(weight: Floats32) -> sparse.csr_array:
    rows = sparse.csr_array(np.abs(weight))
    norms = np.sqrt(rows.multiply(rows).sum(axis=1))
    living = norms > 0
    scale = sparse.diags_array(np.where(living, 1 / np.where(living, norms, 1), 0))
    return sparse.csr_array(scale @ rows + sparse.diags_array(ANCHOR * living), dtype=np.float32)


def _generator(seed: int, r: int, part: int) -> torch.Generator:
    key = np.random.SeedSequence((_LEARNING, seed, r, part)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(key))
