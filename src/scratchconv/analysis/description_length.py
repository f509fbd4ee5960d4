"""How many bits describe a trained network, and what they say about its error (Neyshabur 2020, §3).

**Theorem 1**, equation (1): for a prefix-free description language d chosen before the training set
is seen, with probability 1 − δ over m samples, for all hypotheses h,

    L_D(h) ≤ L_S(h) + √((|d(h)| + log(2/δ)) / 2m).

**Theorem 2**, equation (2): with w ∈ ℝ_bⁿ, and w_i = p_g(i) for p ∈ ℝ_b^k and g: [n] → [k],

    L_D(f_w) ≤ L_S(f_w) + √((kb + |d(g)| + log(2n/δ)) / 2m),   |d(g)| ≤ ‖w‖₀ log(kn) + 2 log n.

The codes, and what was chosen where the paper is silent about them, are in `prefix_code`; which
tensors w holds, and how they are rounded, in `weight_vector`. Beyond that the paper leaves open:

- The base of its logarithms. Lengths are in bits, so those of lengths have base 2. The theorem that
  Theorem 1 is taken from (Shalev-Shwartz and Ben-David 2014, Theorem 7.7) has the natural logarithm
  in log(2/δ); so it is here, and in log(2n/δ), which also bounds the gap: n there pays for k, which
  the code of g holds already.
- The loss: the source asks for one in [0, 1], such as the share of wrong answers.
- Biases and BatchNorm: its counts leave them out. Here they are described like other weights, as
  the outputs depend on them.
- Convolutions: its theorem would see one as a shared map from the weights of a dense layer. Here w
  holds the kernel once, and that a kernel is shared is part of the class, agreed beforehand.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from scratchconv.analysis.bit_string import BitString
from scratchconv.analysis.prefix_code import Term, code_terms, decode_vector, encode_vector
from scratchconv.analysis.weight_vector import described_tensors, tensors_of, weight_vector
from scratchconv.errors import InvalidArgument


@dataclass(frozen=True)
class TensorShare:
    """One tensor of the network: its weights, and how many are not zero in b bits."""

    name: str
    size: int
    nonzero: int


@dataclass(frozen=True)
class DescriptionLength:
    """The length of a network's code word, in bits.

    scheme: one of `prefix_code.SCHEMES`.
    n: weights, zeros included. b: bits of one. nonzero: ‖w‖₀.
    k: how many different values the non-zeros have.
    terms: the parts of the code word, in order.
    tensors: what w is made of.
    """

    scheme: str
    n: int
    b: int
    nonzero: int
    k: int
    terms: tuple[Term, ...]
    tensors: tuple[TensorShare, ...]

    @property
    def bits(self) -> int:
        """|d(h)|: the length of what `encode` gives, exactly."""
        return sum(term.bits for term in self.terms)

    @property
    def formula_bits(self) -> float:
        """The same with the paper's logarithms, not rounded up to whole bits."""
        return math.fsum(term.formula_bits for term in self.terms)

    @property
    def map_bits(self) -> int:
        """|d(g)| of Theorem 2; 0 for the codes without a map."""
        return sum(term.bits for term in self.terms if term.name.startswith("map:"))


def description_length(
    model: nn.Module, *, b: int = 32, scheme: str = "shared", weights_only: bool = False
) -> DescriptionLength:
    """The description length of a network, each term shown; nothing is encoded.

    Args:
        model: any module whose state is floating tensors; see `weight_vector.described_tensors`.
        b: bits of a weight, 9 to 32; weights are rounded to them. 32 is float32, 16 bfloat16.
        scheme: `dense`, `sparse` or `shared`; see `prefix_code`.
        weights_only: leave biases and BatchNorm out, as the paper's counts do. A bound from it is
            one for networks in which they were fixed before training, which is seldom true.

    Raises InvalidArgument: the model cannot be described (the message says why), or b or scheme is
    not one of those.
    """
    vector = weight_vector(model, b=b, weights_only=weights_only)
    k = int(np.unique(vector.patterns).size)
    tensors = described_tensors(model, weights_only=weights_only)
    starts = [tensor.start for tensor in tensors] + [vector.n]
    counts = np.diff(np.searchsorted(vector.positions, starts))
    return DescriptionLength(
        scheme=scheme,
        n=vector.n,
        b=b,
        nonzero=vector.nonzero,
        k=k,
        terms=code_terms(scheme, n=vector.n, b=b, nonzero=vector.nonzero, k=k),
        tensors=tuple(
            TensorShare(tensor.name, tensor.size, int(count))
            for tensor, count in zip(tensors, counts, strict=True)
        ),
    )


