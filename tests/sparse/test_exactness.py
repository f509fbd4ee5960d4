"""Training with the engine is Algorithm 1: every step, through a burst of regrowth, in every form.

Each step is computed twice from the same weights: by the engine, and by a plain model, autograd and
`optim.reference`, line by line. Then training goes on from what the engine left.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import scratchconv as sc
from scratchconv.optim import reference
from scratchconv.sparse import SwitchAt

STEPS, SAMPLES, BETA = 500, 33, 20.0


def chain(bias: bool) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(48, 40, bias=bias),
        nn.BatchNorm1d(40),
        nn.ReLU(),
        nn.Linear(40, 24, bias=bias),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Linear(24, 5),
    )


def without_batch_norm() -> nn.Module:
    layers = (nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 5))
    return nn.Sequential(nn.Flatten(), *layers)


def built(name: str, alpha: int) -> nn.Module:
    return sc.models.build(name, image=(3, 4, 4), classes=5, alpha=alpha)


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "chain": lambda: chain(bias=False),
    "chain with bias": lambda: chain(bias=True),
    "no BatchNorm": without_batch_norm,
    "3-fc": lambda: built("3-fc", 24),
    "s-fc": lambda: built("s-fc", 2),
}


def learning_rate(step: int) -> float:
    """Shrinks the weights, then lowers the bar for a while, then anneals."""
    if step < 200:
        return 0.1
    return 1.0 if step < 240 else 0.1 * (1 - step / STEPS)


def batches(seed: int) -> Callable[[], tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(48, 5, generator=generator)

    def draw() -> tuple[Tensor, Tensor]:
        x = torch.randn(SAMPLES, 48, generator=generator)
        noise = 0.5 * torch.randn(SAMPLES, 5, generator=generator)
        return x.view(SAMPLES, 3, 4, 4), (x @ teacher + noise).argmax(1)

    return draw


class Comparison:
    """An engine and, step by step, the plain step from the same state."""

    def __init__(self, maker: Callable[[], nn.Module], lam: float, **options: object) -> None:
        torch.manual_seed(0)
        self.model, self.plain = maker(), maker()
        self.lam = lam
        self.optimizer = sc.BetaLasso(sc.param_groups(self.model, lam=lam), lr=0.1, beta=BETA)
        self.engine = sc.sparsify(self.model, self.optimizer, **options)
        self.returned = 0
        self.died = 0
        self.compared = 0
        self.changes_of_form: dict[bool, int] = {False: 0, True: 0}
        self._nearest_kink = math.inf
        for module in self.plain.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_pre_hook(self._look_for_kinks)

    def _look_for_kinks(self, relu: nn.Module, inputs: tuple[Tensor]) -> None:
        nearest = inputs[0].detach().abs().min().item()
        self._nearest_kink = min(self._nearest_kink, nearest)

    def step(self, x: Tensor, y: Tensor, lr: float) -> None:
        self.plain.load_state_dict(self.model.state_dict())
        self.plain.zero_grad()
        self._nearest_kink = math.inf
        nn.functional.cross_entropy(self.plain(x), y).backward()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        forms = {name: layer.compressed for name, layer in self.engine.layers.items()}
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(x), y).backward()
        self.optimizer.step()
        for name, layer in self.engine.layers.items():
            if layer.compressed != forms[name]:
                self.changes_of_form[layer.compressed] += 1
        # Where a ReLU's input is zero up to rounding, so is its derivative 0 or 1.
        if self._nearest_kink > 1e-6:
            self.compared += 1
            self._compare(lr)

    def _compare(self, lr: float) -> None:
        after = self.model.state_dict()
        expected, found = [], []
        for name, buffer in self.plain.named_buffers():
            expected.append(buffer.float())
            found.append(after[name].float())
        for name, parameter in self.plain.named_parameters():
            assert parameter.grad is not None
            if parameter.dim() < 2:
                expected.append(reference.sgd(parameter.detach(), parameter.grad, lr))
                found.append(after[name])
        assert_equal_up_to_rounding(found, expected)
        self._compare_weights(after, lr)

    def _compare_weights(self, after: dict[str, Tensor], lr: float) -> None:
        weights = {n: p for n, p in self.plain.named_parameters() if p.dim() > 1}
        before = torch.cat([p.detach().flatten() for p in weights.values()])
        gradient = torch.cat([p.grad.flatten() for p in weights.values() if p.grad is not None])
        found = torch.cat([after[name].flatten() for name in weights])
        expected = reference.beta_lasso(before, gradient, lr, self.lam, BETA)
        moved = before - lr * (gradient + self.lam * before.sign())
        # Which side of the threshold rounding puts these on is not determined.
        judged = (moved.abs() - BETA * self.lam).abs() > 1e-5
        assert judged.float().mean() > 0.98
        assert torch.equal((found != 0)[judged], (expected != 0)[judged])
        assert_equal_up_to_rounding([found[judged]], [expected[judged]])
        self.returned += int(((before == 0) & (found != 0)).sum())
        self.died += int(((before != 0) & (found == 0)).sum())


def assert_equal_up_to_rounding(found: list[Tensor], expected: list[Tensor]) -> None:
    """As torch.testing.assert_close, in fewer operations: it is asked 500 times a run."""
    one, other = (torch.cat([x.flatten() for x in xs]) for xs in (found, expected))
    worst = ((one - other).abs() / (1e-5 + 1e-4 * other.abs())).max()
    assert worst <= 1, f"{worst:g} times what rounding explains"


# Densities of the layers fall to a few percent with the largest λ.
CASES = [
    *((network, "dense", 1e-3) for network in ("chain with bias", "no BatchNorm", "s-fc")),
    *((network, "sparse", 2.5e-3) for network in MAKERS),
    *((network, "auto", 2.5e-3) for network in ("chain", "no BatchNorm", "3-fc")),
    ("chain", "sparse", 4e-3),
]


@pytest.mark.parametrize(("network", "mode", "lam"), CASES)
def test_every_step_is_algorithm_1(
    network: str, mode: str, lam: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scratchconv.sparse.engine.SMALLEST", 0)
    options = {}
    if mode == "auto":
        layers = [n for n, m in MAKERS[network]().named_modules() if isinstance(m, nn.Linear)]
        below = 0.6 if network == "no BatchNorm" else 0.4
        options["switch_at"] = {name: SwitchAt(below, below + 0.02) for name in layers}
    compared = Comparison(MAKERS[network], lam, mode=mode, **options)
    assert not compared.engine.left
    draw = batches(seed=1)
    returned_before_the_burst = 0
    for step in range(STEPS):
        if step == 200:
            returned_before_the_burst = compared.returned
        compared.step(*draw(), learning_rate(step))
    assert compared.compared > 0.97 * STEPS
    assert compared.died > 300
    assert compared.returned - returned_before_the_burst > 100
    if mode == "auto":
        assert compared.changes_of_form[True] > 0
        assert compared.changes_of_form[False] > 0
    else:
        assert sum(compared.changes_of_form.values()) == 0
    record = compared.engine.take_record()
    assert len(record) == STEPS * len(compared.engine.layers)
    if mode == "sparse":
        assert sum(line["revived"] for line in record) > 100


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_a_threshold_of_zero_and_a_learning_rate_of_zero(mode: str) -> None:
    compared = Comparison(MAKERS["chain with bias"], 2e-3, mode=mode)
    draw = batches(seed=2)
    for step in range(40):
        compared.step(*draw(), learning_rate(step))
    compared.step(*draw(), 0.0)
    for group in compared.optimizer.param_groups:
        group["beta"] = 0.0  # the plain LASSO subgradient: every zero with a gradient returns
    before = {name: layer.weight.detach().clone() for name, layer in compared.engine.layers.items()}
    compared.plain.load_state_dict(compared.model.state_dict())
    compared.plain.zero_grad()
    x, y = draw()
    nn.functional.cross_entropy(compared.plain(x), y).backward()
    compared.optimizer.zero_grad()
    nn.functional.cross_entropy(compared.model(x), y).backward()
    for group in compared.optimizer.param_groups:
        group["lr"] = 0.1
    compared.optimizer.step()
    for name, layer in compared.engine.layers.items():
        gradient = compared.plain.get_submodule(name).weight.grad
        expected = reference.lasso(before[name], gradient, 0.1, 2e-3)
        torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-4, atol=1e-5)
    assert compared.engine.layers["1"].density > 0.99


@pytest.mark.parametrize("every", [2, 5])
def test_regrowth_k_lets_zeros_return_at_every_kth_step_only(every: int) -> None:
    compared = Comparison(MAKERS["chain"], 2e-3, mode="sparse", regrowth=every)
    draw = batches(seed=3)
    first = compared.engine.layers["1"]
    returned: dict[bool, int] = {False: 0, True: 0}
    for step in range(1, 120):
        x, y = draw()
        before = first.weight.clone()
        for group in compared.optimizer.param_groups:
            group["lr"] = 0.1 if step < 60 else 1.0
        compared.optimizer.zero_grad()
        nn.functional.cross_entropy(compared.model(x), y).backward()
        compared.optimizer.step()
        back = int(((before == 0) & (first.weight != 0)).sum())
        returned[step % every == 0] += back
    assert returned[False] == 0
    assert returned[True] > 50


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_units_that_die_and_come_back_are_those_of_algorithm_1(mode: str) -> None:
    """A unit without weights has variance 0: BatchNorm multiplies its gradients by 1/√ε."""
    compared = Comparison(MAKERS["chain"], 6e-3, mode=mode)
    draw = batches(seed=1)
    layer = compared.engine.layers["1"]
    most_dead = units_back = 0
    for step in range(STEPS):
        dead = layer.nonzero_per_unit() == 0
        compared.step(*draw(), learning_rate(step))
        most_dead = max(most_dead, int(dead.sum()))
        units_back += int((dead & (layer.nonzero_per_unit() > 0)).sum())
    assert compared.compared > 0.97 * STEPS
    assert most_dead > 10
    assert units_back > 10
