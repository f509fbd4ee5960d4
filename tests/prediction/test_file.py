"""Files: what is written is what is read, and nothing that is read is trusted."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scratchconv.errors import DataError, InvalidArgument
from scratchconv.prediction import Predictor, compact, export, load_predictor

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture
def stored(network, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    export(network(), path, mean=MEAN, std=STD)
    return path


def parts(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Tensors and record of a file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return dict(safetensors.numpy.load(content)), json.loads(metadata["scratchconv"])


def rewrite(path: Path, tensors: dict[str, np.ndarray], record: object) -> None:
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"scratchconv": json.dumps(record)}))


def test_there_and_back(network, tmp_path):
    model = network()
    path = tmp_path / "model.safetensors"
    export(model, path, mean=MEAN, std=STD)
    predictor = load_predictor(str(path))
    inputs = torch.randn(20, 3, 8, 6)
    expected = Predictor(compact(model, mean=MEAN, std=STD))
    assert torch.equal(predictor(inputs), expected(inputs))
    assert predictor.network.image == (3, 8, 6)
    assert (predictor.network.mean, predictor.network.std) == (MEAN, STD)
    for layer, twin in zip(predictor.network.layers, expected.network.layers, strict=True):
        assert (layer.name, layer.relu) == (twin.name, twin.relu)
        assert (layer.all_units, layer.all_inputs) == (twin.all_units, twin.all_inputs)
        np.testing.assert_array_equal(layer.units, twin.units)
    assert list(tmp_path.iterdir()) == [path]


def test_only_what_is_not_zero_is_stored(network, tmp_path):
    sizes = []
    for density in (0.01, 0.3):
        path = tmp_path / f"{density}.safetensors"
        model = network(alpha=10, density=density)
        export(model, path)
        sizes.append(path.stat().st_size)
        nonzero = sum(layer.matrix.nonzero for layer in compact(model).layers)
        assert sizes[-1] < 8 * nonzero + 40_000
    assert sizes[0] < sizes[1] / 4


def test_networks_without_weights_or_images(tmp_path):
    model = torch.nn.Linear(3, 2)
    torch.nn.init.zeros_(model.weight)
    export(model, tmp_path / "constant.safetensors")
    predictor = load_predictor(tmp_path / "constant.safetensors")
    assert torch.equal(predictor(torch.randn(2, 3)), model.bias.detach().expand(2, 2))
    assert predictor.network.image is None


def test_an_existing_file_is_kept_unless_told_otherwise(network, stored):
    before = stored.read_bytes()
    with pytest.raises(InvalidArgument, match="exists"):
        export(network(seed=1), stored)
    assert stored.read_bytes() == before
    export(network(seed=1), stored, overwrite=True)
    assert stored.read_bytes() != before
    assert list(stored.parent.iterdir()) == [stored]


def test_a_folder_that_is_missing(network, tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*could not be written"):
        export(network(), tmp_path / "nowhere" / "model.safetensors")
    with pytest.raises(DataError, match="could not be read"):
        load_predictor(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="could not be read"):
        load_predictor(tmp_path)


def changed_tensor(name: str, change):
    def apply(tensors: dict, record: dict) -> None:
        tensors[name] = change(tensors[name].copy())

    return apply


def changed_record(**fields):
    return lambda tensors, record: record.update(fields)


def changed_layer(**fields):
    return lambda tensors, record: record["layers"][1].update(fields)


def put(place: int, value: float):
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


HOSTILE = [
    (changed_record(format=2), "format is 2"),
    (changed_record(features=-1), "features is -1"),
    (changed_record(features=True), "features is True"),
    (changed_record(features=10**400), "features is"),
    (changed_record(features=2), "inputs must be ascending"),
    (changed_record(image=[3, 8, 7]), "image"),
    (changed_record(image=[3, -8, -6]), "image"),
    (changed_record(image="abc"), "image"),
    (changed_record(classes=6), "one for each class"),
    (changed_record(mean=None), "both or neither"),
    (changed_record(mean=[1, 2]), "one for each of the 3"),
    (changed_record(mean=[1, 2, "3"]), "list of numbers"),
    (changed_record(mean=[1, 2, float("nan")]), "list of numbers"),
    (changed_record(std=[1, 1, 0]), "positive"),
    (changed_record(layers=[]), "no layers"),
    (changed_record(layers={}), "no layers"),
    (changed_record(layers=[1]), "layer0 is not described"),
    (lambda tensors, record: record["layers"].pop(), "does not belong"),
    (lambda tensors, record: record["layers"].append(record["layers"][0]), "layer3"),
    (changed_layer(relu=1), "ReLU"),
    (changed_layer(name=None), "name"),
    (changed_layer(rows=10**9), "not the same"),
    (changed_layer(columns=3), "reads 3 inputs"),
    (changed_layer(all_units=1), "layer1.units must be ascending"),
    (lambda tensors, record: tensors.pop("layer1.bias"), "no tensor 'layer1.bias'"),
    (lambda tensors, record: tensors.update(more=np.zeros(1)), "'more'"),
    (changed_tensor("layer1.columns", put(0, 2**31 - 1)), "outside"),
    (changed_tensor("layer1.columns", put(-1, -1)), "outside"),
    (changed_tensor("layer1.columns", lambda a: a[:-1]), "columns"),
    (changed_tensor("layer1.columns", lambda a: a[::-1].copy()), "ascend within each row"),
    (changed_tensor("layer1.columns", lambda a: a.astype(np.int64)), "I64"),
    (changed_tensor("layer1.columns", lambda a: a.astype(np.uint32)), "U32"),
    (changed_tensor("layer1.columns", lambda a: a.reshape(1, -1)), "one row"),
    (changed_tensor("layer1.offsets", put(1, 2**31 - 1)), "decrease"),
    (changed_tensor("layer1.offsets", put(0, 1)), "run from 0"),
    (changed_tensor("layer1.offsets", put(-1, 10**9)), "run from 0"),
    (changed_tensor("layer1.offsets", lambda a: a[:0]), "run from 0"),
    (changed_tensor("layer1.offsets", lambda a: np.append(a, a[-1])), "rows"),
    (changed_tensor("layer1.values", put(0, np.nan)), "not finite"),
    (changed_tensor("layer1.bias", put(0, np.inf)), "not finite"),
    (changed_tensor("layer1.bias", lambda a: a[1:]), "not the same"),
    (changed_tensor("layer1.units", put(0, 10**6)), "ascending"),
    (changed_tensor("inputs", put(0, -5)), "inputs must be ascending"),
    (changed_tensor("inputs", put(-1, 144)), "inputs must be ascending"),
    (changed_tensor("inputs", lambda a: a[1:]), "layer0 reads"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE, ids=[message for _, message in HOSTILE])
def test_hostile_files_are_refused_by_name(stored, change, message):
    tensors, record = parts(stored)
    change(tensors, record)
    rewrite(stored, tensors, record)
    with pytest.raises(DataError, match=message) as error:
        load_predictor(stored)
    assert str(stored) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04K\x01.",
        b"\xff" * 8,
        (2**63 - 1).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        safetensors.numpy.save({"a": np.zeros(2)}),
        safetensors.numpy.save({"a": np.zeros(2)}, metadata={"scratchconv": "nonsense"}),
        safetensors.numpy.save({"a": np.zeros(2)}, metadata={"scratchconv": "[" * 100_000}),
        safetensors.numpy.save({"a": np.zeros(2)}, metadata={"scratchconv": "9" * 10_000}),
        safetensors.numpy.save({"a": np.zeros(2)}, metadata={"scratchconv": "[]"}),
    ],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"other\.safetensors is not a network that export wrote"):
        load_predictor(path)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_damaged_bytes_never_do_more_than_raise(stored, data):
    content = bytearray(stored.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        # As often in the header, a small part of the file, as behind it.
        place = data.draw(st.integers(0, header - 1) | st.integers(header, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    damaged = stored.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    try:
        predictor = load_predictor(damaged)
    except DataError:
        return
    network = predictor.network
    for samples in (1, 20):
        logits = predictor(np.zeros((samples, network.features), np.float32))
        assert logits.shape == (samples, network.classes)


def test_nothing_is_unpickled(stored, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert load_predictor(stored).network.classes == 5
