"""Sequences, plain numbers between blanks, and columns that are left out of a table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scratchconv.discovery.sequence_columns import is_sequence, sequence_columns
from scratchconv.discovery.tables import read_table
from scratchconv.errors import DataError, InvalidArgument

DNA = np.array(["A", "C", "G", "T"])


def dna(rows: int, length: int, seed: int = 0) -> list[str]:
    letters = np.random.RandomState(seed).choice(DNA, (rows, length))
    return ["".join(row) for row in letters]


@given(
    rows=st.integers(2, 6),
    length=st.integers(8, 12),
    letters=st.integers(3, 8),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_sequences_can_be_read_back_from_their_columns(rows, length, letters, seed):
    alphabet = np.array(list("ABCDEFGH"))[:letters]
    drawn = np.random.RandomState(seed).choice(alphabet, (rows, length))
    drawn[0, :letters] = alphabet  # each letter occurs
    texts = np.array(["".join(row) for row in drawn])
    names, columns = sequence_columns("s", texts)
    assert is_sequence(texts)
    assert columns.shape == (rows, length * letters) == (rows, len(names))
    for text, row in zip(texts, columns, strict=True):
        told = [names[i] for i in np.flatnonzero(row)]
        assert told == [f"s[{place}]={letter}" for place, letter in enumerate(text)]


def test_of_two_letters_one_is_enough_and_a_rare_one_has_no_column():
    names, columns = sequence_columns("s", np.array(["ABABABAB", "BBBBAAAA"]))
    assert names == [f"s[{place}]=B" for place in range(8)]
    assert columns[1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    texts = np.array([*dna(200, 10), "ACGTNACGTA"])
    names, columns = sequence_columns("s", texts)
    assert len(names) == 40
    assert columns[-1].reshape(10, 4).sum(axis=1).tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("texts", "sequence"),
    [
        (["ACGTACGT", "ACGTACGA"], True),
        (["AC-TACGT", "ACGTAC.A"], True),
        (["ACGTACG", "ACGTACA"], False),  # short: a code
        (["ACGTACGT", "ACGTACGTA"], False),
        (["ID000012", "ID000013"], False),
        (["2020-01-01", "2020-01-02"], False),
        (["".join(map(chr, range(0x3B1 + k, 0x3B1 + k + 12))) for k in (0, 12, 24)], False),
    ],
)
def test_what_counts_as_a_sequence(texts, sequence):
    assert is_sequence(np.array(texts)) is sequence


def test_dna_as_published_is_read_once_its_names_are_dropped(tmp_path):
    path = tmp_path / "splice.csv"
    lines = [f"EI,    DONOR-{i},      {text}" for i, text in enumerate(dna(40, 12))]
    path.write_text("\n".join(["Class, Donor,    Sequence", *lines]))
    table = read_table(path, target="Class", drop=["Donor"])
    assert table.names[:5] == (
        "Sequence[0]=A",
        "Sequence[0]=C",
        "Sequence[0]=G",
        "Sequence[0]=T",
        "Sequence[1]=A",
    )
    assert table.X.shape == (40, 48)
    assert (table.X.reshape(40, 12, 4).sum(axis=2) == 1).all()
    with pytest.raises(DataError, match=r"'Donor'.*leave it out \(drop\)"):
        read_table(path, target="Class")


@given(
    X=arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(2, 5)),
        elements=st.floats(-1e9, 1e9, allow_subnormal=False),
    ),
    blank=st.sampled_from(["  ", "\t", " \t "]),
)
@settings(deadline=None, max_examples=40)
def test_numbers_between_blanks_come_back(tmp_path_factory, X, blank):
    path = tmp_path_factory.mktemp("txt") / "numbers.txt"
    path.write_text("\n".join("   " + blank.join(map(repr, row)) for row in X.tolist()))
    table = read_table(path, target=0, task="regression")
    assert np.array_equal(table.X, X[:, 1:])
    assert np.array_equal(table.y, X[:, 0])
    assert table.names == tuple(str(i) for i in range(1, X.shape[1]))


def test_the_archives_class_in_the_first_column(tmp_path):
    path = tmp_path / "ECG_TRAIN.txt"
    path.write_text("   1.0000000e+00  -1.5  2.0\n   2.0000000e+00   0.5  1.0\n" * 10)
    table = read_table(path, target=0)
    assert table.task == "classification"
    assert table.y.tolist() == [1, 2] * 10


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("1 2\n3 4 5\n", "number of columns"),
        ("1 2\n3 four\n", "four"),
        ("1, 2\n3, 4\n", "call it .csv"),
        ("", "empty"),
        ("\n\n", "empty"),
    ],
)
def test_what_is_no_table_of_numbers_is_said(tmp_path, content, complaint):
    path = tmp_path / "numbers.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=complaint):
        read_table(path)


def test_columns_are_dropped_by_name_or_number_from_every_kind_of_file(tmp_path):
    X = np.arange(12.0).reshape(3, 4)
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "a.npz", X=X, y=np.array([0.5, 1.5, 2.5]), names=list("abcd"))
    (tmp_path / "a.csv").write_text("a,b,c,d\n" + "\n".join(",".join(map(str, r)) for r in X))
    (tmp_path / "a.txt").write_text("\n".join(" ".join(map(str, r)) for r in X))
    for name, drop in (("npy", 1), ("npz", "b"), ("csv", "b"), ("txt", "1")):
        table = read_table(tmp_path / f"a.{name}", drop=[drop, -1])
        assert np.array_equal(table.X, X[:, [0, 2]]), name
    table = read_table(tmp_path / "a.csv", target="a", drop=["b"], task="regression")
    assert table.names == ("c", "d")
    with pytest.raises(InvalidArgument, match=r"no column 'e' to drop.*a, b, c, d"):
        read_table(tmp_path / "a.csv", drop=["e"])
    with pytest.raises(InvalidArgument, match="is the target"):
        read_table(tmp_path / "a.csv", target="a", drop=["a"])
