"""The ONNX graph, run by onnxruntime, against the model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scratchconv.errors import InvalidArgument, ScratchconvError
from scratchconv.prediction import Predictor, compact, export_onnx, onnx_export

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run(path: Path, inputs: torch.Tensor) -> torch.Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"input": inputs.numpy()})[0])


@pytest.mark.parametrize("name", ["s-fc", "s-local", "d-local", "3-fc"])
@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_is_the_model(network, tmp_path, name, density):
    model = network(name, alpha=16 if name == "3-fc" else 2, density=density)
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    for samples in (1, 2, 70):
        inputs = torch.randn(samples, 3, 8, 6)
        with torch.no_grad():
            expected = model(inputs)
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(run(path, inputs), expected, rtol=0, atol=1e-5 * scale)


def test_dead_units_and_unread_inputs_are_gone(network, tmp_path):
    model = network(alpha=4, density=0.05)
    compacted = compact(model)
    path = tmp_path / "model.onnx"
    export_onnx(compacted, path)
    graph = onnx.load(path)
    shapes = [tuple(tensor.dims) for tensor in graph.graph.initializer]
    for layer in compacted.layers:
        assert (layer.matrix.rows, layer.matrix.features) in shapes
    assert (compacted.inputs.size,) in shapes
    assert 0 < compacted.inputs.size < 144
    assert graph.opset_import[0].version == 14


def test_bytes_in(network, tmp_path):
    predictor = Predictor(compact(network(), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)))
    path = tmp_path / "model.onnx"
    export_onnx(predictor, path, bytes_in=True)
    pixels = torch.randint(0, 256, (7, 3, 8, 6), dtype=torch.uint8)
    torch.testing.assert_close(run(path, pixels), predictor(pixels), rtol=1e-4, atol=1e-4)
    with pytest.raises(InvalidArgument, match="without mean and std"):
        export_onnx(network(), path, overwrite=True, bytes_in=True)
    of_network = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    export_onnx(network(), path, overwrite=True, bytes_in=True, **of_network)
    torch.testing.assert_close(run(path, pixels), predictor(pixels), rtol=1e-4, atol=1e-4)


def test_bytes_into_a_network_that_reads_nothing(network, tmp_path):
    model = network()
    nn.init.zeros_(model.conv1.weight)
    predictor = Predictor(compact(model, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)))
    path = tmp_path / "model.onnx"
    export_onnx(predictor, path, bytes_in=True)
    pixels = torch.randint(0, 256, (7, 3, 8, 6), dtype=torch.uint8)
    torch.testing.assert_close(run(path, pixels), predictor(pixels))


@pytest.mark.parametrize("zeros", [True, False])
def test_networks_that_read_nothing_or_are_flat(tmp_path, zeros):
    model = nn.Linear(3, 2)
    if zeros:
        nn.init.zeros_(model.weight)
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    inputs = torch.randn(4, 3)
    torch.testing.assert_close(run(path, inputs), model(inputs).detach())


def test_files_are_not_replaced_by_mistake(network, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(InvalidArgument, match="exists"):
        export_onnx(network(), path)
    assert path.read_bytes() == b"mine"
    export_onnx(network(), path, overwrite=True)
    assert run(path, torch.randn(1, 3, 8, 6)).shape == (1, 5)


def test_too_large_for_a_file(network, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "_MOST_BYTES", 100)
    with pytest.raises(InvalidArgument, match="use export"):
        export_onnx(network(), tmp_path / "model.onnx")


def test_the_package_may_be_missing(network, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ScratchconvError, match="pip install"):
        export_onnx(network(), tmp_path / "model.onnx")
    assert not np.any(list(tmp_path.iterdir()))
