"""Spoken digits: recordings as rows of samples or of a spectrum, for `discover`.

The Free Spoken Digit Dataset (Jackson and others, github.com/Jakobovski/free-spoken-digit-dataset):
six speakers say each digit 50 times, wav files of 8 kHz. It comes as a git repository that grows;
no archive of it has a published hash, so it is not fetched but cloned by its user.
"""

from __future__ import annotations

import re
import shlex
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scratchconv.data.dataset import Dataset, Split
from scratchconv.errors import DataError

SPOKEN_DIGITS = "spoken-digits"
BINS = 128
RATE = 8000
TRAIN_SIZE, TEST_SIZE = 2700, 300
_REPOSITORY = "https://github.com/Jakobovski/free-spoken-digit-dataset"
_FOLDERS = (
    "free-spoken-digit-dataset/recordings",
    "free-spoken-digit-dataset-master/recordings",
    "fsdd/recordings",
    "spoken-digits/recordings",
    "recordings",
    "spoken-digits",
    ".",
)
_FILE = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")
_TESTED = 5
"""The first of each speaker's recordings of a digit are the test set, as the authors have it."""
_FLOOR = 1e-3
"""Power added before the logarithm: far below one step of a sample."""


@dataclass(frozen=True)
class _Recording:
    path: Path
    digit: int
    index: int


def how_to_get(directory: Path) -> str:
    """What a user has to do for the recordings to be there, as one clause."""
    return shlex.join(["git", "clone", _REPOSITORY, str(directory / "free-spoken-digit-dataset")])


def find_recordings(directory: Path) -> Path | None:
    """The folder in `directory` that holds the wav files; None where there is none."""
    for folder in _FOLDERS:
        if any(_FILE.fullmatch(path.name) for path in (directory / folder).glob("*_*_*.wav")):
            return directory / folder
    return None


def load_spoken_digits(directory: Path) -> Dataset:
    """Each recording's spectrum: float32 (n, 1, 1, 128), log power at 31.25, 62.5, …, 4000 Hz.

    By Welch's method: the mean over half-overlapping windows of 256 samples (32 ms) under a Hann
    window. Targets are the digits. Recordings 0 to 4 of each speaker and digit are the test set.

    Raises DataError where there are no recordings, or one of them cannot be read.
    """
    folder = find_recordings(directory)
    if folder is None:
        raise DataError(
            f"{directory} holds no recordings of {SPOKEN_DIGITS} (such as"
            f" {_FOLDERS[0]}/0_jackson_0.wav); get them by: {how_to_get(directory)}"
        )
    found = []
    for path in sorted(folder.glob("*.wav")):
        told = _FILE.fullmatch(path.name)
        if told:
            found.append(_Recording(path, int(told[1]), int(told[3])))
    inputs = torch.from_numpy(np.stack([_spectrum(_samples(one.path)) for one in found]))
    targets = torch.tensor([one.digit for one in found])
    tested = torch.tensor([one.index < _TESTED for one in found])
    if not tested.any() or tested.all():
        raise DataError(
            f"{folder} holds recordings of only one part: {SPOKEN_DIGITS} needs those numbered 0 to"
            f" {_TESTED - 1} for the test and later ones to train on"
        )
    train, test = (
        Split(inputs[part].view(-1, 1, 1, BINS), targets[part]) for part in (~tested, tested)
    )
    mean, deviation = float(train.inputs.mean()), float(train.inputs.std(correction=0))
    digits = tuple("0123456789")
    return Dataset(
        SPOKEN_DIGITS, train, test, digits, "classification", (mean,), (deviation or 1.0,)
    )


def bin_names() -> tuple[str, ...]:
    """`31.25 Hz` and so on."""
    return tuple(f"{(k + 1) * RATE / (2 * BINS):g} Hz" for k in range(BINS))


# What scipy raises of damaged headers: whatever they lead to.
_OF_DAMAGED = (struct.error, ArithmeticError, NameError, MemoryError, TypeError)


def _samples(path: Path) -> NDArray[np.float64]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            # scipy reads a file that ends too early with a warning, and one with further chunks.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            warnings.filterwarnings("error", "Reached EOF prematurely", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except (ValueError, OSError, EOFError, *_OF_DAMAGED, wavfile.WavFileWarning) as error:
        raise DataError(f"{path} is no wav file that can be read: {error}") from None
    if rate != RATE or samples.ndim != 1 or not len(samples):
        raise DataError(
            f"{path} has rate {rate} and shape {samples.shape}: recordings of {SPOKEN_DIGITS} have"
            f" one channel at {RATE} Hz"
        )
    return np.asarray(samples, np.float64)


def _spectrum(samples: NDArray[Any]) -> NDArray[np.float32]:
    from scipy.signal import welch

    short = 2 * BINS - len(samples)
    padded = np.pad(samples, (0, short)) if short > 0 else samples
    _, power = welch(padded, RATE, nperseg=2 * BINS)
    return np.asarray(np.log(power[1:] + _FLOOR), np.float32)
