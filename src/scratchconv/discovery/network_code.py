"""A network and the labels of its training rows in bits: a code in two parts.

The first part describes the network, the second the labels of the training rows given their columns
and the network: n · cross entropy. A structure that fits worse pays in the second what it saves in
the first (Rissanen, "Modeling by shortest data description", Automatica 14, 1978). No other rows
are needed, and none are looked at.

The first part is Theorem 2 of Neyshabur 2020, as `analysis.description_length` has it, with three
differences. The b bits of a weight count steps of a common size, so that few are enough; b is
chosen with the rest, and its loss is paid for in the second part. BatchNorm is folded into the
weights, as it can be once training ends. The map g of shared weights is given by a rule, not entry
by entry: which place each column has, and how far a window reaches, tell for all units which weight
is where.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scratchconv.analysis.prefix_code import Term, choice_width, code_terms, count_width
from scratchconv.discovery.fitting import Samples
from scratchconv.discovery.folding import folded, parts_of, rounded_to
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.neighbourhoods import geometry_bits
from scratchconv.discovery.networks import KINDS, Neighbourhoods, Structure

WEIGHT_BITS = (2, 3, 4, 5, 6, 8)
_STEP_BITS = 16
"""Of the step of a tensor's weights, a bfloat16."""
_TARGET_STEPS = 256
"""Numeric targets are told to 1/256 of their deviation."""
_CHUNK = 2048
_TELLING = 2048
"""Rows by which b is chosen."""


@dataclass(frozen=True)
class NetworkCode:
    """One network and its training rows' labels, in bits.

    structure: of the network; None: no network, labels are told by their frequencies.
    b: bits of a weight, 0 without a network.
    terms: the parts of the code; the last is the labels'.
    """

    structure: Structure | None
    b: int
    terms: tuple[Term, ...]

    @property
    def bits(self) -> int:
        return sum(term.bits for term in self.terms)

    @property
    def label_bits(self) -> int:
        return self.terms[-1].bits

    @property
    def network_bits(self) -> int:
        return self.bits - self.label_bits

    def of(self, name: str) -> int:
        """The bits of all terms of this name; 0 if there is none."""
        return sum(term.bits for term in self.terms if term.name == name)


def constant_code(samples: Samples) -> NetworkCode:
    """Labels without columns: classes by their frequencies, numbers by mean and deviation."""
    weights, targets = samples.weights.double(), samples.targets
    if samples.task == "classification":
        counts = torch.zeros(int(targets.max()) + 1, dtype=torch.float64)
        counts.index_add_(0, targets, weights)
        shares = counts[counts > 0] / counts.sum()
        labels = float(-(counts[counts > 0] * shares.log2()).sum())
        numbers = (len(counts) - 1) * count_width(len(samples))
    else:
        mean = (weights * targets).mean()
        labels = _number_bits(float((weights * (targets - mean) ** 2).mean()), len(samples))
        numbers = 2 * _STEP_BITS
    return NetworkCode(None, 0, (_choice(), _whole("frequencies", numbers), _labels(labels)))


def network_code(
    network: nn.Sequential,
    structure: Structure,
    samples: Samples,
    geometry: Geometry | None,
    *,
    geometry_known: bool = False,
) -> NetworkCode:
    """The shortest code of a trained network (`new_structured_network`) over `WEIGHT_BITS`.

    Args:
        network: as trained; not changed.
        structure: it was made of.
        samples: the rows it was trained on.
        geometry: of the columns, if the structure has a window.
        geometry_known: whether to leave the geometry's bits out, as one may if it was read off the
            inputs alone: whoever decodes labels has the inputs, and can find it as well.
    """
    plain = folded(network)
    # Which b is shortest can be told by some of the rows, each counted for all that it stands for.
    some = samples
    if len(samples) > _TELLING:
        rows = np.random.RandomState(0).permutation(len(samples))[:_TELLING]
        some = samples.part(np.sort(rows))
    scale = len(samples) / len(some)
    spread = (_whole("spread of the errors", _STEP_BITS),) if samples.task == "regression" else ()
    found = []
    for b in WEIGHT_BITS:
        rounded = rounded_to(plain, b)
        terms = (
            _choice(),
            *_settings(structure, b),
            *_structure_terms(rounded, structure, geometry, geometry_known, b),
            *spread,
        )
        length = sum(term.bits for term in terms) + scale * label_bits(rounded, some)
        found.append((length, b, terms))
    _, b, terms = min(found, key=lambda one: one[0])
    labels = label_bits(rounded_to(plain, b), samples)
    return NetworkCode(structure, b, (*terms, _labels(labels)))


