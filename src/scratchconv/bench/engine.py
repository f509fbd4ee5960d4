"""Our own contenders: the same loop, with `sparsify` or `fix_connections` called before it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scratchconv.bench.contender import BFLOAT16_TOLERANCE, FLOAT32_TOLERANCE, Entry, TorchLoop
from scratchconv.bench.rule import LAYERS, SPARSE_LAYERS, Rule, groups
from scratchconv.models import Network
from scratchconv.optim import BetaLasso, param_groups
from scratchconv.sparse import fix_connections, sparsify
from scratchconv.training.precision import resolve_precision

Mode = Literal["auto", "dense", "sparse"]
NAMES: dict[Mode, str] = {
    "auto": "ours, mode=auto",
    "dense": "ours, mode=dense",
    "sparse": "ours, mode=sparse",
}
FIXED_NAME = "ours, fixed connections"


def entry(mode: Mode) -> Entry:
    """The engine in one of its modes, with exact regrowth.

    In bf16 where this machine multiplies in it, as training does for a large network.
    """
    # Its first steps are timed, and decide what form a layer takes.
    return _entry(NAMES[mode], partial(EngineStep, mode=mode), settling_steps=3)


def fixed_entry() -> Entry:
    """`fix_connections` on the two large layers: none that is not there is looked at."""
    return _entry(FIXED_NAME, FixedStep, fixed_support=True)


def _entry(name: str, step: Callable[..., TorchLoop], **options: Any) -> Entry:
    bfloat16 = resolve_precision("auto", torch.device("cpu"), 2**31) == "bf16"
    tolerance = BFLOAT16_TOLERANCE if bfloat16 else FLOAT32_TOLERANCE
    return Entry(name, partial(step, bfloat16=bfloat16), tolerance, **options)


class EngineStep(TorchLoop):
    """The ordinary training loop around a model that `sparsify` has taken in hand."""

    def __init__(self, model: Network, rule: Rule, *, mode: Mode, bfloat16: bool) -> None:
        optimizer = BetaLasso(
            param_groups(model, lam=rule.lam, lam_first=rule.lam_first),
            lr=rule.lr,
            beta=rule.beta,
        )
        self.engine = sparsify(model, optimizer, mode=mode)
        super().__init__(model, optimizer, autocast=bfloat16)

    def details(self) -> dict[str, Any]:
        """Which layers ended compressed, and how the last step's zero weights were settled."""
        last = {line.pop("layer"): line for line in self.engine.take_record()}
        return {
            "compressed": {name: layer.compressed for name, layer in self.engine.layers.items()},
            "screening_of_last_step": last,
        }

    def weights(self) -> dict[str, Tensor]:
        return _dense_weights(self.model)


class FixedStep(TorchLoop):
    """The ordinary training loop around a model whose two large layers hold what they have."""

    def __init__(self, model: Network, rule: Rule, *, bfloat16: bool) -> None:
        weights = {
            f"{name}.weight": model.get_submodule(name).get_parameter("weight")
            for name in SPARSE_LAYERS
        }
        fix_connections(model, {name: weight != 0 for name, weight in weights.items()})
        optimizer = BetaLasso(groups(model, rule), lr=rule.lr, beta=rule.beta)
        super().__init__(model, optimizer, autocast=bfloat16)

    def weights(self) -> dict[str, Tensor]:
        return _dense_weights(self.model)


def _dense_weights(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict()
    return {name: state[f"{name}.weight"].detach().clone() for name in LAYERS}
