"""The runs on Zhang's binary tree, which Figures 1 and 2 share (Zhang 2021, §2.3 and §2.4).

A trial is a new tree θ and new samples of it, on which all networks train; every pair of a size and
a noise ε has trials of its own. How many is not in the text: 8 for the smallest size, 2 for the
largest, as in the published code.

The published code differs from the text in the noise: it draws one number for a whole training set,
where the text has one for every sample. That is what `published_code` asks for. The text writes
N(f, ε): ε is taken for the standard deviation here, which may be meant for the variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scratchconv import published
from scratchconv.lab import Lab
from scratchconv.training import RunConfig

NETWORKS = {"weight": "WeightNet", "local": "LocalNet", "oracle": "OracleNet", "fc": "FCNet"}
_TRIALS = (8, 7, 6, 5, 4, 3, 2)


@dataclass(frozen=True)
class Place:
    """One point of Figure 1: training samples, ε, and the trials made there.

    number: tells its trees from those of all other places.
    """

    samples: int
    noise: float
    epochs: int
    trials: int
    number: int


def places(lab: Lab) -> list[Place]:
    """All points of Figure 1; at scale smoke the two smallest sizes, with and without noise."""
    theirs = published.load("zhang2021")["binary_tree"]
    noises = [float(noise) for noise in theirs["epsilon"]]
    found = [
        Place(samples, noise, epochs, trials, i * len(_TRIALS) + j)
        for i, noise in enumerate(noises)
        for j, (samples, epochs, trials) in enumerate(
            zip(theirs["n_train"], theirs["epochs"], _TRIALS, strict=True)
        )
    ]
    if lab.scale.stand_in is None:
        return found
    return [
        replace(place, epochs=2, trials=1)
        for place in found
        if place.samples <= 128 and place.noise in (0.0, noises[-1])
    ]


def runs(lab: Lab, place: Place, network: str, *, published_code: bool) -> dict[str, RunConfig]:
    """Every trial of a network at a place, by what it is called."""
    config = replace(
        lab.config(
            f"tree-{network}",
            "tree",
            alpha=1,
            method="adam",
            lr=1e-3,
            schedule="step",
            epochs=place.epochs,
            batch_size=32,
            last_batch="keep",
            train_size=place.samples,
            tree_noise=place.noise,
            tree_noise_shared=published_code and place.noise > 0,
            validation=0.0,
            augment="none",
            precision="fp32",
            record_every=place.epochs,
        ),
        data="tree",  # also at scale smoke, whose digits are no tree; it needs no files
    )
    name = f"{NETWORKS[network]}, {place.samples} samples, ε = {place.noise:g}"
    return {
        f"{name}, trial {trial}": replace(config, seed=trial, data_seed=100 * place.number + trial)
        for trial in range(place.trials)
    }
