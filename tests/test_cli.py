"""The commands as a user types them: what they print, and with which status they end."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import scratchconv
from scratchconv import cli, data
from scratchconv.data.published_files import PUBLISHED, DataFile, Download, Published
from scratchconv.training import RunConfig, load_run, run_directory

SMALL = ["--data", "digits", "--alpha", "1", "--batch-size", "500", "--lam", "1e-4"]


@pytest.fixture
def run(capsys):
    """Runs a command in this process: its exit status, output and error output."""

    def command(*words):
        status = 0
        try:
            cli.main([str(word) for word in words])
        except SystemExit as ended:
            status = ended.code or 0
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return command


def assert_error(ended, *words, status=1):
    """One line on the error output, with these words, and that status."""
    found, out, err = ended
    assert (found, out) == (status, "")
    assert err.count("\n") == 1
    assert err.startswith("error: ") == (status == 1)
    for word in words:
        assert word in err


def test_version(run):
    assert run("--version") == (0, f"scratchconv {scratchconv.__version__}\n", "")


@pytest.mark.parametrize("words", ["--version", "--help"])
def test_a_closed_output_is_no_error(words, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with contextlib.suppress(SystemExit):  # by which help ends
        cli.main([words])
    sys.stdout.close()


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_alone_it_shows_where_to_begin(words, run):
    status, out, _ = run(*words)
    assert status == 0
    for word in ("scratchconv demo", "train", "report", "data", "--version"):
        assert word in out


FLAGS = {
    "train": [
        *(f"--{field.name.replace('_', '-')}" for field in fields(RunConfig)),
        "--out",
        "--resume",
    ],
    "demo": ["--data", "--data-dir", "--out", "--resume", "digits", "cifar10"],
    "discover": [
        "FILE_OR_DATASET",
        *("--target", "--drop", "--task", "--ordered", "--permute", "--whiten", "--control"),
        *("--source", "--rows", "--no-networks", "--seed", "--out", "--data-dir", "--overwrite"),
    ],
    "report": ["RUN_DIR", "--out", "--title", "--overwrite"],
    "export": ["RUN_DIR", "--out", "--data-dir", "--overwrite"],
    "data": ["list", "fetch", "verify"],
    "data list": ["--data-dir"],
    "data fetch": ["NAME", "--data-dir", "--overwrite"],
    "data verify": ["NAME", "--data-dir"],
}


@pytest.mark.parametrize("command", FLAGS)
def test_help_names_every_flag(command, run):
    status, out, _ = run(*command.split(), "--help")
    assert status == 0
    for flag in FLAGS[command]:
        assert f"{flag} " in out or f"{flag}\n" in out or f"{flag}," in out or f"{flag}}}" in out
    assert "None" not in out


def test_help_of_train_tells_what_every_setting_is(run):
    _, out, _ = run("train", "--help")
    flat = " ".join(out.replace("│", " ").split())
    for name in (*scratchconv.models.NAMES, *data.NAMES, *scratchconv.optim.METHODS):
        assert name in flat
    assert flat.count("(default: ") == len(fields(RunConfig)) + 1  # and --resume


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "--alpha", "8"], "--out"),
        (["train", "--out", "x", "--alpha", "eight"], "--alpha"),
        (["train", "--out", "x", "--alpha", "1.5"], "--alpha"),
        (["train", "--out", "x", "--alpa", "8"], "--alpha"),
        (["train", "--out", "x", "--augment", "some"], "auto"),
        (["demo", "--data", "mnist"], "digits"),
        (["data"], "fetch"),
        (["trian"], "train"),
    ],
)
def test_flags_that_cannot_be_understood(words, told, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--model", "s-cf"], "Did you mean 's-fc'?"),
        (["--data", "cifar"], "unknown dataset 'cifar'"),
        (["--method", "lars"], "choose from adam, beta-lasso"),
        (["--epochs", "0"], "--epochs 0"),
        (["--alpha", "none"], "--alpha (say 8) or --params"),
        (["--batch-size", "1437"], "--batch-size 1437 is more than"),
        (["--seed", "99999999999999999999"], "--seed"),
        (["--validation", "2000"], "validation 2000"),
        (["--lr", "nan"], "--lr nan"),
        (["--alpha", "99999999"], "choose a smaller alpha"),
        (["--params", "1e6"], "exactly one"),
        (["--method", "sgd"], "does not take lam"),
        (["--device", "tpu"], "--device tpu"),
        (["--device", "cuda:99"], "here there is"),
        (["--data", "cifar10", "--data-dir", __file__], "is no folder"),
        (["--data", "cifar10", "--data-dir", "."], "scratchconv data fetch cifar10"),
    ],
)
def test_settings_that_cannot_be_are_one_line(flags, told, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_error(run("train", *SMALL, "--out", "run", *flags), told)
    assert not list(tmp_path.iterdir())


def test_an_out_that_is_taken_is_one_line(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_error(run("train", *SMALL, "--out", tmp_path / "file"), "is a file")
    assert_error(run("train", *SMALL, "--out", tmp_path), "not empty")
    assert_error(run("train", *SMALL, "--out", tmp_path / "file" / "below"), "below")


def test_what_may_not_be_read_is_one_line(run, tmp_path, monkeypatch):
    def denied(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(run_directory.Path, "exists", denied)
    ended = run("train", *SMALL, "--out", tmp_path / "run")
    assert_error(ended, "Permission denied", str(tmp_path / "run"))


def test_train_report_resume(run, tmp_path, monkeypatch):
    out, page = tmp_path / "the run", tmp_path / "page.html"
    train = ["train", *SMALL, "--epochs", "2", "--out", out]
    status, shown, told = run(*train)
    assert (status, shown) == (0, "")
    assert "epoch 2/2" in told
    assert "test accuracy" in told
    result = load_run(out).result
    assert result["environment"]["command"] == (
        "scratchconv train --model s-fc --alpha 1 --data digits --method beta-lasso"
        " --lam 0.0001 --epochs 2 --batch-size 500 --data-dir DIR --out RUN_DIR"
    )

    assert_error(run(*train), "already holds a run", "--resume")
    status, _, told = run(*train, "--resume")
    assert (status, told) == (0, f"! {out} is finished already; nothing to do\n")
    assert_error(run(*train, "--seed", 1, "--resume"), "another run (seed 0 → 1)")

    assert run("report", out, "--out", page) == (0, f"wrote {page}\n", "")
    assert "S-FC" in page.read_text(encoding="utf-8")
    assert_error(run("report", out, "--out", page), "exists", "--overwrite")
    assert run("report", out, "--out", page, "--overwrite", "--title", "Mine")[0] == 0
    assert "Mine" in page.read_text(encoding="utf-8")


def test_a_run_is_exported_and_predicts_as_it_was_trained(run, tmp_path):
    out, file = tmp_path / "trained", tmp_path / "net.safetensors"
    assert run("train", *SMALL, "--epochs", "2", "--out", out)[0] == 0
    status, shown, _ = run("export", out, "--out", file)
    assert status == 0
    assert shown.startswith(f"wrote {file} (")

    test = data.load("digits").test
    predicted = scratchconv.load_predictor(file).predict(test.inputs)
    accuracy = (predicted == test.targets).double().mean().item()
    assert accuracy == load_run(out).result["test_accuracy"]

    assert_error(run("export", out, "--out", file), "exists", "--overwrite")
    (out / "result.json").unlink()
    status, _, told = run("export", out, "--out", file, "--overwrite")
    assert status == 0
    assert f"{out} is not finished (2 of 2 epochs are recorded)" in told
    assert_error(run("export", out, "--out", tmp_path / "net.pt"), ".safetensors or .onnx")
    assert_error(run("export", tmp_path / "none", "--out", tmp_path / "n.onnx"), "run directory")
    permuted = tmp_path / "permuted"
    assert run("train", *SMALL, "--epochs", 1, "--permute", 3, "--out", permuted)[0] == 0
    assert_error(run("export", permuted, "--out", tmp_path / "p.onnx"), "permuted pixels")


def test_a_run_without_test_data_or_an_end_is_reported_too(run, tmp_path):
    chosen, page = tmp_path / "chosen", tmp_path / "page.html"
    assert run("train", *SMALL, "--epochs", "1", "--skip-test", "--out", chosen)[0] == 0
    assert load_run(chosen).result["test_accuracy"] is None
    assert run("report", chosen, "--out", page)[0] == 0
    assert "validation set" in page.read_text(encoding="utf-8")
    (chosen / "result.json").unlink()
    assert run("report", chosen, "--out", page, "--overwrite")[0] == 0
    assert "unfinished" in page.read_text(encoding="utf-8")


def test_regression_is_trained_and_reported(run, tmp_path):
    out, page = tmp_path / "tree", tmp_path / "page.html"
    flags = ["--model", "3-fc", "--alpha", "8", "--data", "tree", "--method", "sgd", "--lr", "0.01"]
    status, _, told = run("train", *flags, "--epochs", "1", "--out", out)
    assert status == 0
    assert "test loss" in told
    assert run("report", out, "--out", page)[0] == 0


def test_a_report_of_nothing_is_one_line(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_error(run("report"), "no runs")
    assert_error(run("report", tmp_path), "no config.json")
    assert_error(run("report", "absent"), "no config.json")


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "result.json"])
def test_a_report_of_damaged_records_is_one_line(name, run, tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "config.json").write_text('{"format": 1, "config": {}, "resolved": {}}')
    (directory / name).write_bytes(b"\xff{\n\x00\n")
    assert_error(run("report", directory, "--out", tmp_path / "page.html"), name)
    assert not (tmp_path / "page.html").exists()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    """A dataset of one file, published by a server on this machine; yields its content."""
    content, site = b"0123456789" * 1000, tmp_path / "site"
    site.mkdir()
    (site / "numbers.bin").write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = DataFile("numbers.bin", len(content), hashlib.md5(content).hexdigest())
    url = f"http://127.0.0.1:{server.server_port}/numbers.bin"
    download = Download((url,), file.path, file.size, file.md5)
    source = Published(("numbers",), (file,), (download,), 900, 100, (1, 1, 1), ("0",))
    monkeypatch.setitem(PUBLISHED, "numbers", source)
    yield content
    server.shutdown()
    server.server_close()


def test_data_is_listed_fetched_and_verified(numbers, run, tmp_path):
    # Brackets are markup to rich, but not here.
    folder = tmp_path / "[red]data"
    listed = run("data", "list", "--data-dir", folder)
    assert listed[0] == 0
    for name in data.NAMES:
        assert name in listed[1]
    assert "not here" in listed[1]

    status, out, err = run("data", "verify", "numbers", "--data-dir", folder)
    assert status == 1
    assert out.startswith("missing")
    assert f"scratchconv data fetch numbers --overwrite --data-dir '{folder}'" in err

    status, out, _ = run("data", "fetch", "numbers", "--data-dir", folder)
    assert (status, out) == (0, f"numbers is complete in {folder / 'numbers'}\n")
    assert (folder / "numbers" / "numbers.bin").read_bytes() == numbers
    assert run("data", "fetch", "numbers", "--data-dir", folder) == (status, out, "")

    status, out, _ = run("data", "verify", "numbers", "--data-dir", folder)
    assert status == 0
    assert out.startswith("ok")
    listed = "".join(word for word in run("data", "list", "--data-dir", folder)[1].split())
    assert "[red]data" in listed.replace("│", "")

    (folder / "numbers" / "numbers.bin").write_bytes(b"other")
    ended = run("data", "fetch", "numbers", "--data-dir", folder)
    assert_error(ended, "not the published file", "--overwrite")
    assert run("data", "verify", "numbers", "--data-dir", folder)[0] == 1
    assert run("data", "fetch", "numbers", "--data-dir", folder, "--overwrite")[0] == 0
    assert (folder / "numbers" / "numbers.bin").read_bytes() == numbers


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_data_that_is_not_of_files_is_one_line(command, run):
    assert_error(run("data", command, "digits"), "choose from cifar10, cifar100")


def test_data_for_a_folder_that_cannot_be_is_one_line(numbers, run, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_error(run("data", "fetch", "numbers", "--data-dir", tmp_path / "file"), "file")
    assert run("data", "list", "--data-dir", tmp_path / "file")[0] == 0


def test_demo_refuses_what_it_may_not_write_over(run, tmp_path):
    (tmp_path / "letter").write_text("mine")
    assert_error(run("demo", "--out", tmp_path), "not empty", "--resume")
    assert_error(run("demo", "--resume"), "--resume needs --out")


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (KeyboardInterrupt(), "stopped\n", 130),
        (scratchconv.training.Stopped("stopped as asked"), "stopped as asked\n", 130),
        (scratchconv.errors.ScratchconvError("one\n  two"), "error: one two\n", 1),
        (
            OSError(5, "Input/output error", "/mnt"),
            "error: [Errno 5] Input/output error: '/mnt'\n",
            1,
        ),
    ],
)
def test_how_commands_end(error, line, status, run, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(cli.report, "write", fail)
    assert run("report", "x") == (status, "", line)


def test_what_is_no_fault_of_the_user_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr(cli.report, "write", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("report", "x")


def start(*words, **options):
    program = [sys.executable, "-m", "scratchconv", *(str(word) for word in words)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_as_processes(run, tmp_path):
    """Ctrl-C while training, a reader that goes away, and an encoding without λ."""
    out = tmp_path / "run"
    train = ["train", *SMALL, "--epochs", "100000", "--out", out]
    training = start(*train)
    abandoned = start("train", "--help")
    abandoned.stdout.close()
    ascii_only = start("train", "--help", env={**os.environ, "PYTHONIOENCODING": "ascii"})

    deadline = time.monotonic() + 180  # three processes load torch beside others
    while not (out / "metrics.jsonl").exists():
        assert training.poll() is None, training.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    training.send_signal(signal.SIGINT)
    _, told = training.communicate(timeout=60)
    assert training.returncode == 130
    assert b"Traceback" not in told
    assert told.decode().splitlines()[-1].startswith("stopped as asked after saving step-")
    config = json.loads((out / "config.json").read_text())["config"]
    assert config["epochs"] == 100_000
    assert load_run(out).result is None

    assert abandoned.wait(60) == 1
    assert abandoned.stderr.read() == b""
    shown, told = ascii_only.communicate(timeout=60)
    assert (ascii_only.returncode, told) == (0, b"")
    assert b"Strength ? of the" in shown
    abandoned.stderr.close()
