"""How the report writes names and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath

MISSING = "–"
_UNIT_SPACE = "\u00a0"  # no line break between a number and its unit

_METHODS = {
    "sgd": "SGD",
    "adam": "Adam",
    "beta-lasso": "β-LASSO",
    "lasso": "LASSO",
    "proximal-lasso": "proximal LASSO",
}
_PRUNINGS = {
    "magnitude": "magnitude pruning",
    "iterative-magnitude": "iterative magnitude pruning",
    "snip": "SNIP",
    "set": "SET",
    "rigl": "RigL",
    "random": "random pruning",
}
_GIVEN_CONNECTIONS = {
    "learned": "the connections of another run",
    "random": "random connections, as many as another run’s",
    "local": "connections in local windows, as many as another run’s",
}
_DATA = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "mnist": "MNIST",
    "mnist-32": "MNIST (3 × 32 × 32)",
    "fashion-mnist": "Fashion-MNIST",
}
_NETWORKS = {"resnet18": "ResNet18", "res-mlp": "residual MLP"}


def network_name(model: str) -> str:
    """The network as papers write it: `s-fc` is S-FC."""
    return _NETWORKS.get(model, model.upper())


def method_name(method: str) -> str:
    """The training method as papers write it; an unknown one as it was given."""
    return _METHODS.get(method, method)


def training_name(settings: Mapping[str, object], *, connected: bool = False) -> str:
    """How a run of these settings was trained: its method, and what else chose its connections.

    `connected` says that they were given to it, by `--connections-from`.
    """
    name = method_name(str(settings.get("method", "?")))
    pruning = settings.get("pruning", "none")
    if connected:
        kind = str(settings.get("connections_kind", "learned"))
        return f"{name} on {_GIVEN_CONNECTIONS.get(kind, kind)}"
    if pruning != "none":
        return f"{name} with {_PRUNINGS.get(str(pruning), pruning)}"
    return name


def data_name(data: str) -> str:
    """The dataset as papers write it; of a file of one's own, the file name."""
    return _DATA.get(data, PurePath(data).name or data)


def percent(fraction: float | None) -> str:
    """A fraction in [0, 1] as a percentage; one just below 1 never rounds up to 100 %."""
    if fraction is None:
        return MISSING
    value = 100.0 * fraction
    if 99.95 <= value < 100.0:
        return f">{_UNIT_SPACE}99.9{_UNIT_SPACE}%"
    if value in (0.0, 100.0):
        text = f"{value:.0f}"
    elif value >= 10.0:
        text = f"{value:.1f}"
    elif value >= 1.0:
        text = f"{value:.2f}"
    else:
        text = _plain(value, 2)
    return f"{text}{_UNIT_SPACE}%"


def accuracy(fraction: float | None) -> str:
    """An accuracy in [0, 1], always to a tenth of a percent, so that columns compare."""
    return MISSING if fraction is None else f"{100.0 * fraction:.1f}{_UNIT_SPACE}%"


def grouped(count: float | None) -> str:
    """A count with its thousands apart: 125 000."""
    return MISSING if count is None else f"{round(count):,}".replace(",", "\u202f")


def compact(count: float | None) -> str:
    """A large count to three digits: 25.6 M, 10 k."""
    if count is None:
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999 500 is already 1 M to three digits, never 1000 k.
        if count >= size * 0.9995:
            return f"{count / size:.3g}{_UNIT_SPACE}{unit}"
    return f"{count:.0f}"


def number(value: float | None, digits: int = 3) -> str:
    """A number to at most so many significant digits, with a true minus sign: 0.005, 2e−4."""
    if value is None:
        return MISSING
    if value != 0.0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}".replace("-", "−")
    if abs(value) >= 10.0**digits - 0.5:  # what rounds up to that has an exponent else
        return f"{value:.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def z_score(value: float | None) -> str:
    """A z-score: whole from 10 on, to a tenth below."""
    return fixed(value, 1 if value is not None and abs(value) < 9.95 else 0)


def fixed(value: float | None, decimals: int = 2) -> str:
    """A number to so many decimals, with a true minus sign; what rounds to zero has none."""
    if value is None:
        return MISSING
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def signed(value: float, decimals: int = 2) -> str:
    """A difference with its sign, a true minus: +0.07, −12.77."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def times(ratio: float) -> str:
    """How many times as much, to two digits: 32 times, 2.2 times, 0.85 times."""
    return f"{ratio:.0f} times" if ratio >= 9.95 else f"{_plain(ratio, 2)} times"


def duration(seconds: float | None) -> str:
    """A time span in the two units that matter: 2 h 05 min, 3 min 20 s, 12 s."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f}{_UNIT_SPACE}s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}{_UNIT_SPACE}h {minutes:02d}{_UNIT_SPACE}min"
    if minutes:
        return f"{minutes}{_UNIT_SPACE}min {whole % 60:02d}{_UNIT_SPACE}s"
    return f"{whole}{_UNIT_SPACE}s"


def plural(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count}{_UNIT_SPACE}{noun}{'' if count == 1 else 's'}"


def ranked(values: Mapping[str, float], form: str, *, ascending: bool = False) -> str:
    """`a 3.0 > b 2.0 = c 2.0`, best first or least first; equal is what is printed alike."""
    order = sorted(values, key=lambda name: values[name] if ascending else -values[name])
    said, before = "", ""
    for name in order:
        number = form.format(values[name])
        if said:
            said += " = " if number == before else " < " if ascending else " > "
        said, before = f"{said}{name} {number}", number
    return said


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _plain(value: float, digits: int) -> str:
    """To so many significant digits, without an exponent."""
    if value == 0.0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def finite(value: object) -> float | None:
    """The value as a float; None for null, NaN, infinities and anything that is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        converted = float(value)
    except OverflowError:  # JSON knows integers of any length
        return None
    return converted if math.isfinite(converted) else None
