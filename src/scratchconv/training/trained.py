"""The network that a run trained, and the data it was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scratchconv import data, models
from scratchconv.errors import RunDirectoryError
from scratchconv.training.config import RunConfig
from scratchconv.training.run_directory import load_run, load_weights
from scratchconv.training.samples import load_samples, split_samples


def load_model(directory: Path | str) -> models.Network:
    """The network of a run with the weights of its newest whole checkpoint, in evaluation mode.

    On the CPU, float32. Raises `RunDirectoryError` where the directory holds no run or no
    checkpoint, or the two do not fit.
    """
    run = load_run(directory)
    weights = load_weights(directory)
    try:
        model = models.build(
            run.config["model"],
            image=tuple(run.resolved["image"]),
            classes=max(1, run.resolved["classes"]),  # regression has one output
            alpha=run.resolved["alpha"],
            dropout=run.config["dropout"],
            kernel_size=run.config["kernel_size"],
        )
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise RunDirectoryError(
            f"{directory}: its checkpoint does not fit its configuration ({reason})"
        ) from error
    return model.eval()


def load_dataset(directory: Path | str, data_dir: Path | None = None) -> data.Dataset:
    """The data of a run: the samples it was trained on, and all that it may be tested on.

    `mean` and `std` are what its inputs were normalised by, which `analysis.attacked_accuracy` and
    an export need. Pixels are in their own places, also where the run had `permute`. `data_dir` is
    the folder of the dataset's files, as in `RunConfig`. Raises `RunDirectoryError` where the
    directory holds no run, `DataError` where the data are not there.
    """
    run = load_run(directory)
    try:
        config = RunConfig(**{**run.config, "data_dir": data_dir})
    except TypeError as error:
        raise RunDirectoryError(f"{directory} has settings unknown here ({error})") from error
    dataset = load_samples(config)
    return replace(dataset, train=split_samples(config, dataset)["train"])
