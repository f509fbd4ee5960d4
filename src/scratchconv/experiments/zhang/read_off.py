"""What Zhang's figures and notebooks show, as numbers; `published/zhang2021.json` has his tables.

Read off the pictures in the published repository, which are those of the text: Figure 1 to about
±0.02, Figure 3 to about ±0.002, where a line hides another to about twice that. All of them were
made by the published code, which is not quite what the text says (see `tree_runs` and
`image_runs`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Mean test error by noise ε and network; one number for each size of `binary_tree.n_train`.
FIGURE1: Mapping[float, Mapping[str, Sequence[float]]] = {
    0.0: {
        "weight": (1.56, 1.16, 2.43, 0.21, 0.46, 0.08, 0.01),
        "local": (0.47, 0.16, 0.15, 0.00, 0.01, 0.00, 0.00),
        "oracle": (1.03, 0.50, 0.37, 0.00, 0.00, 0.00, 0.00),
        "fc": (1.12, 0.72, 1.37, 0.11, 0.75, 0.17, 0.42),
    },
    0.1: {
        "weight": (1.85, 1.35, 1.89, 1.38, 0.07, 0.02, 0.01),
        "local": (0.49, 0.08, 0.03, 0.03, 0.01, 0.00, 0.00),
        "oracle": (0.41, 0.43, 0.01, 0.00, 0.00, 0.00, 0.00),
        "fc": (1.26, 0.77, 0.52, 0.83, 0.17, 0.17, 0.09),
    },
    0.3: {
        "weight": (2.06, 0.75, 1.06, 0.73, 0.64, 0.07, 0.01),
        "local": (0.80, 0.11, 0.13, 0.04, 0.01, 0.00, 0.00),
        "oracle": (1.22, 0.53, 0.13, 0.01, 0.00, 0.00, 0.00),
        "fc": (1.49, 0.59, 0.54, 0.46, 0.71, 0.21, 0.10),
    },
}

# Mean test accuracy in percent by dataset and network; one number for each size of
# `images.n_train`.
FIGURE3: Mapping[str, Mapping[str, Sequence[float]]] = {
    "mnist": {
        "conv": (83.1, 91.0, 95.2, 97.4, 97.7, 98.6, 98.7, 98.8),
        "local": (70.8, 83.5, 90.4, 94.7, 96.2, 97.8, 97.8, 97.7),
        "weight": (72.0, 77.1, 89.6, 93.0, 95.5, 97.2, 97.6, 97.5),
        "fc": (71.2, 83.6, 89.1, 92.7, 94.9, 96.9, 96.1, 97.4),
    },
    "cifar10": {
        "conv": (22.5, 29.0, 35.1, 38.9, 51.7, 58.2, 59.8, 58.8),
        "local": (21.1, 27.2, 32.0, 40.2, 47.2, 56.0, 53.5, 54.6),
        "weight": (18.0, 19.0, 28.9, 31.8, 39.1, 43.7, 46.2, 45.3),
        "fc": (23.8, 28.5, 32.0, 38.1, 45.7, 51.8, 53.0, 54.5),
    },
}


@dataclass(frozen=True)
class PublishedTrial:
    """One of the two trials of Figure 2, as the notebook prints it.

    theta: θ₁₁ and θ₁₂.
    mse: test error.
    relative_error: of the first level, from the weights that the notebook prints, with the best
        sign and shift of that level by itself (the other levels are not printed).
    """

    theta: tuple[float, float]
    mse: Mapping[str, float]
    relative_error: Mapping[str, float]


# By training samples, ε = 0.
FIGURE2: Mapping[int, PublishedTrial] = {
    512: PublishedTrial(
        theta=(0.6248, 0.4908),
        mse={"weight": 0.0818, "local": 0.0015, "oracle": 1.1983e-05, "fc": 0.0829},
        relative_error={"weight": 1.384, "local": 0.293},
    ),
    4096: PublishedTrial(
        theta=(0.4973, 1.8477),
        mse={"weight": 0.0134, "local": 5.5118e-05, "oracle": 9.1223e-10, "fc": 0.8373},
        relative_error={"weight": 0.110, "local": 0.011},
    ),
}
