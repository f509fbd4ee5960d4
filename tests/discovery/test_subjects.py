"""What discover looks at: true places follow shuffled columns, and controls keep no structure."""

from __future__ import annotations

import numpy as np
import pytest

from scratchconv import data
from scratchconv.discovery.subjects import controlled, permuted, read_subject, whitened
from scratchconv.errors import InvalidArgument


@pytest.fixture(scope="module")
def digits():
    return read_subject("digits")


def test_true_places_and_names_follow_the_columns(digits):
    shuffled = permuted(digits, 3)
    order = [int(name.split(",")[0]) * 8 + int(name.split(",")[1]) for name in shuffled.names]
    assert sorted(order) == list(range(64)) != order
    assert np.array_equal(shuffled.X, digits.X[:, order])
    assert np.array_equal(shuffled.test[0], digits.test[0][:, order])
    geometry = shuffled.true_geometry
    places = geometry.coordinates[geometry.position_of]
    assert [f"{row:.0f},{column:.0f}" for row, column in places] == list(shuffled.names)
    assert np.array_equal(permuted(digits, 3).X, shuffled.X)
    assert not np.array_equal(permuted(digits, 4).X, shuffled.X)


def test_colours_of_a_pixel_share_its_true_position(tmp_path, monkeypatch):
    images = np.random.RandomState(0).randint(0, 255, (6, 3, 4, 5)).astype(np.uint8)
    import torch

    split = data.Split(torch.from_numpy(images), torch.arange(6))
    made = data.Dataset("cifar10", split, split, (), "classification", (0.5,) * 3, (1.0,) * 3)
    monkeypatch.setattr(data, "load", lambda *_, **__: made)
    subject = permuted(read_subject("cifar10"), 0)
    geometry = subject.true_geometry
    assert geometry.shape == (4, 5)
    for column, name in enumerate(subject.names):
        channel, row, along = map(int, name.split(","))
        assert np.array_equal(subject.X[:, column], images[:, channel, row, along])
        assert geometry.channel_of[column] == channel
        assert geometry.coordinates[geometry.position_of[column]].tolist() == [row, along]


def test_whitening_leaves_no_correlation_and_sees_training_rows_alone(digits):
    white = whitened(digits, 1e-6)
    live = digits.X.std(axis=0) > 0.5
    correlation = np.corrcoef(white.X[:, live], rowvar=False)
    assert np.abs(correlation - np.eye(live.sum())).max() < 0.02
    # Zero-phase: each white column is nearest to its own.
    both = np.corrcoef(white.X[:, live], digits.X[:, live], rowvar=False)
    across = both[: live.sum(), live.sum() :]
    assert (across.argmax(axis=1) == np.arange(live.sum())).all()
    halved = whitened(read_subject("digits", rows=700), 1e-6)
    assert not np.allclose(halved.test[0], white.test[0])
    with pytest.raises(InvalidArgument, match="above 0"):
        whitened(digits, 0.0)


def test_rows_of_a_file_are_held_out_before_it_is_whitened(tmp_path):
    path = tmp_path / "table.csv"
    rows = np.random.default_rng(0).normal(size=(100, 3)) @ np.ones((3, 3)) + np.eye(3)[0]
    rows = np.concatenate([rows, np.random.default_rng(1).normal(size=(100, 2))], axis=1)
    lines = ["a,b,c,d,e,y", *(",".join(map(str, [*row, i % 2])) for i, row in enumerate(rows))]
    path.write_text("\n".join(lines), encoding="utf-8")
    subject = whitened(read_subject(str(path), target="y"), 1e-3, seed=1)
    assert (len(subject.X), len(subject.test[0])) == (80, 20)
    np.testing.assert_allclose(subject.X.mean(axis=0), 0, atol=1e-4)
    assert np.abs(subject.test[0].mean(axis=0)).max() > 1e-2
    whole = whitened(read_subject(str(path)), 1e-3)  # no target, nothing to be tested
    assert (len(whole.X), whole.test) == (100, None)


def test_columns_of_one_category_are_shuffled_together(tmp_path):
    path = tmp_path / "table.csv"
    rng = np.random.default_rng(0)
    lines = [f"{rng.normal()},{rng.choice(['red', 'green', 'blue'])}" for _ in range(60)]
    path.write_text("\n".join(["size,colour", *lines]), encoding="utf-8")
    subject = read_subject(str(path))
    assert subject.variables == ("size", "colour", "colour", "colour")
    alone = controlled(subject, "independent", 0)
    assert (alone.X[:, 1:].sum(axis=1) == 1).all()
    assert not np.array_equal(alone.X[:, 1:], subject.X[:, 1:])
    assert np.array_equal(np.sort(alone.X, axis=0), np.sort(subject.X, axis=0))
    moved = permuted(subject, 3)
    assert [name.partition("=")[0] for name in moved.names] == list(moved.variables)


