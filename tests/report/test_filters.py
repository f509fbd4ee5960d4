"""Filters as pictures: true places, true zeros, and an honest choice of units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from scratchconv import analysis, data, models, report, training
from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.report.filters import Filters, colours, load_filters, mosaic, panel
from scratchconv.report.gallery import gallery
from scratchconv.report.record import read
from scratchconv.training import checkpoint


def test_permuted_pixels_are_put_back(make_run):
    plain, shuffled = read([make_run("a"), make_run("b", config={"permute": 3})])
    assert torch.equal(load_filters(plain).fields, load_filters(shuffled).fields)


@pytest.mark.parametrize("model", ["s-fc", "s-local"])
def test_what_is_drawn_answers_true_images_as_the_network_answers_shuffled_ones(make_run, model):
    image = (2, 7, 6)
    run = make_run("a", model=model, image=image, config={"permute": 5})
    network = models.build(model, image=image, alpha=1)
    network.load_state_dict(training.load_weights(run))
    true = torch.rand(4, *image, generator=torch.Generator().manual_seed(0))
    permutation = data.pixel_permutation(image, 5)
    (shown, _), (seen, _) = (
        next(
            data.evaluation_batches(
                data.Split(true, torch.zeros(4)), 4, mean=(0, 0), std=(1, 1), permutation=order
            )
        )
        for order in (permutation, None)
    )
    layer = network.first_layer
    expected = layer(shown.flatten(1) if model == "s-fc" else shown).flatten(1)
    (record,) = read([run])
    fields = load_filters(record).fields
    torch.testing.assert_close(seen.flatten(1) @ fields.flatten(1).T, expected)
    # The spread that training records is that of the pictures.
    measured = analysis.receptive_fields(layer, image)
    torch.testing.assert_close(
        analysis.spread(measured, image, permutation), analysis.spread(fields, image)
    )


def test_weights_that_are_no_numbers_are_not_drawn(make_run):
    run = make_run("a")
    weights = training.load_weights(run)
    weights["conv1.weight"][0, 0] = torch.nan
    state = {f"model.{name}": tensor for name, tensor in weights.items()}
    steps = training.load_run(run).result["steps"]
    checkpoint.save(checkpoint.Checkpoint(state), run / "checkpoints", steps)
    with pytest.raises(RunDirectoryError, match="NaN"):
        load_filters(*read([run]))


def test_kernels_of_a_convolution_are_drawn_alone(make_run):
    (record,) = read([make_run("a", model="s-conv", method="sgd", alpha=4)])
    filters = load_filters(record)
    assert filters.kernels
    assert filters.fields.shape == (4, 3, 9, 9)
    assert panel(filters, 3).caption == "the first 3 of its 9×9 kernels, the same at every position"


def test_local_layer_is_drawn_on_the_whole_image(make_run):
    (record,) = read([make_run("a", model="s-local", method="sgd", image=(3, 20, 20))])
    fields = load_filters(record).fields
    assert fields.shape == (100, 3, 20, 20)
    assert int((fields != 0).flatten(1).sum(1).max()) == 3 * 81


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_zero_has_one_colour_and_the_scale_is_symmetric(channels):
    field = torch.zeros(channels, 2, 2)
    field[0, 0, 1], field[0, 1, 0] = 0.01, -0.02
    picture = colours(field)
    assert picture.shape == (2, 2, 3)
    assert np.array_equal(picture[0, 0], picture[1, 1])
    if channels == 3:
        assert picture[0, 0].tolist() == [128, 128, 128]
        assert picture[1, 0].tolist() == [1, 128, 128]
        assert picture[0, 1, 0] - 128 == pytest.approx(127 / 2, abs=1)
    else:
        assert picture[0, 0].min() > 240  # white
        assert picture[0, 1, 0] > picture[0, 1, 2]  # positive is red
        assert picture[1, 0, 2] > picture[1, 0, 0]  # negative is blue


def test_a_filter_without_weights_is_all_zero():
    assert len(np.unique(colours(torch.zeros(3, 4, 4)))) == 1


def test_units_of_twenty_weights_are_preferred_and_the_lack_is_told():
    fields = torch.zeros(30, 1, 8, 8)
    for unit in range(30):
        fields[unit].view(-1)[: 25 if unit < 10 else 3] = 1
    enough = panel(Filters(fields, kernels=False), 4)
    assert enough.caption.replace("\u00a0", " ") == (
        "4 units drawn at random from the 10 with at least 20 non-zero weights"
    )
    few = panel(Filters(fields, kernels=False), 16)
    assert len(few.tiles) == 16
    assert few.caption.replace("\u00a0", " ") == (
        "the 16 units with the most non-zero weights; only 10 with at least 20 non-zero weights"
    )
    dead = panel(Filters(torch.zeros(30, 1, 8, 8), kernels=False), 16)
    assert dead.caption == "no unit has a weight left"
    assert len(dead.tiles) == 1


def test_inputs_on_a_line_become_rows():
    fields = torch.randn(10, 1, 1, 64, generator=torch.Generator().manual_seed(0))
    drawn = panel(Filters(fields, kernels=False), 25)
    assert len(drawn.tiles) == 1
    assert drawn.tiles[0].shape == (10, 64, 3)
    assert drawn.caption.startswith("one row a unit, one column an input")


def test_mosaic_places_every_tile_and_leaves_the_gaps_transparent():
    tiles = [np.full((2, 3, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    picture = mosaic(tiles, 2, scale=2, gap=1)
    assert picture.shape == (2 * 4 + 1, 2 * 6 + 1, 4)
    assert [picture[0, 0, 0], picture[0, 7, 0], picture[5, 0, 0]] == [10, 20, 30]
    assert picture[4, :, 3].max() == 0
    assert picture[5:, 7:, 3].max() == 0


def test_gallery_goes_from_dense_to_convolution(make_run):
    runs = [
        make_run("c", model="s-conv", method="sgd"),
        make_run("l", model="s-local", method="sgd"),
        make_run("b"),
        make_run("s", method="sgd"),
    ]
    exhibits, note = gallery(read(runs))
    assert [e.label for e in exhibits] == [
        "S-FC, SGD",
        "S-FC, β-LASSO",
        "S-LOCAL, SGD",
        "S-CONV, SGD",
    ]
    assert note == ""


def test_gallery_of_many_runs_keeps_every_kind_and_counts_the_rest(make_run):
    runs = [make_run(f"s{k}", method="sgd", seed=k) for k in range(14)]
    exhibits, note = gallery(read([*runs, make_run("c", model="s-conv", method="sgd")]))
    assert len(exhibits) == 12
    assert exhibits[-1].label == "S-CONV, SGD"
    assert note.replace("\u00a0", " ") == "3 more runs not drawn."


def test_filters_figure_is_as_wide_as_asked(make_run, tmp_path):
    runs = [
        make_run("s", method="sgd"),
        make_run("b"),
        make_run("l", model="s-local", method="sgd"),
    ]
    out = report.filters_figure(
        runs, tmp_path / "filters.png", titles=["Dense", "$\\frac", "Local"], width=900
    )
    picture = imread(out)
    assert picture.shape[1] == 900
    assert picture[0, 0].tolist() == [1, 1, 1, 1]
    with pytest.raises(InvalidArgument, match="overwrite"):
        report.filters_figure(runs, out)


def test_filters_figure_refuses_what_it_cannot_draw(make_run, tmp_path):
    out = tmp_path / "filters.png"
    run = make_run("a", weights=False)
    with pytest.raises(RunDirectoryError, match="checkpoint"):
        report.filters_figure([run], out)
    with pytest.raises(InvalidArgument, match="no runs"):
        report.filters_figure([], out)
    with pytest.raises(InvalidArgument, match="titles"):
        report.filters_figure([run], out, titles=["one", "two"])
    with pytest.raises(InvalidArgument, match="units"):
        report.filters_figure([run], out, units=0)
    assert not out.exists()
