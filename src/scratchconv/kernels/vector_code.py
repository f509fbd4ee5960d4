"""Inner loops of the sparse kernels on rows of samples, emitted as LLVM code.

A row holds one feature for all samples of a batch, as float32 or as bfloat16 bit patterns (uint16).
Written in Python, these loops keep their sums in memory and load and store them at every non-zero,
which takes two to three times as long; spelled out here the sums stay in registers.

Lanes come in pairs of vectors, 32 lanes at a time. Of 32 neighbouring bfloat16 values the even ones
are had by a shift and the odd ones by a mask, so a pair is (even, odd) lanes; of float32 it is
(first 16, last 16). `deinterleave` brings a row into that order once, and `dot_products` meets
other rows in it; `weighted_sum` restores the natural order when it stores.

Multiply and add may be fused, and sums over lanes are taken in a fixed order of their own: results
are the same on any number of threads, and differ from a plain loop's in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from scratchconv.kernels.llvm_pieces import (
    INDEX,
    LANE,
    LANES,
    array_data,
    array_size,
    in_every_lane,
    loop,
    prefetch,
    vector_pointer,
)

PAIR = 2 * LANES

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(LANE, LANES)
_ZEROS = ir.Constant(_VECTOR, [0.0] * LANES)
_FUSED = ("contract",)

# Rows of samples are asked for this many non-zeros before they are read. Where they lie is known
# from the indices alone, and to wait for the third level of cache would take longer than the sums.
_AHEAD = 4

Emitter = Callable[..., Any]
Typing = tuple[Any, Emitter] | None


def _places(lanes: list[int]) -> Any:
    return ir.Constant(_BITS, lanes)


def _load_pair(builder: Any, base: Any, place: Any, bfloat16: bool) -> tuple[Any, Any]:
    """The 32 values at `base[place]`."""
    if bfloat16:
        pointer = builder.bitcast(builder.gep(base, [place]), _BITS.as_pointer())
        bits = builder.load(pointer, align=2)
        even = builder.shl(bits, _places([16] * LANES))
        odd = builder.and_(bits, _places([-(1 << 16)] * LANES))
        return builder.bitcast(even, _VECTOR), builder.bitcast(odd, _VECTOR)
    after = builder.add(place, INDEX(LANES))
    return (
        builder.load(vector_pointer(builder, base, place), align=4),
        builder.load(vector_pointer(builder, base, after), align=4),
    )


def _row_ahead(builder: Any, columns: Any, k: Any, last: Any, rows: Any, samples: Any) -> Any:
    """Pointer to the row that non-zero `k + _AHEAD` reads, or `last`, the last one stored."""
    later = builder.add(k, INDEX(_AHEAD))
    later = builder.select(builder.icmp_signed("<", later, last), later, last)
    column = builder.zext(builder.load(builder.gep(columns, [later])), INDEX)
    return builder.gep(rows, [builder.mul(column, samples)])


def _prefetch_pair(builder: Any, base: Any, place: Any, bfloat16: bool) -> None:
    """Ask for the 32 values at `base[place]`."""
    prefetch(builder, builder.gep(base, [place]))
    if not bfloat16:
        prefetch(builder, builder.gep(base, [builder.add(place, INDEX(LANES))]))


def _weighted_sum(
    typing_context: Any,
    values: Any,
    positions: Any,
    columns: Any,
    begin: Any,
    end: Any,
    rows: Any,
    samples: Any,
    start: Any,
    sums: Any,
    width: Any,
) -> Typing:
    """Typing of `weighted_sum`, one stretch of one row of a sparse product:

    `sums[start + s] = Σ_k values[k] · rows[columns[k] · samples + start + s]`, k in [begin, end),
    s in [0, width); with `positions` given, `values[positions[k]]` is read instead.

    `rows` is float32 or uint16 (bfloat16) of `samples` a row. `width` is a literal multiple of
    `PAIR`. Nothing is checked.
    """
    if not isinstance(width, types.IntegerLiteral):
        return None
    index = types.int64
    ends = (index, index)
    signature = types.void(values, positions, columns, *ends, rows, index, index, sums, width)
    return signature, _emit_weighted_sum


def _emit_weighted_sum(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def array(position: int) -> Any:
        return array_data(context, builder, signature, arguments, position)

    _, _, _, begin, end, _, samples, start, _, _ = arguments
    values, columns, rows, sums = array(0), array(2), array(5), array(8)
    last = builder.sub(array_size(context, builder, signature, arguments, 2), INDEX(1))
    indirect = not isinstance(signature.args[1], types.NoneType)
    positions = array(1) if indirect else None
    bfloat16 = signature.args[5].dtype == types.uint16
    stretches = range(0, signature.args[9].literal_value, PAIR)

    with loop(builder, begin, end, 1, [_ZEROS] * (2 * len(stretches))) as (k, totals):
        position = k
        if indirect:
            position = builder.zext(builder.load(builder.gep(positions, [k])), INDEX)
        value = in_every_lane(builder, builder.load(builder.gep(values, [position])))
        later = _row_ahead(builder, columns, k, last, rows, samples)
        for place in stretches:
            at = builder.add(start, INDEX(place))
            _prefetch_pair(builder, later, at, bfloat16)
        column = builder.zext(builder.load(builder.gep(columns, [k])), INDEX)
        row = builder.gep(rows, [builder.add(builder.mul(column, samples), start)])
        for number, place in enumerate(stretches):
            pair = _load_pair(builder, row, INDEX(place), bfloat16)
            for total, x in enumerate(pair, 2 * number):
                product = builder.fmul(value, x, flags=_FUSED)
                totals[total] = builder.fadd(totals[total], product, flags=_FUSED)

    for number, place in enumerate(stretches):
        first, second = totals[2 * number : 2 * number + 2]
        if bfloat16:
            first, second = _interleaved(builder, first, second)
        for offset, total in ((0, first), (LANES, second)):
            at = builder.add(start, INDEX(place + offset))
            builder.store(total, vector_pointer(builder, sums, at), align=4)
    return context.get_dummy_value()


def _interleaved(builder: Any, even: Any, odd: Any) -> tuple[Any, Any]:
    """32 values in their natural order from their even and their odd ones."""
    order = [lane // 2 + LANES * (lane % 2) for lane in range(PAIR)]
    return (
        builder.shuffle_vector(even, odd, _places(order[:LANES])),
        builder.shuffle_vector(even, odd, _places(order[LANES:])),
    )


def _deinterleave(typing_context: Any, rows: Any, start: Any, width: Any, ordered: Any) -> Typing:
    """Typing of `deinterleave`: `ordered[s]` is `rows[start + s]` in the order of pairs.

    s in [0, width), `width` a multiple of `PAIR`; `ordered` is float32.
    """
    signature = types.void(rows, types.int64, types.int64, ordered)
    return signature, _emit_deinterleave


def _emit_deinterleave(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    rows = array_data(context, builder, signature, arguments, 0)
    ordered = array_data(context, builder, signature, arguments, 3)
    _, start, width, _ = arguments
    bfloat16 = signature.args[0].dtype == types.uint16

    with loop(builder, INDEX(0), width, PAIR, []) as (place, _):
        first, second = _load_pair(builder, rows, builder.add(start, place), bfloat16)
        for offset, part in ((0, first), (LANES, second)):
            at = builder.add(place, INDEX(offset))
            builder.store(part, vector_pointer(builder, ordered, at), align=4)
    return context.get_dummy_value()


def _dot_products(
    typing_context: Any,
    ordered: Any,
    columns: Any,
    first: Any,
    rows: Any,
    samples: Any,
    width: Any,
    products: Any,
    place: Any,
    count: Any,
) -> Typing:
    """Typing of `dot_products`, `count` neighbouring non-zeros of one row of a weight gradient:

    `products[place + j] = Σ_s ordered[s] · rows[columns[first + j] · samples + s]`, s in
    [0, width), the row `ordered` as `deinterleave` left it. `count` is a literal; `width` a
    multiple of `PAIR`.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    index = types.int64
    signature = types.void(ordered, columns, index, rows, index, index, products, index, count)
    return signature, _emit_dot_products


