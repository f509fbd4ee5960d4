"""`sparsify` in other people's training loops: what it takes over, and what goes on as before."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import scratchconv as sc
from scratchconv.errors import InvalidArgument
from scratchconv.sparse import SparseLinear, SwitchAt

modes = pytest.mark.parametrize("mode", ["dense", "sparse"])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 20, bias=False),
        nn.BatchNorm1d(20),
        nn.ReLU(),
        nn.Linear(20, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


def optimizer_of(model: nn.Module, lam: float = 4e-3) -> sc.BetaLasso:
    return sc.BetaLasso(sc.param_groups(model, lam=lam), lr=0.1, beta=20.0)


def batch(seed: int, samples: int = 21) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 12, generator=generator)
    return x, (x[:, :3] + x[:, 3:6]).argmax(1)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for seed in steps:
        x, y = batch(seed)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def trained(mode: str, steps: int = 30) -> tuple[nn.Sequential, sc.BetaLasso, sc.Engine]:
    model = network()
    optimizer = optimizer_of(model)
    engine = sc.sparsify(model, optimizer, mode=mode)
    train(model, optimizer, range(steps))
    return model, optimizer, engine


def assert_same_state(one: nn.Module, other: nn.Module, *, exactly: bool = True) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert list(first) == list(second)
    tolerance = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-4, "atol": 1e-5}
    for name in first:
        torch.testing.assert_close(first[name], second[name], **tolerance)


# What is taken over


@modes
def test_layers_are_changed_in_place_and_the_model_looks_as_before(mode):
    model, plain = network(), network()
    linear, parameter = model[0], model[0].weight
    optimizer = optimizer_of(model)
    engine = sc.sparsify(model, optimizer, mode=mode)
    assert model[0] is linear
    assert isinstance(linear, SparseLinear)
    assert isinstance(linear, nn.Linear)
    assert linear.values is parameter
    assert list(engine.layers) == ["0", "3", "5"]
    assert engine.left == {}
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in plain.named_parameters()
    ]
    assert_same_state(model, plain)


class Traced(nn.Module):
    """One way of using a linear layer and a BatchNorm, which torch.fx can follow."""

    def __init__(self, use: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 12)
        self.bn = nn.BatchNorm1d(12)
        self.relu = nn.ReLU()
        self.pair = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12))
        self.last = nn.Linear(12, 3)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.use(self, x))


def skip_behind_linear(m: nn.Module, x: Tensor) -> Tensor:
    h = m.fc(x)
    return h + m.bn(h)


def skip_behind_relu(m: nn.Module, x: Tensor) -> Tensor:
    h = m.relu(m.bn(m.fc(x)))
    return h + x


def skip_behind_batch_norm(m: nn.Module, x: Tensor) -> Tensor:
    h = m.bn(m.fc(x))
    return m.relu(h) + h


def shared_relu(m: nn.Module, x: Tensor) -> Tensor:
    return m.relu(m.bn(m.fc(m.relu(x))))


def called_twice(m: nn.Module, x: Tensor) -> Tensor:
    return m.relu(m.bn(m.fc(x))) + m.relu(m.bn(m.fc(-x)))


def called_twice_in_two_ways(m: nn.Module, x: Tensor) -> Tensor:
    return m.bn(m.fc(x)) + m.fc(-x)


def parts_of_a_sequential(m: nn.Module, x: Tensor) -> Tensor:
    h = m.pair[0](x)
    return m.pair[1](h) + h


def whole_sequential(m: nn.Module, x: Tensor) -> Tensor:
    return m.pair(x)


USES = {
    skip_behind_linear: ("fc", False, False),
    skip_behind_relu: ("fc", True, True),
    skip_behind_batch_norm: ("fc", True, False),
    shared_relu: ("fc", True, False),
    called_twice: ("fc", True, True),
    called_twice_in_two_ways: ("fc", False, False),
    parts_of_a_sequential: ("pair.0", False, False),
    whole_sequential: ("pair.0", True, False),
}


@modes
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_what_is_computed_with_a_layer_is_what_only_its_output_goes_through(use, mode):
    torch.manual_seed(0)
    model, name = Traced(use), USES[use][0]
    plain = copy.deepcopy(model)
    optimizer = optimizer_of(model)
    layer = sc.sparsify(model, optimizer, mode=mode).layers[name]
    assert (layer.batch_norm is not None, layer.relu is not None) == USES[use][1:]
    for seed in range(2):
        x, y = batch(seed)
        for module in (model, plain):
            nn.functional.cross_entropy(module(x), y).backward()
    for parameter, expected in zip(model.parameters(), plain.parameters(), strict=True):
        if parameter.dim() == 1 and expected.grad is not None and parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-5)
    for buffer, expected in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_traced_is_fused_in_sequentials_and_networks_only():
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), nn.ReLU())
            self.fc, self.bn = nn.Linear(12, 3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.fc(self.body(x))) if x.sum() < 1e9 else x

    model = Untraceable()
    engine = sc.sparsify(model, optimizer_of(model), mode="dense")
    assert engine.layers["body.0"].batch_norm is model.body[1]
    assert engine.layers["body.0"].relu is model.body[2]
    assert engine.layers["fc"].batch_norm is None
    built = sc.models.build("3-fc", image=(3, 2, 2), classes=3, alpha=6)
    engine = sc.sparsify(built, optimizer_of(built), mode="dense")
    assert engine.layers["fc0"].batch_norm is built.fc0_norm
    assert engine.layers["fc0"].relu is built.fc0_relu


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(20, affine=False),
        nn.BatchNorm1d(20, momentum=None),
        nn.BatchNorm1d(20, track_running_stats=False),
        nn.BatchNorm1d(20).double(),
        nn.LayerNorm(20),
    ],
    ids=["no scale", "no momentum", "no statistics", "float64", "LayerNorm"],
)
def test_other_normalisation_is_left_to_itself(norm):
    model = nn.Sequential(nn.Linear(12, 20), norm, nn.ReLU())
    engine = sc.sparsify(model, optimizer_of(model), mode="dense")
    assert engine.layers["0"].batch_norm is None
    assert engine.layers["0"].relu is None
    assert type(model[1]) is type(norm)


def test_a_batch_norm_over_another_dimension_is_left_to_itself():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(5), nn.ReLU())
    plain = copy.deepcopy(model)
    sc.sparsify(model, optimizer_of(model), mode="sparse")
    x = torch.randn(3, 5, 12)
    torch.testing.assert_close(model(x), plain(x), rtol=1e-4, atol=1e-5)


def outputs_of(module: nn.Module, seen: list[Tensor]) -> None:
    module.register_forward_hook(lambda module, x, y: seen.append(y.detach()))


def gradients_of(module: nn.Module, seen: list[Tensor]) -> None:
    module.register_full_backward_hook(lambda module, x, y: seen.append(y[0].clone()))


def gradients_before(module: nn.Module, seen: list[Tensor]) -> None:
    module.register_full_backward_pre_hook(lambda module, y: seen.append(y[0].clone()))


@pytest.mark.parametrize("watch", [outputs_of, gradients_of, gradients_before])
@pytest.mark.parametrize("watched", [0, 1, 2, 3])
def test_hooks_go_on_seeing_what_they_saw(watched, watch):
    seen: list[Tensor] = []
    model = network()
    watch(model[watched], seen)
    x, y = batch(0)
    nn.functional.cross_entropy(model(x), y).backward()
    sc.sparsify(model, optimizer_of(model), mode="dense")
    nn.functional.cross_entropy(model(x), y).backward()
    torch.testing.assert_close(*seen, rtol=1e-4, atol=1e-5)


# What is left alone, and what is refused


class OwnLinear(nn.Linear):
    pass


def test_every_layer_left_alone_is_reported_with_the_reason():
    model = nn.ModuleDict(
        {
            "fine": nn.Linear(4, 4),
            "one": nn.Linear(4, 4),
            "other": nn.Linear(4, 4),
            "own": OwnLinear(4, 4),
            "wide": nn.Linear(4, 4).double(),
            "pruned": nn.Linear(4, 4),
            "free": nn.Linear(4, 4),
        }
    )
    model.other.weight = model.one.weight
    prune.l1_unstructured(model.pruned, "weight", 0.5)
    groups = sc.param_groups(model, lam=0.01)
    for group in groups:
        group["params"] = [p for p in group["params"] if p is not model.free.weight]
    engine = sc.sparsify(model, sc.BetaLasso(groups), mode="sparse")
    assert list(engine.layers) == ["fine"]
    reasons = {
        "one": "another layer shares its weight",
        "other": "another layer shares its weight",
        "own": "OwnLinear",
        "wide": "torch.float64 on cpu",
        "pruned": "computed from other parameters",
        "free": "does not regularise its weight",
    }
    assert engine.left.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in engine.left[name]
        assert not isinstance(model[name], SparseLinear)


def test_auto_leaves_small_layers_alone():
    model = network()
    engine = sc.sparsify(model, optimizer_of(model))
    assert engine.layers == {}
    assert engine.left["0"] == "it has 240 weights, too few to gain from"
    train(model, engine.optimizer, range(2))


def test_shared_weights_stay_shared_and_train_as_before():
    def tied() -> nn.Sequential:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3))
        model[1].weight = model[0].weight
        return model

    model, plain = tied(), tied()
    optimizer, plain_optimizer = optimizer_of(model), optimizer_of(plain)
    engine = sc.sparsify(model, optimizer, mode="sparse")
    assert list(engine.layers) == ["2"]
    train(model, optimizer, range(3))
    train(plain, plain_optimizer, range(3))
    assert_same_state(model, plain, exactly=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "fast"}, "unknown mode 'fast'.*auto.*dense.*sparse"),
        ({"mode": None}, "unknown mode 'None'"),
        ({"regrowth": 0}, 'regrowth=0: give "exact", or check every K ≥ 1 steps'),
        ({"regrowth": -3}, "regrowth=-3"),
        ({"regrowth": True}, "regrowth=True"),
        ({"regrowth": 2.0}, r"regrowth=2\.0"),
        ({"regrowth": "sometimes"}, "regrowth='sometimes'"),
        ({"mode": "dense", "switch_at": {"7": SwitchAt(0.1, 0.2)}}, "unknown layer '7'.*0, 3"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_and_nothing_is_changed(options, message):
    model = network()
    optimizer = optimizer_of(model)
    with pytest.raises(InvalidArgument, match=message):
        sc.sparsify(model, optimizer, **options)
    assert not any(isinstance(module, SparseLinear) for module in model)
    assert [type(module) for module in model] == [type(module) for module in network()]
    train(model, optimizer, range(2))
    plain = network()
    train(plain, optimizer_of(plain), range(2))
    assert_same_state(model, plain)


def test_another_optimizer_is_refused_with_the_remedy():
    model = network()
    with pytest.raises(InvalidArgument, match=r"SGD cannot be sparsified: give scratchconv\.Beta"):
        sc.sparsify(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_model_of_several_devices_is_refused():
    model = network()
    optimizer = sc.BetaLasso(sc.param_groups(model, lam=1e-3))
    with pytest.raises(InvalidArgument, match="DataParallel cannot average"):
        sc.sparsify(nn.DataParallel(model), optimizer)


def test_a_model_with_nothing_to_take_over_is_refused_with_the_reasons():
    model = nn.Sequential(nn.Conv2d(1, 1, 3))
    with pytest.raises(InvalidArgument, match=r"no linear layer of Sequential.*it has none"):
        sc.sparsify(model, optimizer_of(model), mode="sparse")
    model = network()
    with pytest.raises(InvalidArgument, match=r"0: the optimizer does not regularise.*; 3: the"):
        sc.sparsify(model, optimizer_of(model, lam=0.0), mode="sparse")
    optimizer = optimizer_of(model)
    sc.sparsify(model, optimizer, mode="dense")
    with pytest.raises(InvalidArgument, match="0: it is a SparseLinear already"):
        sc.sparsify(model, optimizer, mode="dense")


# The training loop


@modes
def test_two_optimizers_on_one_model(mode):
    finished = []
    for engine_used in (True, False):
        model = network()
        groups = sc.param_groups(model, lam=4e-3)
        weights = sc.BetaLasso(groups[:2], lr=0.1, beta=20.0)
        rest = torch.optim.SGD(groups[2]["params"], lr=0.05, momentum=0.9)
        if engine_used:
            sc.sparsify(model, weights, mode=mode)
        for seed in range(20):
            x, y = batch(seed)
            weights.zero_grad()
            rest.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            weights.step()
            rest.step()
        finished.append(model)
    assert_same_state(*finished, exactly=False)


@modes
def test_a_closure_and_a_learning_rate_scheduler(mode):
    finished = []
    for engine_used in (True, False):
        model = network()
        optimizer = optimizer_of(model)
        if engine_used:
            sc.sparsify(model, optimizer, mode=mode)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)

        def loss_of(
            seed: int, model: nn.Module = model, optimizer: sc.BetaLasso = optimizer
        ) -> float:
            x, y = batch(seed)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss.item()

        for seed in range(20):
            assert optimizer.step(partial(loss_of, seed)) > 0
            scheduler.step()
        finished.append(model)
    assert_same_state(*finished, exactly=False)


@modes
def test_a_group_with_another_lam_goes_by_its_own(mode):
    model = network()
    optimizer = sc.BetaLasso(sc.param_groups(model, lam=1e-3, lam_first=8e-3), lr=0.1, beta=20.0)
    engine = sc.sparsify(model, optimizer, mode=mode)
    train(model, optimizer, range(60))
    plain = network()
    plain_optimizer = sc.BetaLasso(
        sc.param_groups(plain, lam=1e-3, lam_first=8e-3), lr=0.1, beta=20.0
    )
    train(plain, plain_optimizer, range(60))
    assert_same_state(model, plain, exactly=False)
    assert engine.layers["0"].density < 0.3 < engine.layers["3"].density


@modes
def test_a_state_dict_is_that_of_the_plain_model_and_back(mode):
    model, optimizer, _ = trained(mode)
    assert model[0].density < 0.7
    stored = io.BytesIO()
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    plain = network()
    plain.load_state_dict(torch.load(stored, weights_only=True))
    assert_same_state(model, plain)
    x, _ = batch(99)
    torch.testing.assert_close(plain.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-5)
    other, other_optimizer, _ = trained(mode, steps=3)
    other.load_state_dict(plain.state_dict())
    assert other[0].compressed == (mode == "sparse")
    model.train()
    train(model, optimizer, range(30, 40))
    train(other, other_optimizer, range(30, 40))
    assert_same_state(model, other, exactly=False)


@modes
def test_loading_by_assignment_takes_the_new_weights(mode):
    model, _, _ = trained(mode, steps=3)
    fresh = network()
    model.load_state_dict(fresh.state_dict(), assign=True)
    x, _ = batch(0)
    torch.testing.assert_close(model.eval()(x), fresh.eval()(x), rtol=1e-4, atol=1e-5)


@modes
def test_weights_of_another_dtype_are_taken_by_copying_only(mode):
    model, _, _ = trained(mode, steps=3)
    before = model[0].weight.detach().clone()
    fresh = network().double()
    with pytest.raises(RuntimeError, match=r"0.weight is torch.float64, .* without assign=True"):
        model.load_state_dict(fresh.state_dict(), assign=True)
    torch.testing.assert_close(model[0].weight.detach(), before)
    model.load_state_dict(fresh.state_dict())
    torch.testing.assert_close(model[0].weight.detach(), fresh[0].weight.detach().float())


@modes
def test_saving_between_backward_and_step_saves_the_weights_before_the_step(mode):
    model, optimizer, _ = trained(mode)
    before = copy.deepcopy(model.state_dict())
    x, y = batch(30)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    stored = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save((model, optimizer.state_dict()), io.BytesIO())
    assert torch.equal(stored["0.weight"], before["0.weight"])
    optimizer.step()  # and the gradient is still there
    assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])


COPIES: dict[str, Callable[[object], object]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda both: pickle.loads(pickle.dumps(both)),
}


@modes
@pytest.mark.parametrize("waiting", [False, True], ids=["after a step", "before a step"])
@pytest.mark.parametrize("how", COPIES)
def test_copies_of_model_and_optimizer_go_on_identically(how, waiting, mode):
    model, optimizer, _ = trained(mode)
    if waiting:
        model(batch(30)[0]).sum().backward()
    other, other_optimizer = COPIES[how]((model, optimizer))
    assert_same_state(model, other)
    train(model, optimizer, range(31, 50))
    before = copy.deepcopy(other.state_dict())
    assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])  # nothing is shared
    train(other, other_optimizer, range(31, 50))
    assert_same_state(model, other)
    for layer in (other[0], other[3]):  # what the optimizer holds is still what is trained
        assert torch.equal(layer.values[layer.values != 0], layer.weight[layer.weight != 0])


@modes
def test_a_copy_has_no_gradients_as_with_plain_parameters(mode):
    model, optimizer, _ = trained(mode)
    model(batch(30)[0]).sum().backward()
    other, other_optimizer = copy.deepcopy((model, optimizer))
    other_optimizer.step()
    assert_same_state(model, other)


@modes
def test_to_dense_gives_back_plain_modules_that_train_on_alike(mode):
    model, optimizer, engine = trained(mode)
    reference_model = copy.deepcopy(model.state_dict())
    model(batch(30)[0]).sum().backward()  # forgotten
    assert engine.to_dense() is model
    optimizer.zero_grad()
    assert [type(module) for module in model] == [type(module) for module in network()]
    assert engine.layers == {}
    plain = network()
    assert [*model.__dict__] == [*plain.__dict__]
    assert [sorted(module.__dict__) for module in model] == [
        sorted(module.__dict__) for module in plain
    ]
    running = {n for n in reference_model if "running" in n or "tracked" in n}
    for name, value in model.state_dict().items():
        if name not in running:  # that forward pass counted
            assert torch.equal(value, reference_model[name])
    plain.load_state_dict(model.state_dict())
    x, _ = batch(50)
    torch.testing.assert_close(model(x), plain(x))
    plain.load_state_dict(model.state_dict())
    train(model, optimizer, range(30, 40))
    train(plain, optimizer_of(plain), range(30, 40))
    assert_same_state(model, plain)
    again = sc.sparsify(model, optimizer, mode=mode)
    assert list(again.layers) == ["0", "3", "5"]
    train(model, optimizer, range(40, 42))


def test_the_state_of_an_engine_is_taken_up_by_another():
    model, optimizer, engine = trained("sparse", steps=7)
    other, other_optimizer, other_engine = trained("sparse", steps=2)
    other_engine.layers["0"].decompress()
    other.load_state_dict(model.state_dict())
    other_engine.load_state(engine.state())
    assert other_engine.layers["0"].compressed
    assert other_engine.state() == engine.state()
    train(model, optimizer, range(7, 9))
    train(other, other_optimizer, range(7, 9))
    assert other_engine.take_record()[-1]["step"] == engine.take_record()[-1]["step"] == 9


def test_the_record_counts_what_was_screened_and_is_taken_once():
    _, _, engine = trained("sparse", steps=5)
    record = engine.take_record()
    assert [(line["layer"], line["step"]) for line in record] == [
        (layer, step) for layer in ("0", "3", "5") for step in range(1, 6)
    ]
    assert all(line["compressed"] for line in record)
    assert record[0]["units"] == 20 >= record[0]["norms"] >= record[0]["pairs"]
    assert record[4]["nonzero"] == engine.layers["0"].nonzero
    assert engine.take_record() == []


needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="inductor needs a C++ compiler"
)


@pytest.mark.parametrize(
    ("when", "backend"),
    [
        ("before", "aot_eager"),
        ("before, and run", "aot_eager"),
        ("after", "aot_eager"),
        pytest.param("after", "inductor", marks=needs_compiler),
    ],
)
def test_torch_compile_around_it(when, backend):
    torch._dynamo.reset()
    model = network()
    optimizer = optimizer_of(model)
    compiled = torch.compile(model, backend=backend)
    x, _ = batch(0)
    if when == "before, and run":
        with torch.no_grad():
            compiled.eval()(x)
            compiled.train()
    sc.sparsify(model if when == "after" else compiled, optimizer, mode="sparse")
    if when == "after":
        compiled = torch.compile(model, backend=backend)
    train(compiled, optimizer, range(5))
    plain = network()
    train(plain, optimizer_of(plain), range(5))
    assert isinstance(model[0], SparseLinear)
    assert_same_state(model, plain, exactly=False)
    torch.testing.assert_close(compiled.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
