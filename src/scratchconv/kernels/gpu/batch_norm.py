"""BatchNorm and ReLU in one kernel each way, on feature-major activations (features, N).

A program holds all samples of one feature in registers, so that mean and variance (two passes, as
accurate as they come) cost no second look at memory. Forward reads the input and writes the output
and the normalised input; backward reads those two and the gradient, and writes one gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.gpu.compilation import (
    check_on_one_device,
    check_tensor,
    kernel,
    on_device_of,
    rounded,
)

MOST_SAMPLES = 4096
"""Samples of a batch that a program can hold."""

_ACTIVATIONS = (torch.bfloat16, torch.float32)


class Normalised(NamedTuple):
    """What `batch_norm_relu` gives: its output, and what the backward pass needs besides.

    output, normalised: (features, N), of the dtype of the input; `normalised` is (x − mean) / √v.
    mean, inverse_deviation: float32 (features,): of this batch, 1/√v with v = variance + eps.
    """

    output: Tensor
    normalised: Tensor
    mean: Tensor
    inverse_deviation: Tensor


class Gradients(NamedTuple):
    """Gradients of the input (features, N) and, in float32 (features,), of scale and shift."""

    input: Tensor
    weight: Tensor
    bias: Tensor


def batch_norm_relu_plain(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    running_mean: Tensor | None = None,
    running_variance: Tensor | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Normalised:
    """Plain twin of `batch_norm_relu`, by torch's own BatchNorm."""
    wide = x.float()
    variance, mean = torch.var_mean(wide, dim=1, correction=0)
    scaled = F.batch_norm(
        wide.t(), running_mean, running_variance, weight, bias, True, momentum, eps
    )
    inverse_deviation = torch.rsqrt(variance + eps)
    normalised = (wide - mean[:, None]) * inverse_deviation[:, None]
    output = scaled.t().relu().to(x.dtype).contiguous()
    return Normalised(output, normalised.to(x.dtype), mean, inverse_deviation)


def batch_norm_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    running_mean: Tensor | None = None,
    running_variance: Tensor | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Normalised:
    """``relu(BatchNorm1d(x))`` in training mode.

    Args:
        x: (features, N), bfloat16 or float32, its last dimension contiguous, 2 ≤ N ≤ 4096.
        weight, bias: float32 (features,): scale γ and shift β.
        running_mean, running_variance: float32 (features,), both or none: moved towards those of
            the batch by `momentum`, in place; the variance without bias, as torch has it.
        momentum, eps: as in `nn.BatchNorm1d`.

    Raises InvalidArgument: a shape, a dtype, strides or a device is not as said here.
    """
    features, samples = _checked("x", x)
    if samples < 2:
        raise InvalidArgument(f"{samples} sample: a batch of at least 2 has a variance")
    if (running_mean is None) != (running_variance is None):
        raise InvalidArgument("give running_mean and running_variance, or none of the two")
    of_features = {
        "weight": weight,
        "bias": bias,
        "running_mean": running_mean,
        "running_variance": running_variance,
    }
    _check_of_features(of_features, features)
    check_on_one_device({"x": x, **of_features})
    output, normalised = x.new_empty(features, samples), x.new_empty(features, samples)
    mean, inverse_deviation = (weight.new_empty(features) for _ in range(2))
    if features:
        with on_device_of(x):
            _forward[(features,)](
                *(x, weight, bias),
                *(weight if running_mean is None else running_mean,),
                *(weight if running_variance is None else running_variance,),
                *(output, normalised, mean, inverse_deviation),
                *(samples, x.stride(0), momentum, eps),
                HAS_RUNNING=running_mean is not None,
                **_launch_options(samples),
            )
    return Normalised(output, normalised, mean, inverse_deviation)


