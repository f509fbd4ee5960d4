"""What the units of a small fully connected network look at, once β-LASSO has trained it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from scratchconv.discovery import fitting
from scratchconv.discovery.fitting import MULTIPLES, Budget, Samples
from scratchconv.discovery.graph import Floats32
from scratchconv.discovery.structure_search import outputs_of

HIDDEN = (256, 64)
MOST_STEPS, PASSES = 2_000, 100
"""Of every training, whichever ends first."""
_BATCH, _LR = 128, 0.1
HELD_OUT = 0.2
"""Of the rows, to choose λ."""


def receptive_fields(
    samples: Samples,
    *,
    max_steps: int = MOST_STEPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Floats32:
    """First-layer weights that β-LASSO leaves, float32 (units, d), the strongest unit first.

    S-FC (Neyshabur 2020, §2.1) of 256 and 64 units, under the λ among `fitting.MULTIPLES`, but for
    none, that is best on rows held out. Units without weights are left out: there may be no unit.

    Args:
        samples: standardised rows; columns that are 0 throughout get no weights.
        max_steps: of every training.
        seed: of weights, batches and the rows held out.
        progress: called with the trainings done, and those there will be.

    Raises Collapse where training diverges under every λ.
    """
    unused = ~samples.inputs.any(dim=0).numpy()
    outputs = outputs_of(samples)

    def new() -> torch.nn.Sequential:
        return fitting.new_network(samples.inputs.shape[1], HIDDEN, outputs, unused, seed)

    order = np.random.RandomState(seed).permutation(len(samples))
    cut = int(np.ceil(HELD_OUT * len(samples)))
    learned, held_out = samples.part(np.sort(order[cut:])), samples.part(np.sort(order[:cut]))
    widths = (len(unused), *HIDDEN)
    multiples = [multiple for multiple in MULTIPLES if multiple]
    shorter, budget = (_budget(len(rows), max_steps) for rows in (learned, samples))
    tried = []
    for done, multiple in enumerate(multiples):
        penalty = shorter.penalty(multiple, widths)
        tried += fitting.search(new, learned, held_out, [penalty], shorter, seed)
        if progress is not None:
            progress(done + 1, len(multiples) + 1)
    chosen = multiples[tried.index(fitting.best(tried))]
    network = new()
    fitting.train(network, samples, budget.penalty(chosen, widths), budget, seed)
    weights = fitting.first_layer(network).weight.detach().numpy()
    norms = np.linalg.norm(weights, axis=1)
    strongest = np.argsort(-norms, kind="stable")[: int((norms > 0).sum())]
    return np.asarray(weights[strongest], np.float32)


def _budget(samples: int, max_steps: int) -> Budget:
    return Budget.of(min(max_steps, PASSES * fitting.batches_of(samples, _BATCH)), _BATCH, _LR)
