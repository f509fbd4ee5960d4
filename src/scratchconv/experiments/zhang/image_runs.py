"""The runs on MNIST and CIFAR-10, which Figure 3, Table 2, Figures 4 and 5 share (Zhang 2021, §3).

A trial is a new balanced subset of the training data and new initial weights; within it all
networks train on the same subset. The text has "multiple trials"; its code 11, 11, 8, 8, 5, 5, 2
and 2. Scale `laptop` has its own numbers: fewer where there are many, as its time allows.

The published code differs from the text, and `published_code` asks for what it does:

- its sizes are samples *of each class*, ten times those of the text, and all images where a class
  has fewer: the last two sizes are then the same runs;
- batches are of 1, 1, 2, 2, 4, 4, 8 and 8 samples; the text has 4 throughout;
- WeightNet's latents are one longer where ConvNet's sides are even (`zhang-weight-even`);
- the ε of the attack is in units of [−1, 1], half of what it is in units of pixels in [0, 1].

Both take pixels from −1 to 1; the text does not say. Arithmetic is fp32, as theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from scratchconv import data as datasets
from scratchconv import published
from scratchconv.lab import Lab
from scratchconv.training import RunConfig

NETWORKS = {"conv": "ConvNet", "local": "LocalNet", "weight": "WeightNet", "fc": "FCNet"}

_PUBLISHED_TRIALS = (11, 11, 8, 8, 5, 5, 2, 2)
_LAPTOP_TRIALS = (6, 6, 5, 5, 3, 3, 3, 3)
_LAPTOP_TRIALS_OF_CODE = (3, 3, 3, 3, 3, 2, 2, 2)
_BATCHES_OF_CODE = (1, 1, 2, 2, 4, 4, 8, 8)

# The digits of scale smoke are too small for Zhang's networks, which need 16 rows.
_STAND_INS = {"conv": "s-conv", "local": "s-local", "weight": "3-fc", "fc": "s-fc"}


@dataclass(frozen=True)
class Size:
    """One place on the axis of Figure 3: how many samples it is labelled with, and its trials."""

    label: int
    epochs: int
    trials: int
    batch: int
    number: int


def sizes(lab: Lab, *, published_code: bool) -> list[Size]:
    """All sizes of Figure 3; at scale smoke two of them, an epoch each of larger batches."""
    theirs = published.load("zhang2021")["images"]
    trials = _PUBLISHED_TRIALS
    if lab.scale.name == "laptop":
        trials = _LAPTOP_TRIALS_OF_CODE if published_code else _LAPTOP_TRIALS
    batches = _BATCHES_OF_CODE if published_code else (theirs["batch_size"],) * len(trials)
    rows = zip(theirs["n_train"], theirs["epochs"], trials, batches, strict=True)
    found = [Size(*row, number) for number, row in enumerate(rows)]
    if lab.scale.stand_in is None:
        return found
    return [
        replace(size, epochs=1, trials=1, batch=16) for size in found if size.label in (100, 300)
    ]


def attacked_sizes(lab: Lab, *, published_code: bool) -> list[Size]:
    """Those of Table 2; at scale smoke all there are."""
    rows = published.load("zhang2021")["table2"]
    found = sizes(lab, published_code=published_code)
    return [size for size in found if size.label in {row["n_train"] for row in rows}] or found


def samples(lab: Lab, data: str, size: Size, *, published_code: bool) -> int:
    """The training samples behind a size's label; as the code has it, at most all there are."""
    if not published_code:
        return size.label
    all_of_them = {entry.name: entry.train_size for entry in datasets.describe()}
    return min(10 * size.label, all_of_them[lab.scale.stand_in or data])


def runs(
    lab: Lab, data: str, size: Size, network: str, *, published_code: bool
) -> dict[str, RunConfig]:
    """Every trial of a network at a size, by what it is called."""
    model = f"zhang-{network}{'-even' if published_code and network == 'weight' else ''}"
    changes: dict[str, Any] = {"alpha": 1, "last_batch": "keep"}
    if lab.scale.stand_in is not None:
        # The stand-ins have BatchNorm, which takes no last batch of one sample.
        model, changes = _STAND_INS[network], {"last_batch": "drop"}
    taken = samples(lab, data, size, published_code=published_code)
    config = lab.config(
        model,
        data,
        method="sgd",
        lr=1e-3,
        momentum=0.9,
        schedule="constant",
        epochs=size.epochs,
        batch_size=size.batch,
        validation=0.0,
        normalise="half",
        augment="none",
        precision="fp32",
        record_every=size.epochs,
        **changes,
    )
    name = f"{NETWORKS[network]} on {size.label} of {data}"
    if published_code:
        name += (
            f" a class, {taken} in all" if taken == 10 * size.label else f" a class: all {taken}"
        )
        if taken < 10 * size.label:  # nothing is left to draw
            return {f"{name}, trial {t}": replace(config, seed=t) for t in range(size.trials)}
    return {
        f"{name}, trial {trial}": replace(config, train_size=taken, seed=trial, data_seed=trial)
        for trial in range(size.trials)
    }


def difference(*, published_code: bool, attacked: bool = False) -> str:
    """What stands between the text and the code, in words; `attacked` with the attack's ε."""
    if published_code:
        epsilon = "; ε in units of [−1, 1]" if attacked else ""
        return (
            "As the published code: sizes are samples of each class, ten times as many in all (all"
            " images where that is more than there are, so that the last two sizes are the same"
            " runs); batches of 1, 1, 2, 2, 4, 4, 8 and 8; WeightNet's padding even on both"
            f" sides{epsilon}."
        )
    epsilon = " and half the ε" if attacked else ""
    return (
        "As the text says: sizes are samples in all, batches of 4. The published numbers come from"
        " code whose sizes are samples of each class, ten times as many, with batches of 1 to"
        f" 8{epsilon}; --as-published-code does so too. Epochs go with the printed size, so that at"
        " as many samples in all the code takes two to eight times as many steps."
    )
