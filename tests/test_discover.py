"""The command discover as a user types it: what it finds, writes, and refuses."""

import os
import subprocess
import sys

import numpy as np
import pytest

from scratchconv import cli, discover
from scratchconv.discover import DiscoverOptions, read_options
from scratchconv.discovery import discovering
from scratchconv.discovery.findings_file import read_findings, read_origin


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs discover in an empty folder: its exit status, output and error output."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        status = 0
        try:
            cli.main(["discover", *(str(word) for word in words)])
        except SystemExit as ended:
            status = ended.code or 0
        shown = capsys.readouterr()
        return status, " ".join(shown.out.split()), shown.err

    return command


def test_what_was_read_is_told(tmp_path):
    def told(name, lines, **options):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        return discover._read(read_options(DiscoverOptions(str(tmp_path / name), **options)))

    rows = ["1,2,3,4,5,0", "2,1,4,3,5,1", "3,1,2,5,4,1", "4,2,1,5,3,0"]
    assert told("numbers.csv", rows).replace("\xa0", " ") == (
        "read 4 rows of 6 columns (0, 1, 2, …, 5); no target"
    )
    names = "a,b,c,d,e,y"
    assert "(a, b, c, …, e); target: 2" in told("names.csv", [names, *rows], target="y")
    few = told("names.csv", [names, *rows], target="y", task="regression", drop=("a",))
    assert "(b, c, d, e); target: numbers" in few


def never(*_, **__):
    raise AssertionError("what was found is looked for again")


@pytest.fixture
def walk(tmp_path):
    """A csv file of 12 columns, each near the last, and a class that is chance."""
    random = np.random.RandomState(0)
    X = np.zeros((500, 12))
    X[:, 0] = random.randn(500)
    for column in range(1, 12):
        X[:, column] = 0.8 * X[:, column - 1] + 0.6 * random.randn(500)
    np.savetxt(
        tmp_path / "walk.csv",
        np.c_[X, random.randint(0, 2, 500)],
        delimiter=",",
        header=",".join([*(f"<b>{i}" for i in range(12)), "y"]),
        comments="",
        fmt="%.6g",
    )
    return X


def test_a_line_is_found_told_and_written(run, walk, tmp_path):
    status, out, err = run("walk.csv", "--drop", "y", "--ordered", "--permute", 1)
    assert status == 0, err
    assert "Your 12 columns lie on a line of 12 positions." in out
    assert "geometry: " in err
    assert "read 500 rows of 12 columns (<b>" in " ".join(err.split())
    assert "); no target" in err
    folder = tmp_path / "runs" / "discover" / "walk-1"
    assert {path.name for path in folder.iterdir()} == {
        "findings.json",
        "arrays.safetensors",
        "page.html",
    }
    findings = read_findings(folder)
    assert findings.recovery.recall == findings.recovery.precision == 1
    assert [findings.names[i] for i in range(3)] != ["<b>0", "<b>1", "<b>2"]
    origin = read_origin(folder)
    assert origin["command"] == "scratchconv discover walk.csv --drop y --ordered --permute 1"
    assert {"seed", "version", "hardware", "versions", "commit"} <= set(origin)
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "<b>0" not in page
    assert origin["command"] in page
    assert run("walk.csv", "--drop", "y")[0] == 0
    assert (tmp_path / "runs" / "discover" / "walk-2" / "page.html").is_file()


@pytest.mark.parametrize("control", ["independent", "shuffled-rows"])
def test_a_control_has_no_structure(control, run, walk, tmp_path):
    status, out, err = run("walk.csv", "--drop", "y", "--control", control, "--out", "a")
    assert status == 0, err
    assert "No structure: of the 12 columns" in out
    assert read_findings(tmp_path / "a").geometry.kind == "none"


