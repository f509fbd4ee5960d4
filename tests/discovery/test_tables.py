"""Tables are read as they were written, and refused with the column, the count and the remedy."""

from __future__ import annotations

import importlib
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scratchconv.discovery import csv_files, table_files
from scratchconv.discovery.tables import read_table
from scratchconv.errors import DataError, InvalidArgument

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="table.csv", **kwargs):
        path = tmp_path / name
        path.write_text(text, **kwargs)
        return path

    return write_text


@given(
    X=arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=FINITE),
    separator=st.sampled_from(",;\t"),
    rows_at_a_time=st.integers(1, 3),
)
@settings(deadline=None, max_examples=60)
def test_numbers_come_back_from_csv(tmp_path_factory, X, separator, rows_at_a_time):
    path = tmp_path_factory.mktemp("csv") / "numbers.csv"
    names = [f"column {i}" for i in range(X.shape[1])]
    lines = [separator.join(names), *(separator.join(map(repr, row)) for row in X.tolist())]
    path.write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_ROWS", rows_at_a_time)
        table = read_table(path, target="column 1", task="regression")
    assert np.array_equal(table.X, np.delete(X, 1, axis=1))
    assert np.array_equal(table.y, X[:, 1])
    assert table.names == tuple(np.delete(names, 1))


def test_text_becomes_categories(write):
    path = write("size,colour,smoker,y\n1,red,no,0.5\n2,blue,yes,1.5\n3,green,no,2.25\n")
    table = read_table(path, target=-1)
    assert table.names == ("size", "colour=blue", "colour=green", "colour=red", "smoker=yes")
    assert table.X.tolist() == [[1, 0, 0, 1, 0], [2, 1, 0, 0, 1], [3, 0, 1, 0, 0]]
    assert table.task == "regression"
    assert read_table(path).y is None


def test_text_after_numbers_stays_as_it_is_written(write, monkeypatch):
    monkeypatch.setattr(csv_files, "_ROWS", 2)
    path = write("code,y\n01,1\n1.0,2\n01,3\nx,4\n")
    table = read_table(path, target="y")
    assert table.names == ("code=01", "code=1.0", "code=x")
    assert table.X[:, 0].tolist() == [1, 0, 1, 0]


def test_text_of_many_values_is_no_category(write):
    lines = "\n".join(f"name{i},{i}" for i in range(30))
    with pytest.raises(DataError, match=r"'who' .* is text of 30 different values, such as name0"):
        read_table(write(f"who,n\n{lines}\n"), target="n")


def test_without_a_heading_columns_are_numbered(write):
    table = read_table(write("1,2,0\n3,4,1\n"), target="2")
    assert table.names == ("0", "1")
    assert table.X.tolist() == [[1, 2], [3, 4]]
    assert table.y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("0,1,2\n0.5,0.1,0.2\n3,4,5\n", ("0", "1", "2"), 2),  # as pandas writes it
        ("0;1\n0,5;0,1\n", ("0", "1"), 1),
        (",0,1\n0,0.5,0.1\n1,0.3,0.4\n", ("unnamed 0", "0", "1"), 2),  # with its index
        ("a,b,\n1,2,3\n", ("a", "b", "unnamed 2"), 1),
        ("400, 402, 404\n0.5,0.1,0.2\n5,6,8\n", ("400", "402", "404"), 2),
        ("-1,0,1\n0.5,0.1,0.2\n", ("-1", "0", "1"), 1),
        ("1,2,3\n5,1,1\n2,4,6\n", ("0", "1", "2"), 3),  # the last row is of the same kind
        ("1,2,4\n0.5,0.1,0.2\n", ("0", "1", "2"), 2),
        ("3,2,1\n0.5,0.1,0.2\n", ("0", "1", "2"), 2),
        ("1.0,2.0,3.0\n0.5,0.1,0.2\n", ("0", "1", "2"), 2),
        ("5,7\n0.5,0.1\n", ("0", "1"), 2),  # two numbers always rise by equal steps
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n6.4,3.2,other\n", ("0", "1", "2=setosa"), 3),
        ("id,2019,2020\n1,0.5,0.1\n2,2019,2020\n", ("id", "2019", "2020"), 2),
        ("2020_1,2020_2\n0.5,0.1\n", ("2020_1", "2020_2"), 1),
    ],
)
def test_what_names_the_columns(write, text, names, rows):
    table = read_table(write(text))
    assert table.names == names
    assert len(table.X) == rows


