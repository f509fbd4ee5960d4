"""Theorems 1 and 2: what the networks of Table 2 weigh in bits, and what that says of their error.

Every network is described by the three codes of `analysis.prefix_code`, encoded, decoded, and
compared bit for bit; the bound is one for the network as decoded, whose training error is measured
on the very samples it was trained on, unaugmented. The runs are Table 2's (its first seed): beyond
it this costs a minute.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scratchconv import data as datasets
from scratchconv.analysis import (
    DescriptionLength,
    decode,
    description_length,
    encode,
    generalisation_bound,
)
from scratchconv.experiments import chosen_settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.neyshabur.table2_runs import table2_records
from scratchconv.lab import Lab, Outcome, RunRecord, Table
from scratchconv.lab.lab import measured
from scratchconv.report.wording import ranked
from scratchconv.training import load_model
from scratchconv.training.trained import load_dataset

NETWORKS = (
    ("S-CONV, SGD", "s-conv", "sgd"),
    ("S-LOCAL, SGD", "s-local", "sgd"),
    ("S-FC, β = 50", "s-fc", "beta-lasso-50"),
    ("S-FC, SGD", "s-fc", "sgd"),
)
BITS = 16
"""b: the weights as bfloat16."""
DELTA = 0.05
SCHEMES = ("dense", "sparse", "shared")
_ALIKE = 1.05
"""Below this ratio one decimal would say 1.0 times."""
_MOST_ENCODED = 2**32
"""Bits of the longest word that is encoded and decoded, which takes forty times their memory."""


def reproduce(lab: Lab) -> Outcome:
    """Train, describe, bound."""
    found = table2_records(lab, NETWORKS, measure=described)
    said = [sentence for data, records in found.items() for sentence in sentences(data, records)]
    exhibits = [
        make(data, records)
        for data, records in found.items()
        for make in (bounds_table, terms_table)
    ]
    return Outcome(tuple(said), tuple(exhibits))


def described(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """The network's three descriptions, each term and the bound in it; and whether codes are exact.

    Raises RuntimeError where a word is not as long as its formula, or decodes to other weights.
    """
    model = load_model(directory)
    lengths = {scheme: description_length(model, b=BITS, scheme=scheme) for scheme in SCHEMES}
    weights = {scheme: _coded(model, length) for scheme, length in lengths.items()}
    rounded = weights["dense"] or {
        name: tensor.to(torch.bfloat16).float() for name, tensor in model.state_dict().items()
    }
    for scheme, decoded in weights.items():
        if decoded is not None and any(not decoded[k].equal(rounded[k]) for k in decoded):
            raise RuntimeError(f"{directory}: the {scheme} code gives other weights")
    model.load_state_dict(rounded, strict=False)
    samples, wrong = _training_errors(model, directory, data_dir)
    schemes = {}
    for scheme, length in lengths.items():
        bound = generalisation_bound(
            length, samples=samples, training_error=wrong / samples, delta=DELTA
        )
        schemes[scheme] = {
            "terms": [asdict(term) for term in length.terms],
            "decoded": weights[scheme] is not None,
            "equation": bound.equation,
            "gap": bound.gap,
            "sharp_gap": bound.sharp_gap,
        }
    shared = lengths["shared"]
    return {
        "schemes": schemes,
        "n": shared.n,
        "nonzero": shared.nonzero,
        "k": shared.k,
        "samples": samples,
        "training_error": wrong / samples,
    }


def _coded(model: nn.Module, length: DescriptionLength) -> dict[str, torch.Tensor] | None:
    """What the network's code word gives back; None for a word that is too long to be written."""
    if length.bits > _MOST_ENCODED:
        return None
    word = encode(model, b=BITS, scheme=length.scheme)
    if len(word) != length.bits:
        raise RuntimeError(f"the {length.scheme} code has {len(word)} bits, not {length.bits}")
    return decode(word, model, b=BITS, scheme=length.scheme)


def bounds_table(data: str, records: dict[str, RunRecord]) -> Table:
    """The bounds, a row a network and code."""
    rows = []
    for title, record in records.items():
        of = measured(record, described)
        for scheme, values in of["schemes"].items():
            rows.append(
                (
                    title,
                    f"{scheme}, ({values['equation']})",
                    f"{of['n']:,}",
                    f"{of['nonzero']:,}",
                    f"{of['k']:,}",
                    f"{_bits(values):,}",
                    f"{100 * of['training_error']:.2f} %",
                    f"{values['gap']:#.3g}",
                    f"{values['sharp_gap']:#.3g}",
                    f"{of['training_error'] + values['sharp_gap']:#.3g}",
                    f"{100 - record.accuracy():.2f} %",
                )
            )
    first = measured(next(iter(records.values())), described)
    return Table(
        f"Bounds on {data}",
        (
            "network",
            "code, equation",
            "n",
            "‖w‖₀",
            "k",
            "bits",
            "training error",
            "gap",
            "sharper gap",
            "bound",
            "test error",
        ),
        tuple(rows),
        note=f"b = {BITS}, δ = {DELTA:g}, m = {first['samples']:,}. Gap: as printed in the"
        " paper; sharper: bits counted as nats (× log 2), which the proof allows; bound:"
        " training error and the sharper gap. At 1 and above a bound says nothing. n and ‖w‖₀"
        " include biases and BatchNorm, on which the outputs depend; ‖w‖₀ leaves out S-LOCAL's"
        " weights on padding, on which they do not. A convolution's kernel is coded once, by every"
        " code: S-CONV's sharing is given, S-FC's is found. Each bound holds by itself; for all"
        f" {len(rows)} to hold together, each needs {(len(rows) - 1).bit_length()} bits more."
        f" {chosen_settings.note(records.values())}",
    )


