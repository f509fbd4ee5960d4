"""Spoken digits: which recordings are found, what a row holds, and how to get them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.io import wavfile

from scratchconv import data
from scratchconv.data.spoken_digits import bin_names, load_spoken_digits
from scratchconv.errors import DataError, InvalidArgument


def tone(frequency: float, seconds: float = 0.3, rate: int = 8000) -> np.ndarray:
    at = np.arange(int(seconds * rate)) / rate
    noise = np.random.RandomState(0).randn(len(at))
    return (9000 * np.sin(2 * np.pi * frequency * at) + 5 * noise).astype(np.int16)


def recordings(folder, indices=(0, 4, 5, 49)):
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(3):
        for index in indices:
            wavfile.write(folder / f"{digit}_ann_{index}.wav", 8000, tone(500.0 * (digit + 1)))


@pytest.mark.parametrize(
    "inside", ["free-spoken-digit-dataset/recordings", "recordings", ".", "fsdd/recordings"]
)
def test_recordings_are_found_and_divided_as_their_authors_say(tmp_path, inside):
    recordings(tmp_path / inside)
    (tmp_path / inside / "notes.wav").write_text("not a recording")
    found = data.load("spoken-digits", tmp_path)
    assert found.image == (1, 1, 128)
    assert found.train.targets.tolist() == found.test.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.train.inputs.isfinite().all()


def test_a_tone_is_loudest_at_its_own_frequency(tmp_path):
    recordings(tmp_path)
    found = load_spoken_digits(tmp_path)
    loudest = found.train.inputs.flatten(1).argmax(1).tolist()
    assert [bin_names()[k] for k in loudest[::2]] == ["500 Hz", "1000 Hz", "1500 Hz"]


def test_a_recording_shorter_than_a_window_is_padded(tmp_path):
    recordings(tmp_path)
    wavfile.write(tmp_path / "0_ann_7.wav", 8000, tone(500, seconds=0.01))
    assert load_spoken_digits(tmp_path).train.inputs.isfinite().all()


def test_what_cannot_be_read_is_named(tmp_path):
    recordings(tmp_path)
    (tmp_path / "0_ann_6.wav").write_bytes(b"not a wav file")
    with pytest.raises(DataError, match=r"0_ann_6\.wav is no wav file"):
        load_spoken_digits(tmp_path)
    wavfile.write(tmp_path / "0_ann_6.wav", 16000, tone(500))
    with pytest.raises(DataError, match=r"0_ann_6\.wav has rate 16000"):
        load_spoken_digits(tmp_path)


def test_damaged_recordings_are_named_and_further_chunks_are_passed_over(tmp_path):
    recordings(tmp_path)
    path = tmp_path / "0_ann_6.wav"
    wavfile.write(path, 8000, tone(500))
    whole = path.read_bytes()
    damaged = [whole[:size] for size in (0, 10, 30, 44, len(whole) // 2)]
    damaged += [whole[:place] + b"\0\0" + whole[place + 2 :] for place in range(0, 44, 2)]
    said = []
    for content in damaged:
        path.write_bytes(content)
        try:
            load_spoken_digits(tmp_path)
        except DataError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all(path.name in line for line in said)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="Reached EOF"):
        load_spoken_digits(tmp_path)
    more = whole[:36] + b"junk" + (4).to_bytes(4, "little") + b"abcd" + whole[36:]
    path.write_bytes(more[:4] + (len(more) - 8).to_bytes(4, "little") + more[8:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_spoken_digits(tmp_path).train.inputs.isfinite().all()


def test_how_to_get_them_is_said_wherever_one_may_ask(tmp_path):
    with pytest.raises(DataError, match=r"git clone .*free-spoken-digit-dataset"):
        data.load("spoken-digits", tmp_path)
    for ask in (data.fetch, data.verify):
        folder = tmp_path / "my data"
        with pytest.raises(InvalidArgument, match="git clone") as error:
            ask("spoken-digits", folder)
        assert str(error.value).endswith(f" '{folder / 'free-spoken-digit-dataset'}'")
    (listed,) = [one for one in data.describe(tmp_path) if one.name == "spoken-digits"]
    assert listed.found is None
    assert "git clone" in listed.remedy
    recordings(tmp_path / "recordings", indices=(0, 1))
    with pytest.raises(DataError, match="only one part"):
        data.load("spoken-digits", tmp_path)