def test_numbers_with_underscores_are_text(write, monkeypatch):
    path = write("code,y\n3_1,1\n31,2\n3_1,3\n")
    assert read_table(path).names == ("code=3_1", "y")
    monkeypatch.setattr(csv_files, "_ROWS", 1)
    assert read_table(path).X.tolist() == [[1, 1], [0, 2], [1, 3]]


def test_a_name_comes_before_a_number(write):
    path = write("1,a,0\nx,2,3\n")
    assert read_table(path, target="1", task="classification").y.tolist() == ["x"]
    assert read_table(path, target=1, task="regression").y.tolist() == [2.0]


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b", "a"], "classification"),
        (["0", "1", "1"], "classification"),
        (["0.5", "1", "1"], "regression"),
        ([str(i) for i in range(500)], "regression"),
        ([str(i % 100) for i in range(500)], "classification"),
        ([str(i % 101) for i in range(600)], "regression"),
        ([str(i % 10) for i in range(20)], "regression"),
    ],
)
def test_the_task_follows_from_the_target(write, values, task):
    path = write("x,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values)))
    table = read_table(path, target="y")
    assert table.task == task
    assert table.y.dtype.kind == ("f" if task == "regression" else "iU"[values[0] == "a"])


def test_a_task_that_the_target_cannot_have(write):
    path = write("x,t,f\n1,a,0.5\n2,b,1\n")
    with pytest.raises(InvalidArgument, match="is text, such as 'a'"):
        read_table(path, target="t", task="regression")
    with pytest.raises(InvalidArgument, match=r"has fractions, such as 0\.5"):
        read_table(path, target="f", task="classification")
    with pytest.raises(InvalidArgument, match="unknown task 'ranking'"):
        read_table(path, target="f", task="ranking")


def test_missing_values_are_named_and_counted(write):
    path = write("a,b,c,y\n1,NA,x,1\n2,,?,0\ninf,3,z,1\n")
    with pytest.raises(DataError, match=r"in 2 columns: b \(2\), c \(1\)\. Leave out"):
        read_table(path, target="y")
    path = write("a,y\n1,2\ninf,3\n")
    with pytest.raises(DataError, match=r"in 1 columns: a \(1\)"):
        read_table(path, target="y")
    with pytest.raises(DataError, match=r"y \(1\)"):
        read_table(write("x,y\n1,\n2,3\n"), target="y")
    with pytest.raises(DataError, match=r"the target \(1\)"):
        read_table(write("x,y\n1,inf\n2,3\n"), target="y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "a heading but no rows"),
        ("a,b\n1,2\n3\n", "line 3 of .* has 1 cells, but the first has 2"),
        ("a,a,y\n1,2,3\n", "more than one column called a: rename"),
        ("c,c=z,y\nx,1,1\ny,2,1\nz,3,1\n", "more than one column called c=z"),
        ("y\n1\n2\n", "no column beside the target"),
    ],
)
def test_damaged_csv(write, text, message):
    with pytest.raises(DataError, match=message):
        read_table(write(text), target="y" if "y" in text else None)


def test_encodings(write, tmp_path):
    path = write("größe,y\n1,2\n3,4\n", encoding="utf-8-sig")
    assert read_table(path, target="y").names == ("größe",)
    (tmp_path / "latin.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_table(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a;b\n1,5;2,5\n2,5;3\n", ("a", "b"), [[1.5, 2.5], [2.5, 3]]),
        ("1,5;2,5\n2,5;3,5\n", ("0", "1"), [[1.5, 2.5], [2.5, 3.5]]),
        ('"1,5";"2,5"\n"2,5";"3,5"\n', ("0", "1"), [[1.5, 2.5], [2.5, 3.5]]),
        ("\na;b\n1;2\n3;4\n", ("a", "b"), [[1, 2], [3, 4]]),
        ("x, in cm;y, in cm\n-1,5e2;,5\n2;3,\n", ("x, in cm", "y, in cm"), [[-150, 0.5], [2, 3]]),
        ('"a;b;c",d\n1,2\n3,4\n', ("a;b;c", "d"), [[1, 2], [3, 4]]),
        ("a;b\n1,5;x,1\n2,5;y,2\n", ("a", "b=y,2"), [[1.5, 0], [2.5, 1]]),
    ],
)
def test_decimal_commas_between_semicolons(write, text, names, rows):
    table = read_table(write(text))
    assert table.names == names
    assert table.X.tolist() == rows