def test_nothing_is_overwritten_unasked(run, walk, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "page.html").write_text("mine")
    status, _, err = run("walk.csv", "--drop", "y", "--out", "mine")
    assert (status, err.count("\n")) == (1, 1)
    assert "--overwrite" in err
    assert (tmp_path / "mine" / "page.html").read_text() == "mine"
    assert run("walk.csv", "--drop", "y", "--out", "mine", "--overwrite")[0] == 0
    assert "12 columns" in (tmp_path / "mine" / "page.html").read_text(encoding="utf-8")


def test_a_search_goes_on_where_it_was_broken_off(run, walk, tmp_path, monkeypatch):
    words = ("walk.csv", "--drop", "y", "--out", "a")

    def broken_off(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(discovering, "located", broken_off)
        status, _, err = run(*words)
        assert (status, err.splitlines()[-1]) == (
            130,
            "stopped; the stages that are done are kept: add --resume --out a to go on",
        )
    status, _, err = run(*words)
    assert status == 1
    assert "add --resume to go on with it, --overwrite" in err
    status, _, err = run(*words, "--seed", 1, "--resume")
    assert status == 1
    assert "of other data, options" in err
    with monkeypatch.context() as patched:
        patched.setattr(discovering, "dependence", broken_off)
        status, out, err = run(*words, "--resume")
    assert status == 0, err
    assert "there already: dependence" in err
    assert "12 columns lie on a line" in out
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "findings.json",
        "arrays.safetensors",
        "page.html",
    }
    status, _, err = run(*words, "--resume")
    assert status == 1
    assert "is finished" in err
    assert run("walk.csv", "--resume")[0] == 1


@pytest.mark.parametrize("at", ["write_findings", "write_discovery"])
def test_what_was_broken_off_while_it_was_written_is_finished(at, run, walk, tmp_path, monkeypatch):
    words = ("walk.csv", "--drop", "y", "--out", "a")
    write = getattr(discover, at)

    def broken_off(*arguments, **options):
        if at == "write_findings":  # the arrays have their name, the findings have not
            write(*arguments, **options).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(discover, at, broken_off)
        status, _, err = run(*words)
    assert (status, "add --resume" in err) == (130, True)
    with monkeypatch.context() as patched:
        patched.setattr(discovering, "dependence", never)
        patched.setattr(discovering, "located", never)
        status, out, err = run(*words, "--resume")
    assert status == 0, err
    assert "12 columns lie on a line" in out
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "findings.json",
        "arrays.safetensors",
        "page.html",
    }


def test_findings_without_a_page_get_one_without_a_search(run, walk, tmp_path, monkeypatch):
    words = ("walk.csv", "--drop", "y", "--out", "a")
    assert run(*words)[0] == 0
    page, origin = (tmp_path / "a" / "page.html"), read_origin(tmp_path / "a")
    drawn = page.read_text()
    page.unlink()
    assert "--resume to go on with it" in run(*words)[2]
    status, _, err = run(*words, "--seed", 1, "--resume")
    assert status == 1
    assert "are those of `scratchconv discover walk.csv --drop y`: repeat it" in err
    monkeypatch.setattr(discover, "discover", never)
    status, _, err = run(*words, "--resume")
    assert status == 0, err
    assert page.read_text() == drawn
    assert read_origin(tmp_path / "a") == origin


