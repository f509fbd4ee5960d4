"""A `CompactNetwork` as one safetensors file, and back; nothing that is read is trusted.

The file holds, for each layer i, ``layer{i}.values`` (float32), ``.columns`` (int32), ``.offsets``
(int32 or int64), ``.bias`` (float32) and ``.units`` (int32), as `CompactLayer` and `CSRMatrix` say,
and ``inputs`` (int32). Its metadata has one key, ``scratchconv``, with JSON: ``format`` (1),
``features``, ``image``, ``classes``, ``mean``, ``std`` and, for each layer, ``name``, ``relu``,
``rows``, ``columns``, ``all_units`` and ``all_inputs``, the last two telling what was dropped.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from torch import nn

from scratchconv.errors import DataError, InvalidArgument
from scratchconv.kernels.csr_matrix import CSRMatrix
from scratchconv.prediction.compaction import compact
from scratchconv.prediction.network import CompactLayer, CompactNetwork
from scratchconv.prediction.new_file import write_new
from scratchconv.prediction.predictor import Predictor

_FORMAT = 1
_KEY = "scratchconv"
_MOST = 2**31 - 1
_DTYPES: dict[str, type] = {"F32": np.float32, "I32": np.int32, "I64": np.int64}


def export(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> None:
    """Write what is left of a trained model to one safetensors file, for `load_predictor`.

    Args:
        model, mean, std: as in `compact`. With ``mean`` and ``std`` the predictor takes uint8
            images too.
        path: of the file; written by rename, so that it is whole or not there.
        overwrite: whether an existing file is replaced.

    Raises:
        InvalidArgument: the model cannot be compacted, or the file exists.
        DataError: the file cannot be written.
    """
    write(compact(model, mean=mean, std=std), path, overwrite=overwrite)


def load_predictor(path: str | os.PathLike[str]) -> Predictor:
    """The predictor in a file that `export` wrote.

    Everything is checked before it is used, so that a damaged or hostile file raises DataError,
    which says what is wrong, and does nothing else. Nothing is unpickled.
    """
    return Predictor(read(path))


def write(
    network: CompactNetwork, path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write a compacted network; arguments and errors as in `export`."""
    tensors: dict[str, NDArray[Any]] = {"inputs": network.inputs}
    for number, layer in enumerate(network.layers):
        tensors |= {
            f"layer{number}.values": layer.matrix.values,
            f"layer{number}.columns": layer.matrix.columns,
            f"layer{number}.offsets": layer.matrix.offsets,
            f"layer{number}.bias": layer.bias,
            f"layer{number}.units": layer.units,
        }
    record = {
        "format": _FORMAT,
        "features": network.features,
        "image": network.image,
        "classes": network.classes,
        "mean": network.mean,
        "std": network.std,
        "layers": [
            {
                "name": layer.name,
                "relu": layer.relu,
                "rows": layer.matrix.rows,
                "columns": layer.matrix.features,
                "all_units": layer.all_units,
                "all_inputs": layer.all_inputs,
            }
            for layer in network.layers
        ],
    }
    content = safetensors.numpy.save(tensors, metadata={_KEY: json.dumps(record)})
    write_new(Path(path), content, overwrite=overwrite)


def read(path: str | os.PathLike[str]) -> CompactNetwork:
    """The network in a file that `write` wrote. Raises DataError: it is no such file."""
    try:
        # Read whole, not mapped: what was checked cannot change afterwards.
        content = Path(path).read_bytes()
        return _Contents(content).network()
    except OSError as error:
        raise DataError(f"{path} could not be read ({error.strerror or error})") from error
    except (_Problem, InvalidArgument) as problem:
        raise DataError(f"{path} is not a network that export wrote: {problem}") from problem


class _Problem(Exception):
    """What is wrong with the file."""


