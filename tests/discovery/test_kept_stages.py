"""A search that was broken off goes on with what it kept, and finds what it would have found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from scratchconv.discovery import discovering, kept_stages
from scratchconv.discovery.comparison import CONTENDERS, Compared
from scratchconv.discovery.discovering import discover
from scratchconv.discovery.exact_values import encoded
from scratchconv.discovery.kept_stages import KeptStages, search_key
from scratchconv.discovery.network_code import constant_code
from scratchconv.discovery.sharing import Sharing
from scratchconv.errors import RunDirectoryError


@dataclass(frozen=True, eq=False)
class Found:
    matrix: NDArray[np.float32]
    rows: int
    share: float


def example() -> Found:
    return Found(np.arange(6, dtype=np.float32).reshape(2, 3) / 7, 5, 0.1 + 0.2)


def test_a_stage_comes_back_as_it_was(tmp_path):
    kept = KeptStages(tmp_path / "stages")
    kept.begin("key")
    assert kept.get("dependence", Found) is None
    kept.keep("dependence", example(), 1.5)
    assert kept.names() == ("dependence",)
    again = KeptStages(tmp_path / "stages")
    again.begin("key")
    found, seconds = again.get("dependence", Found)
    assert np.array_equal(found.matrix, example().matrix)
    assert found.matrix.dtype == np.float32
    assert (found.rows, found.share, seconds) == (5, 0.1 + 0.2, 1.5)


def test_stages_of_another_search_are_refused(tmp_path):
    kept = KeptStages(tmp_path)
    kept.begin("key")
    kept.keep("dependence", example(), 1.5)
    with pytest.raises(RunDirectoryError, match="repeat the command as it was"):
        KeptStages(tmp_path).begin("another")


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "of another version"])
def test_a_damaged_stage_is_named_and_made_again(harm, tmp_path):
    kept = KeptStages(tmp_path)
    kept.begin("key")
    kept.keep("dependence", example(), 1.5)
    path = tmp_path / "dependence.safetensors"
    whole = bytearray(path.read_bytes())
    if harm == "flipped":
        whole[-1] ^= 1
    path.write_bytes(b"" if harm == "empty" else whole[:-4] if harm == "cut" else whole)
    hint = NDArray[np.float32] if harm == "of another version" else Found
    again = KeptStages(tmp_path)
    with pytest.warns(UserWarning, match=r"dependence\.safetensors is damaged"):
        found = again.get("dependence", hint)
    assert found is None
    kept.keep("dependence", example(), 2.5)
    again.begin("key")
    assert again.get("dependence", Found)[1] == 2.5


def test_a_full_disk_does_not_end_the_search(tmp_path, monkeypatch):
    def full(*_: Any, **__: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_stages, "save", full)
    with pytest.warns(UserWarning, match=r"No space left on device.*goes on"):
        KeptStages(tmp_path).keep("dependence", example(), 1.0)
    assert list(tmp_path.iterdir()) == []


def test_clearing_leaves_what_is_not_ours(tmp_path):
    kept = KeptStages(tmp_path / "stages")
    kept.keep("dependence", example(), 1.0)
    (tmp_path / "stages" / ".geometry.safetensors.77.partial").write_bytes(save({}))
    kept.clear()
    assert not (tmp_path / "stages").exists()
    kept.keep("dependence", example(), 1.0)
    (tmp_path / "stages" / "mine").write_text("mine")
    kept.clear()
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["mine"]


def test_files_that_are_no_stages_are_neither_counted_nor_deleted(tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"precious")
    (tmp_path / "weights.safetensors").write_bytes(save({"w": np.ones(3)}))
    kept = KeptStages(tmp_path)
    kept.begin("key")
    kept.keep("dependence", example(), 1.0)
    assert kept.names() == ("dependence",)
    kept.clear()
    assert kept.names() == ()
    assert len(list(tmp_path.iterdir())) == 2


def test_every_value_and_setting_is_in_the_key():
    table, y = np.zeros((3, 2), np.float32), np.array(["a", "b", "a"])
    keys = {
        search_key({"table": table, "y": y}, {"seed": 0}),
        search_key({"table": table + 1, "y": y}, {"seed": 0}),
        search_key({"table": table.astype(np.float64), "y": y}, {"seed": 0}),
        search_key({"table": table.T, "y": y}, {"seed": 0}),
        search_key({"table": table, "y": np.array(["a", "b", "b"])}, {"seed": 0}),
        search_key({"table": table, "y": None}, {"seed": 0}),
        search_key({"table": table, "y": y}, {"seed": 1}),
    }
    assert len(keys) == 7
    objects = search_key({"table": table, "y": y.astype(object)}, {"seed": 0})
    assert objects == search_key({"table": table.copy(), "y": y.astype(object)}, {"seed": 0})


def walks(rows=300):
    random = np.random.default_rng(3)
    walk = np.cumsum(random.normal(size=(rows, 10)), axis=1).astype(np.float32)
    return walk, (walk[:, 2] > walk[:, 7]).astype(np.int64)


@pytest.fixture
def quick(monkeypatch):
    """The stages that train networks answer at once; what they find depends on the seed."""

    def fields(samples, *, seed, progress):
        return np.random.default_rng(seed).normal(size=(2, 10)).astype(np.float32)

    def sharing(samples, geometry, *, progress, **others):
        return Sharing("none", {"none": constant_code(samples)}, None, (), {"none": 0})

    def networks(train, test, structure, geometry, *, seed, done, progress, **others):
        found = list(done)
        for name in CONTENDERS[len(done) :]:
            found.append(Compared(name, {"lr": 0.1}, 0.5, seed / 7, None, 1.0))
            progress(found[-1])
        return found

    monkeypatch.setattr(discovering, "receptive_fields", fields)
    monkeypatch.setattr(discovering, "find_sharing", sharing)
    monkeypatch.setattr(discovering, "compare_networks", networks)


def plain(findings):
    """Everything of findings but the times, as comparable values."""
    timeless = replace(
        findings,
        seconds={},
        networks=tuple(replace(one, seconds=0.0) for one in findings.networks),
    )
    arrays: dict[str, NDArray[Any]] = {}
    noted = encoded(timeless, "", arrays)
    return noted, {name: array.tobytes() for name, array in arrays.items()}


def test_a_search_that_was_broken_off_finds_the_same(quick, tmp_path, monkeypatch):
    X, y = walks()
    whole = discover(X, y, seed=1)

    class Killed(BaseException):
        pass

    compare = discovering.compare_networks

    def broken_off(*arguments, progress, **others):
        def told(one):
            progress(one)
            raise Killed

        return compare(*arguments, progress=told, **others)

    monkeypatch.setattr(discovering, "compare_networks", broken_off)
    with pytest.raises(Killed):
        discover(X, y, seed=1, kept=KeptStages(tmp_path))
    stages = KeptStages(tmp_path)
    assert "networks, dense" in stages.names()
    assert len(stages.names()) == 6
    monkeypatch.setattr(discovering, "compare_networks", compare)
    with pytest.raises(RunDirectoryError, match="of other data, options"):
        discover(X, y, seed=2, kept=KeptStages(tmp_path))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("what is kept was made again")

    for made in ("dependence", "learned_evidence", "located", "receptive_fields", "find_sharing"):
        monkeypatch.setattr(discovering, made, never)
    found = discover(X, y, seed=1, kept=stages)
    assert plain(found) == plain(whole)
    assert list(found.seconds) == list(whole.seconds)
    assert min(found.seconds.values()) > 0