def test_controls_keep_the_numbers_and_nothing_else(digits):
    alone = controlled(digits, "independent", 0)
    assert np.array_equal(np.sort(alone.X, axis=0), np.sort(digits.X, axis=0))
    live = digits.X.std(axis=0) > 0
    upper = np.triu_indices(live.sum(), 1)
    left, before = (np.abs(np.corrcoef(one.X[:, live].T)[upper]).mean() for one in (alone, digits))
    assert left < 0.03 < 0.1 < before
    rows = controlled(digits, "shuffled-rows", 0)
    assert np.array_equal(np.sort(rows.X, axis=1), np.sort(digits.X, axis=1))
    assert not np.array_equal(rows.X, digits.X)
    for one in (alone, rows):
        assert one.true_geometry is None
        assert np.array_equal(one.y, digits.y)
    assert controlled(digits, "none", 0) is digits
    with pytest.raises(InvalidArgument, match="independent"):
        controlled(digits, "both", 0)


def test_rows_are_drawn_with_their_targets(digits):
    few = read_subject("digits", rows=50, seed=1)
    whole = {(row.tobytes(), int(y)) for row, y in zip(digits.X, digits.y, strict=True)}
    assert {(row.tobytes(), int(y)) for row, y in zip(few.X, few.y, strict=True)} <= whole
    assert len(few.X) == 50
    assert len(few.test[0]) == data.load("digits").image[1] * 45  # all 360 of them
    with pytest.raises(InvalidArgument, match="at least 1"):
        read_subject("digits", rows=0)


def test_the_tree_has_as_many_rows_as_asked_for_and_numbers_for_targets():
    tree = read_subject("tree", rows=100)
    assert tree.X.shape == (100, 64)
    assert tree.task == "regression"
    assert tree.y.dtype == np.float64
    assert tree.true_geometry is None


def test_the_order_of_a_file_can_be_its_true_line(tmp_path):
    path = tmp_path / "a.csv"
    texts = ["".join(row) for row in np.random.RandomState(0).choice(list("ACGT"), (30, 9))]
    path.write_text("t,DNA,u\n" + "\n".join(f"{i},{text},{i % 7}" for i, text in enumerate(texts)))
    subject = permuted(read_subject(str(path), target="u", ordered=True), 5)
    geometry = subject.true_geometry
    assert geometry.shape == (10,)
    for column, name in enumerate(subject.names):
        place = 0 if name == "t" else 1 + int(name[4])
        assert geometry.position_of[column] == place
    assert len(geometry.steps()) == 9
    assert read_subject(str(path), target="u").true_geometry is None


def test_columns_that_a_text_became_share_a_true_place(tmp_path):
    path = tmp_path / "places.csv"
    letters = np.random.RandomState(0).choice(list("ACGT"), (40, 5))
    path.write_text("\n".join(",".join(row) for row in [["P0", "P1", "P2", "P3", "P4"], *letters]))
    subject = permuted(read_subject(str(path), ordered=True), 1)
    geometry = subject.true_geometry
    assert geometry.shape == (5,)
    for column, name in enumerate(subject.names):
        assert geometry.position_of[column] == int(name[1])
    slots = set(zip(geometry.position_of.tolist(), geometry.channel_of.tolist(), strict=True))
    assert slots == {(place, letter) for place in range(5) for letter in range(4)}


def test_columns_on_different_scales_are_shown_standardised(tmp_path):
    X = np.random.RandomState(0).randn(200, 3)
    np.save(tmp_path / "alike.npy", X)
    np.save(tmp_path / "unlike.npy", X * [1, 1, 1e6])
    alike = read_subject(str(tmp_path / "alike.npy"))
    assert np.array_equal(alike.examples(), alike.X[[0, 39, 79, 119, 159, 199]])
    shown = read_subject(str(tmp_path / "unlike.npy")).examples()
    assert np.abs(shown).max() < 5


def test_options_of_files_are_refused_with_a_dataset_and_names_are_helped(tmp_path):
    with pytest.raises(InvalidArgument, match="--target is for files"):
        read_subject("digits", target="y")
    with pytest.raises(InvalidArgument, match=r"Did you mean 'digits'"):
        read_subject("digit")


def test_large_numbers_keep_what_they_differ_by(tmp_path):
    X = 1.6e9 + np.random.RandomState(0).randn(100, 3)
    np.save(tmp_path / "times.npy", X)
    subject = read_subject(str(tmp_path / "times.npy"))
    assert np.array_equal(subject.X, X)
    deviation = whitened(subject, 1e-6).X.std(axis=0)
    np.testing.assert_allclose(deviation, 1, atol=0.01)
