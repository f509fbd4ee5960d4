"""Findings come back from their folder as they were, and damaged files are named."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scratchconv.analysis.prefix_code import Term
from scratchconv.discovery.alignment import SharedFilters
from scratchconv.discovery.comparison import Compared
from scratchconv.discovery.exact_values import decoded, encoded
from scratchconv.discovery.findings import Findings, Recovery
from scratchconv.discovery.findings_file import (
    ARRAYS,
    FINDINGS,
    _digest_of,
    read_findings,
    read_origin,
    write_findings,
)
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import NeighbourGraph
from scratchconv.discovery.network_code import NetworkCode
from scratchconv.discovery.networks import Structure
from scratchconv.discovery.sharing import Sharing
from scratchconv.errors import DataError, InvalidArgument


def example(seed=0, labels=True):
    """Findings with something in every field."""
    random = np.random.default_rng(seed)
    line = np.arange(6.0)[:, None]
    line[5] = np.nan
    places = np.arange(12) // 2
    geometry = Geometry("line", 1, line, places, np.arange(12) % 2, (5,), {"line": 0.1 + 0.2})
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    graph = NeighbourGraph(6, edges, np.array([1, 0.99, 0.96]), random.normal(size=3))
    structure = Structure("shared", 4, 3, 1)
    none = NetworkCode(None, 0, (Term("labels", "n·H", 990, 989.5),))
    code = NetworkCode(structure, 3, (Term("weights", "b·W", 36, 36.0), none.terms[0]))
    of_units = random.normal(size=(3, 4))
    filters = SharedFilters(
        random.normal(size=(2, 6)),
        *(np.arange(3) for _ in range(3)),
        amplitude=of_units[0],
        explained=0.7,
        bits_saved=-np.inf,
        null=of_units[1],
        window=3,
    )
    sharing = Sharing(
        "shared", {"none": none, "shared": code}, filters, (none, code), {"none": 0, "shared": 7}
    )
    return Findings(
        names=tuple(f"column <{i}> µ" for i in range(12)),
        rows=400,
        task="classification" if labels else None,
        constant=np.array([3]),
        graphs={"data": graph, "labels": NeighbourGraph.empty(6)},
        graph=graph,
        geometry=geometry,
        receptive_fields=random.normal(size=(5 if labels else 0, 12)).astype(np.float32),
        sharing=sharing if labels else None,
        networks=(Compared("dense", {"lr": 0.1}, 0.5, 0.6, None, 1.5),) if labels else (),
        recovery=Recovery(1.0, 0.5, float("nan"), 0.0, 1.0) if labels else None,
        seconds={"dependence": 0.25, "geometry": 1e-9},
    )


def same(first, second):
    if is_dataclass(first):
        return type(first) is type(second) and all(
            same(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)
        )
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=True)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and first != first:
        return second != second
    return type(first) is type(second) and first == second


@pytest.mark.parametrize("labels", [True, False])
def test_findings_come_back_as_they_were(tmp_path, labels):
    findings = example(labels=labels)
    written = write_findings(findings, tmp_path / "new" / "folder", origin={"seed": 3})
    assert written.name == FINDINGS
    assert same(read_findings(written.parent), findings)
    assert read_origin(written.parent) == {"seed": 3}
    assert sorted(path.name for path in written.parent.iterdir()) == [ARRAYS, FINDINGS]
    json.loads(written.read_text(), parse_constant=pytest.fail)  # NaN is no JSON


def test_what_differs_is_told_apart():
    assert same(example(0), example(0))
    assert not same(example(0), example(1))


@given(
    coordinates=arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(0, 3))),
    seconds=st.dictionaries(st.text(), st.floats()),
    number=st.floats(),
)
@settings(deadline=None, max_examples=30)
def test_any_numbers_and_names_come_back(tmp_path_factory, coordinates, seconds, number):
    folder = tmp_path_factory.mktemp("findings")
    findings = example()
    findings = replace(
        findings,
        geometry=replace(findings.geometry, coordinates=coordinates),
        recovery=Recovery(number, 0.0, 0.0, 0.0, 0.0),
        seconds=seconds,
    )
    write_findings(findings, folder)
    assert same(read_findings(folder), findings)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    write_findings(example(0), tmp_path)
    with pytest.raises(InvalidArgument, match=f"{FINDINGS} exists: nothing is overwritten"):
        write_findings(example(1), tmp_path)
    assert same(read_findings(tmp_path), example(0))
    write_findings(example(1), tmp_path, overwrite=True)
    assert same(read_findings(tmp_path), example(1))
    (tmp_path / FINDINGS).unlink()
    with pytest.raises(InvalidArgument, match=f"{ARRAYS} exists"):
        write_findings(example(0), tmp_path)


def test_an_origin_that_is_no_json_leaves_nothing(tmp_path):
    with pytest.raises(InvalidArgument, match="origin is no JSON"):
        write_findings(example(), tmp_path / "folder", origin={"when": object()})
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to"):
        write_findings(example(), tmp_path / "file" / "folder")


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _changed(path):
    content = bytearray(path.read_bytes())
    place = content.rindex(b"0.25") if path.name == FINDINGS else len(content) - 20
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [FINDINGS, ARRAYS])
@pytest.mark.parametrize("damage", [_cut, _changed, lambda path: path.unlink()])
def test_damaged_files_are_named(tmp_path, name, damage):
    write_findings(example(), tmp_path)
    damage(tmp_path / name)
    with pytest.raises(DataError, match=name):
        read_findings(tmp_path)


def test_arrays_of_other_findings_are_refused(tmp_path):
    for seed in (0, 1):
        write_findings(example(seed), tmp_path / str(seed))
    (tmp_path / "0" / ARRAYS).replace(tmp_path / "1" / ARRAYS)
    with pytest.raises(DataError, match="belongs to other findings"):
        read_findings(tmp_path / "1")


def test_what_an_earlier_version_did_not_note_has_its_default(tmp_path):
    findings = replace(example(), test_rows=77)
    held: dict[str, np.ndarray] = {}
    noted = encoded(findings, "", held)
    assert decoded(noted, Findings, held).test_rows == 77
    del noted["test_rows"]
    assert same(decoded(noted, Findings, held), replace(findings, test_rows=0))
    del noted["rows"]
    with pytest.raises(KeyError, match="rows"):
        decoded(noted, Findings, held)


def test_another_format_is_refused(tmp_path):
    path = write_findings(example(), tmp_path)
    path.write_text(path.read_text().replace('"format": 2', '"format": 99'))
    with pytest.raises(DataError, match="not of format 1 or 2"):
        read_findings(tmp_path)


def sealed(path, change):
    """Write the JSON anew, changed, with a digest that fits."""
    content = json.loads(path.read_text())
    change(content)
    content["sha256"] = _digest_of(content)
    path.write_text(json.dumps(content))


def test_format_1_whose_digest_leaves_out_that_of_the_arrays_is_read(tmp_path):
    path = write_findings(example(), tmp_path)
    sealed(path, lambda content: content.update(format=1))
    assert same(read_findings(tmp_path), example())
    path.write_text(path.read_text().replace('"arrays_sha256"', '"arrays"'))
    with pytest.raises(DataError, match=f"{ARRAYS} is damaged"):
        read_findings(tmp_path)


def test_a_damaged_digest_of_the_arrays_is_damage_of_the_findings(tmp_path):
    path = write_findings(example(), tmp_path)
    path.write_text(path.read_text().replace('"arrays_sha256": "', '"arrays_sha256": "0'))
    with pytest.raises(DataError, match=f"{FINDINGS} is damaged"):
        read_findings(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"format": 2, "findings": NaN}'])
def test_what_no_program_wrote_is_damaged(tmp_path, text):
    (tmp_path / FINDINGS).write_text(text)
    with pytest.raises(DataError, match=f"{FINDINGS} is damaged"):
        read_findings(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": "x"},
        {"rows": 2.5},
        {"rows": True},
        {"names": "abc"},
        {"names": [1, 2]},
        {"constant": [1]},
        {"task": "ranking"},
        {"seconds": {"dependence": "long"}},
        {"seconds": {"dependence": None}},
    ],
)
def test_values_of_another_type_are_of_another_version(tmp_path, change):
    path = write_findings(example(), tmp_path)
    sealed(path, lambda content: content["findings"].update(change))
    with pytest.raises(DataError, match="another version"):
        read_findings(tmp_path)
