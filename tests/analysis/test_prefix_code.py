"""Code words: as long as the formula, exact both ways, prefix-free, and strict about damage."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from scratchconv.analysis.bit_string import BitReader, BitString, BitWriter
from scratchconv.analysis.prefix_code import (
    SCHEMES,
    code_terms,
    decode_vector,
    encode_vector,
    encode_vector_plain,
)
from scratchconv.analysis.weight_vector import WeightVector, rounded_patterns, rounded_plain
from scratchconv.errors import DataError, InvalidArgument

SLOW_MACHINES = settings(deadline=None)


def vector_of(weights: list[float], b: int = 16) -> WeightVector:
    dense = np.array(weights, np.float32)
    positions = np.flatnonzero(dense).astype(np.int64)
    return WeightVector(dense.size, b, positions, rounded_patterns(dense[positions], b))


def from_digits(digits: str) -> BitString:
    filled = digits + "0" * (-len(digits) % 8)
    data = bytes(int(filled[i : i + 8], 2) for i in range(0, len(filled), 8))
    return BitString(data, len(digits))


def finite_patterns(b: int) -> st.SearchStrategy[int]:
    """Patterns of non-zero finite weights; few different ones are drawn as often as many."""
    largest = (0xFF << (b - 9)) - 1
    magnitude = st.integers(1, min(3, largest)) | st.integers(1, largest)
    return st.builds(lambda sign, m: sign << (b - 1) | m, st.integers(0, 1), magnitude)


@st.composite
def vectors(draw: st.DrawFn, n: st.SearchStrategy[int] | None = None, b: int | None = None):
    size = draw(st.integers(0, 70) if n is None else n)
    width = b or draw(st.sampled_from([9, 10, 11, 16, 23, 32]))
    positions = draw(st.sets(st.integers(0, size - 1), max_size=size)) if size else set()
    patterns = draw(
        st.lists(finite_patterns(width), min_size=len(positions), max_size=len(positions))
    )
    return WeightVector(
        size, width, np.array(sorted(positions), np.int64), np.array(patterns, np.uint32)
    )


def assert_same(found: WeightVector, expected: WeightVector) -> None:
    assert (found.n, found.b) == (expected.n, expected.b)
    np.testing.assert_array_equal(found.positions, expected.positions)
    np.testing.assert_array_equal(found.patterns, expected.patterns)


def test_the_code_of_theorem_2_by_hand():
    # n = 5 takes 3 bits, both as a count and as a position; k = 2 takes 1.
    vector = vector_of([0.0, 1.5, -2.0, 0.0, 1.5], b=10)
    code = encode_vector(vector, "shared").digits()
    plus, minus = "0011111111", "1100000000"  # sign, eight bits of exponent, one of fraction
    assert code == "010" + plus + minus + "011" + "010" + "001" + "010" + "100" + "0" + "1" + "0"
    assert encode_vector(vector, "sparse").digits() == (
        "011" + "001" + "010" + "100" + plus + minus + plus
    )
    zero = "0" * 10
    assert encode_vector(vector, "dense").digits() == zero + plus + minus + zero + plus


@SLOW_MACHINES
@given(vectors(), st.sampled_from(SCHEMES))
def test_exact_both_ways_and_as_long_as_the_formula(vector, scheme):
    code = encode_vector(vector, scheme)
    assert code.digits() == encode_vector_plain(vector, scheme)
    k = len(set(vector.patterns.tolist()))
    terms = code_terms(scheme, n=vector.n, b=vector.b, nonzero=vector.nonzero, k=k)
    assert len(code) == sum(term.bits for term in terms)
    assert_same(decode_vector(code, n=vector.n, b=vector.b, scheme=scheme), vector)
    assert_same(decode_vector(code.data, n=vector.n, b=vector.b, scheme=scheme), vector)


@SLOW_MACHINES
@given(st.integers(1, 2**40), st.data())
def test_rounding_up_logarithms_is_all_that_is_added_to_the_paper(n, data):
    nonzero = data.draw(st.integers(1, n))
    k = data.draw(st.integers(1, min(nonzero, 2**32)))
    terms = code_terms("shared", n=n, b=32, nonzero=nonzero, k=k)
    map_of_weights = [term for term in terms if term.name.startswith("map:")]
    as_printed = nonzero * math.log2(k * n) + 2 * math.log2(n)
    assert math.fsum(t.formula_bits for t in map_of_weights) == pytest.approx(as_printed)
    assert as_printed - 1e-3 <= sum(t.bits for t in map_of_weights) * (1 + 1e-12)
    assert sum(t.bits for t in map_of_weights) <= as_printed * (1 + 1e-12) + 2 * nonzero + 2
    named = {term.name: term.bits for term in terms}
    assert named["values"] == 32 * k
    assert named["number of parameters"] == math.ceil(math.log2(n + 1))


@SLOW_MACHINES
@given(st.integers(0, 9), st.sampled_from(SCHEMES), st.data())
def test_no_code_word_begins_another(n, scheme, data):
    one, other = (data.draw(vectors(n=st.just(n), b=9)) for _ in range(2))
    a, c = (encode_vector(vector, scheme).digits() for vector in (one, other))
    same = one.positions.tolist() == other.positions.tolist() and (
        one.patterns.tolist() == other.patterns.tolist()
    )
    assume(not same)
    assert not a.startswith(c)
    assert not c.startswith(a)


def test_all_words_of_a_small_language_satisfy_kraft():
    # All vectors of 3 weights out of {0, 1, -2}.
    for scheme in SCHEMES:
        words = {
            encode_vector(vector_of([x, y, z], b=9), scheme).digits()
            for x in (0.0, 1.0, -2.0)
            for y in (0.0, 1.0, -2.0)
            for z in (0.0, 1.0, -2.0)
        }
        assert len(words) == 27
        ordered = sorted(words)
        assert not any(after.startswith(word) for word, after in pairwise(ordered))
        assert sum(2.0 ** -len(word) for word in words) <= 1


def test_long_runs_cross_the_chunks_they_are_handled_in():
    generator = np.random.default_rng(0)
    n = 1_000_003
    positions = np.sort(generator.choice(n, 150_001, replace=False)).astype(np.int64)
    values = generator.standard_normal(positions.size).astype(np.float32)
    vector = WeightVector(n, 19, positions, rounded_patterns(values, 19))
    for scheme in SCHEMES:
        code = encode_vector(vector, scheme)
        k = np.unique(vector.patterns).size
        terms = code_terms(scheme, n=n, b=19, nonzero=vector.nonzero, k=k)
        assert len(code) == sum(term.bits for term in terms)
        assert_same(decode_vector(code, n=n, b=19, scheme=scheme), vector)


@SLOW_MACHINES
@given(vectors(), st.sampled_from(SCHEMES), st.data())
def test_a_word_cut_short_or_lengthened_is_refused(vector, scheme, data):
    digits = encode_vector(vector, scheme).digits()
    assume(digits)
    kept = data.draw(st.integers(0, len(digits) - 1))
    with pytest.raises(DataError, match="cut off or damaged"):
        decode_vector(from_digits(digits[:kept]), n=vector.n, b=vector.b, scheme=scheme)
    with pytest.raises(DataError, match="left behind its end"):
        decode_vector(from_digits(digits + "0"), n=vector.n, b=vector.b, scheme=scheme)


@settings(deadline=None, max_examples=300)
@given(vectors(n=st.integers(1, 20)), st.sampled_from(SCHEMES), st.data())
def test_whatever_is_accepted_is_the_word_of_what_was_read(vector, scheme, data):
    """Bits flipped anywhere give an error, or a vector whose one code word these bits are."""
    digits = list(encode_vector(vector, scheme).digits())
    for i in data.draw(st.sets(st.integers(0, len(digits) - 1), min_size=1, max_size=3)):
        digits[i] = "10"[int(digits[i])]
    damaged = from_digits("".join(digits))
    try:
        found = decode_vector(damaged, n=vector.n, b=vector.b, scheme=scheme)
    except DataError:
        return
    assert encode_vector(found, scheme) == damaged


@SLOW_MACHINES
@given(st.binary(max_size=40), st.integers(0, 2**62), st.sampled_from(SCHEMES))
def test_any_bytes_are_refused_or_are_a_word(data, n, scheme):
    try:
        found = decode_vector(data, n=n, b=12, scheme=scheme)
    except DataError:
        return
    assert encode_vector(found, scheme).data == data


ONE, MINUS_TWO, INFINITE, ZERO = "001111111", "110000000", "011111111", "000000000"


@pytest.mark.parametrize(
    ("scheme", "digits", "message"),
    [
        # n = 5, b = 9: counts and positions in 3 bits
        ("sparse", "110", "number of non-zeros is 6, but there are 5 weights"),
        ("sparse", "010" + "001" + "001" + ONE + ONE, "positions do not ascend"),
        ("sparse", "001" + "101" + ONE, "positions reach from 5 to 5"),
        ("sparse", "001" + "100" + INFINITE, "NaN or infinite"),
        ("sparse", "001" + "100" + ZERO, "hold zero"),
        ("dense", ZERO * 4 + "1" + ZERO[1:], "hold zero, or −0"),
        ("dense", ZERO * 4 + INFINITE, "NaN or infinite"),
        ("shared", "111", "number of parameters is 7"),
        ("shared", "010" + MINUS_TWO + ONE, "values do not ascend"),
        ("shared", "010" + ONE + ONE + "010" + "010" + "000" + "001" + "0" + "1", "not ascend"),
        ("shared", "001" + ONE + "001" + "010" + "000", "1 parameters, but its map is one to 2"),
        ("shared", "001" + ONE + "000" + "001", "a value that no weight takes"),
        ("shared", "010" + ONE + MINUS_TWO + "001" + "010" + "000" + "0", "no weight takes"),
        ("shared", "000" + "001" + "000" + "000", "asks for value 0 of 0"),
    ],
)
def test_damage_is_named(scheme, digits, message):
    with pytest.raises(DataError, match=message):
        decode_vector(from_digits(digits), n=5, b=9, scheme=scheme)


def test_a_map_beyond_the_last_value_is_refused():
    three_of = [1.0, 2.0, 4.0]
    digits = encode_vector(vector_of(three_of, b=9), "shared").digits()
    assert digits.endswith("000110")  # numbers 0, 1, 2 in two bits each
    with pytest.raises(DataError, match="asks for value 3 of 3"):
        decode_vector(from_digits(digits[:-2] + "11"), n=3, b=9, scheme="shared")


def test_bytes_may_end_in_filling_but_in_nothing_else():
    vector = vector_of([0.0, 3.0], b=9)
    code = encode_vector(vector, "sparse")
    assert len(code) == 12
    assert_same(decode_vector(code.data, n=2, b=9, scheme="sparse"), vector)
    with pytest.raises(DataError, match="3 bytes were given where 2 are enough"):
        decode_vector(code.data + b"\0", n=2, b=9, scheme="sparse")
    with pytest.raises(DataError, match="filling"):
        decode_vector(code.data[:-1] + bytes([code.data[-1] | 1]), n=2, b=9, scheme="sparse")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_a_code_claims_takes_no_memory_before_it_is_there(scheme):
    n = 2**40
    claims_everything = from_digits("1" + "0" * 4000)  # all n weights are non-zero
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="bits"):
            decode_vector(claims_everything, n=n, b=16, scheme=scheme)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_memory_stays_in_proportion_to_the_code():
    n = 200_000
    positions = np.arange(n)
    vector = WeightVector(n, 9, positions, np.full(n, 0x7F, np.uint32))
    for scheme in SCHEMES:
        code = encode_vector(vector, scheme)
        tracemalloc.start()
        try:
            decode_vector(code, n=n, b=9, scheme=scheme)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # The buffers of one chunk come on top.
        assert peak < 40 * len(code.data) + 2**24


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_empty_and_single(n, scheme):
    for weights in ([0.0] * n, [-1.0] * n):
        vector = vector_of(weights)
        code = encode_vector(vector, scheme)
        assert_same(decode_vector(code, n=n, b=16, scheme=scheme), vector)
        np.testing.assert_array_equal(vector.dense(), np.array(weights, np.float32))


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False).filter(bool)


@SLOW_MACHINES
@example([0.75, 1.5, -3.0, 2.0**-127, 3 * 2.0**-128, 3 * 2.0**-127], 9)
@given(st.lists(FLOATS, max_size=30), st.integers(9, 32))
def test_rounding_is_to_the_nearest_of_b_bits(values, b):
    array = np.array(values, np.float32)
    found = rounded_patterns(array, b)
    expected = rounded_plain(array, b)
    # What is beyond the largest number of b bits becomes infinity.
    largest = np.array([((0xFF << (b - 9)) - 1) << (32 - b)], np.uint32).view(np.float32)[0]
    beyond = np.abs(expected) > largest
    numbers = (found << np.uint32(32 - b)).view(np.float32)
    np.testing.assert_array_equal(numbers[~beyond], expected[~beyond])
    assert np.isinf(numbers[beyond]).all()


@SLOW_MACHINES
@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 2**64 - 1)), max_size=12))
def test_runs_of_any_width_are_read_as_written(fields):
    writer = BitWriter()
    expected = []
    for width, number in fields:
        number %= 2**width
        expected.append((width, number))
        writer.write(np.array([number, number], np.uint64), width)
    code = writer.finished()
    assert code.digits() == "".join(f"{x:0{w}b}" * 2 for w, x in expected if w)
    reader = BitReader(code)
    for width, number in expected:
        assert reader.read(2, width, "fields").tolist() == [number, number]
    reader.finish()


@pytest.mark.parametrize(
    ("data", "length"), [(b"", 1), (b"\0\0", 8), (b"\0", -1), (b"\x01", 7), (b"\x80", 0)]
)
def test_a_bit_string_is_just_as_long_as_its_data(data, length):
    with pytest.raises(InvalidArgument):
        BitString(data, length)


def test_impossible_arguments_are_refused():
    code = encode_vector(vector_of([1.0]), "sparse")
    with pytest.raises(InvalidArgument, match=r"dense.*shared.*sparse"):
        decode_vector(code, n=1, b=16, scheme="sparce")
    with pytest.raises(InvalidArgument, match="b is 8"):
        decode_vector(code, n=1, b=8, scheme="sparse")
    with pytest.raises(InvalidArgument, match="n is -1"):
        decode_vector(code, n=-1, b=16, scheme="sparse")
    with pytest.raises(InvalidArgument, match="0 ≤ k ≤ ‖w‖₀ ≤ n"):
        code_terms("shared", n=4, b=16, nonzero=3, k=4)
    with pytest.raises(InvalidArgument, match="0 ≤ k ≤ ‖w‖₀ ≤ n"):
        code_terms("shared", n=4, b=16, nonzero=3, k=0)


@pytest.mark.parametrize(
    ("positions", "patterns", "message"),
    [
        ([1, 0], [1, 1], "do not ascend"),
        ([0, 0], [1, 1], "do not ascend"),
        ([-1], [1], "reach from -1"),
        ([3], [1], "reach from 3"),
        ([0], [0], "hold zero"),
        ([0], [0x8000], "hold zero"),
        ([0], [0x7F80], "NaN or infinite"),
        ([0], [0xFFC0], "NaN or infinite"),
        ([0], [0x10000], "do not fit in 16 bits"),
        ([0, 1], [1], "same length"),
    ],
)
def test_a_vector_that_is_none_is_refused(positions, patterns, message):
    with pytest.raises(InvalidArgument, match=message):
        WeightVector(3, 16, np.array(positions, np.int64), np.array(patterns, np.uint32))