def terms_table(data: str, records: dict[str, RunRecord]) -> Table:
    """Every term of every code in bits, a column a network."""
    schemes = {title: measured(r, described)["schemes"] for title, r in records.items()}
    first = next(iter(schemes.values()))
    rows = []
    for scheme in SCHEMES:
        for number, term in enumerate(first[scheme]["terms"]):
            bits = [f"{of[scheme]['terms'][number]['bits']:,}" for of in schemes.values()]
            rows.append((scheme, term["name"], term["formula"], *bits))
        rows.append((scheme, "in all", "", *(f"{_bits(of[scheme]):,}" for of in schemes.values())))
        unrounded = [
            sum(term["formula_bits"] for term in of[scheme]["terms"]) for of in schemes.values()
        ]
        rows.append((scheme, "in all, unrounded", "", *(f"{bits:,.1f}" for bits in unrounded)))
    coded = [of[scheme]["decoded"] for of in schemes.values() for scheme in SCHEMES]
    return Table(
        f"Description lengths on {data}, term by term, in bits",
        ("code", "what", "formula", *schemes),
        tuple(rows),
        note="log is to base 2; each logarithm is rounded up to whole bits. "
        + (
            "Every network was encoded: each word is as long as its terms say, and decodes to the"
            " same weights exactly."
            if all(coded)
            else f"{sum(coded)} of {len(coded)} words were encoded, each as long as its terms say,"
            " and decoded to the same weights exactly; the others are too long to be written."
        ),
    )


def sentences(data: str, records: dict[str, RunRecord]) -> list[str]:
    """The shortest description of each network, their order, and whether any bound says a thing."""
    shortest = {}
    smallest = {}
    for title, record in records.items():
        of = measured(record, described)
        lengths = {scheme: _bits(values) for scheme, values in of["schemes"].items()}
        shortest[title] = min(lengths.items(), key=lambda item: item[1])
        smallest[title] = of["training_error"] + min(
            values["sharp_gap"] for values in of["schemes"].values()
        )
    bits = {f"{title} ({scheme})": length for title, (scheme, length) in shortest.items()}
    order = ranked(bits, "{:,}", ascending=True)
    said = [f"{data}, shortest descriptions in bits: {order}."]
    lasso, sgd = shortest["S-FC, β = 50"][1], shortest["S-FC, SGD"][1]
    ratio = max(lasso, sgd) / min(lasso, sgd)
    if ratio < _ALIKE:
        compared = "as many bits as" if lasso == sgd else "about as many bits as"
    else:
        compared = f"{ratio:.1f} times {'fewer' if lasso < sgd else 'more'} bits than"
    said.append(f"{data}: S-FC by β = 50 takes {compared} S-FC by SGD.")
    telling = [title for title, bound in smallest.items() if bound < 1]
    least = min(smallest.items(), key=lambda item: item[1])
    said.append(
        f"{data}: the bounds of {', '.join(telling)} are below an error of 1, the lowest by"
        f" {1 - least[1]:#.2g} ({least[0]})."
        if telling
        else f"{data}: every bound is vacuous, the least being {least[1]:#.3g} ({least[0]})."
    )
    return said


def _bits(values: dict[str, Any]) -> int:
    return sum(int(term["bits"]) for term in values["terms"])


def _training_errors(model: nn.Module, directory: Path, data_dir: Path | None) -> tuple[int, int]:
    """Samples the run was trained on, and how many of them the network gets wrong."""
    dataset = load_dataset(directory, data_dir)
    wrong = 0
    with torch.no_grad():
        for inputs, targets in datasets.evaluation_batches(
            dataset.train, 512, mean=dataset.mean, std=dataset.std
        ):
            wrong += int((model(inputs).argmax(1) != targets).sum())
    return len(dataset.train.targets), wrong


EXPERIMENT = Experiment(
    name="bounds",
    title="Theorems 1 and 2: description lengths and bounds",
    source="Neyshabur 2020, Theorems 1 and 2",
    datasets=("cifar10", "cifar100", "svhn"),
    reproduce=reproduce,
    laptop_minutes=73,
)
