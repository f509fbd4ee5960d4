"""The process in which one contender's memory is measured: `python -m … '{"name": …}'`."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
from typing import Any

import torch

from scratchconv.bench.contender import Contender
from scratchconv.bench.memory import entries, peak_bytes, reset_peak, resident_bytes
from scratchconv.bench.problem import STANDSTILL, Density, Problem
from scratchconv.bench.rule import Rule
from scratchconv.training.precision import subnormals_flushed

_STEPS = 5


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """`peak` of `_STEPS` steps and the level `before_steps`, in bytes above that before the model.

    A network of α = 1 goes first, through the same steps, so that what libraries and kernels take
    on their first use is not counted.
    """
    rule = Rule(*asked["rule"])
    density = Density.parse(asked["density"])
    shape = asked["batch_size"], asked["seed"], rule
    problem = Problem(asked["alpha"], density, *shape)
    inputs, targets = problem.batch
    with subnormals_flushed():
        small = _after_steps(asked["name"], Problem(1, density, *shape))
        del small
        _hand_back()
        level = resident_bytes()
        contender = _after_steps(asked["name"], problem)
        _hand_back()
        before_steps = resident_bytes() - level
        reset_peak()
        for _ in range(_STEPS):
            contender.step(inputs, targets)
        peak = peak_bytes() - level
    return {"peak": peak, "before_steps": before_steps, "details": contender.details()}


def _after_steps(name: str, problem: Problem) -> Contender:
    """The contender, past its first steps: an engine has gone over to sparse storage by then."""
    rule = problem.rule.scaled(STANDSTILL)
    contender = entries()[name].build(problem.model(), rule)
    for _ in range(_STEPS):
        contender.step(*problem.batch)
    return contender


def _hand_back() -> None:
    """Give freed memory back to the system, which else goes on counting it as this process's."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if asked["threads"] is not None:
        torch.set_num_threads(asked["threads"])
    print(json.dumps(measure(asked)))