class _Contents:
    """The tensors and the record of a file, handed out checked."""

    def __init__(self, content: bytes) -> None:
        try:
            stored = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
            length = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
            record = json.loads(metadata.get(_KEY, "null"))
        except safetensors.SafetensorError as error:
            raise _Problem(f"it is damaged or no safetensors file ({error})") from error
        except (ValueError, RecursionError) as error:
            raise _Problem(f"its metadata is not readable ({error})") from error
        if not isinstance(record, dict):
            raise _Problem(f"its metadata has no {_KEY!r} record")
        if record.get("format") != _FORMAT:
            raise _Problem(
                f"its format is {record.get('format')!r}, and this version reads {_FORMAT}"
            )
        self.stored: dict[str, dict[str, Any]] = stored
        self.record: dict[str, Any] = record

    def network(self) -> CompactNetwork:
        features = _size(self.record, "features", least=1)
        described = self.record.get("layers")
        if not isinstance(described, list) or not described:
            raise _Problem("its record lists no layers")
        inputs = self._ascending("inputs", below=features)
        layers: list[CompactLayer] = []
        width = inputs.size
        for number, description in enumerate(described):
            layers.append(self._layer(number, description, width))
            width = layers[-1].matrix.rows
            if not width:
                raise _Problem(f"layer{number} has no units")
        if self.stored:
            raise _Problem(f"it has a tensor {min(self.stored)!r} that does not belong in it")
        if _size(self.record, "classes") != width:
            raise _Problem(f"its last layer has {width} units, not one for each class")
        network = CompactNetwork(tuple(layers), inputs, features, self._image(features))
        return network.normalised_by(self._per_channel("mean"), self._per_channel("std"))

    def _layer(self, number: int, description: Any, width: int) -> CompactLayer:
        label = f"layer{number}"
        if not isinstance(description, dict):
            raise _Problem(f"{label} is not described in its record")
        rows, columns = _size(description, "rows"), _size(description, "columns")
        name, relu = description.get("name"), description.get("relu")
        if not isinstance(name, str) or not isinstance(relu, bool):
            raise _Problem(f"{label} needs a name and whether a ReLU follows")
        if columns != width:
            raise _Problem(f"{label} reads {columns} inputs, but there are {width}")
        all_units = _size(description, "all_units")
        units = self._ascending(f"{label}.units", below=all_units)
        bias = self._finite(f"{label}.bias")
        if not units.size == bias.size == rows:
            raise _Problem(
                f"{label} has {units.size} units, {bias.size} biases and {rows} rows: not the same"
            )
        try:
            matrix = CSRMatrix(
                values=self._finite(f"{label}.values"),
                columns=self._take(f"{label}.columns", np.int32),
                offsets=self._take(f"{label}.offsets", np.int32, np.int64),
                features=columns,
            )
        except InvalidArgument as error:
            raise _Problem(f"{label} is {error}") from error
        if matrix.rows != rows:
            raise _Problem(f"{label} has offsets for {matrix.rows} rows, not {rows}")
        _check_ascending_in_rows(label, matrix)
        all_inputs = _size(description, "all_inputs")
        return CompactLayer(name, matrix, bias, relu, units, all_units, all_inputs)

    def _image(self, features: int) -> tuple[int, int, int] | None:
        image = self.record.get("image")
        if image is None:
            return None
        if (
            not isinstance(image, list)
            or len(image) != 3
            or not all(type(side) is int and 1 <= side <= _MOST for side in image)
            or math.prod(image) != features
        ):
            raise _Problem(f"its image is not a shape of {features} features")
        return image[0], image[1], image[2]

    def _per_channel(self, name: str) -> list[float] | None:
        numbers = self.record.get(name)
        if numbers is None:
            return None
        if not isinstance(numbers, list) or not all(
            type(number) in (int, float) and abs(number) < _MOST for number in numbers
        ):
            raise _Problem(f"its {name} is not a list of numbers")
        return [float(number) for number in numbers]

    def _take(self, name: str, *dtypes: type) -> NDArray[Any]:
        """A one-dimensional tensor, copied out of the file; each can be taken once."""
        tensor = self.stored.pop(name, None)
        if tensor is None:
            raise _Problem(f"it has no tensor {name!r}")
        dtype = _DTYPES.get(tensor["dtype"])
        if dtype not in dtypes or len(tensor["shape"]) != 1:
            kinds = " or ".join(kind.__name__ for kind in dtypes)
            raise _Problem(
                f"{name} is {tensor['dtype']} {tuple(tensor['shape'])}, not one row of {kinds}"
            )
        little_endian = np.dtype(dtype).newbyteorder("<")
        return np.frombuffer(tensor["data"], little_endian).astype(dtype)

    def _finite(self, name: str) -> NDArray[np.float32]:
        numbers = self._take(name, np.float32)
        if not np.isfinite(numbers).all():
            raise _Problem(f"{name} has numbers that are not finite")
        return numbers

    def _ascending(self, name: str, *, below: int) -> NDArray[np.int32]:
        numbers = self._take(name, np.int32)
        inside = numbers.size == 0 or (numbers[0] >= 0 and numbers[-1] < below)
        if not inside or (numbers[1:] <= numbers[:-1]).any():
            raise _Problem(f"{name} must be ascending numbers in [0, {below})")
        return numbers


def _check_ascending_in_rows(label: str, matrix: CSRMatrix) -> None:
    """No weight twice: within a row, columns ascend."""
    descends = matrix.columns[1:] <= matrix.columns[:-1]
    starts = matrix.offsets[1:-1]
    descends[starts[(starts > 0) & (starts < matrix.nonzero)] - 1] = False
    if descends.any():
        raise _Problem(f"{label}.columns must ascend within each row")


def _size(record: dict[str, Any], name: str, *, least: int = 0) -> int:
    size = record.get(name)
    if type(size) is not int or not least <= size <= _MOST:
        raise _Problem(f"{name} is {size!r:.40}, not an integer in [{least}, {_MOST}]")
    return size
