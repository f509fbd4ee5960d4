"""What a run is called beside others: its network, its training, and what tells it apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from scratchconv.report.wording import (
    data_name,
    finite,
    method_name,
    network_name,
    number,
    training_name,
)
from scratchconv.training import RunConfig

# Settings that make two runs different experiments, in the order in which labels name them.
SETTINGS = (
    ("data", "data"),
    ("permute", "pixels permuted by seed"),
    ("train_size", "training samples"),
    ("data_seed", "data seed"),
    ("tree_noise", "noise"),
    ("tree_noise_shared", "shared noise"),
    ("alpha", "α"),
    ("beta", "β"),
    ("lam_first", "λ first"),
    ("lam", "λ"),
    ("lr", "lr"),
    ("momentum", "momentum"),
    ("weight_decay", "weight decay"),
    ("density", "density"),
    ("density_by", "density by"),
    ("connections", "connections of layers"),
    ("dropout", "dropout"),
    ("kernel_size", "kernel"),
    ("epochs", "epochs"),
    ("schedule", "schedule"),
    ("batch_size", "batch"),
    ("last_batch", "last batch"),
    ("augment", "augment"),
    ("cutout", "cutout"),
    ("normalise", "normalise"),
    ("validation", "validation"),
    ("split_seed", "split seed"),
    ("precision", "precision"),
    ("regrowth", "regrowth"),
)
# A record of an older version lacks the settings that came later: it was made with the defaults.
_DEFAULTS = {field.name: field.default for field in fields(RunConfig)}
# What training resolves of these follows from the data or the source: as asked, they tell runs
# apart.
_AS_ASKED = frozenset({"train_size", "connections"})
_UNSET = {"permute": "pixels in place", "train_size": "all training samples"}


def labels(runs: Sequence[tuple[Path, dict[str, Any], dict[str, Any]]]) -> list[str]:
    """Network and method, then whatever tells apart the runs that share both."""
    base = [
        ", ".join(
            (
                network_name(str(config.get("model", "?"))),
                training_name(config, connected=resolved.get("connections") is not None),
            )
        )
        for _, config, resolved in runs
    ]
    named = []
    for name, (_, config, resolved) in zip(base, runs, strict=True):
        alike = [run for other, run in zip(base, runs, strict=True) if other == name]
        parts = [name]
        for key, word in (*SETTINGS, ("seed", "seed")):
            if len({_canonical(used(c, r, key)) for _, c, r in alike}) > 1:
                parts.append(_written(key, word, used(config, resolved, key)))
        if len({_canonical(source_of(r)) for _, _, r in alike}) > 1:
            parts.append(_written_source(resolved))
        named.append(", ".join(parts))
    for place in (lambda directory: directory.name, str):
        times = Counter(named)
        named = [
            f"{label} ({place(directory)})" if times[label] > 1 else label
            for label, (directory, _, _) in zip(named, runs, strict=True)
        ]
    return named


def source_of(resolved: dict[str, Any]) -> object:
    """What tells from where a run's connections were given; None where none were.

    Those of another run are known by that run's settings, its seed apart; those of a file by what
    the file holds.
    """
    given = resolved.get("connections")
    if not isinstance(given, dict):
        return given
    source = given.get("from")
    if isinstance(source, dict) and isinstance(source.get("config"), dict):
        return {key: value for key, value in source["config"].items() if key != "seed"}
    return given.get("sha256")


def _written_source(resolved: dict[str, Any]) -> str:
    source = source_of(resolved)
    if not isinstance(source, dict):
        return f"connections {str(source)[:8]}"
    network = network_name(str(source.get("model", "?")))
    method = method_name(str(source.get("method", "?")))
    return f"connections of {network}, {method} on {data_name(str(source.get('data', '?')))}"


def used(config: dict[str, Any], resolved: dict[str, Any], key: str) -> object:
    """The setting as training resolved it, or as it was asked for, if only by a default."""
    if key in _AS_ASKED or resolved.get(key) is None:
        return config.get(key, _DEFAULTS.get(key))
    return resolved[key]


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _written(key: str, word: str, value: object) -> str:
    if value is None:
        return _UNSET.get(key, f"no {word}")
    if isinstance(value, bool):
        return word if value else f"no {word}"
    numeric = finite(value)
    return f"{word} {value if numeric is None else number(numeric, 6)}"