def least_bits(network: nn.Sequential, structure: Structure) -> int:
    """What every code of such a network takes, however it is trained: its first layer's values.

    0 for sparse networks, whose weights may all go.
    """
    if structure.kind == "sparse":
        return 0
    return _seen(network, parts_of(network).first) * min(WEIGHT_BITS)


def label_bits(network: nn.Module, samples: Samples) -> float:
    """What the targets of `samples` take, given their columns and the network."""
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(samples), _CHUNK):
            rows = torch.arange(start, min(start + _CHUNK, len(samples)))
            total += float(samples.losses(network(samples.inputs[rows]), rows).double().sum())
    if samples.task == "classification":
        return total / math.log(2)
    return _number_bits(total / len(samples), len(samples))


def _number_bits(variance: float, n: int) -> float:
    """Numbers of this variance about what was predicted, by the Gaussian code."""
    deviation = max(math.sqrt(variance), 1 / _TARGET_STEPS)
    return n * math.log2(math.sqrt(2 * math.pi * math.e) * deviation * _TARGET_STEPS)


def _structure_terms(
    rounded: nn.Sequential,
    structure: Structure,
    geometry: Geometry | None,
    geometry_known: bool,
    b: int,
) -> tuple[Term, ...]:
    parts = parts_of(rounded)
    first, head, biases = parts.first, parts.head, parts.biases
    if len(head) == 2:
        head, biases = head[1:], biases[1:]
    terms: list[Term] = []
    units = parts.shifts.numel()
    if structure.kind == "sparse":
        terms += _sparse_terms(first, b, "first layer")
        alive = int((first != 0).any(dim=1).sum())
        terms.append(_whole("first layer: shifts", alive * b))
    else:
        if structure.window and geometry is not None:
            told = 0 if geometry_known else geometry_bits(geometry, structure.window)
            terms.append(_whole("map: geometry", told))
        terms.append(_whole("first layer: values", _seen(rounded, first) * b))
        terms.append(_whole("first layer: shifts", units * b))
    sparse = _sparse_terms(head, b, "outputs")
    dense = [_whole("outputs: values", head.numel() * b)]
    shorter = min(dense, sparse, key=lambda code: sum(term.bits for term in code))
    terms += [*shorter, _whole("outputs: biases", 1 + biases.numel() * b)]
    return tuple(terms)


def _seen(network: nn.Sequential, weight: Tensor) -> int:
    """The weights of the layer but those of a window that hang over an edge."""
    first = network.get_submodule("first")
    if isinstance(first, Neighbourhoods) and len(weight) > 1:
        return int((first.index < first.columns).sum()) * weight.shape[1]
    return weight.numel()


def _sparse_terms(weight: Tensor, b: int, name: str) -> list[Term]:
    """‖w‖₀ (log n + b) + log n, as in Theorem 2 (whose values take no fewer than 9 bits)."""
    n, nonzero = weight.numel(), int(torch.count_nonzero(weight))
    count, positions, _ = code_terms("sparse", n=n, b=16, nonzero=nonzero, k=min(nonzero, 1))
    where = count.bits + positions.bits
    return [
        Term(f"{name}: positions", "‖w‖₀ log n + log n", where, float(where)),
        Term(f"{name}: values", "‖w‖₀ b", nonzero * b, nonzero * b),
    ]


def _settings(structure: Structure, b: int) -> tuple[Term, ...]:
    """Width, window and pooling by Elias's gamma code, b among those tried, four steps."""
    numbers = (structure.width, structure.window + 1, structure.pool + 1)
    gamma = sum(2 * number.bit_length() - 1 for number in numbers)
    return (_whole("settings", gamma + choice_width(len(WEIGHT_BITS)) + 4 * _STEP_BITS),)


def _choice() -> Term:
    kinds = len(KINDS) + 1
    return Term("structure", "log 5", choice_width(kinds), math.log2(kinds))


def _whole(name: str, bits: int) -> Term:
    return Term(name, "", int(bits), float(bits))


def _labels(bits: float) -> Term:
    return Term("labels", "n · cross entropy", math.ceil(np.round(bits, 6)), bits)