def test_decimal_commas_in_all_rows_and_in_the_target(write, monkeypatch):
    monkeypatch.setattr(csv_files, "_ROWS", 1)
    table = read_table(write("a;y;c\n1;0,5;1,5\n2;1;x\n2,5;1;x\n"), target="y")
    assert table.X.tolist() == [[1, 0], [2, 1], [2.5, 1]]  # c, which is not all numbers, is text
    assert table.names == ("a", "c=x")
    assert (table.y.tolist(), table.task) == ([0.5, 1, 1], "regression")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1,5;1.5\n2,5;3\n", r"comma \(column 'a'\) .* point \(column 'b'\): write all"),
        ("a;b\n1,5;1\n2.5;3\n", r"comma \(column 'a'\) .* point \(column 'a'\)"),
        ("a;b\n1.234,5;1\n2,5;3\n", r"'a' .* between thousands, such as 1\.234,5: write them"),
        ("a\tb\n1,5\t1\n2,5\t3\n", "'a' .* such as 1,5: write decimal commas as points, or"),
    ],
)
def test_commas_that_could_be_anything(write, text, message):
    with pytest.raises(DataError, match=message):
        read_table(write(text))


def test_columns_that_cannot_be_read_can_be_dropped(write, monkeypatch):
    path = write("a\tamount\ty\n1\t1,00\t5\n2\t2,50\t6\n", "table.tsv")
    with pytest.raises(DataError, match=r"'amount' .* such as 1,00"):
        read_table(path)
    with pytest.raises(DataError, match=r"'amount' .* such as 1,00"):
        read_table(path, target="amount")
    assert read_table(path, drop=["amount"]).X.tolist() == [[1, 5], [2, 6]]
    mixed = write("a;b;c\n1,5;1;0.5\n2,5;2;1.5\n")
    with pytest.raises(DataError, match=r"comma \(column 'a'\) .* point \(column 'c'\)"):
        read_table(mixed, target="c")
    assert read_table(mixed, drop=["c"]).X.tolist() == [[1.5, 1], [2.5, 2]]
    assert read_table(mixed, drop=["a"]).X.tolist() == [[1, 0.5], [2, 1.5]]
    monkeypatch.setattr(csv_files, "_ROWS", 1)
    for last in ("2.5", "3"):  # in another part of the file
        with pytest.raises(DataError, match=r"'a' .* such as 1,5"):
            read_table(write(f"a\tb\n1,5\t1\n{last}\t2\n"))
    assert read_table(write("a\tb\n1,5\t1\nx\t2\n")).names == ("a=x", "b")


def test_whole_numbers_too_large_to_be_told_apart_are_no_classes(write, tmp_path):
    path = write("x,id,n\n" + "".join(f"{i},{2**53 + i % 2},{1 + i % 2}e300\n" for i in range(20)))
    for target in ("id", "n"):
        table = read_table(path, target=target)
        assert table.task == "regression"
        assert table.y.dtype == np.float64
        with pytest.raises(InvalidArgument, match=r"as large as .*: put a letter before each"):
            read_table(path, target=target, task="classification")
    path = tmp_path / "a.npz"  # where whole numbers are exact
    np.savez(path, X=np.ones((4, 2)), y=2**53 + np.array([0, 1, 0, 1]))
    assert len(set(read_table(path, task="classification").y.tolist())) == 2
    np.savez(path, X=np.ones((4, 2)), y=np.array([2**64 - 1, 1, 1, 1], dtype=np.uint64))
    with pytest.raises(InvalidArgument, match="cannot be classes"):
        read_table(path, task="classification")


