"""Predictions against the model itself, for every batch size and kind of input."""

from __future__ import annotations

import copy
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from scratchconv.errors import InvalidArgument
from scratchconv.kernels import chain_product
from scratchconv.prediction import Predictor, compact

IMAGE = (3, 8, 6)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture
def model(network) -> nn.Module:
    return network()


@pytest.fixture
def predictor(model) -> Predictor:
    return Predictor(compact(model, mean=MEAN, std=STD))


def images(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, *IMAGE, generator=torch.Generator().manual_seed(seed))


def held(predictor: Predictor) -> list[str]:
    """How each layer is held: sparse or dense."""
    return [line.rstrip(")").split()[-1] for line in repr(predictor).splitlines()[1:]]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["s-fc", "s-local", "3-fc", "d-fc"]),
    density=st.sampled_from([0.0, 0.03, 0.2, 0.6, 1.0]),
    samples=st.sampled_from([0, 1, 2, 16, 17, 33, 64, 65, 100, 150]),
    seed=st.integers(0, 1000),
)
def test_is_the_model(network, name, density, samples, seed):
    model = network(name, alpha=20 if name == "3-fc" else 1, density=density, seed=seed)
    inputs = images(samples, seed)
    found = Predictor(compact(model))(inputs)
    with torch.no_grad():
        expected = model.double()(inputs.double())
    assert found.dtype == torch.float32
    assert found.shape == (samples, 5)
    scale = max(1.0, expected.abs().max().item()) if samples else 1.0
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * scale)


def test_layers_of_both_kinds_in_turn(sparsened):
    for densities in ((0.05, 1.0, 0.05, 0.05, 1.0, 0.05), (1.0, 1.0, 0.05), (0.6,)):
        model = nn.Sequential()
        for density in densities:
            part = nn.Sequential(nn.Linear(220, 220), nn.ReLU())
            model.append(sparsened(part, density, 1))
        predictor = Predictor(compact(model))
        assert held(predictor) == ["dense" if one > 0.5 else "sparse" for one in densities]
        for samples in (0, 1, 5, 600):
            inputs = torch.randn(samples, 220)
            expected = model.double()(inputs.double()).detach().float()
            torch.testing.assert_close(predictor(inputs), expected, rtol=1e-4, atol=1e-4)


def test_a_small_layer_stays_sparse_whatever_its_density():
    few = compact(nn.Sequential(nn.Linear(128, 128)))
    more = compact(nn.Sequential(nn.Linear(128, 129)))
    assert held(Predictor(few)) == ["sparse"]
    assert held(Predictor(more)) == ["dense"]


def test_a_sample_has_the_same_logits_in_every_batch(predictor):
    assert set(held(predictor)) == {"sparse"}
    inputs = images(700)
    together = predictor(inputs)
    for batch in (1, 7, 33, 64, 515):
        part = predictor(inputs[:batch])
        assert torch.equal(part, together[:batch])


