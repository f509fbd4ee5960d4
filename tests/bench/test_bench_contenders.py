"""What the bench compares: every contender's step is the plain loop's, and a wrong one is found."""

import importlib.util
from dataclasses import replace

import pytest
import torch

from scratchconv.bench import dense, engine, plain_loop, sparselab_layers, torch_csr
from scratchconv.bench.contender import Entry, TorchLoop
from scratchconv.bench.correctness import (
    WrongResult,
    check,
    check_standstill,
    reference_step,
)
from scratchconv.bench.problem import STANDSTILL, Density, Problem, densities
from scratchconv.bench.rule import LAYERS, SPARSE_LAYERS, Rule, groups
from scratchconv.errors import InvalidArgument
from scratchconv.optim import BetaLasso
from scratchconv.optim.reference import beta_lasso

# On so small a network gradients are large: λ is, too, so that nothing returns while it is timed.
RULE = Rule(lr=0.1, beta=50.0, lam_first=1e-3, lam=5e-4)
WHOLE = Problem(1, Density(1.0, 1.0), 64, 0, RULE)
SPARSE = Problem(1, Density(0.02, 0.1), 64, 0, RULE)

needs_sparselab = pytest.mark.skipif(
    importlib.util.find_spec("sparselab") is None, reason="sparselab is not installed"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """So small a network gains nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[WHOLE, SPARSE], ids=["dense", "sparse"])
def case(request):
    return request.param, reference_step(request.param)


@pytest.fixture(scope="module")
def sparse_case():
    return SPARSE, reference_step(SPARSE)


def test_a_density_is_read_and_shown():
    assert Density.parse("1/5") == Density(0.01, 0.05)
    assert Density.parse("0.3") == Density(0.003, 0.003)
    assert [str(Density.parse(text)) for text in ("1/5", "0.3")] == ["1 % / 5 %", "0.3 %"]


@pytest.mark.parametrize("text", ["", "0", "-1", "101", "x", "1/", "1/2/3", "nan", "5/0"])
def test_what_is_no_density_is_refused(text):
    if text == "1/":  # nothing behind the stroke: both alike
        assert Density.parse(text) == Density(0.01, 0.01)
        return
    with pytest.raises(InvalidArgument, match="--densities"):
        Density.parse(text)


def test_a_problem_is_the_same_every_time_and_has_the_density_asked_for():
    first, second = SPARSE.model().state_dict(), SPARSE.model().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    found = densities({name: first[f"{name}.weight"] for name in LAYERS})
    assert found["conv1"] == pytest.approx(0.02, rel=0.05)
    assert found["fc1"] == pytest.approx(0.1, rel=0.1)
    assert found["fc2"] == 1.0
    other = replace(SPARSE, seed=1)
    assert not torch.equal(other.batch[0], SPARSE.batch[0])
    assert not torch.equal(other.model().state_dict()["fc1.weight"], first["fc1.weight"])


def test_the_step_that_is_checked_kills_weights_and_brings_some_back(sparse_case):
    _, reference = sparse_case
    for name in ("conv1", "fc1"):
        before, after = reference.before[name] != 0, reference.after[name] != 0
        assert (before & ~after).any()
    assert any((~(reference.before[n] != 0) & (reference.after[n] != 0)).any() for n in LAYERS)


def test_the_plain_loop_is_algorithm_1(case):
    problem, reference = case
    model, rule = problem.model(), reference.rule
    inputs, targets = problem.batch
    torch.nn.functional.cross_entropy(model(inputs), targets).backward()
    for name in LAYERS:
        weight = model.get_submodule(name).weight
        expected = beta_lasso(weight.detach(), weight.grad, rule.lr, rule.lam_of(name), rule.beta)
        torch.testing.assert_close(reference.after[name], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [variant.name for variant in dense.VARIANTS])
def test_eager_dense_variants_take_the_same_step(case, name):
    (entry,) = [entry for entry in dense.entries(skip_compile=True) if entry.name == name]
    if "compiled" in name:
        assert entry.unavailable == "left out: --skip-compile"
        return
    error = check(entry, *case)
    assert 0 <= error <= (1e-4 if name.startswith("fp32,") else 0.1)


def test_a_feature_major_model_takes_the_same_step(case):
    variant = dense.Variant("fp32", "foreach", feature_major=True)
    entry = Entry(variant.name, lambda model, rule: dense.DenseStep(model, rule, variant=variant))
    assert check(entry, *case) < 1e-4


def test_the_update_that_is_compiled_is_the_eager_one(monkeypatch, case):
    monkeypatch.setattr(dense.compilation, "compiled", lambda function: function)
    for arithmetic in ("fp32", "bf16 weights"):
        variant = dense.Variant(arithmetic, "compiled", compiled_model=True)
        entry = Entry("v", lambda m, r, v=variant: dense.DenseStep(m, r, variant=v), 0.1)
        assert check(entry, *case) < (1e-4 if arithmetic == "fp32" else 0.1)


def test_torch_csr_takes_the_same_step_on_the_weights_it_has(sparse_case):
    assert check(torch_csr.ENTRY, *sparse_case) < 1e-4


@needs_sparselab
@pytest.mark.parametrize("kernels_alone", [False, True])
def test_sparselab_takes_the_same_step_on_the_weights_it_has(sparse_case, kernels_alone):
    entry = sparselab_layers.entries()[kernels_alone]
    assert entry.unavailable is None
    assert check(entry, *sparse_case) < 1e-4


def test_without_sparselab_its_rows_say_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for entry in sparselab_layers.entries():
        assert "pip install sparselab" in entry.unavailable


@pytest.mark.parametrize("mode", ["auto", "dense", "sparse"])
def test_ours_takes_the_same_step(case, mode):
    entry = engine.entry(mode)
    assert check(entry, *case) <= entry.tolerance


def test_fixed_connections_take_the_same_step_on_the_weights_they_have(sparse_case):
    entry = engine.fixed_entry()
    assert check(entry, *sparse_case) <= entry.tolerance
    contender = entry.build(SPARSE.model(), SPARSE.rule)
    contender.step(*SPARSE.batch)
    kept = contender.weights()
    assert all(
        not kept[name][SPARSE.model().get_submodule(name).weight == 0].any()
        for name in SPARSE_LAYERS
    )


def test_ours_is_checked_in_the_form_it_is_timed_in(sparse_case):
    built = []

    def build(model, rule):
        built.append(engine.entry("auto").build(model, rule))
        return built[0]

    check(replace(engine.entry("auto"), build=build), *sparse_case)
    (settled,) = built
    timed = engine.entry("auto").build(SPARSE.model(), SPARSE.rule.scaled(STANDSTILL))
    for _ in range(4):
        timed.step(*SPARSE.batch)
    forms = [
        {name: type(layer.form) for name, layer in contender.engine.layers.items()}
        for contender in (settled, timed)
    ]
    assert forms[0] == forms[1]


@pytest.mark.parametrize("mode", ["auto", "dense", "sparse"])
def test_ours_stands_still_while_it_is_timed(case, mode):
    problem, reference = case
    entry = engine.entry(mode)
    contender = entry.build(problem.model(), problem.rule.scaled(STANDSTILL))
    for _ in range(5):
        contender.step(*problem.batch)
    check_standstill(entry.name, problem, densities(reference.before), contender.weights())


def wrong(lr=1.0, lam=1.0, beta=1.0, regrowth=True):
    """A contender whose settings are off by these factors, or that brings no zero back."""

    class Wrong(TorchLoop):
        def __init__(self, model, rule):
            off = Rule(rule.lr * lr, rule.beta * beta, rule.lam_first * lam, rule.lam * lam)
            self.idle = {name: model.get_submodule(name).weight == 0 for name in LAYERS}
            super().__init__(model, BetaLasso(groups(model, off), lr=off.lr, beta=off.beta))

        def step(self, inputs, targets):
            super().step(inputs, targets)
            for name, idle in self.idle.items():
                if not regrowth:
                    self.model.get_submodule(name).weight.data[idle] = 0

    return Entry("wrong", Wrong)


@pytest.mark.parametrize(
    "factors", [{"lr": 1.3}, {"beta": 1.5}, {"beta": 0.0}, {"regrowth": False}], ids=str
)
def test_a_wrong_step_is_found(sparse_case, factors):
    check(wrong(), *sparse_case)
    for tolerance in (1e-3, 0.1):
        with pytest.raises(WrongResult, match=r"wrong, at density 2 % / 10 %.*not timed"):
            check(replace(wrong(**factors), tolerance=tolerance), *sparse_case)


def test_a_step_that_is_not_a_number_is_wrong(sparse_case):
    class NotANumber(plain_loop.PlainLoop):
        def weights(self):
            return {name: weight * float("nan") for name, weight in super().weights().items()}

    with pytest.raises(WrongResult, match="nan"):
        check(Entry("wrong", NotANumber), *sparse_case)


def test_timed_steps_that_move_the_density_are_found():
    before = densities(reference_step(SPARSE).before)
    contender = plain_loop.ENTRY.build(SPARSE.model(), SPARSE.rule.scaled(STANDSTILL))
    contender.step(*SPARSE.batch)
    check_standstill("plain", SPARSE, before, contender.weights())
    moving = plain_loop.ENTRY.build(SPARSE.model(), Rule(0.1, 50.0, 2e-4, 1e-4))
    moving.step(*SPARSE.batch)
    with pytest.raises(WrongResult, match="moved the density of"):
        check_standstill("plain", SPARSE, before, moving.weights())
