"""Floating-point operations of a network whose zeros cost nothing, from its non-zeros per layer.

As Evci 2020 counts (appendix H): a multiply and an add are two operations; only products with
weights count, not biases, BatchNorm, ReLU, the loss, nor what choosing connections takes. A weight
costs, for each sample, 2 · `uses` operations in each of three products: the forward pass, the
gradient of the inputs and the gradient of the weights. Forward pass and input gradient need the
non-zeros only. The weight gradient needs them only too (static connections, SNIP, SET), or all
weights (RigL at the steps that grow connections; dense training, and Algorithm 1 of β-LASSO where
it is not screened, at every step).

These count what an implementation must do that skips all zeros, not what was done: training with
masks computes dense products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchconv.analysis.evaluation_mode import evaluation_mode
from scratchconv.analysis.weights import has_weight, other_weights
from scratchconv.errors import InvalidArgument
from scratchconv.nn import LocallyConnected2d

_MULTIPLY_ADD = 2

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_COUNTED = (nn.Linear, *_CONVOLUTIONS, LocallyConnected2d)


@dataclass(frozen=True)
class LayerUse:
    """One layer's weights and how often each of them is used.

    name: the module's name in the model.
    size: weights, zeros included.
    uses: outputs that one weight takes part in, for one sample: 1 in a dense or a local layer, the
        positions of the output in a convolution.
    """

    name: str
    size: int
    uses: int


@dataclass(frozen=True)
class Flops:
    """Operations of one training step for one sample, or of many of them, by product."""

    forward: float = 0
    input_gradient: float = 0
    weight_gradient: float = 0

    @property
    def total(self) -> float:
        return self.forward + self.input_gradient + self.weight_gradient

    def __add__(self, other: Flops) -> Flops:
        return Flops(
            self.forward + other.forward,
            self.input_gradient + other.input_gradient,
            self.weight_gradient + other.weight_gradient,
        )

    def __mul__(self, times: float) -> Flops:
        return Flops(
            self.forward * times, self.input_gradient * times, self.weight_gradient * times
        )


@dataclass(frozen=True)
class Stretch:
    """A part of a training in which the connections are counted as constant.

    samples: training samples that were passed.
    nonzero: non-zero weights of each layer by name, as `sparsity` counts them.
    dense_gradients: share of the steps whose weight gradient is of all weights: 0 for static
        connections and SET, 1 for dense training, 1/ΔT for RigL.
    """

    samples: int
    nonzero: Mapping[str, int]
    dense_gradients: float = 0.0


def layer_uses(model: nn.Module, image: Sequence[int]) -> list[LayerUse]:
    """One entry per layer of `model` with weights, in the order they see an `image` (c, h, w).

    Runs the network once, in evaluation mode, on an empty image.

    Raises:
        InvalidArgument: a weight of two or more dimensions that is not of a linear, convolutional
            (transposed ones are not counted) or local layer, a layer that is passed more than once,
            or one whose forward pass is not called.
    """
    found: dict[str, LayerUse] = {}
    names = {module: name for name, module in model.named_modules() if has_weight(module)}
    for name, module in model.named_modules():
        others = other_weights(module)
        if others or (module in names and not isinstance(module, _COUNTED)):
            of_it = f", and has {next(iter(others))}" if others else ""
            raise InvalidArgument(
                f"layer {name or 'the model'} is a {type(module).__name__}{of_it}: operations are"
                " counted for linear, convolutional and local layers and their `weight`"
            )

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        name, weight = names[module], module.weight
        assert isinstance(weight, Tensor)
        if name in found:
            raise InvalidArgument(f"layer {name} is passed twice: it cannot be counted by its name")
        uses = 1
        if isinstance(module, _CONVOLUTIONS):
            uses = math.prod(output.shape[2:])
        elif isinstance(module, nn.Linear):
            uses = output[..., 0].numel()
        found[name] = LayerUse(name, weight.numel(), uses)

    hooks = [module.register_forward_hook(count) for module in names]
    try:
        with evaluation_mode(model), torch.no_grad():
            empty = torch.zeros(1, *image)
            model(empty.to(next(model.parameters(), empty)))
    finally:
        for hook in hooks:
            hook.remove()
    if unused := [name for name in names.values() if name not in found]:
        raise InvalidArgument(
            f"the forward pass does not call layer {unused[0]}: it cannot be counted, nor can what"
            " uses its weight in another way"
        )
    return list(found.values())


def inference_flops(layers: Iterable[LayerUse], nonzero: Mapping[str, int]) -> int:
    """Operations for one sample: 2 · `uses` for every non-zero weight.

    Raises:
        InvalidArgument: `nonzero` lacks a layer, or counts more than its weights.
    """
    return sum(_MULTIPLY_ADD * use.uses * _nonzero(use, nonzero) for use in layers)


def step_flops(
    layers: Sequence[LayerUse],
    nonzero: Mapping[str, int],
    *,
    dense_gradient: bool = False,
    image_gradient: bool = False,
) -> Flops:
    """Operations of one training step for one sample.

    Args:
        layers: the layers; the first of them is the one that sees the image.
        nonzero: non-zero weights of each layer by name.
        dense_gradient: the weight gradient is of all weights, not of the non-zeros.
        image_gradient: count the gradient by the image too, which training has no use for. Evci
            2020 does: its backward pass is twice the forward pass.

    Raises:
        InvalidArgument: as in `inference_flops`.
    """
    total = Flops()
    for number, use in enumerate(layers):
        forward = _MULTIPLY_ADD * use.uses * _nonzero(use, nonzero)
        dense = _MULTIPLY_ADD * use.uses * use.size
        total += Flops(
            forward=forward,
            input_gradient=forward if number > 0 or image_gradient else 0,
            weight_gradient=dense if dense_gradient else forward,
        )
    return total


def training_flops(
    layers: Sequence[LayerUse], stretches: Iterable[Stretch], *, image_gradient: bool = False
) -> Flops:
    """Operations of a whole training, from its non-zeros along the way.

    A RigL step that exchanges connections is counted like any other with a dense weight gradient:
    forward pass and input gradient by the non-zeros, 2·f_S + f_D in Evci 2020's terms.

    Raises:
        InvalidArgument: as in `inference_flops`, or a share or a count that is impossible.
    """
    total = Flops()
    for stretch in stretches:
        share = stretch.dense_gradients
        if not 0 <= share <= 1 or stretch.samples < 0:
            raise InvalidArgument(
                f"dense_gradients is {share:g} and samples {stretch.samples}: give a share between"
                " 0 and 1, and a count"
            )
        for dense, weight in ((False, 1 - share), (True, share)):
            step = step_flops(
                layers, stretch.nonzero, dense_gradient=dense, image_gradient=image_gradient
            )
            total += step * (weight * stretch.samples)
    return total


def _nonzero(use: LayerUse, nonzero: Mapping[str, int]) -> int:
    if use.name not in nonzero:
        raise InvalidArgument(
            f"the non-zeros of layer {use.name} are missing: counts are given for"
            f" {', '.join(nonzero) or 'no layer'}"
        )
    count = nonzero[use.name]
    if not 0 <= count <= use.size:
        raise InvalidArgument(f"layer {use.name} has {use.size} weights, not {count} non-zeros")
    return count
