"""A compacted network as an ONNX graph: dense matrices between the units that are kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from scratchconv.errors import InvalidArgument, ScratchconvError
from scratchconv.prediction.compaction import compact
from scratchconv.prediction.network import CompactNetwork
from scratchconv.prediction.new_file import write_new
from scratchconv.prediction.predictor import Predictor

# The first opset in which every operator used here has the definition that it has today (Relu was
# the last), and the IR that came with it: all runtimes since 2021 read both.
_OPSET, _IR = 14, 7

# One protobuf message holds less than 2 GiB; a little is left for what is not weights.
_MOST_BYTES = 2**31 - 2**24


def export_onnx(
    model: nn.Module | Predictor | CompactNetwork,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    bytes_in: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> None:
    """Write the compacted network as an ONNX model, for other runtimes.

    Units that output a constant or that nothing reads, and inputs that nothing reads, are gone;
    between those that are left the matrices are dense, since ONNX has no sparse product.

    The graph takes ``input``, float32 (n, channels, height, width), or (n, features) where the
    model does not tell its image, and gives ``logits``, float32 (n, classes), for any n ≥ 1.

    Args:
        model: a model as `compact` takes it, a `Predictor` or a `CompactNetwork`.
        path: of the file; written by rename.
        overwrite: whether an existing file is replaced.
        bytes_in: take uint8 images instead, and normalise them in the graph. Needs mean and std.
        mean, std: as in `compact`; a `Predictor` or `CompactNetwork` may know them already.

    Raises:
        InvalidArgument: the model cannot be compacted, is too large for ONNX (2 GiB), knows no mean
            and std though ``bytes_in``, or the file exists.
        ScratchconvError: the package onnx is missing.
        DataError: the file cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise ScratchconvError(
            "the package onnx is missing: pip install 'scratchconv[onnx]'"
        ) from error
    if isinstance(model, Predictor):
        network = model.network
    else:
        network = model if isinstance(model, CompactNetwork) else compact(model)
    if mean is not None or std is not None:
        network = network.normalised_by(mean, std)
    size = 4 * sum(layer.matrix.rows * layer.matrix.features for layer in network.layers)
    if size > _MOST_BYTES:
        raise InvalidArgument(
            f"the dense matrices take {size / 2**30:.1f} GiB, and an ONNX file holds 2: use export"
        )
    graph = _Graph(onnx, network, bytes_in).model()
    onnx.checker.check_model(graph)
    write_new(Path(path), graph.SerializeToString(), overwrite=overwrite)


class _Graph:
    """The nodes, each taking what the one before gives, and their constants."""

    def __init__(self, onnx: Any, network: CompactNetwork, bytes_in: bool) -> None:
        self.onnx, self.network, self.bytes_in = onnx, network, bytes_in
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = "input"

    def model(self) -> Any:
        network, helper, kinds = self.network, self.onnx.helper, self.onnx.TensorProto
        self._read_inputs()
        for layer in network.layers:
            matrix = layer.matrix.to_dense()
            if not layer.matrix.features:  # the one feature read instead of none has no weight
                matrix = np.zeros((layer.matrix.rows, 1), np.float32)
            self._then("Gemm", transB=1, weight=matrix, bias=layer.bias)
            if layer.relu:
                self._then("Relu")
        self.nodes[-1].output[0] = "logits"
        sample = network.image or (network.features,)
        graph = helper.make_graph(
            self.nodes,
            "scratchconv",
            [
                helper.make_tensor_value_info(
                    "input", kinds.UINT8 if self.bytes_in else kinds.FLOAT, ["n", *sample]
                )
            ],
            [helper.make_tensor_value_info("logits", kinds.FLOAT, ["n", network.classes])],
            self.constants,
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(
            graph, opset_imports=[opset], ir_version=_IR, producer_name="scratchconv"
        )

    def _read_inputs(self) -> None:
        """Flatten, keep what is read, and normalise bytes."""
        network = self.network
        if network.image is not None:
            self._then("Flatten", axis=1)
        read = network.inputs.astype(np.int64) if network.inputs.size else np.zeros(1, np.int64)
        if read.size < network.features:
            self._then("Gather", axis=1, features=read)
        if self.bytes_in:
            scale, shift = network.scale_and_shift()
            self._then("Cast", to=self.onnx.TensorProto.FLOAT)
            if network.inputs.size:
                self._then("Mul", scale=scale)
                self._then("Add", shift=shift)

    def _then(self, operator: str, **given: Any) -> None:
        """Add a node behind the last; arrays become constants, other values attributes."""
        number = len(self.nodes)
        names = [self.last]
        attributes = {}
        for name, value in given.items():
            if isinstance(value, np.ndarray):
                names.append(f"{name}{number}")
                self.constants.append(self.onnx.numpy_helper.from_array(value, names[-1]))
            else:
                attributes[name] = value
        self.last = f"{operator.lower()}{number}"
        self.nodes.append(self.onnx.helper.make_node(operator, names, [self.last], **attributes))
