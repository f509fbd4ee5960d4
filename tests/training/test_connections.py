"""Connections carried from run to run: the very ones, as many at random, as many in a window."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from scratchconv import data
from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.training import RunConfig, Stopped, load_weights, train
from scratchconv.training.connections import local_windows, random_places
from scratchconv.training.fixed_layers import hold_connections
from scratchconv.training.setup import prepare
from scratchconv.training.start import SliceOver

LEARNING = RunConfig(
    alpha=2, data="digits", epochs=3, batch_size=128, lam=1.2e-3, lam_first=1.5e-3, precision="fp32"
)
KEEPING = RunConfig(
    alpha=2,
    data="digits",
    epochs=2,
    batch_size=128,
    method="sgd",
    momentum=0.9,
    precision="fp32",
    seed=7,
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "learned"
    train(LEARNING, out)
    return out


def kept(directory: Path) -> dict[str, torch.Tensor]:
    return {name: w != 0 for name, w in load_weights(directory).items() if w.ndim == 2}


def masks_of(config: RunConfig) -> dict[str, torch.Tensor]:
    setup = prepare(config)
    assert setup.pruning is not None
    return setup.pruning.masks


@pytest.mark.parametrize("connections", ["first", "all"])
def test_the_learned_connections_are_kept_with_new_weights(
    connections: str, learned: Path, tmp_path: Path
) -> None:
    config = replace(KEEPING, connections_from=learned, connections=connections)
    run = train(config, tmp_path / "run")  # type: ignore[arg-type]
    source, found = kept(learned), kept(tmp_path / "run")
    assert 0.001 < float(source["conv1.weight"].float().mean()) < 0.9
    sparse = ["conv1.weight", "fc1.weight"] if connections == "all" else ["conv1.weight"]
    for name, mask in found.items():
        if name in sparse:
            assert not bool((mask & ~source[name]).any())
            # Nearly all that may be used is: pixels that are always 0 have no gradient, but
            # their initial weights stay.
            assert int(mask.sum()) == int(source[name].sum())
        else:
            assert bool(mask.all())
    assert not torch.equal(
        load_weights(learned)["conv1.weight"], load_weights(tmp_path / "run")["conv1.weight"]
    )
    resolved = run.resolved["connections"]
    assert resolved["from"]["config"]["lam_first"] == 1.5e-3
    assert resolved["kept"]["conv1.weight"] == int(source["conv1.weight"].sum())
    assert run.resolved["kept"] == sum(resolved["kept"].values())
    assert run.result is not None
    assert "--connections-from OTHER_RUN_DIR" in run.result["environment"]["command"]
    assert str(learned) not in (tmp_path / "run" / "config.json").read_text()


def test_random_has_as_many_a_unit_at_other_places(learned: Path) -> None:
    config = replace(KEEPING, connections_from=learned)
    there = masks_of(config)["conv1.weight"]
    one, other = (
        masks_of(replace(config, connections_kind="random", seed=seed))["conv1.weight"]
        for seed in (0, 1)
    )
    for mask in (one, other):
        assert torch.equal(mask.sum(1), there.sum(1))
        assert not torch.equal(mask, there)
    assert not torch.equal(one, other)
    everywhere = masks_of(replace(config, connections_kind="random", connections="all"))
    assert torch.equal(everywhere["fc1.weight"].sum(1), kept(learned)["fc1.weight"].sum(1))
    assert bool(everywhere["fc2.weight"].all())


@pytest.mark.parametrize("permute", [None, 4])
def test_local_has_as_many_a_unit_in_one_window(
    permute: int | None, learned: Path, tmp_path: Path
) -> None:
    source = learned
    if permute is not None:
        source = tmp_path / "permuted"
        train(replace(LEARNING, permute=permute), source)
    config = replace(KEEPING, connections_from=source, connections_kind="local", permute=permute)
    setup = prepare(config)
    assert setup.pruning is not None
    mask = setup.pruning.masks["conv1.weight"]
    assert torch.equal(mask.sum(1), kept(source)["conv1.weight"].sum(1))
    shown = torch.empty_like(mask)
    shown[:, torch.arange(64) if permute is None else data.pixel_permutation((1, 8, 8), 4)] = mask
    for unit in shown.view(-1, 8, 8):
        rows, columns = unit.nonzero().unbind(1)
        if len(rows):
            tall, wide = (int(axis.max() - axis.min()) + 1 for axis in (rows, columns))
            # No row or column of the window's frame is there without need.
            assert (tall - 2) * (wide - 2) < len(rows) <= tall * wide


@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 3),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=6),
)
def test_windows_are_the_nearest_pixels_with_all_channels(
    channels: int, height: int, width: int, seed: int, shares: list[float]
) -> None:
    inputs = channels * height * width
    counts = torch.tensor([round(share * inputs) for share in shares])
    windows = local_windows(counts, (channels, height, width), seed)
    assert windows.shape == (len(shares), channels, height * width)
    assert torch.equal(windows.flatten(1).sum(1), counts)
    for window in windows:
        pixels = window.sum(0).view(height, width)
        assert int(((pixels > 0) & (pixels < channels)).sum()) <= 1  # the last one alone
        if not bool(window.any()):
            continue
        # Some pixel is the centre: none outside is nearer to it than one inside.
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        inside, full = pixels > 0, pixels == channels
        assert any(
            int(ring[inside].max())
            <= int(ring[~full].min() if bool((~full).any()) else height + width)
            for row in range(height)
            for column in range(width)
            for ring in [torch.maximum((y - row).abs(), (x - column).abs())]
        )


def test_nine_pixels_are_a_square_of_three() -> None:
    windows = local_windows(torch.full((400,), 27), (3, 9, 9), seed=0)
    squares = 0
    for pixels in windows[:, 0].view(-1, 9, 9):
        rows, columns = pixels.nonzero().unbind(1)
        inner = min(int(rows.min()), int(columns.min())) > 0
        inner = inner and max(int(rows.max()), int(columns.max())) < 8
        if inner:
            squares += 1
            assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 2
    assert squares > 100


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_random_places_are_exactly_as_many(counts: list[int], seed: int) -> None:
    mask = random_places(torch.tensor(counts), 30, seed, 0)
    assert mask.sum(1).tolist() == counts
    assert torch.equal(mask, random_places(torch.tensor(counts), 30, seed, 0))


def test_random_places_are_uniform_over_more_units_than_are_drawn_at_once() -> None:
    mask = random_places(torch.full((3000,), 10), 40, 0, 1)
    drawn = mask.sum(0)
    assert int(drawn.min()) > 600  # 750 ± 24
    assert int(drawn.max()) < 900
    assert not torch.equal(mask[:1024], mask[1024:2048])


def test_what_the_connections_are_is_part_of_the_run_and_where_they_lie_is_not(
    learned: Path, tmp_path: Path
) -> None:
    config = replace(KEEPING, connections_from=learned, checkpoint_seconds=0.0)
    whole = train(config, tmp_path / "whole")
    with pytest.raises(SliceOver):
        train(config, tmp_path / "run", seconds=1e-9)
    moved = tmp_path / "moved"
    shutil.copytree(learned, moved)
    resumed = train(replace(config, connections_from=moved), tmp_path / "run", resume=True)
    ours, theirs = load_weights(whole.directory), load_weights(resumed.directory)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert resumed.resolved == whole.resolved

    train(replace(LEARNING, seed=1), tmp_path / "others")
    for other in (tmp_path / "others", None):
        with pytest.raises(RunDirectoryError, match=r"holds another run .*connections-from"):
            train(replace(config, connections_from=other), tmp_path / "run", resume=True)


@pytest.fixture
def small_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchconv.training.fixed_layers.SMALLEST", 1)


def few(masks: Path) -> Path:
    """A file of masks: about a tenth of the first layer's weights."""
    mask = torch.rand(32, 64, generator=torch.Generator().manual_seed(0)) < 0.1
    save_file({"conv1.weight": mask}, masks)
    return masks