def test_arrays_without_rows(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 3)))
    np.savez(tmp_path / "a.npz", X=np.zeros((0, 2, 3)), y=np.zeros(0))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="has no row: there is nothing to learn from"):
            read_table(tmp_path / name)


def test_unknown_targets_and_files(write, tmp_path):
    path = write("length,width\n1,2\n")
    with pytest.raises(InvalidArgument, match=r"length, width\. Did you mean 'width'\?"):
        read_table(path, target="widht")
    with pytest.raises(InvalidArgument, match="from -2 to 1"):
        read_table(path, target=2)
    with pytest.raises(InvalidArgument, match=r"ends in '\.xls'"):
        read_table(tmp_path / "a.xls")
    with pytest.raises(DataError, match="is not a file"):
        read_table(tmp_path / "none.csv")


def test_npz(tmp_path):
    X = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    path = tmp_path / "a.npz"
    np.savez(path, X=X, y=np.array([0, 1, 1, 0]), other=np.array(list("abcd")))
    table = read_table(path)
    assert np.array_equal(table.X, X.reshape(4, 6))
    assert table.X.dtype == np.float32
    assert table.names == ("0,0", "0,1", "0,2", "1,0", "1,1", "1,2")
    assert (table.y.tolist(), table.task) == ([0, 1, 1, 0], "classification")
    assert read_table(path, target="other").y.tolist() == list("abcd")
    with pytest.raises(InvalidArgument, match="choose from X, y, other"):
        read_table(path, target="label")
    with pytest.raises(InvalidArgument, match="name of an array"):
        read_table(path, target=0)


def test_the_target_of_an_npz_can_be_left_out(tmp_path):
    path, X = tmp_path / "a.npz", np.arange(8.0).reshape(4, 2)
    np.savez(path, X=X, y=np.eye(4), names=["left", "right"])  # y is no target, but for --drop
    table = read_table(path, drop=["y", "left"])
    assert (table.y, table.task, table.names) == (None, None, ("right",))
    np.savez(path, X=X, y=np.array([0, 1, 1, 0]), names=["x", "y"])
    table = read_table(path, drop=["y"])
    assert table.names == ("x",)
    assert table.y.tolist() == [0, 1, 1, 0]
    np.savez(path, X=X)
    with pytest.raises(InvalidArgument, match="no column 'y' to drop"):
        read_table(path, drop=["y"])


def test_text_of_an_npz_is_read_as_that_of_other_files(tmp_path):
    path, X = tmp_path / "a.npz", np.arange(8.0).reshape(4, 2)
    np.savez(path, X=X, y=np.array([b"u", b"v", b"u", b"v"]), names=np.array([b"a", "ö".encode()]))
    table = read_table(path)
    assert table.names == ("a", "ö")
    assert (table.y.tolist(), table.task) == (["u", "v", "u", "v"], "classification")
    np.savez(path, X=X, names=np.array([b"a", b"\xff"]))
    with pytest.raises(DataError, match=r"'names' of .* is not UTF-8 text"):
        read_table(path)
    np.savez(path, X=X, y=np.array(["u", "", "NA", "v"]))
    with pytest.raises(DataError, match=r"the target \(2\)"):
        read_table(path)


def test_npz_of_other_names(tmp_path):
    path = tmp_path / "a.npz"
    X = np.random.RandomState(0).normal(size=(5, 2))
    np.savez_compressed(path, inputs=X, label=np.ones((5, 1)), names=["left", "right"])
    with pytest.raises(DataError, match="none of them is called X"):
        read_table(path)
    table = read_table(path, target="label", task="regression")
    assert np.array_equal(table.X, X)
    assert table.names == ("left", "right")
    assert table.y.shape == (5,)
    np.savez(path, X=X, y=np.ones(4))
    with pytest.raises(DataError, match="5 rows but 4 targets"):
        read_table(path)
    np.savez(path, X=X, y=np.ones((5, 2)))
    with pytest.raises(DataError, match="one number or text a row"):
        read_table(path)
    np.savez(path, X=X, names=["a", "a"])
    with pytest.raises(DataError, match="2 names, 1 of them different, for 2 columns"):
        read_table(path)


