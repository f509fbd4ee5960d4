"""What stands below every table: how its runs were made."""

from __future__ import annotations

from typing import Any

from scratchconv.lab import RunRecord
from scratchconv.lab.provenance import augmentation, provenance, settings


def record(model: str, alpha: int, samples: int = 45_000, **config: Any) -> RunRecord:
    resolved = {"alpha": alpha, "train_size": samples}
    return RunRecord("k", {"model": model, "data": "cifar10", **config}, resolved, {})


def test_settings_are_those_of_the_runs_and_not_of_the_trials():
    runs = [record("s-fc", 16, epochs=40), record("s-conv", 48, epochs=10)]
    trial = record("s-local", 7, epochs=99, skip_test=True)
    failed = RunRecord("f", {"model": "d-fc", "epochs": 3}, {}, {}, failure="inf")
    assert settings([*runs, trial, failed]) == (
        "Settings: α: S-CONV 48, S-FC 16; epochs: 10 or 40; batches of 512; learning rate falling"
        " along a cosine; training samples: 45,000; augmentation: flips and crops."
    )
    assert settings([trial, failed]) == ""


def test_the_time_of_all_runs_counts_their_threads_and_their_trials():
    def timed(seconds: float, threads: int, **config: Any) -> RunRecord:
        hardware = {"cpu": "a", "threads": threads}
        result = {"seconds": seconds, "environment": {"hardware": hardware}}
        return RunRecord("k", config, {"precision": "fp32"}, result)

    said = provenance([timed(3600, 2), timed(600, 1, skip_test=True)])
    assert said.startswith("1\xa0run of 1\xa0seed and 1\xa0trial on validation data; last epoch.")
    assert said.endswith("2\xa0h 10\xa0min of a core by the clock, pauses included.")
    on_gpu = timed(7200, 16)
    on_gpu.result["environment"]["hardware"]["gpu"] = "H200"
    assert "; 2\xa0h 00\xa0min of a GPU by the clock" in provenance([on_gpu])
    assert "1\xa0h 00\xa0min of a core and 2\xa0h 00\xa0min of a GPU" in provenance(
        [on_gpu, timed(3600, 1)]
    )


def test_of_many_values_the_first_and_the_last_are_said():
    runs = [record("zhang-fc", 1, size, augment="none") for size in (10, 30, 100, 300, 1000)]
    said = settings(runs)
    assert "training samples: 10 to 1,000; augmentation: none." in said
    assert "α" not in said  # of one published size
    assert "training samples: 10, 30, 100 or 300;" in settings(runs[:4])


def test_units_of_3_fc_are_no_alpha_and_digits_are_not_augmented():
    runs = [record("3-fc", 2530), record("s-fc", 4, data="digits")]
    said = settings(runs)
    assert "α: 3-FC 2,530 units, S-FC 4;" in said
    assert said.endswith("augmentation: flips and crops of CIFAR-10, none of digits.")


def test_what_is_not_known_of_where_a_run_was_made_is_said_so():
    said = provenance([record("s-fc", 4)])  # as installed, and not from a checkout
    assert "a CPU of unknown make, 1 thread a run" in said
    assert "commit unknown (made from no checkout)" in said


def test_augmentation_is_in_words_where_there_is_any():
    augmented, plain = record("s-fc", 4), record("s-fc", 4, data="digits")
    assert augmentation([augmented, augmented]) == "flips and crops"
    assert augmentation([plain]) == ""
    assert augmentation([augmented, plain]) == "flips and crops of CIFAR-10, none of digits"