def test_kinds_of_input(predictor):
    inputs = images(9)
    expected = predictor(inputs)
    assert torch.equal(predictor(inputs.numpy()), expected)
    assert torch.equal(predictor(inputs.flatten(1)), expected)
    assert torch.equal(predictor(inputs.double()), expected)
    assert torch.equal(predictor(inputs.numpy().astype(">f4")), expected)
    assert torch.equal(predictor(inputs.clone().requires_grad_()), expected)
    assert torch.equal(predictor(inputs.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(predictor(images(18)[::2]), predictor(images(18))[::2])
    for half in (torch.float16, torch.bfloat16):
        assert torch.equal(predictor(inputs.to(half)), predictor(inputs.to(half).float()))
    assert torch.equal(predictor(inputs.numpy().astype(np.float16)), predictor(inputs.half()))
    read_only = inputs.numpy().copy()
    read_only.flags.writeable = False
    assert torch.equal(predictor(read_only), expected)


@pytest.mark.parametrize("samples", [0, 1, 9, 70])
def test_bytes_are_normalised(predictor, samples):
    pixels = torch.randint(0, 256, (samples, *IMAGE), dtype=torch.uint8)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    expected = predictor((pixels / 255 - mean) / std)
    torch.testing.assert_close(predictor(pixels), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(predictor(pixels.numpy()), predictor(pixels))


def test_classes(predictor, network):
    inputs = images(40)
    assert torch.equal(predictor.predict(inputs), predictor(inputs).argmax(1))
    assert predictor.predict(inputs[:0]).shape == (0,)
    with pytest.raises(InvalidArgument, match="one output"):
        Predictor(compact(network(classes=1))).predict(inputs)


def test_inputs_that_do_not_fit(predictor, model):
    for wrong in (images(2)[:, :2], images(2)[0], torch.zeros(144), torch.zeros(2, 8, 6, 3)):
        with pytest.raises(InvalidArgument, match=r"give \(n, 144\) or \(n, 3, 8, 6\)"):
            predictor(wrong)
    with pytest.raises(InvalidArgument, match="int64"):
        predictor(images(2).long())
    with pytest.raises(InvalidArgument, match="complex"):
        predictor(images(2) * 1j)
    with pytest.raises(InvalidArgument, match="list"):
        predictor([[0.0] * 144])
    with pytest.raises(InvalidArgument, match="dense torch tensor"):
        predictor(images(2).flatten(1).to_sparse())
    with pytest.raises(InvalidArgument, match="without mean and std"):
        Predictor(compact(model))(torch.zeros(2, *IMAGE, dtype=torch.uint8))


def test_any_shape_that_flattens_where_the_model_tells_none(sparsened):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    predictor = Predictor(compact(sparsened(model, 0.5, 0)))
    inputs = torch.randn(5, 3, 2, 2)
    torch.testing.assert_close(predictor(inputs), model(inputs).detach())
    with pytest.raises(InvalidArgument, match=r"give \(n, 12\)$"):
        predictor(torch.randn(5, 13))


def test_several_threads_at_once(predictor):
    batches = [images(size, size) for size in (1, 3, 64, 90, 200)] * 4
    expected = [predictor(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, one in zip(pool.map(predictor, batches), expected, strict=True):
            assert torch.equal(found, one)


def test_copies_and_pickles_hold_every_weight_once(predictor):
    inputs = images(5)
    stored = pickle.dumps(predictor)
    assert len(stored) < predictor.size_in_bytes + 4000
    for again in (pickle.loads(stored), copy.deepcopy(predictor)):
        assert torch.equal(again(inputs), predictor(inputs))
    for layer in predictor.network.layers:
        assert not layer.matrix.values.flags.owndata  # a part of what the kernels read


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_predicts_the_same(predictor):
    inputs = images(100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_product, "_SHARED_TILES", 0)  # threads, which no fork survives
        expected = predictor(inputs)
    child = os.fork()
    if child == 0:
        same = torch.equal(predictor(inputs), expected)
        same &= torch.equal(predictor(inputs[:1]), expected[:1])
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_under_autocast_and_inference_mode(sparsened):
    predictor = Predictor(compact(sparsened(nn.Sequential(nn.Linear(150, 150)), 1.0, 0)))
    assert held(predictor) == ["dense"]
    inputs = torch.randn(8, 150)
    expected = predictor(inputs)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(predictor(inputs), expected)


def test_size_and_description(predictor):
    text = repr(predictor)
    assert text.startswith("Predictor(144 features")
    assert [line.split(":")[0].strip() for line in text.splitlines()[1:]] == [
        *("conv1", "fc1", "fc2"),
    ]
    arrays = [predictor.network.inputs]
    for layer in predictor.network.layers:
        matrix = layer.matrix
        arrays += [matrix.values, matrix.columns, matrix.offsets, layer.bias]
    assert predictor.size_in_bytes == sum(array.nbytes for array in arrays)
