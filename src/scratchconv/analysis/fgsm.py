"""Adversarial examples by the fast gradient sign method, and the accuracy they leave.

Goodfellow, Shlens & Szegedy 2015 (arXiv 1412.6572), §4: x + ε sign(∇ₓ J(θ, x, y)). Used on the
networks of Zhang 2021, §3.3 (ε = 0.1 on MNIST, 0.01 on CIFAR-10; Table 2).

ε is in pixel units: pixels are in [0, 1], whatever the network's inputs are normalised to, so that
the largest change is 255ε grey levels. (The code published by Zhang takes ε in units of [−1, 1],
which is half of that.) An adversarial image is an image: its pixels are cut off at 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchconv.analysis.evaluation_mode import evaluation_mode
from scratchconv.analysis.mass import Permutation, true_positions
from scratchconv.data import Split
from scratchconv.data.permutation import permute_pixels
from scratchconv.errors import InvalidArgument


@dataclass(frozen=True)
class AttackedAccuracy:
    """How a network does on images as they are, and on what the attack makes of them.

    epsilon: largest change of a pixel, in [0, 1] units.
    samples: images tested.
    clean, adversarial: share of right answers, before and after.
    """

    epsilon: float
    samples: int
    clean: float
    adversarial: float

    @property
    def change(self) -> float:
        """(adversarial − clean) / clean, as in Zhang 2021, Table 2; NaN if clean is 0."""
        return (self.adversarial - self.clean) / self.clean if self.clean else math.nan


def adversarial_examples(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    epsilon: float,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    permutation: Permutation | None = None,
) -> Tensor:
    """Images that the model classifies worse, none of their pixels changed by more than ε.

    One step along the sign of the gradient of the cross entropy with the true class. A pixel with
    gradient 0 stays as it is. The model runs in evaluation mode, on its own device and in its own
    precision, and is left as it was: modes, gradients and weights. The same arguments give the same
    images.

    Args:
        model: takes normalised images (n, c, h, w) and returns class scores (n, classes).
        images: (n, c, h, w), uint8, or floating with pixels in [0, 1].
        targets: true classes, int64 (n,).
        epsilon: in [0, 1].
        mean, std: one number a channel in [0, 1] units, as in `Dataset`: the network's inputs are
            (pixels − mean) / std.
        permutation: of the pixels, if the network was trained on shuffled ones. Images go in and
            come out unshuffled.

    Returns:
        float32 (n, c, h, w) in [0, 1], on the model's device.

    Raises:
        InvalidArgument: ε or a pixel is not in [0, 1], targets are no classes, sizes differ,
            `permutation` is none of the pixels, or a score is infinite or not a number.
    """
    epsilon = _checked_epsilon(epsilon)
    view = _View(model, mean, std, permutation)
    pixels, classes = _checked_pixels(images, view.device), _checked_targets(images, targets)
    with _frozen(model):
        return _attack(view, pixels, classes.to(view.device), epsilon)


def attacked_accuracy(
    model: nn.Module,
    split: Split,
    epsilon: float,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    permutation: Permutation | None = None,
    batch_size: int = 512,
) -> AttackedAccuracy:
    """The accuracy on a split before and after the attack; arguments as above.

    Raises InvalidArgument as above, and for a split without samples or a batch size below 1.
    """
    epsilon = _checked_epsilon(epsilon)
    if batch_size < 1 or not len(split):
        raise InvalidArgument(
            f"batch_size is {batch_size} and the split has {len(split)} samples: both must be at "
            "least 1"
        )
    view = _View(model, mean, std, permutation)
    clean = adversarial = 0
    with _frozen(model):
        for start in range(0, len(split), batch_size):
            batch = split.inputs[start : start + batch_size]
            targets = _checked_targets(batch, split.targets[start : start + batch_size])
            pixels, targets = _checked_pixels(batch, view.device), targets.to(view.device)
            attacked = _attack(view, pixels, targets, epsilon)
            with torch.no_grad():
                clean += _right(view, pixels, targets)
                adversarial += _right(view, attacked, targets)
    return AttackedAccuracy(
        epsilon=epsilon,
        samples=len(split),
        clean=clean / len(split),
        adversarial=adversarial / len(split),
    )


class _View:
    """The model as a function of pixels in [0, 1]."""

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        permutation: Permutation | None,
    ) -> None:
        finite = all(map(math.isfinite, (*mean, *std)))
        if len(mean) != len(std) or not finite or not all(deviation > 0 for deviation in std):
            raise InvalidArgument(
                f"mean {tuple(mean)} and std {tuple(std)} must be finite, one number a channel, std"
                " above 0"
            )
        self.model = model
        first = next(model.parameters(), None)
        self.device = torch.device("cpu") if first is None else first.device
        self.dtype = torch.float32 if first is None else first.dtype
        with torch.inference_mode(False):  # tensors of inference mode take part in no gradient
            self.mean = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1).to(self.device)
            self.std = torch.tensor(std, dtype=torch.float32).view(-1, 1, 1).to(self.device)
        self.permutation = permutation

    def __call__(self, pixels: Tensor) -> Tensor:
        if pixels.shape[1] != len(self.mean):
            raise InvalidArgument(
                f"images have {pixels.shape[1]} channels, but mean and std {len(self.mean)}: "
                "give one number a channel"
            )
        if self.permutation is not None:
            _, channels, height, width = pixels.shape
            positions = true_positions(self.permutation, (channels, height, width))
            pixels = permute_pixels(pixels, positions.to(self.device))
        scores: Tensor = self.model(((pixels - self.mean) / self.std).to(self.dtype))
        return scores.float()


def _right(view: _View, pixels: Tensor, targets: Tensor) -> int:
    """How many of the images the model classifies rightly."""
    scores = view(pixels)
    _check_finite(scores)
    return int((scores.argmax(1) == targets).sum())


def _attack(view: _View, pixels: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        pixels, targets = pixels.clone().requires_grad_(), targets.clone()
        scores = view(pixels)
        _check_classes(targets, scores.shape[1])
        _check_finite(scores)
        (gradient,) = torch.autograd.grad(scores, pixels, _by_score(scores.detach(), targets))
    return (pixels.detach() + epsilon * gradient.sign()).clamp_(0, 1)


def _by_score(scores: Tensor, targets: Tensor) -> Tensor:
    """The cross entropy's gradient by the scores, each image's divided by 1 − p of its true class.

    By the score of class j that is p_j, and of the true class p − 1: divided so, the others'
    softmax among themselves, and −1. No sign changes; but where the model is sure of an image both
    are tiny, and would become 0 in half precision, at last in any, as if no pixel mattered.
    """
    true = F.one_hot(targets, scores.shape[1]).bool()
    others = scores.masked_fill(true, -math.inf).softmax(1)
    return others.nan_to_num(0.0).masked_fill(true, -1.0 if scores.shape[1] > 1 else 0.0)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients of parameters, which cost time."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with evaluation_mode(model):
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _checked_epsilon(epsilon: float) -> float:
    if not 0 <= epsilon <= 1:
        raise InvalidArgument(
            f"epsilon is {epsilon!r}: it is in units of pixels in [0, 1], 8/255 for eight grey "
            "levels"
        )
    return float(epsilon)


def _checked_pixels(images: Tensor, device: torch.device) -> Tensor:
    """float32 in [0, 1], on the device."""
    if images.ndim != 4:
        raise InvalidArgument(f"images have shape {tuple(images.shape)}: give (n, c, h, w)")
    if images.dtype == torch.uint8:
        return images.to(device, torch.float32) / 255
    if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):
        raise InvalidArgument(
            f"images of dtype {images.dtype} hold more than pixels in [0, 1]: give uint8, or "
            "floating pixels before they are normalised"
        )
    return images.to(device, torch.float32)


def _checked_targets(images: Tensor, targets: Tensor) -> Tensor:
    if targets.dtype != torch.int64 or targets.shape != images.shape[:1]:
        raise InvalidArgument(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)} for {len(images)} images:"
            " give int64 class numbers, one an image"
        )
    return targets


def _check_finite(scores: Tensor) -> None:
    """The largest of scores that are no numbers would be those of class 0."""
    wrong = (~scores.isfinite().all(1)).nonzero().flatten()
    if len(wrong):
        raise InvalidArgument(
            f"the model's scores of {len(wrong)} of {len(scores)} images are infinite or not a"
            " number: look for such weights in it, or take a wider precision"
        )


def _check_classes(targets: Tensor, classes: int) -> None:
    """Cross entropy would skip a target of −100, its index for those to be ignored."""
    wrong = targets[(targets < 0) | (targets >= classes)]
    if len(wrong):
        raise InvalidArgument(
            f"target {int(wrong[0])} is no class: the model's are 0 to {classes - 1}"
        )