SPARSE = {
    "given": {"connections_from": Path("masks.safetensors")},
    "given, Adam": {"connections_from": Path("masks.safetensors"), "method": "adam", "lr": 1e-3},
    "random": {"pruning": "random", "density": 0.1},
}


@pytest.mark.parametrize("changes", SPARSE.values(), ids=SPARSE)
def test_layers_that_hold_their_connections_alone_train_as_masked_ones(
    changes: dict[str, Any], tmp_path: Path, small_layers_too: None
) -> None:
    if "connections_from" in changes:
        changes = {**changes, "connections_from": few(tmp_path / "masks.safetensors")}
    if changes.get("method") == "adam":
        changes = {"momentum": 0.0, **changes}
    config = replace(KEEPING, checkpoint_seconds=0.0, **changes)
    run = train(config, tmp_path / "run")
    masked = train(replace(config, engine="torch"), tmp_path / "masked")
    assert run.resolved["fixed_layers"][0] == "conv1"
    assert masked.resolved["fixed_layers"] == []
    assert run.resolved["kept"] == masked.resolved["kept"]
    ours, theirs = load_weights(run.directory), load_weights(masked.directory)
    for name, weight in ours.items():
        assert torch.equal(weight != 0, theirs[name] != 0)
        # Adam divides by gradients, small ones too: rounding shows there.
        distance = torch.linalg.vector_norm((weight - theirs[name]).float())
        assert distance <= 0.03 * torch.linalg.vector_norm(theirs[name].float())

    with pytest.raises(SliceOver):
        train(config, tmp_path / "sliced", seconds=1e-9)
    resumed = load_weights(train(config, tmp_path / "sliced", resume=True).directory)
    assert all(torch.equal(resumed[name], ours[name]) for name in ours)