def test_an_overwriting_search_that_was_broken_off_replaces_what_was_there(
    run, walk, tmp_path, monkeypatch
):
    assert run("walk.csv", "--drop", "y", "--out", "a")[0] == 0
    words = ("walk.csv", "--out", "a", "--drop", "y", "<b>3")

    def broken_off(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(discovering, "located", broken_off)
        assert run(*words, "--overwrite")[0] == 130
    assert read_findings(tmp_path / "a").columns == 12
    status, _, err = run(*words, "--resume")
    assert status == 0, err
    assert read_findings(tmp_path / "a").columns == 11
    assert "11 columns" in (tmp_path / "a" / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["page.html", "arrays.safetensors"])
def test_going_on_replaces_nothing_that_is_of_no_search(name, run, walk, tmp_path, monkeypatch):
    monkeypatch.setattr(discover, "discover", never)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text("mine")
    status, _, err = run("walk.csv", "--drop", "y", "--out", "a", "--resume")
    assert status == 1
    assert f"{name} is there without the findings of a search" in err
    assert (tmp_path / "a" / name).read_text() == "mine"


@pytest.mark.parametrize("how", ["--resume", "--overwrite"])
def test_stages_that_are_not_ours_stay(how, run, walk, tmp_path):
    mine = tmp_path / "a" / "stages" / "mine.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    status, _, err = run("walk.csv", "--drop", "y", "--out", "a", how)
    assert status == 0, err
    assert "there already" not in err
    assert mine.read_text() == "mine"
    assert "is finished" in run("walk.csv", "--drop", "y", "--out", "a", "--resume")[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing.csv"], "nothing.csv is not a file"),
        (["digit"], "Did you mean 'digits'"),
        (["walk.csv", "--target", "z"], "no column 'z'"),
        (["walk.csv", "--drop", "z"], "no column 'z' to drop"),
        (["walk.csv", "--source", "labels"], "labels"),
        (["walk.csv", "--rows", "0"], "--rows 0"),
        (["walk.csv", "--whiten", "0"], "--whiten 0"),
        (["walk.csv", "--permute", "-1"], "--permute -1: must be a whole number of at least 0"),
        (["walk.csv", "--seed", "-1"], "--seed -1: must be a whole number of at least 0"),
        (["walk.csv", "--seed", 2**32], "--seed 4294967296: must be at most 4294967295"),
        (["digits", "--target", "y"], "--target is for files"),
        (["cifar10", "--data-dir", "."], "scratchconv data fetch cifar10"),
        (["spoken-digits", "--data-dir", "."], "git clone"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(words, told, run, walk, tmp_path):
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert told in line
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_every_option_reaches_the_search(run, walk, monkeypatch):
    asked = {}

    class Reached(Exception):
        pass

    def stand_in(X, y, **options):
        asked.update(options, X=X, y=y)
        raise Reached

    monkeypatch.setattr(discover, "discover", stand_in)
    with pytest.raises(Reached):
        run("walk.csv", "--target", "y", "--task", "regression", "--source", "data", "--rows", 60,
            "--seed", 5, "--no-networks", "--drop", "<b>3", "2")  # fmt: skip
    assert asked["X"].shape == (60, 10)
    assert asked["names"][:3] == ("<b>0", "<b>1", "<b>4")
    assert asked["y"].dtype == np.float64
    assert (asked["task"], asked["source"], asked["seed"]) == ("regression", "data", 5)
    assert asked["networks"] is False
    assert asked["test"] is None
    with pytest.raises(Reached):
        run("digits")
    assert asked["test"][0].shape == (360, 64)
    assert asked["true_geometry"].shape == (8, 8)
    assert (asked["source"], asked["networks"]) == ("auto", True)


def test_the_command_that_is_recorded_makes_the_same_options():
    options = DiscoverOptions(
        "a b.csv", target="y", drop=("u", "v w"), permute=0, whiten=1e-3, no_networks=True
    )
    assert options.command() == (
        "scratchconv discover 'a b.csv' --target y --drop u 'v w' --permute 0 --whiten 0.001"
        " --no-networks"
    )


def test_whitening_and_shuffling_are_done_in_an_order_that_does_not_matter():
    both = read_options(DiscoverOptions("digits", permute=2, whiten=0.1, rows=200))
    white = read_options(DiscoverOptions("digits", whiten=0.1, rows=200))
    order = [white.names.index(name) for name in both.names]
    np.testing.assert_allclose(both.X, white.X[:, order], atol=2e-4)


def test_other_commands_do_without_scikit_learn():
    code = "import sys, scratchconv.cli; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ)).returncode == 0
