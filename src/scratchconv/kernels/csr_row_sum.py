"""`row_sum`: the inner loop of the CSR product on tiles, emitted as LLVM code.

Given that loop in Python, LLVM does not keep 64 sums in registers: it loads and stores the output
row at every non-zero, which takes more than twice as long. So it is spelled out here, with the sums
as vectors that the loop over the non-zeros carries along. Nothing is reordered and nothing fused:
every product and every addition is rounded on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

# Lanes of an AVX-512 register; LLVM splits them in two or four where registers are shorter.
LANES = 16

_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ZEROS = ir.Constant(_VECTOR, [0.0] * LANES)


def _row_sum(
    typing_context: Any,
    values: Any,
    columns: Any,
    begin: Any,
    end: Any,
    bias: Any,
    least: Any,
    tiles: Any,
    tile: Any,
    outputs: Any,
    output: Any,
    width: Any,
) -> tuple[Any, Callable[..., Any]] | None:
    """Typing of ``row_sum``, which writes one row of one output tile:

    ``outputs[output + s] = floor(bias + Σ_k values[k] · tiles[tile + columns[k] · width + s])``,
    k in [begin, end), s in [0, width), where floor(y) is 0 for y < `least` and y otherwise.

    `values`, `columns`, `tiles` and `outputs` are contiguous arrays; `tile` and `output` count
    elements from their start. `width` is a literal multiple of `LANES`. Nothing is checked.
    """
    if not isinstance(width, types.IntegerLiteral):
        return None
    index, number = types.int64, types.float32
    row, places = (values, columns, index, index, number, number), (tiles, index, outputs, index)
    return types.void(*row, *places, width), _emit


def _emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    def array(position: int) -> Any:
        struct = context.make_array(signature.args[position])
        return struct(context, builder, arguments[position]).data

    def in_every_lane(number: Any) -> Any:
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, _LANE(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_LANE, LANES), None))

    def vector_at(base: Any, lane: int) -> Any:
        return builder.bitcast(builder.gep(base, [_INDEX(lane)]), _VECTOR.as_pointer())

    _, _, begin, end, bias, least, _, tile, _, output, _ = arguments
    values, columns = array(0), array(1)
    inputs, outputs = builder.gep(array(6), [tile]), builder.gep(array(8), [output])
    width = signature.args[10].literal_value
    lanes = range(0, width, LANES)

    before = builder.block
    start = in_every_lane(bias)
    check, add, done = (builder.append_basic_block(name) for name in ("check", "add", "done"))
    builder.branch(check)

    builder.position_at_end(check)
    k = builder.phi(_INDEX)
    k.add_incoming(begin, before)
    sums = [builder.phi(_VECTOR) for _ in lanes]
    for total in sums:
        total.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", k, end), add, done)

    builder.position_at_end(add)
    value = in_every_lane(builder.load(builder.gep(values, [k])))
    column = builder.zext(builder.load(builder.gep(columns, [k])), _INDEX)
    samples = builder.gep(inputs, [builder.mul(column, _INDEX(width))])
    for lane, total in zip(lanes, sums, strict=True):
        x = builder.load(vector_at(samples, lane), align=4)
        total.add_incoming(builder.fadd(total, builder.fmul(value, x)), add)
    k.add_incoming(builder.add(k, _INDEX(1)), add)
    builder.branch(check)

    builder.position_at_end(done)
    bar = in_every_lane(least)
    for lane, total in zip(lanes, sums, strict=True):
        floored = builder.select(builder.fcmp_ordered("<", total, bar), _ZEROS, total)
        builder.store(floored, vector_at(outputs, lane), align=4)
    return context.get_dummy_value()


row_sum: Any = intrinsic(prefer_literal=True)(_row_sum)
