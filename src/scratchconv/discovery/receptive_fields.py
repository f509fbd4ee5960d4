"""What the units of a small fully connected network look at, once β-LASSO has trained it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from scratchconv.discovery import fitting
from scratchconv.discovery.fitting import MULTIPLES, Budget, Samples
from scratchconv.discovery.graph import Floats32

HIDDEN = (256, 64)
BUDGET = Budget.of(steps=2_000, batch_size=128, lr=0.1)
HELD_OUT = 0.2
"""Of the rows, to choose λ."""


def receptive_fields(
    samples: Samples,
    *,
    budget: Budget = BUDGET,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Floats32:
    """First-layer weights that β-LASSO leaves, float32 (units, d), the strongest unit first.

    S-FC (Neyshabur 2020, §2.1) of 256 and 64 units, under the λ among `fitting.MULTIPLES`, but for
    none, that is best on rows held out. Units without weights are left out: there may be no unit.

    Args:
        samples: standardised rows; columns that are 0 throughout get no weights.
        budget: of every training.
        seed: of weights, batches and the rows held out.
        progress: called with the trainings done, and those there will be.

    Raises Collapse where training diverges under every λ.
    """
    unused = ~samples.inputs.any(dim=0).numpy()
    outputs = 1
    if samples.task == "classification":
        outputs = int(samples.targets.max()) + 1

    def new() -> torch.nn.Sequential:
        return fitting.new_network(samples.inputs.shape[1], HIDDEN, outputs, unused, seed)

    order = np.random.RandomState(seed).permutation(len(samples))
    cut = int(np.ceil(HELD_OUT * len(samples)))
    learned, held_out = samples.part(np.sort(order[cut:])), samples.part(np.sort(order[:cut]))
    penalties = [
        budget.penalty(multiple, (len(unused), *HIDDEN)) for multiple in MULTIPLES if multiple
    ]
    tried = []
    for done, penalty in enumerate(penalties):
        tried += fitting.search(new, learned, held_out, [penalty], budget, seed)
        if progress is not None:
            progress(done + 1, len(penalties) + 1)
    network = new()
    fitting.train(network, samples, fitting.best(tried).penalty, budget, seed)
    weights = fitting.first_layer(network).weight.detach().numpy()
    norms = np.linalg.norm(weights, axis=1)
    strongest = np.argsort(-norms, kind="stable")[: int((norms > 0).sum())]
    return np.asarray(weights[strongest], np.float32)
