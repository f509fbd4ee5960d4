"""What is measured on the weights: filters as small pictures, description lengths and bounds."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import torch

from scratchconv import data
from scratchconv.analysis import description_length
from scratchconv.experiments.neyshabur import bounds, figure4
from scratchconv.lab import RunRecord
from scratchconv.lab.jobs import measure_name
from scratchconv.report import filters
from scratchconv.training import RunConfig, load_model, train

CONFIG = RunConfig(
    model="s-fc",
    alpha=3,
    data="digits",
    method="beta-lasso",
    lam=1e-3,
    lam_first=2e-3,
    epochs=2,
    batch_size=256,
    validation=0.1,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "s-fc"
    train(CONFIG, directory)
    return directory


@pytest.fixture(scope="module")
def described(run) -> dict:
    return bounds.described(run, None)


# --- bounds


def test_the_terms_are_those_of_the_trained_network(run, described):
    model = load_model(run)
    for scheme in bounds.SCHEMES:
        length = description_length(model, b=bounds.BITS, scheme=scheme)
        values = described["schemes"][scheme]
        assert sum(term["bits"] for term in values["terms"]) == length.bits
        assert values["decoded"]
    assert described["nonzero"] < described["n"]  # β-LASSO has removed some


def test_the_training_error_is_of_the_rounded_network_on_its_own_samples(run, described):
    model = load_model(run)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.to(torch.bfloat16).float())
    digits = data.load("digits")
    samples, _, _ = data.split(digits, CONFIG.validation, CONFIG.split_seed)
    mean, std = digits.mean[0], digits.std[0]
    with torch.no_grad():
        predicted = model((samples.inputs.float() / 255 - mean) / std).argmax(1)
    assert described["samples"] == len(samples)
    wrong = int((predicted != samples.targets).sum())
    assert described["training_error"] == wrong / len(samples)


def test_a_code_of_the_wrong_length_is_no_measurement(run, monkeypatch):
    real = bounds.encode
    monkeypatch.setattr(
        bounds, "encode", lambda model, *, b, scheme: real(model, b=b, scheme="dense")
    )
    with pytest.raises(RuntimeError, match=r"the sparse code has \d+ bits, not \d+"):
        bounds.described(run, None)


def test_a_code_that_decodes_to_other_weights_is_no_measurement(run, monkeypatch):
    real = bounds.decode

    def damaged(word, model, *, b, scheme):
        weights = real(word, model, b=b, scheme=scheme)
        if scheme == "shared":
            next(iter(weights.values())).flatten()[0] += 1
        return weights

    monkeypatch.setattr(bounds, "decode", damaged)
    with pytest.raises(RuntimeError, match="the shared code gives other weights"):
        bounds.described(run, None)


def test_words_too_long_to_be_written_are_not_claimed(run, described, monkeypatch):
    longest = max(sum(t["bits"] for t in s["terms"]) for s in described["schemes"].values())
    monkeypatch.setattr(bounds, "_MOST_ENCODED", longest - 1)
    of = bounds.described(run, None)
    coded = [values["decoded"] for values in of["schemes"].values()]
    assert coded.count(False) == 1
    assert of["training_error"] == described["training_error"]
    table = bounds.terms_table("digits", {"a network": _record(of)})
    assert "2 of 3 words were encoded" in table.note
    monkeypatch.setattr(bounds, "_MOST_ENCODED", 0)
    assert bounds.described(run, None)["training_error"] == described["training_error"]


def test_bounds_are_said_to_be_vacuous_only_where_they_are(described):
    schemes = described["schemes"]
    telling = {
        **described,
        "schemes": {name: {**values, "sharp_gap": 0.01} for name, values in schemes.items()},
    }
    titles = ("S-FC, β = 50", "S-FC, SGD")
    said = bounds.sentences("digits", {title: _record(described) for title in titles})
    assert "every bound is vacuous" in said[-1]
    assert "takes as many bits as" in said[1]
    said = bounds.sentences("digits", {titles[0]: _record(telling), titles[1]: _record(described)})
    assert f"the bounds of {titles[0]} are below an error of 1, the lowest by" in said[-1]


def test_lengths_that_hardly_differ_are_about_the_same(described):
    schemes = {
        name: {**values, "terms": [{**term, "bits": 1000} for term in values["terms"][:1]]}
        for name, values in described["schemes"].items()
    }
    longer = {
        name: {**values, "terms": [{**values["terms"][0], "bits": 1040}]}
        for name, values in schemes.items()
    }
    said = bounds.sentences(
        "digits",
        {
            "S-FC, β = 50": _record({**described, "schemes": schemes}),
            "S-FC, SGD": _record({**described, "schemes": longer}),
        },
    )
    assert "takes about as many bits as S-FC by SGD" in said[1]


def _record(of: dict) -> RunRecord:
    return RunRecord("k", {}, {}, {}, [], {measure_name(bounds.described): of})


# --- filters


def test_the_kept_picture_has_the_true_filters_in_its_tiles(run):
    kept = figure4.first_layer(run, None)
    pixels = np.rint(255 * figure4.decoded(kept["png"])[..., :3]).astype(int)
    weights = load_model(run).first_layer.weight.detach().view(-1, 1, 8, 8)
    drawn = filters.panel(filters.Filters(weights, kernels=False), 25)
    assert kept["caption"] == drawn.caption
    assert kept["tile"] == [8, 8]
    for number, tile in enumerate(drawn.tiles):
        top, left = (10 * place for place in divmod(number, kept["columns"]))
        shown = pixels[top : top + 8, left : left + 8]
        # Within half a step of the colour, and zeros are what they were: white.
        assert np.abs(shown - tile).max() <= 127 / figure4._LEVELS / 2 + 1
    assert (pixels[8:10] == figure4._GAP_COLOUR).all()


def test_zero_stays_the_middle_and_the_record_small():
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(60, 3, 32, 32, generator=generator)
    dense[:, :, :4] = 0
    drawn = filters.panel(filters.Filters(dense, kernels=False), 25)
    picture = filters.mosaic(drawn.tiles, drawn.columns, scale=1, gap=2)
    small = figure4._quantised(picture)
    assert (small[:4, :32] == 128).all()
    assert len(np.unique(small[:32, :32])) <= 2 * figure4._LEVELS + 1
    assert len(base64.b64encode(filters.png(small))) < 64_000  # white noise, the worst there is
