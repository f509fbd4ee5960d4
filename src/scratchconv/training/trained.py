"""The network that a run trained."""

from __future__ import annotations

from pathlib import Path

from scratchconv import models
from scratchconv.errors import RunDirectoryError
from scratchconv.training.run_directory import load_run, load_weights


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
