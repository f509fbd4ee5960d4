"""What is measured on a run for the rivals' table: accuracy after cutting, and operations."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv import models
from scratchconv.errors import InvalidArgument
from scratchconv.experiments.reviewers.cutting import (
    DENSITIES,
    accuracy_after_cutting,
    cut,
    density_at_or_above,
    ranks,
)
from scratchconv.experiments.reviewers.operations import inference, operations, stretches
from scratchconv.pruning import MagnitudePruning, cut_steps, prunable_weights
from scratchconv.training import RunConfig, load_run, train

_RUN = RunConfig(
    model="s-fc", alpha=2, data="digits", method="sgd", epochs=3, batch_size=256, validation=0.1
)


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sgd"
    train(_RUN, out)
    return out


def test_densities_are_steps_of_twelve_percent():
    assert DENSITIES[0] == 0.001
    assert DENSITIES[-1] == 1.0
    steps = [after / before for before, after in pairwise(DENSITIES)]
    assert all(1.11 < step < 1.135 for step in steps)


@given(density=st.floats(0.001, 1.0))
def test_the_density_of_rivals_is_never_below_and_at_most_an_eighth_above(density):
    found = density_at_or_above(density)
    assert density <= found < 1.135 * density


def test_a_density_that_is_none_is_refused():
    for density in (0.0, 1.1, float("nan")):
        with pytest.raises(InvalidArgument, match="above 0 and at most 1"):
            density_at_or_above(density)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    levels=st.integers(1, 5),
    seed=st.integers(0, 100),
)
def test_ranks_count_the_larger_magnitudes_of_all_layers(sizes, levels, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = {  # few levels, so that there are ties
        str(i): torch.randint(-levels, levels + 1, (size, 2), generator=generator).float()
        for i, size in enumerate(sizes)
    }
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights.values()])
    order = torch.cat([rank.flatten() for rank in ranks(weights).values()])
    assert sorted(order.tolist()) == list(range(len(magnitudes)))
    by_rank = magnitudes[order.argsort()]
    assert bool((by_rank[:-1] >= by_rank[1:]).all())


def test_cutting_keeps_exactly_as_many_and_the_largest():
    model = models.build("s-fc", image=(1, 8, 8), classes=10, alpha=2, seed=0)
    trained = {name: w.detach().clone() for name, w in prunable_weights(model).items()}
    size = sum(weight.numel() for weight in trained.values())
    biases = model.fc2.bias.detach().clone()
    for density in (0.5, 0.03, 1.0):  # a wider cut after a narrow one brings weights back
        nonzero = cut(model, trained, ranks(trained), density)
        assert sum(nonzero.values()) == round(density * size)
        now = prunable_weights(model)
        kept = torch.cat([(now[name] != 0).flatten() for name in trained])
        magnitudes = torch.cat([weight.abs().flatten() for weight in trained.values()])
        if density < 1:
            assert magnitudes[kept].min() >= magnitudes[~kept].max()
        assert torch.equal(model.fc2.bias, biases)


def test_accuracy_after_cutting_falls_from_the_whole_network_to_chance(run_directory):
    found = accuracy_after_cutting(run_directory, None)
    result = load_run(run_directory).result
    assert found["density"] == list(DENSITIES)
    whole, least = found["test_accuracy"][-1], found["test_accuracy"][0]
    # Uncut, but with BatchNorm's statistics of a few batches in place of the running ones.
    assert whole == pytest.approx(result["test_accuracy"], abs=0.1)
    assert whole > 0.6
    assert least < 0.3
    assert found["nonzero"][-1] == {layer["name"]: layer["size"] for layer in result["layers"]}
    left = [sum(nonzero.values()) for nonzero in found["nonzero"]]
    assert left == sorted(left)


def test_a_run_that_may_not_see_test_data_is_not_shown_it(tmp_path):
    config = RunConfig(**{**_RUN.identity(), "skip_test": True, "epochs": 1, "alpha": 1})
    train(config, tmp_path / "search")
    found = accuracy_after_cutting(tmp_path / "search", None)
    assert set(found["test_accuracy"]) == {None}
    assert None not in found["validation_accuracy"]


def _line(step: int, nonzero: int, dense: int) -> dict:
    layers = [{"name": "conv1", "nonzero": nonzero}, {"name": "fc1", "nonzero": 10}]
    return {"step": step, "layers": layers, "dense_gradients": dense}


def test_stretches_are_the_epochs_where_support_changes_between_them():
    whole = {"conv1": 100, "fc1": 12}
    lines = [_line(5, 40, 5), _line(15, 20, 1)]
    first, second = stretches(lines, 8, whole, ())
    assert (first.samples, second.samples) == (40, 80)
    assert (first.dense_gradients, second.dense_gradients) == (1.0, 0.1)
    assert first.nonzero == {"conv1": 40, "fc1": 10}
    assert second.nonzero == {"conv1": 20, "fc1": 10}


def test_a_cut_within_an_epoch_counts_from_its_step_on():
    whole = {"conv1": 100, "fc1": 12}
    found = stretches([_line(5, 100, 5), _line(15, 20, 1), _line(25, 20, 1)], 8, whole, (8,))
    assert [part.samples for part in found] == [40, 24, 56, 80]
    assert [part.nonzero["conv1"] for part in found] == [100, 100, 20, 20]
    at_the_start = stretches([_line(5, 20, 5)], 8, whole, (0,))
    assert [(part.samples, part.nonzero["conv1"]) for part in at_the_start] == [(40, 20)]


@pytest.mark.parametrize("pruned", ["magnitude", "iterative-magnitude"])
def test_operations_of_pruning_are_those_of_what_each_step_had(tmp_path, pruned):
    config = RunConfig(
        **{**_RUN.identity(), "epochs": 7, "pruning": pruned, "density": 0.1, "batch_size": 100}
    )
    seen = []
    apply = MagnitudePruning.after_update

    def watched(self, step):
        apply(self, step)
        left = [int((w != 0).sum()) for w in self.weights.values()]
        seen.append(left)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MagnitudePruning, "after_update", watched)
        train(config, tmp_path / "run")
    cut = cut_steps(pruned, len(seen), len(seen) // 7)
    changes = [step for step in range(1, len(seen)) if sum(seen[step]) != sum(seen[step - 1])]
    assert list(cut) == changes
    expected = sum(100 * (6 * sum(left) - 2 * left[0]) for left in seen)
    assert operations(tmp_path / "run", None)["training"] == expected


def test_support_that_shrinks_counts_with_the_mean_of_an_epochs_ends():
    found = stretches([_line(5, 40, 5), _line(15, 20, 1)], 8, {"conv1": 100, "fc1": 12}, None)
    assert [part.samples for part in found] == [20, 20, 40, 40]
    assert [part.nonzero["conv1"] for part in found] == [100, 40, 40, 20]
    assert [part.dense_gradients for part in found] == [1.0, 1.0, 0.1, 0.1]


def test_operations_of_dense_training_are_six_a_weight_and_sample_but_for_the_image(run_directory):
    run = load_run(run_directory)
    sizes = [layer["size"] for layer in run.result["layers"]]
    samples = run.result["steps"] * _RUN.batch_size
    found = operations(run_directory, None)
    assert found["training"] == samples * (6 * sum(sizes) - 2 * sizes[0])
    assert found["training_screened"] == found["training"]
    assert found["inference"] == 2 * sum(sizes)
    assert inference(found["uses"], {"conv1": 3, "fc1": 4, "fc2": 5}) == 2 * 12


def test_operations_of_beta_lasso_count_dense_gradients_unless_screened(tmp_path):
    config = RunConfig(
        **{**_RUN.identity(), "method": "beta-lasso", "lam": 1e-3, "lam_first": 2e-3}
    )
    run = train(config, tmp_path / "beta")
    found = operations(tmp_path / "beta", None)
    samples = run.result["steps"] // len(run.metrics) * _RUN.batch_size
    dense = sum(layer["size"] for layer in run.result["layers"])
    expected = screened = 0
    ends = [[layer["nonzero"] for layer in line["layers"]] for line in run.metrics]
    for before, after in pairwise([[layer["size"] for layer in run.result["layers"]], *ends]):
        left = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
        both = 2 * sum(left) + 2 * sum(left[1:])
        expected += samples * (both + 2 * dense)
        screened += samples * (both + 2 * sum(left))
    assert found["training"] == pytest.approx(expected)
    assert found["training_screened"] == pytest.approx(screened)
    assert screened < expected