def _emit_dot_products(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def array(position: int) -> Any:
        return array_data(context, builder, signature, arguments, position)

    _, _, first, _, samples, width, _, written, _ = arguments
    ordered, columns, rows, products = array(0), array(1), array(3), array(6)
    bfloat16 = signature.args[3].dtype == types.uint16
    count = signature.args[8].literal_value

    def row(number: int) -> Any:
        column = builder.load(builder.gep(columns, [builder.add(first, INDEX(number))]))
        return builder.gep(rows, [builder.mul(builder.zext(column, INDEX), samples)])

    others = [row(number) for number in range(count)]
    last = builder.sub(array_size(context, builder, signature, arguments, 1), INDEX(1))
    later = [
        _row_ahead(builder, columns, builder.add(first, INDEX(number)), last, rows, samples)
        for number in range(count)
    ]
    with loop(builder, INDEX(0), width, PAIR, [_ZEROS] * (2 * count)) as (place, totals):
        mine = _load_pair(builder, ordered, place, bfloat16=False)
        for row_ahead in later:
            _prefetch_pair(builder, row_ahead, place, bfloat16)
        for number, other in enumerate(others):
            theirs = _load_pair(builder, other, place, bfloat16)
            for total, x, y in zip((2 * number, 2 * number + 1), mine, theirs, strict=True):
                product = builder.fmul(x, y, flags=_FUSED)
                totals[total] = builder.fadd(totals[total], product, flags=_FUSED)

    for number in range(count):
        total = builder.fadd(totals[2 * number], totals[2 * number + 1])
        for distance in (8, 4, 2, 1):
            turned = _places([(lane + distance) % LANES for lane in range(LANES)])
            total = builder.fadd(total, builder.shuffle_vector(total, _ZEROS, turned))
        at = builder.gep(products, [builder.add(written, INDEX(number))])
        builder.store(builder.extract_element(total, LANE(0)), at)
    return context.get_dummy_value()


weighted_sum: Any = intrinsic(prefer_literal=True)(_weighted_sum)
deinterleave: Any = intrinsic(_deinterleave)
dot_products: Any = intrinsic(prefer_literal=True)(_dot_products)
