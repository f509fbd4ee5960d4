"""Pieces of LLVM code that inner loops share where they are emitted and not written in Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils

# Lanes of an AVX-512 register; LLVM splits vectors where registers are shorter.
LANES = 16

INDEX = ir.IntType(64)
LANE = ir.IntType(32)


def array_data(context: Any, builder: Any, signature: Any, arguments: Any, position: int) -> Any:
    """Pointer to the first element of an array argument of an intrinsic."""
    struct = context.make_array(signature.args[position])
    return struct(context, builder, arguments[position]).data


def array_size(context: Any, builder: Any, signature: Any, arguments: Any, position: int) -> Any:
    """How many elements an array argument of an intrinsic has."""
    struct = context.make_array(signature.args[position])
    return struct(context, builder, arguments[position]).nitems


def prefetch(builder: Any, pointer: Any) -> None:
    """Ask for the cache line that `pointer` lies in, to be read soon; nothing waits for it."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, LANE, LANE, LANE])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, into_the_nearest, data = LANE(0), LANE(3), LANE(1)
    builder.call(function, [builder.bitcast(pointer, byte), read, into_the_nearest, data])


def in_every_lane(builder: Any, number: Any, lanes: int = LANES) -> Any:
    """A vector of `lanes` times the same float."""
    undefined = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, number, LANE(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(LANE, lanes), None))


def vector_pointer(builder: Any, base: Any, place: Any, lanes: int = LANES) -> Any:
    """Pointer to the `lanes` neighbouring floats from `base[place]` on."""
    pointer = builder.gep(base, [place])
    return builder.bitcast(pointer, ir.VectorType(ir.FloatType(), lanes).as_pointer())


@contextmanager
def loop(
    builder: Any, begin: Any, end: Any, step: int, starts: Sequence[Any]
) -> Iterator[tuple[Any, list[Any]]]:
    """What is emitted inside happens for k = begin, begin + step, … below `end`.

    Gives k and a list of the values that the loop carries along in registers, `starts` at first.
    What the block leaves in the list is what the next iteration finds there; after the block the
    list holds the last values.
    """
    before = builder.block
    check, body, done = (builder.append_basic_block(name) for name in ("check", "body", "done"))
    builder.branch(check)

    builder.position_at_end(check)
    k = builder.phi(INDEX)
    k.add_incoming(begin, before)
    carried = [builder.phi(start.type) for start in starts]
    for value, start in zip(carried, starts, strict=True):
        value.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", k, end), body, done)

    builder.position_at_end(body)
    values: list[Any] = list(carried)
    yield k, values
    k.add_incoming(builder.add(k, INDEX(step)), builder.block)
    for value, following in zip(carried, values, strict=True):
        value.add_incoming(following, builder.block)
    builder.branch(check)

    builder.position_at_end(done)
    values[:] = carried
