"""The methods as their papers write them, on lists of numbers: what the fast ones are tested with.

A layer is a list of weights, a mask a list of booleans. Of equal candidates the earlier is taken.
"""

from __future__ import annotations

from collections.abc import Sequence


def arg_top_k(values: Sequence[float], k: int, among: Sequence[int]) -> set[int]:
    """ArgTopK(v, k) over the indices `among` (Evci 2020, §3)."""
    return set(sorted(among, key=lambda i: (-values[i], i))[:k])


def rigl(
    theta: Sequence[float], gradient: Sequence[float], mask: Sequence[bool], fraction: float
) -> tuple[list[float], list[bool]]:
    """One update of a layer's connections (Evci 2020, Algorithm 1): its weights and mask after."""
    active = [i for i, connected in enumerate(mask) if connected]
    k = int(fraction * len(active))
    # Of equal weights the later ones are dropped.
    dropped = set(sorted(active, key=lambda i: (abs(theta[i]), -i))[:k])
    remaining = set(active) - dropped
    candidates = [i for i in range(len(theta)) if i not in remaining]
    grow = arg_top_k([abs(g) for g in gradient], k, candidates)
    new_mask = [i in remaining or i in grow for i in range(len(theta))]
    new_theta = [
        t if connected and before else 0.0
        for t, connected, before in zip(theta, new_mask, mask, strict=True)
    ]
    return new_theta, new_mask


def set_removal(theta: Sequence[float], mask: Sequence[bool], zeta: float) -> list[bool]:
    """The mask without the fraction ζ of the smallest positive and the largest negative weights.

    Mocanu 2018, "Sparse evolutionary training". Weights of 0 go too.
    """
    kept = set[int]()
    for sign in (1.0, -1.0):
        signed = [i for i, t in enumerate(theta) if mask[i] and sign * t > 0]
        removed = int(zeta * len(signed))
        kept |= arg_top_k([sign * t for t in theta], len(signed) - removed, signed)
    return [i in kept for i in range(len(theta))]


def snip(
    layers: Sequence[Sequence[float]], mask_gradients: Sequence[Sequence[float]], kappa: int
) -> list[list[bool]]:
    """c_j = 1 where s_j is among the κ largest (Lee 2019, equations 6 and 7).

    `mask_gradients` holds ∂L(c ⊙ w)/∂c_j at c = 1 for each weight of each layer.
    """
    everything = [abs(g) for gradients in mask_gradients for g in gradients]
    total = sum(everything)
    sensitivity = [g / total for g in everything]
    kept = arg_top_k(sensitivity, kappa, range(len(sensitivity)))
    masks, start = [], 0
    for layer in layers:
        masks.append([start + i in kept for i in range(len(layer))])
        start += len(layer)
    return masks


def magnitude(
    layers: Sequence[Sequence[float]], masks: Sequence[Sequence[bool]], count: int
) -> list[list[bool]]:
    """The masks that keep the `count` largest magnitudes of those left, over all layers.

    Frankle & Carbin 2019, §2, step 3.
    """
    magnitudes = [abs(t) for layer in layers for t in layer]
    left = [i for i, connected in enumerate(c for mask in masks for c in mask) if connected]
    kept = arg_top_k(magnitudes, count, left)
    new, start = [], 0
    for layer in layers:
        new.append([start + i in kept for i in range(len(layer))])
        start += len(layer)
    return new
