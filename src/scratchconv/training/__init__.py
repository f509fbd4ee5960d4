"""From a run configuration to a finished run directory; see `RunConfig` and `train`."""

from scratchconv.training.config import RunConfig
from scratchconv.training.loop import Stopped
from scratchconv.training.progress import Progress, Silent
from scratchconv.training.run_directory import Run, load_run, load_weights
from scratchconv.training.start import train
from scratchconv.training.trained import load_dataset, load_model

__all__ = [
    "Progress",
    "Run",
    "RunConfig",
    "Silent",
    "Stopped",
    "load_dataset",
    "load_model",
    "load_run",
    "load_weights",
    "train",
]