def test_a_run_goes_on_as_it_was_begun_whatever_the_machine_is(
    tmp_path: Path, small_layers_too: None
) -> None:
    config = replace(KEEPING, connections_from=few(tmp_path / "masks.safetensors"))
    setup = prepare(config)
    assert setup.resolved()["fixed_layers"] == ["conv1"]
    # Begun on a GPU, where layers are masked.
    assert prepare(config, before={"fixed_layers": []}).resolved()["fixed_layers"] == []
    elsewhere: Any = SimpleNamespace(weights={"conv1.weight": torch.empty(1, device="meta")})
    with pytest.raises(InvalidArgument, match=r"conv1 hold .* cannot on meta: .* --device cpu"):
        hold_connections(setup.model, elsewhere, before=setup.resolved())


def test_a_finished_run_needs_its_connections_no_more(learned: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(learned, source)
    config = replace(KEEPING, connections_from=source, epochs=1)
    finished = train(config, tmp_path / "run")
    shutil.rmtree(source / "checkpoints")
    assert train(config, tmp_path / "run", resume=True).result == finished.result
    with pytest.raises(RunDirectoryError, match="holds no checkpoint"):
        train(config, tmp_path / "other")


def test_masks_may_come_from_a_file(learned: Path, tmp_path: Path) -> None:
    save_file({"conv1.weight": kept(learned)["conv1.weight"]}, tmp_path / "masks.safetensors")
    config = replace(KEEPING, connections_from=tmp_path / "masks.safetensors")
    assert torch.equal(masks_of(config)["conv1.weight"], kept(learned)["conv1.weight"])
    connections = prepare(config).resolved()["connections"]
    assert connections["from"] == {"file": "masks.safetensors"}
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        prepare(replace(config, connections_from=tmp_path / "broken.safetensors"))
    save_file({"conv1.weight": torch.zeros(32, 64)}, tmp_path / "empty.safetensors")
    with pytest.raises(InvalidArgument, match="no connection left"):
        prepare(replace(config, connections_from=tmp_path / "empty.safetensors"))
    save_file({"bias": torch.ones(3)}, tmp_path / "bias.safetensors")
    with pytest.raises(InvalidArgument, match="holds no weights"):
        prepare(replace(config, connections_from=tmp_path / "bias.safetensors"))


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(replace(LEARNING, checkpoint_seconds=0.0), tmp_path / "begun", seconds=1e-9)
    with pytest.raises(InvalidArgument, match="not finished"):
        prepare(replace(KEEPING, connections_from=tmp_path / "begun"))


def test_images_of_another_shape_are_refused(learned: Path, tmp_path: Path) -> None:
    shutil.copytree(learned, tmp_path / "colour")
    record = json.loads((tmp_path / "colour" / "config.json").read_text())
    record["resolved"]["image"] = [3, 32, 32]
    (tmp_path / "colour" / "config.json").write_text(json.dumps(record))
    with pytest.raises(InvalidArgument, match=r"images of 3×32×32.*digits are 1×8×8"):
        prepare(replace(KEEPING, connections_from=tmp_path / "colour"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 3}, r"conv1\.weight are \(32, 64\) there and \(48, 64\) here"),
        ({"model": "3-fc"}, r"fc0\.weight are not there"),
        ({"model": "s-conv"}, "is for fully connected layers.*Conv2d: choose s-fc"),
        ({"permute": 1}, "with --permute None, this run has 1"),
        ({"method": "beta-lasso", "lam": 1e-3, "momentum": 0.0}, "add --method sgd or adam"),
        ({"pruning": "set", "density": 0.1}, "leave one of them away"),
        ({"connections": "all", "connections_kind": "local"}, "add --connections first"),
        ({"connections_kind": "near"}, "unknown --connections-kind 'near'"),
        ({"connections": "last"}, "unknown --connections 'last'"),
        ({"connections_from": None, "connections": "all"}, "need --connections-from"),
        ({"connections_from": None, "connections_kind": "local"}, "need --connections-from"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, object], message: str, learned: Path, tmp_path: Path
) -> None:
    settings = {"connections_from": learned, **changes}
    with pytest.raises(InvalidArgument, match=message):
        train(replace(KEEPING, **settings), tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        prepare(replace(KEEPING, connections_from=tmp_path / "nowhere"))