def test_npy(tmp_path):
    path = tmp_path / "a.npy"
    X = np.random.RandomState(0).normal(size=(6, 3)).astype(np.float32)
    np.save(path, X)
    table = read_table(path, target=-1)
    assert np.array_equal(table.X, X[:, :2])
    assert table.X.dtype == np.float32
    assert np.array_equal(table.y, X[:, 2].astype(np.float64))
    assert table.names == ("0", "1")
    X[1, 0] = np.nan
    np.save(path, X)
    with pytest.raises(DataError, match=r"0 \(1\)"):
        read_table(path)
    np.save(path, X[:, 0])
    with pytest.raises(DataError, match="two or more dimensions"):
        read_table(path)


def test_no_pickle_is_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    objects = np.array([[Trap(), 1]], dtype=object)
    np.save(tmp_path / "a.npy", objects)
    np.savez(tmp_path / "a.npz", X=objects)
    (tmp_path / "b.npy").write_bytes(b"no array at all")
    (tmp_path / "b.npz").write_bytes(b"no archive at all")
    for name in ("a.npy", "a.npz", "b.npy", "b.npz"):
        with pytest.raises(DataError, match=r"objects, which are not loaded|no npz file"):
            read_table(tmp_path / name)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,",
        "{'descr': '<f8', 'fortran_order': False, 'shape': " + 200 * "(",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 3), }",
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**30}, 3), }}",
    ],
)
def test_damaged_headers(tmp_path, header):
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"1234"
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", content)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="is damaged, or holds"):
            read_table(tmp_path / name)


def test_a_damaged_archive(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.random.RandomState(0).normal(size=(50, 3)))
    content = bytearray(path.read_bytes())
    start = content.index(b"X.npy") + len(b"X.npy") + 20  # past the extra field: what is compressed
    content[start : start + 40] = 40 * b"\xff"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no npz file that can be read"):
        read_table(path)


def test_files_larger_than_the_memory(tmp_path, write, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", X=np.zeros((100, 100)))  # a few hundred bytes
    np.save(tmp_path / "a.npy", np.zeros((100, 100)))
    path = write("x,y\n" + 1000 * "1,2\n")
    monkeypatch.setattr(table_files, "available_bytes", lambda: 10_000)
    for file in (path, tmp_path / "a.npz", tmp_path / "a.npy"):
        with pytest.raises(DataError, match="bytes, but 10,000 are available: take fewer"):
            read_table(file)


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    columns = {
        "n": pyarrow.array([1, 2, 3]),
        "f": pyarrow.array([0.5, 1.5, 2.5], pyarrow.float32()),
        "ok": pyarrow.array([True, False, True]),
        "kind": pyarrow.array(["a", "b", "a"]).dictionary_encode(),
        "y": pyarrow.array(["u", "v", "u"]),
    }
    parquet.write_table(pyarrow.table(columns), path)
    table = read_table(path, target="y")
    assert table.names == ("n", "f", "ok", "kind=b")
    assert table.X.tolist() == [[1, 0.5, 1, 0], [2, 1.5, 0, 1], [3, 2.5, 1, 0]]
    assert (table.y.tolist(), table.task) == (["u", "v", "u"], "classification")
    assert read_table(path, target="ok").task == "classification"
    columns["n"] = pyarrow.array([1, None, None])
    columns["f"] = pyarrow.array([None, float("nan"), 1.0])
    columns["kind"] = pyarrow.array(["a", None, "b"])
    parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(DataError, match=r"in 3 columns: n \(2\), f \(2\), kind \(1\)"):
        read_table(path, target="y")
    columns["f"] = pyarrow.array([1, 2, 3], pyarrow.timestamp("s"))
    parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(DataError, match=r"'f' .* holds timestamp\[m?s\]"):
        read_table(path)
    columns["kind"] = pyarrow.array(["NA", "", "b"])
    parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(DataError, match=r"in 2 columns: n \(2\), kind \(2\)"):
        read_table(path, drop=["f"])
    assert read_table(path, drop=["f", "n", "kind"]).names == ("ok", "y=v")
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="no parquet file that can be read"):
        read_table(path)


def test_parquet_without_pyarrow(write, monkeypatch):
    def no_pyarrow(name, *args):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", no_pyarrow)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'scratchconv\[tables\]'"):
        read_table(write("", "a.parquet"))