def encode(
    model: nn.Module, *, b: int = 32, scheme: str = "shared", weights_only: bool = False
) -> BitString:
    """The network's code word; arguments and errors as in `description_length`.

    It is `description_length(...).bits` bits long. The architecture, b and scheme are not in it:
    they are agreed before training.
    """
    return encode_vector(weight_vector(model, b=b, weights_only=weights_only), scheme)


def decode(
    code: BitString | bytes,
    model: nn.Module,
    *,
    b: int = 32,
    scheme: str = "shared",
    weights_only: bool = False,
) -> dict[str, Tensor]:
    """The weights that a code word describes: float32 on the CPU, by name, exactly as rounded.

    Args:
        code: what `encode` gave, or its `data` alone.
        model: a network of the same architecture; only names and shapes are used, so that it may be
            new or on the meta device. It is not changed: `model.load_state_dict(weights,
            strict=False)` does that, and gives the network that the bound is about.
        b, scheme, weights_only: as given to `encode`.

    Raises DataError: this is no code word of such a network. See `prefix_code.decode_vector`.
    """
    tensors = described_tensors(model, weights_only=weights_only)
    n = sum(tensor.size for tensor in tensors)
    return tensors_of(decode_vector(code, n=n, b=b, scheme=scheme), tensors)


@dataclass(frozen=True)
class GeneralisationBound:
    """A bound on the error on new samples of the training set's distribution.

    equation: of the paper: 1 for the codes without a map, 2 for the shared one.
    samples, delta, training_error: m, δ and L_S, as given.
    description_bits: under the root, in bits: |d(h)| in equation 1, kb + |d(g)| in 2; with those
        that name one of several architectures.
    confidence_nats: under the root beside them: log(2/δ), or log(2n/δ).
    gap: the root, as printed. bound: training_error + gap. At 1 or more it says nothing.
    sharp_gap: √((|d(h)| log 2 + log(2/δ)) / 2m), |d(h)| being the whole code word. It holds too:
        the proof of Theorem 1 weighs a hypothesis by 2^−|d(h)|, whose logarithm is |d(h)| log 2,
        while what is printed counts bits as nats. It is the smaller one, but for networks of a
        handful of weights.
    """

    equation: int
    samples: int
    delta: float
    training_error: float
    description_bits: int
    confidence_nats: float
    gap: float
    sharp_gap: float

    @property
    def bound(self) -> float:
        return self.training_error + self.gap

    @property
    def sharp_bound(self) -> float:
        return self.training_error + self.sharp_gap

    @property
    def vacuous(self) -> bool:
        """Whether even the sharper bound says nothing: no error is above 1."""
        return self.sharp_bound >= 1


def generalisation_bound(
    length: DescriptionLength,
    *,
    samples: int,
    training_error: float,
    delta: float = 0.05,
    architectures: int = 1,
) -> GeneralisationBound:
    """Equation (1) for a `dense` or `sparse` description, equation (2) for a `shared` one.

    Args:
        length: of the network.
        samples: m, the number of training samples, drawn independently. How the network was found
            from them, or from others, does not matter: the bound holds for all networks at once.
        training_error: L_S in [0, 1] on these samples, of the network as described: with weights
            rounded to b bits, and without augmentation.
        delta: δ in (0, 1): how likely the bound may be wrong.
        architectures: how many descriptions (architecture, b and scheme) had been agreed on, if
            this one was chosen among them after data was seen; naming it takes ⌈log₂⌉ bits more.

    Raises InvalidArgument: an argument is out of its range.
    """
    _whole("samples", samples)
    _whole("architectures", architectures)
    if not 0 <= training_error <= 1:
        raise InvalidArgument(
            f"training_error is {training_error!r}: give the share of wrong answers, in [0, 1]"
        )
    if not 0 < delta < 1:
        raise InvalidArgument(f"delta is {delta!r}: it must lie between 0 and 1, as 0.05 does")
    choice = (architectures - 1).bit_length()
    whole_word = choice + length.bits
    log_2_delta = math.log(2 / delta)
    if length.scheme == "shared":
        equation = 2
        bits = choice + length.k * length.b + length.map_bits
        confidence = log_2_delta + (math.log(length.n) if length.n else 0.0)
    else:
        equation, bits, confidence = 1, whole_word, log_2_delta
    return GeneralisationBound(
        equation=equation,
        samples=samples,
        delta=delta,
        training_error=training_error,
        description_bits=bits,
        confidence_nats=confidence,
        gap=math.sqrt((bits + confidence) / (2 * samples)),
        sharp_gap=math.sqrt((whole_word * math.log(2) + log_2_delta) / (2 * samples)),
    )


def _whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise InvalidArgument(f"{name} is {value!r}: it must be an integer of at least 1")
