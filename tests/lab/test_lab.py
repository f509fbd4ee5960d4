"""The lab makes every run once, reuses what is there, and mixes nothing in silently."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import active_children, get_context
from pathlib import Path

import pytest
from filelock import FileLock

from scratchconv import __version__
from scratchconv.errors import InvalidArgument, RunDirectoryError, ScratchconvError
from scratchconv.lab import Lab, LabOptions, jobs, read_records, run_key
from scratchconv.lab import lab as lab_module
from scratchconv.lab.records import FILE, write_records
from scratchconv.lab.scales import LAPTOP, SCALES, SMOKE, find_scale
from scratchconv.training import (
    RunConfig,
    Silent,
    Stopped,
    checkpoint,
    environment,
    load_run,
    train,
)


class Told:
    """A progress that remembers what it was told."""

    def __init__(self):
        self.made, self.reused, self.lines, self.notes = [], 0, [], []

    def plan(self, labels, epochs, reused, finished=()):
        self.reused += reused

    def finished(self, record):
        self.made.append(record.key)

    def under_way(self, epochs): ...

    def begin(self, config, resolved, done):
        self.lines.append(done)

    def step(self, done, loss): ...

    def epoch(self, metrics): ...

    def note(self, text):
        self.notes.append(text)

    def end(self, result): ...


def new_lab(out: Path, name: str = "first", **options: object) -> Lab:
    return Lab(name, SMOKE, LabOptions(out, **options), progress=Told())


def count_weights(directory: Path, data_dir: Path | None) -> dict[str, int]:
    return {"parameters": load_run(directory).resolved["parameters"]}


def test_a_run_is_made_once_for_all_experiments(tmp_path):
    first = new_lab(tmp_path)
    config = first.config("3-fc", "cifar10")
    assert config.data == "digits"  # the smoke scale has its stand-in
    made = first.train({"one": config, "the same": replace(config)})
    assert made["one"] is made["the same"]
    assert len(first.progress.made) == 1

    second = new_lab(tmp_path, "second")
    again = second.train({"another name": config})["another name"]
    assert second.progress.made == []
    assert again == made["one"]

    shutil.rmtree(tmp_path / "runs")  # the record is enough
    assert new_lab(tmp_path, "third").train({"one": config})["one"] == made["one"]


def test_a_finished_run_directory_is_taken_without_a_record(tmp_path):
    first = new_lab(tmp_path)
    config = first.config("3-fc", "cifar10")
    record = first.train({"one": config})["one"]
    (tmp_path / "first" / FILE).unlink()
    again = new_lab(tmp_path)
    assert again.train({"one": config})["one"] == record
    assert again.progress.lines == []  # no training began


def test_what_is_measured_later_is_added_and_nothing_lost(tmp_path):
    first = new_lab(tmp_path)
    config = first.config("3-fc", "cifar10")
    assert first.train({"one": config}, epochs=True)["one"].epochs
    record = new_lab(tmp_path, "second").train({"one": config}, measure=count_weights)["one"]
    assert lab_module.measured(record, count_weights) == {
        "parameters": record.resolved["parameters"]
    }
    assert len(record.epochs) == config.epochs
    drawn = new_lab(tmp_path, "second", redraw=True)
    drawn.train({"one": config}, measure=count_weights, epochs=True)
    assert drawn.progress.made == []


def test_a_run_whose_weights_are_needed_is_made_again_where_only_its_record_is_left(tmp_path):
    first = new_lab(tmp_path)
    config = first.config("3-fc", "cifar10")
    first.train({"one": config})
    shutil.rmtree(tmp_path / "runs")
    second = new_lab(tmp_path, "second")
    second.train({"one": config})
    assert second.progress.made == []
    second.train({"one": config}, weights=True)
    assert len(second.progress.made) == 1
    assert any(second.directory(config).glob("checkpoints/*.safetensors"))
    new_lab(tmp_path, "third", redraw=True).train({"one": config}, weights=True)
    shutil.rmtree(second.directory(config) / "checkpoints")
    with pytest.raises(RunDirectoryError, match="checkpoints are gone: delete the folder"):
        new_lab(tmp_path, "fourth").train({"one": config}, weights=True)


def test_runs_on_other_connections_are_other_runs(tmp_path):
    config = new_lab(tmp_path).config("s-fc", "cifar10")
    learned = [replace(config, connections_from=tmp_path / name) for name in ("a-1", "a-2")]
    assert len({run_key(c) for c in (config, *learned)}) == 3
    assert run_key(learned[0]) == run_key(replace(learned[0], connections_from=Path("b/a-1")))


def test_what_was_trained_on_connections_is_made_again_where_these_are_others_by_now(
    tmp_path, monkeypatch
):
    first = new_lab(tmp_path)
    source = first.config("s-fc", "cifar10")
    on_it = replace(source, seed=5, connections_from=first.directory(source))
    first.train({"source": source})
    assert first.lacks(on_it)
    first.train({"on it": on_it})
    shutil.rmtree(tmp_path / "runs")

    second = new_lab(tmp_path)
    second.train({"source": source})
    assert not second.lacks(on_it)
    time.sleep(1.1)  # records tell whole seconds
    second.train({"source": source}, weights=True)
    assert not second.lacks(on_it)  # to the bit what it was: its connections are the same
    shutil.rmtree(tmp_path / "runs")
    assert second.lacks(on_it)  # nothing tells that they are

    third = new_lab(tmp_path)
    third.train({"source": source}, weights=True)
    third.train({"on it": on_it})
    assert len(third.progress.made) == 1  # the source; what was trained on the same is recorded
    monkeypatch.setattr(lab_module, "_connections_now", lambda config: "others")
    assert third.lacks(on_it)
    third.train({"on it": on_it})
    assert len(third.progress.made) == 2
    shutil.rmtree(third.directory(source))
    time.sleep(1.1)
    fourth = new_lab(tmp_path)
    fourth.train({"source": source}, weights=True)
    with pytest.raises(RunDirectoryError, match=r"no longer has: delete the former"):
        fourth.train({"on it": on_it})


def test_a_run_on_connections_is_drawn_from_its_record(tmp_path):
    first = new_lab(tmp_path)
    source = first.config("s-fc", "cifar10")
    on_it = replace(source, seed=5, connections_from=first.directory(source))
    first.train({"source": source})
    first.train({"on it": on_it})
    shutil.rmtree(tmp_path / "runs")
    drawn = new_lab(tmp_path, redraw=True)
    drawn.train({"source": source})
    assert drawn.train({"on it": on_it})["on it"].failure == ""


def test_ctrl_c_between_two_runs_says_how_to_go_on(tmp_path, monkeypatch):
    lab = new_lab(tmp_path)
    config = lab.config("3-fc", "cifar10")

    def interrupted(record):
        raise KeyboardInterrupt

    monkeypatch.setattr(lab.progress, "finished", interrupted)
    with pytest.raises(Stopped, match="--resume"):
        lab.train({"one": config})
    assert not new_lab(tmp_path).lacks(config)  # its record was written before


def test_redrawing_makes_no_run(tmp_path):
    lab = new_lab(tmp_path, redraw=True)
    with pytest.raises(RunDirectoryError, match=r"the first is one.*without --redraw"):
        lab.train({"one": lab.config("3-fc", "cifar10")})
    assert not (tmp_path / "runs").exists()


def test_runs_of_another_version_are_not_mixed_in_silently(tmp_path):
    first = new_lab(tmp_path)
    config = first.config("3-fc", "cifar10")
    record = first.train({"one": config})["one"]
    old = {**record.result, "environment": {**record.result["environment"], "version": "0.0.9"}}
    write_records(tmp_path / "first" / FILE, [replace(record, result=old)])
    with pytest.raises(RunDirectoryError, match=r"scratchconv 0\.0\.9.*--any-version"):
        new_lab(tmp_path).train({"one": config})
    taken = new_lab(tmp_path, any_version=True).train({"one": config})["one"]
    assert taken.version == "0.0.9"


@pytest.mark.parametrize("other", [{"version": "0.0.9"}, {"started": "2001-01-01T00:00:00+00:00"}])
@pytest.mark.parametrize("folders", [("a", "b"), ("b", "a")])
def test_what_was_measured_on_another_run_is_not_taken_for_this_one(tmp_path, other, folders):
    first = new_lab(tmp_path)
    config = first.config("3-fc", "cifar10")
    record = first.train({"one": config}, epochs=True)["one"]
    (tmp_path / "first" / FILE).unlink()
    environment = record.result["environment"] | other
    measures = {f"{count_weights.__module__}:count_weights": {"parameters": -1}}
    of_another = replace(
        record, result=record.result | {"environment": environment}, epochs=[], measured=measures
    )
    for folder, found in zip(folders, (of_another, record), strict=True):
        (tmp_path / folder).mkdir()
        write_records(tmp_path / folder / FILE, [found])
    taken = new_lab(tmp_path, "c").train({"one": config}, measure=count_weights, epochs=True)["one"]
    assert taken.result == record.result
    assert taken.epochs == record.epochs
    assert lab_module.measured(taken, count_weights)["parameters"] > 0


def test_runs_of_another_commit_are_told_of_once(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "commit", lambda: "ba9876543210")
    made = new_lab(tmp_path)
    config = made.config("s-fc", "cifar10")
    made.train({"a": config})
    monkeypatch.setattr(lab_module, "commit", lambda: "ba9876543210")
    same = new_lab(tmp_path)
    same.train({"a": config})
    assert same.progress.notes == []
    monkeypatch.setattr(lab_module, "commit", lambda: "0123456789ab")
    later = new_lab(tmp_path, "second")
    for name in ("a", "b"):
        later.train({name: config})
    expected = "made at commit ba9876543210, this is 0123456789ab"
    assert [expected in note for note in later.progress.notes] == [True]
    redrawn = new_lab(tmp_path, redraw=True)
    redrawn.train({"a": config})
    assert redrawn.progress.notes == []


def test_a_failure_of_another_version_is_no_failure_of_this_one(tmp_path):
    first = new_lab(tmp_path)
    wild = first.config("3-fc", "cifar10", lr=1e30)
    record = first.train({"wild": wild})["wild"]
    assert record.failure
    assert record.version == __version__
    again = new_lab(tmp_path)
    assert again.train({"wild": wild})["wild"] == record
    assert again.progress.made == []
    for result, told in (
        ({"environment": record.result["environment"] | {"version": "0.0.9"}}, r"0\.0\.9"),
        ({}, "an unknown version"),
    ):
        write_records(tmp_path / "first" / FILE, [replace(record, result=result)])
        with pytest.raises(RunDirectoryError, match=rf"scratchconv.*{told}.*--any-version"):
            new_lab(tmp_path).train({"wild": wild})
        taken = new_lab(tmp_path, any_version=True).train({"wild": wild})["wild"]
        assert taken.failure == record.failure


def test_several_processes_make_the_same_runs(tmp_path):
    alone, together = new_lab(tmp_path / "alone"), new_lab(tmp_path / "together", jobs=2)
    configs = {f"seed {s}": alone.config("s-fc", "cifar10", seed=s) for s in range(2)}
    expected, found = alone.train(configs), together.train(configs)
    assert sorted(together.progress.made) == sorted(r.key for r in expected.values())
    for name, record in found.items():
        # One thread a process: last digits may differ.
        assert record.accuracy() == pytest.approx(expected[name].accuracy(), abs=1.0)
        assert record.result["environment"]["hardware"]["threads"] == jobs.threads_for(2)


def test_what_runs_in_other_processes_have_to_say_is_told(tmp_path):
    lab = new_lab(tmp_path, jobs=2)
    configs = {f"seed {s}": lab.config("s-fc", "cifar10", seed=s) for s in range(2)}
    for config in configs.values():
        with pytest.raises(Stopped):
            train(replace(config, checkpoint_seconds=0), lab.directory(config), progress=_Stops())
        newest = checkpoint.paths(lab.directory(config) / "checkpoints")[0]
        newest.write_bytes(newest.read_bytes()[:1000])
    lab.train(configs)
    said = [note for note in lab.progress.notes if "going back to the checkpoint before it" in note]
    assert len(said) == 2


class _Stops(Silent):
    """Asks a run to stop once it has an epoch behind it."""

    def epoch(self, metrics):
        signal.raise_signal(signal.SIGINT)


def test_after_an_error_the_callers_own_processes_live_on(tmp_path):
    own = get_context("spawn").Process(target=time.sleep, args=(60,))
    own.start()
    try:
        config = new_lab(tmp_path).config("s-fc", "cifar10")
        wanted = [
            jobs.Job(replace(config, seed=seed), tmp_path / f"seed {seed}", ("no_such:measure",))
            for seed in range(2)
        ]
        with pytest.raises(ModuleNotFoundError, match="no_such"):
            list(jobs.run_jobs(wanted, at_once=2, cluster=None, progress=Told()))
        assert own.is_alive()
    finally:
        own.kill()


def test_a_directory_of_another_run_is_not_recorded_as_this_one(tmp_path):
    lab = new_lab(tmp_path)
    config = lab.config("s-fc", "cifar10")
    lab.train({"one": config})
    wanted = jobs.Job(replace(config, lr=0.01), lab.directory(config))
    with pytest.raises(RunDirectoryError, match=r"holds another run \(lr 0.1 → 0.01\)"):
        jobs.run_job(wanted)


def test_a_cluster_needs_ray_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    lab = new_lab(tmp_path, cluster="local")
    with pytest.raises(InvalidArgument, match=r"pip install 'scratchconv\[cluster\]'"):
        lab.train({"one": lab.config("3-fc", "cifar10")})


def test_a_cluster_makes_the_same_runs(tmp_path):
    pytest.importorskip("ray")
    alone, spread = new_lab(tmp_path / "alone"), new_lab(tmp_path / "spread", cluster="local")
    configs = {f"seed {s}": alone.config("s-fc", "cifar10", seed=s) for s in range(2)}
    expected, found = alone.train(configs), spread.train(configs)
    assert sorted(spread.progress.made) == sorted(r.key for r in expected.values())
    for name, record in found.items():
        assert record.accuracy() == pytest.approx(expected[name].accuracy(), abs=1.0)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_request_to_stop_reaches_all_processes_and_what_they_did_is_kept(tmp_path):
    command = [sys.executable, "-m", "scratchconv", "reproduce", "permutation", "--scale", "smoke"]
    command += ["--jobs", "2", "--resume", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/lock")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "--resume" in told
    for lock in tmp_path.glob("runs/*/lock"):  # nobody holds it any more
        FileLock(lock).acquire(timeout=10)


_TWO_LONG_RUNS = """
import signal
import sys
from dataclasses import replace
from pathlib import Path
from scratchconv.lab import Lab, LabOptions
from scratchconv.lab.scales import SMOKE

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started by
    lab = Lab("two", SMOKE, LabOptions(Path(sys.argv[1]), jobs=2))
    config = lab.config("s-fc", "cifar10", epochs=10**6)
    lab.train({f"seed {seed}": replace(config, seed=seed) for seed in range(2)})
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_ctrl_c_at_a_terminal_which_all_processes_get_saves_what_is_under_way(tmp_path):
    script = tmp_path / "two_long_runs.py"
    script.write_text(_TWO_LONG_RUNS, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    under_way = [path.parent for path in tmp_path.glob("runs/*/metrics.jsonl")]
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert "stopping; runs under way save their state" in told
    assert under_way
    for run in under_way:
        assert list((run / "checkpoints").glob("*.safetensors")), told


_KILLS_ITS_PROCESS = """
import os
import signal

def killed(directory, data_dir):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_process_that_is_killed_is_an_error_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "kills_its_process.py").write_text(_KILLS_ITS_PROCESS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)  # other processes are given the path as well
    config = new_lab(tmp_path).config("s-fc", "cifar10", epochs=1)
    wanted = [
        jobs.Job(replace(config, seed=seed), tmp_path / f"seed {seed}", measures)
        for seed, measures in enumerate([("kills_its_process:killed",), ()])
    ]
    with pytest.raises(ScratchconvError, match=r"was killed.* fewer --jobs.* --resume") as error:
        list(jobs.run_jobs(wanted, at_once=2, cluster=None, progress=Told()))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_no_run_begins_after_a_request_to_stop(tmp_path):
    config = new_lab(tmp_path).config("s-fc", "cifar10")
    wanted = [
        jobs.Job(replace(config, epochs=1 if number == 0 else 10**6), tmp_path / str(number))
        for number in range(6)
    ]
    records = jobs.run_jobs(wanted, at_once=2, cluster=None, progress=Told())
    next(records)
    records.close()
    for process in active_children():
        process.join(timeout=60)
        assert not process.is_alive()
    # The first is made, the second was under way, the third may have taken the first one's place.
    assert not [number for number in range(3, 6) if (tmp_path / str(number)).exists()]


def test_the_best_is_chosen_on_validation_data_and_another_seed(tmp_path, monkeypatch):
    lab = new_lab(tmp_path)
    candidates = [lab.config("s-fc", "cifar10", lr=lr) for lr in (1e-6, 0.1, 0.2)]
    alone = lab.config("3-fc", "cifar10")
    asked = []

    def train(configs, **_):
        asked.append(list(configs.values()))
        return {name: _scored(c) for name, c in configs.items()}

    def _scored(config):
        return _Record({1e-6: 0.1, 0.1: 0.9, 0.2: None}[config.lr])

    monkeypatch.setattr(lab, "train", train)
    chosen = lab.choose({"three": candidates, "two": candidates[:2], "one": [alone]})
    assert chosen == {"three": candidates[1], "two": candidates[1], "one": alone}
    (together,) = asked  # all trials of all names at once, none where there is nothing to choose
    assert {c.lr for c in together} == {1e-6, 0.1, 0.2}
    assert all(c.skip_test and c.seed == SMOKE.search_seed for c in together)
    assert {c.model for c in together} == {"s-fc"}
    by_largest = lab.choose({"two": candidates[:2]}, score=lambda r: -r.accuracy("validation"))
    assert by_largest["two"] == candidates[0]
    with pytest.raises(ScratchconvError, match="of no candidate did the loss stay finite"):
        lab.choose({"none": [candidates[2], candidates[2]]})


def test_records_are_never_taken_out_of_their_file(tmp_path):
    lab = new_lab(tmp_path)
    configs = {name: lab.config(name, "cifar10") for name in ("3-fc", "s-fc")}
    lab.train(configs)
    fewer = new_lab(tmp_path)
    fewer.train({"3-fc": configs["3-fc"]})
    fewer.write()
    assert len(read_records(tmp_path / "first" / FILE)) == 2
    again = new_lab(tmp_path)
    again.train({"new": lab.config("s-fc", "cifar10", seed=7)})  # as one that is broken off then
    assert len(read_records(tmp_path / "first" / FILE)) == 3


def test_two_labs_at_one_experiment_keep_each_other_s_records(tmp_path):
    labs = new_lab(tmp_path), new_lab(tmp_path)
    for seed, lab in enumerate(labs):
        lab.train({"one": lab.config("s-fc", "cifar10", seed=seed)})
    assert len(read_records(tmp_path / "first" / FILE)) == 2
    labs[0].write()
    assert len(read_records(tmp_path / "first" / FILE)) == 2


def test_an_experiment_s_own_record_stands_before_a_later_one_of_another(tmp_path):
    first = new_lab(tmp_path)
    config = first.config("3-fc", "cifar10")
    made = first.train({"one": config})["one"]
    file = tmp_path / "first" / FILE
    file.write_text(file.read_text().replace(str(made.started), "2020-01-01T00:00:00+00:00"))
    own = read_records(file)[made.key]
    shutil.rmtree(tmp_path / "runs")
    # Made again, for its weights.
    other = new_lab(tmp_path, "second").train({"one": config}, weights=True)["one"]
    assert other.started > own.started
    assert new_lab(tmp_path).train({"one": config})["one"] == own
    assert new_lab(tmp_path, "second").train({"one": config})["one"] == other


def test_a_missing_record_is_said_in_a_line_with_the_remedy(tmp_path):
    lab = new_lab(tmp_path)
    lab.train({"one": lab.config("3-fc", "cifar10")})
    options = LabOptions(tmp_path, redraw=True)
    drawn = Lab("first", SMOKE, options, datasets=("digits", "tree"), progress=Told())
    asked = {f"seed {seed}": lab.config("3-fc", "cifar10", seed=seed) for seed in range(9)}
    with pytest.raises(RunDirectoryError, match=r"8 of 9.runs have no record") as error:
        drawn.train(asked)
    assert "the first is seed 1: --datasets digits, or make them first" in str(error.value)


def test_two_runs_of_one_name_are_not_mixed_up(tmp_path):
    lab = new_lab(tmp_path)
    one, other = (lab.config("3-fc", "cifar10", lr=lr) for lr in (0.1, 0.2))
    with pytest.raises(ValueError, match="two runs are named 'same'"):
        lab.train_groups({"a": {"same": one}, "b": {"same": other}})


class _Record:
    def __init__(self, score):
        self.key = str(score)
        self.failure = "" if score is not None else "the loss is infinite"
        self.result = {"validation_accuracy": score}

    def accuracy(self, split):
        assert split == "validation"
        return 100 * self.result["validation_accuracy"]


def test_a_run_that_diverges_is_a_record_of_its_failure(tmp_path):
    lab = new_lab(tmp_path)
    wild = lab.config("3-fc", "cifar10", lr=1e30)
    tame = lab.config("3-fc", "cifar10")
    records = lab.train({"wild": wild, "tame": tame})
    assert "loss" in records["wild"].failure or "weight" in records["wild"].failure
    with pytest.raises(ScratchconvError, match="no test accuracy"):
        records["wild"].accuracy()
    assert records["tame"].accuracy() > 10
    assert read_records(tmp_path / "first" / FILE).keys() == {run_key(wild), run_key(tame)}


def test_a_damaged_record_is_named(tmp_path):
    path = tmp_path / "first" / FILE
    path.parent.mkdir()
    path.write_text("{}\n")
    with pytest.raises(RunDirectoryError, match=r"records\.jsonl, line 1"):
        new_lab(tmp_path)


def test_a_key_stands_for_what_decides_the_result():
    config = RunConfig(alpha=8, lam=1e-4)
    assert run_key(config) == run_key(replace(config, data_dir=Path("elsewhere")))
    assert run_key(config) != run_key(replace(config, seed=1))
    assert run_key(config) != run_key(replace(config, engine="torch"))
    sgd = RunConfig(alpha=8, method="sgd")
    assert run_key(sgd) == run_key(replace(sgd, engine="torch"))  # nothing else could train it
    held = replace(sgd, pruning="random", density=0.1)  # alone, or masked in a dense layer
    assert run_key(held) != run_key(replace(held, engine="torch"))
    # Committed records are found by their keys: this one must never change.
    assert run_key(config) == KEY


KEY = "363ecc5c26c0"


def test_every_scale_sizes_every_network_and_keeps_its_search_seed_apart():
    for scale in SCALES.values():
        assert scale.search_seed not in scale.seeds
        assert set(scale.size("s-fc")) == {"alpha"}
        assert set(scale.size("3-fc")) == {"params"}
    assert LAPTOP.long > LAPTOP.short
    with pytest.raises(InvalidArgument, match=r"desktop.*laptop, paper"):
        find_scale("desktop")


def test_records_survive_a_round_trip(tmp_path):
    lab = new_lab(tmp_path)
    record = lab.train({"one": lab.config("3-fc", "cifar10")})["one"]
    path = tmp_path / "first" / FILE
    assert read_records(path) == {record.key: record}
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == [record.key]