@kernel
def _forward(
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    running_mean: tl.tensor,
    running_variance: tl.tensor,
    output: tl.tensor,
    normalised: tl.tensor,
    means: tl.tensor,
    inverse_deviations: tl.tensor,
    samples: tl.tensor,
    x_row: tl.tensor,
    momentum: tl.tensor,
    eps: tl.tensor,
    HAS_RUNNING: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
) -> None:
    feature = tl.program_id(0).to(tl.int64)
    sample = tl.arange(0, BLOCK_SAMPLES)
    inside = sample < samples
    value = tl.load(x + feature * x_row + sample, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(value, axis=0) / samples
    centred = tl.where(inside, value - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / samples
    inverse_deviation = 1.0 / tl.sqrt(variance + eps)
    unit = centred * inverse_deviation
    scaled = unit * tl.load(weight + feature) + tl.load(bias + feature)
    # A comparison, not a maximum: NaN stays NaN.
    scaled = tl.where(scaled < 0, 0.0, scaled)
    place = feature * samples + sample
    tl.store(output + place, rounded(scaled, output.dtype.element_ty), mask=inside)
    tl.store(normalised + place, rounded(unit, normalised.dtype.element_ty), mask=inside)
    tl.store(means + feature, mean)
    tl.store(inverse_deviations + feature, inverse_deviation)
    if HAS_RUNNING:
        before = tl.load(running_mean + feature)
        tl.store(running_mean + feature, before + momentum * (mean - before))
        before = tl.load(running_variance + feature)
        unbiased = variance * samples / (samples - 1)
        tl.store(running_variance + feature, before + momentum * (unbiased - before))


def batch_norm_relu_backward_plain(
    gradient: Tensor, forward: Normalised, weight: Tensor
) -> Gradients:
    """Plain twin of `batch_norm_relu_backward` (Ioffe & Szegedy 2015, §3)."""
    unit = forward.normalised.float()
    slope = torch.where(forward.output > 0, gradient.float(), 0.0)
    of_bias, of_weight = slope.sum(dim=1), (slope * unit).sum(dim=1)
    samples = gradient.shape[1]
    rest = slope - (of_bias[:, None] + unit * of_weight[:, None]) / samples
    of_input = (weight * forward.inverse_deviation)[:, None] * rest
    return Gradients(of_input.to(gradient.dtype), of_weight, of_bias)


def batch_norm_relu_backward(gradient: Tensor, forward: Normalised, weight: Tensor) -> Gradients:
    """The gradients of `batch_norm_relu`, from that of its output.

    Args:
        gradient: (features, N), of the dtype of the output, its last dimension contiguous.
        forward: what `batch_norm_relu` gave. Where its output is zero, ReLU lets nothing through.
        weight: float32 (features,): scale γ, as it was.

    Raises InvalidArgument: a shape, a dtype, strides or a device is not as said here.
    """
    features, samples = _checked("gradient", gradient)
    for name in ("output", "normalised"):
        check_tensor(name, getattr(forward, name), (gradient.dtype,), (features, samples))
    of_features = {"weight": weight, "inverse_deviation": forward.inverse_deviation}
    _check_of_features(dict(of_features), features)
    check_on_one_device({"gradient": gradient, "output": forward.output, **of_features})
    of_input = gradient.new_empty(features, samples)
    of_weight, of_bias = (weight.new_empty(features) for _ in range(2))
    if of_input.numel():
        with on_device_of(gradient):
            _backward[(features,)](
                *(gradient, forward.output, forward.normalised),
                *(weight, forward.inverse_deviation, of_input, of_weight, of_bias),
                *(samples, gradient.stride(0)),
                **_launch_options(samples),
            )
    return Gradients(of_input, of_weight, of_bias)


@kernel
def _backward(
    gradient: tl.tensor,
    output: tl.tensor,
    normalised: tl.tensor,
    weight: tl.tensor,
    inverse_deviation: tl.tensor,
    of_input: tl.tensor,
    of_weight: tl.tensor,
    of_bias: tl.tensor,
    samples: tl.tensor,
    gradient_row: tl.tensor,
    BLOCK_SAMPLES: tl.constexpr,
) -> None:
    feature = tl.program_id(0).to(tl.int64)
    sample = tl.arange(0, BLOCK_SAMPLES)
    inside = sample < samples
    place = feature * samples + sample
    slope = tl.load(gradient + feature * gradient_row + sample, mask=inside, other=0.0)
    active = tl.load(output + place, mask=inside, other=0.0).to(tl.float32) > 0
    unit = tl.load(normalised + place, mask=inside, other=0.0).to(tl.float32)
    slope = tl.where(active, slope.to(tl.float32), 0.0)
    bias_slope = tl.sum(slope, axis=0)
    weight_slope = tl.sum(slope * unit, axis=0)
    rest = slope - (bias_slope + unit * weight_slope) / samples
    scale = tl.load(weight + feature) * tl.load(inverse_deviation + feature)
    tl.store(of_input + place, rounded(scale * rest, of_input.dtype.element_ty), mask=inside)
    tl.store(of_weight + feature, weight_slope)
    tl.store(of_bias + feature, bias_slope)


def _launch_options(samples: int) -> dict[str, int | bool]:
    """All samples at once, eight or more to a thread: 16 bytes of bfloat16 a load."""
    block = max(16, triton.next_power_of_2(samples))
    warps = min(8, max(1, block // 256))
    return {"BLOCK_SAMPLES": block, "num_warps": warps, "enable_fp_fusion": True}


def _checked(name: str, tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim != 2 or tensor.dtype not in _ACTIVATIONS:
        raise InvalidArgument(
            f"{name} is {tensor.dtype} {tuple(tensor.shape)}:"
            " give bfloat16 or float32 (features, N)"
        )
    features, samples = tensor.shape
    if samples > MOST_SAMPLES:
        raise InvalidArgument(
            f"{samples} samples: one program holds at most {MOST_SAMPLES}; take a smaller batch,"
            " or torch's BatchNorm"
        )
    if samples > 1 and tensor.stride(1) != 1:
        raise InvalidArgument(
            f"{name} has strides {tensor.stride()}: the samples of a feature must lie side by side"
        )
    return features, samples


def _check_of_features(tensors: dict[str, Tensor | None], features: int) -> None:
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        check_tensor(name, tensor, (torch.float32,), (features,))
        if not tensor.is_contiguous():
            raise InvalidArgument(f"{name} has stride {tensor.stride(0)}: it must be contiguous")
