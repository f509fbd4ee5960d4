"""Before anything is timed: does a contender's step give what the plain loop's step gives?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scratchconv.bench.contender import Contender, Entry, TorchLoop
from scratchconv.bench.plain_loop import PlainLoop
from scratchconv.bench.problem import Problem, checking_rule, densities, linear_weights
from scratchconv.bench.rule import LAYERS, Rule
from scratchconv.errors import ScratchconvError

# So small that no float32 weight changes, and no zero's gradient reaches the bar.
_UNMOVED = Rule(lr=1e-30, beta=50.0, lam_first=1e-30, lam=1e-30)


class WrongResult(ScratchconvError):
    """A contender does not compute what it is to be compared at, so there is nothing to time."""


@dataclass(frozen=True)
class ReferenceStep:
    """One step of the plain fp32 loop; in each layer the weights before, unthresholded, and after.

    `thresholds` are βλ of each layer; `rule` has the settings of the step.
    """

    rule: Rule
    before: dict[str, Tensor]
    moved: dict[str, Tensor]
    after: dict[str, Tensor]
    thresholds: dict[str, float]

    def error(self, weights: dict[str, Tensor], *, near: float, fixed_support: bool) -> float:
        """Distance of `weights` from this step, in the worse layer, in sizes of the step itself.

        Left out: weights that end within `near` · βλ of the threshold, where rounding decides
        whether they live; with `fixed_support` also those that were zero before.
        """
        errors = []
        for name in LAYERS:
            before, after = self.before[name], self.after[name]
            threshold = self.thresholds[name]
            counted = (self.moved[name].abs() - threshold).abs() > near * threshold
            if fixed_support:
                counted &= before != 0
            size = torch.linalg.vector_norm((after - before)[counted])
            distance = torch.linalg.vector_norm((weights[name] - after)[counted])
            errors.append(float(distance / size))
        return max(errors)


def reference_step(problem: Problem) -> ReferenceStep:
    """The plain loop's step, at settings under which weights die and zeros return."""
    rule = checking_rule(problem)
    model = problem.model()
    before = linear_weights(model)
    plain = PlainLoop(model, rule)
    plain.step(*problem.batch)
    moved = {}
    for name in LAYERS:
        gradient = model.get_submodule(name).get_parameter("weight").grad
        assert gradient is not None
        shrink = rule.lam_of(name) * torch.sign(before[name])
        moved[name] = before[name] - rule.lr * (gradient + shrink)
    thresholds = {name: rule.beta * rule.lam_of(name) for name in LAYERS}
    return ReferenceStep(rule, before, moved, plain.weights(), thresholds)


def check(entry: Entry, problem: Problem, reference: ReferenceStep) -> float:
    """Take the same step by `entry`; returns its `ReferenceStep.error`.

    Raises WrongResult where that is above the contender's tolerance.
    """
    contender = _settled(entry, problem, reference.rule)
    contender.step(*problem.batch)
    error = reference.error(
        contender.weights(), near=entry.tolerance, fixed_support=entry.fixed_support
    )
    if not error <= entry.tolerance:  # NaN is wrong too
        raise WrongResult(
            f"{entry.name}, at density {problem.density}: from the same weights and batch its step"
            f" ends {error:.3g} step lengths away from the plain fp32 loop's, more than the"
            f" {entry.tolerance:g} that rounding accounts for; it is not timed"
        )
    return error


def _settled(entry: Entry, problem: Problem, rule: Rule) -> Contender:
    """The contender as it is after its first steps, with the weights it began with."""
    if not entry.settling_steps:
        return entry.build(problem.model(), rule)
    contender = entry.build(problem.model(), _UNMOVED)
    assert isinstance(contender, TorchLoop)
    for _ in range(entry.settling_steps):
        contender.step(*problem.batch)
    contender.set_rule(rule)
    return contender


def check_standstill(
    name: str, problem: Problem, before: dict[str, float], weights: dict[str, Tensor]
) -> None:
    """Raise WrongResult unless the timed steps left the density of each layer within 1 %."""
    for layer, density in densities(weights).items():
        if not abs(density - before[layer]) <= 0.01 * before[layer]:
            raise WrongResult(
                f"{name}, at density {problem.density}: the timed steps moved the density of"
                f" {layer} from {before[layer]:.4%} to {density:.4%}, so that they timed something"
                " else: choose another --lam, --lam-first or --lr"
            )
