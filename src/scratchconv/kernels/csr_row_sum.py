"""`row_sum`: the inner loop of a sparse layer on tiles, emitted as LLVM code.

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

from scratchconv.kernels.llvm_pieces import (
    INDEX,
    LANES,
    array_data,
    in_every_lane,
    loop,
    vector_pointer,
)


def _row_sum(
    typing_context: Any,
    values: Any,
    columns: Any,
    begin: Any,
    end: Any,
    bias: Any,
    least: Any,
    tile: Any,
    outputs: Any,
    output: Any,
    width: Any,
) -> tuple[Any, Callable[..., Any]] | None:
    """Typing of `row_sum`, which writes one row of an output tile:

    ``outputs[output + s] = floor(bias + Σ_k values[k] · tile[columns[k] · width + s])``,
    k in [begin, end), s in [0, width), where floor(y) is 0 for y < `least` and y otherwise.

    `values`, `columns`, `tile` and `outputs` are contiguous arrays. `width` is a literal multiple
    of `LANES`, or 4 or 8. Nothing is checked.
    """
    if not isinstance(width, types.IntegerLiteral):
        return None
    index, number = types.int64, types.float32
    row = (values, columns, index, index, number, number)
    return types.void(*row, tile, outputs, index, width), _emit


def _emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    _, _, begin, end, bias, least, _, _, output, _ = arguments
    values, columns, tile, outputs = (
        array_data(context, builder, signature, arguments, position) for position in (0, 1, 6, 7)
    )
    width = signature.args[9].literal_value
    lanes = min(LANES, width)
    places = [INDEX(place) for place in range(0, width, lanes)]

    starts = [in_every_lane(builder, bias, lanes)] * len(places)
    with loop(builder, begin, end, 1, starts) as (k, sums):
        value = in_every_lane(builder, builder.load(builder.gep(values, [k])), lanes)
        column = builder.zext(builder.load(builder.gep(columns, [k])), INDEX)
        samples = builder.gep(tile, [builder.mul(column, INDEX(width))])
        for number, place in enumerate(places):
            x = builder.load(vector_pointer(builder, samples, place, lanes), align=4)
            sums[number] = builder.fadd(sums[number], builder.fmul(value, x))

    bar = in_every_lane(builder, least, lanes)
    zeros = ir.Constant(bar.type, [0.0] * lanes)
    row = builder.gep(outputs, [output])
    for place, total in zip(places, sums, strict=True):
        floored = builder.select(builder.fcmp_ordered("<", total, bar), zeros, total)
        builder.store(floored, vector_pointer(builder, row, place, lanes), align=4)
    return context.get_dummy_value()


row_sum: Any = intrinsic(prefer_literal=True)(_row_sum)
