"""What the units of a small fully connected network look at, once β-LASSO has trained it."""

from __future__ import annotations

import math
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
    The rows held out (`divided`) choose λ and teach no weight, so that networks which begin with
    these weights may be judged by them.

    Args:
        samples: standardised rows; columns that are 0 throughout get no weights.
        max_steps: of every training.
        seed: of weights, batches and the rows held out.
        progress: called with the trainings done, and those there will be.

    Raises Collapse where training diverges under every λ.
    """
    unused = ~samples.inputs.any(dim=0).numpy()
    outputs = outputs_of(samples)

    networks: list[torch.nn.Sequential] = []

    def new() -> torch.nn.Sequential:
        columns = samples.inputs.shape[1]
        networks.append(fitting.new_network(columns, HIDDEN, outputs, unused, seed))
        return networks[-1]

    learned, held_out = divided(samples, seed)
    widths = (len(unused), *HIDDEN)
    multiples = [multiple for multiple in MULTIPLES if multiple]
    steps = min(max_steps, PASSES * fitting.batches_of(len(learned), _BATCH))
    budget = Budget.of(steps, _BATCH, _LR)
    tried: list[fitting.Tried] = []
    for multiple in multiples:
        penalty = budget.penalty(multiple, widths)
        tried += fitting.search(new, learned, held_out, [penalty], budget, seed)
        if progress is not None:
            progress(len(tried), len(multiples))
    network = networks[tried.index(fitting.best(tried))]
    weights = fitting.first_layer(network).weight.detach().numpy()
    norms = np.linalg.norm(weights, axis=1)
    strongest = np.argsort(-norms, kind="stable")[: int((norms > 0).sum())]
    return np.asarray(weights[strongest], np.float32)


def divided(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Rows to learn from, and a fifth of them held out to choose settings by."""
    order = np.random.RandomState(seed).permutation(len(samples))
    cut = math.ceil(HELD_OUT * len(samples))
    return samples.part(np.sort(order[cut:])), samples.part(np.sort(order[:cut]))
