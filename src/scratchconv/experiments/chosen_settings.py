"""What was chosen on validation data, in words: for cells of tables, and below figures."""

from __future__ import annotations

from collections.abc import Iterable

from scratchconv.lab import RunRecord
from scratchconv.report.wording import data_name, listed, network_name


def in_words(record: RunRecord) -> str:
    """The settings of a run that are chosen on validation data."""
    rate = f"rate {record.setting('lr'):g}"
    if "lasso" in record.setting("method"):
        first, rest = record.setting("lam_first"), record.setting("lam")
        return f"{rate}, λ first {rest if first is None else first:.3g}, rest {rest:.3g}"
    momentum, decay = record.setting("momentum"), record.setting("weight_decay")
    return f"{rate}, momentum {momentum:g}, weight decay {decay:g}"


def note(records: Iterable[RunRecord]) -> str:
    """A sentence: every network and method with its settings, for pages whose tables lack them.

    The datasets are named where a network's settings differ between them.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    for record in records:
        if record.failure:
            continue
        data = data_name(str(record.setting("data")))
        settings = found.setdefault(_trained(record), {})
        settings.setdefault(in_words(record), {})[data] = None
    said = []
    for name, settings in found.items():
        if len(settings) == 1:
            said.append(f"{name}: {next(iter(settings))}")
        else:
            said += [f"{name} on {listed(list(data))}: {words}" for words, data in settings.items()]
    return f"Trained with: {'; '.join(said)}."


def _trained(record: RunRecord) -> str:
    network, method = network_name(str(record.setting("model"))), record.setting("method")
    if "lasso" not in method:
        return f"{network} by SGD"
    return f"{network} by β = {0 if method == 'lasso' else record.setting('beta'):g}"
