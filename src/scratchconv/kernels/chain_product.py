"""A chain of sparse layers in one call: samples in, outputs of the last layer out.

Every layer computes what `csr_layer` says, to the same bit; what Python and threads cost on top is
paid once and not at every layer. Three kernels share the loops:

- on the calling thread alone, where waking others would cost more than they save: a few samples of
  a sparse network. Calls from several Python threads then run side by side;
- each thread takes whole tiles through all layers, and finds its activations in its own cache;
- all threads share the rows of each layer: much work in fewer tiles than threads.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.compilation import (
    compiled,
    compiled_inline,
    compiled_serial,
    kernels_can_run,
    torch_threads,
)
from scratchconv.kernels.csr_chain import ChainArrays, CSRChain, Reading
from scratchconv.kernels.csr_layer import layer_rows
from scratchconv.kernels.csr_matrix import Float32Array
from scratchconv.kernels.llvm_pieces import LANES
from scratchconv.kernels.tiles import WIDTHS, choose, rows_from_tile, tile_from_rows

# Products of a stored weight with a register of activations from which a second thread pays: it is
# woken once where threads share tiles, and once a layer where they share rows.
_SHARED_TILES = 150_000
_SHARED_ROWS = 300_000

# Bytes of activations that a tile may have in one layer: about the second-level cache of a core.
_CACHE = 2**20

# Memory for activations is kept for a thread's next call if it is no more than so many floats.
_KEPT = 2**23


def chain_product_plain(chain: CSRChain, rows: NDArray[Any], reading: Reading) -> Float32Array:
    """Plain twin of `chain_product`, in scipy; the last bits may differ."""
    x = choose(rows, *reading.arrays).T
    for layer in chain.layers:
        x = layer.matrix.to_scipy() @ x + layer.bias[:, None]
        x[x < layer.least] = 0
    return np.ascontiguousarray(x.T)


def chain_product(chain: CSRChain, rows: NDArray[Any], reading: Reading) -> Float32Array:
    """All layers in turn, applied to what is read of each sample.

    Args:
        chain: the layers.
        rows: uint8 or float32 (samples, features), any strides.
        reading: what the first layer takes of them; subnormal numbers are flushed on the way.

    Returns: float32 (samples, units of the last layer). A sample's numbers are the same bit for bit
    in every batch, on any number of threads, and in a forked process.
    """
    if rows.dtype not in (np.float32, np.uint8) or rows.shape != (len(rows), reading.all_features):
        raise InvalidArgument(
            f"rows are {rows.dtype} {rows.shape}: give uint8 or float32"
            f" (samples, {reading.all_features})"
        )
    if reading.size != chain.features:
        raise InvalidArgument(
            f"{reading.size} features are read, but the chain has {chain.features}"
        )
    outputs = np.empty((len(rows), chain.units), np.float32)
    threads = torch.get_num_threads() if kernels_can_run() else 1
    threads, width = plan(chain, len(rows), threads)
    tiles = -(-len(rows) // width)
    scratch = _scratch(threads if tiles >= threads else tiles, chain.widest * width)
    operands = (chain.arrays, reading.arrays, np.ascontiguousarray(rows), width, scratch, outputs)
    if threads == 1:
        _alone(*operands)
        return outputs
    with torch_threads(chain.nonzero * len(rows)):
        (_by_tiles if tiles >= threads else _by_rows)(*operands)
    return outputs


def plan(chain: CSRChain, samples: int, threads: int) -> tuple[int, int]:
    """How many of `threads` to use, and the width of tiles: 1, or one of `WIDTHS`."""
    if threads > 1:
        width = 1 if samples <= 1 else _width(chain, -(-samples // threads))
        tiles = -(-samples // width)
        worthwhile = _SHARED_TILES if tiles >= threads else _SHARED_ROWS
        if chain.nonzero * tiles * max(1, width // LANES) >= worthwhile:
            return threads, width
    return 1, 1 if samples <= 1 else _width(chain, samples)


def _width(chain: CSRChain, samples: int) -> int:
    """The width of tiles for so many samples on one thread."""
    width = next((width for width in WIDTHS if width >= samples), WIDTHS[-1])
    # Wide tiles read the weights less often, but not if activations then fall out of the cache.
    while width > LANES and chain.widest * width * 4 > _CACHE:
        width //= 2
    return width


_kept = threading.local()


def _scratch(tiles: int, size: int) -> Float32Array:
    """Room for activations before and after a layer: float32 (tiles, 2, size), not set."""
    needed = 2 * tiles * size
    memory: Float32Array | None = getattr(_kept, "memory", None)
    if memory is None or memory.size < needed:
        # Fresh memory costs a page fault every 4 KiB: of a large batch, as much as the arithmetic.
        memory = np.empty(needed, np.float32)
        if needed <= _KEPT:
            _kept.memory = memory
    return memory[:needed].reshape(tiles, 2, size)


@compiled_inline
def _through_all_layers(
    arrays: ChainArrays,
    reading: Reading.Arrays,
    rows: NDArray[Any],
    sample: int,
    width: int,
    scratch: Float32Array,
    outputs: Float32Array,
) -> None:
    tile_from_rows(rows, reading, sample, width, scratch[0])
    layers = arrays.places.shape[0]
    for layer in range(layers):
        units, before, after = arrays.places[layer, 0], scratch[layer % 2], scratch[1 - layer % 2]
        layer_rows(arrays, layer, 0, units, width, before, after)
    rows_from_tile(scratch[layers % 2], sample, width, outputs)


@compiled_serial
def _alone(
    arrays: ChainArrays,
    reading: Reading.Arrays,
    rows: NDArray[Any],
    width: int,
    scratch: Float32Array,
    outputs: Float32Array,
) -> None:
    for sample in range(0, rows.shape[0], width):
        _through_all_layers(arrays, reading, rows, sample, width, scratch[0], outputs)


@compiled
def _by_tiles(
    arrays: ChainArrays,
    reading: Reading.Arrays,
    rows: NDArray[Any],
    width: int,
    scratch: Float32Array,
    outputs: Float32Array,
) -> None:
    threads = scratch.shape[0]
    for thread in prange(threads):
        for sample in range(thread * width, rows.shape[0], threads * width):
            _through_all_layers(arrays, reading, rows, sample, width, scratch[thread], outputs)


@compiled
def _by_rows(
    arrays: ChainArrays,
    reading: Reading.Arrays,
    rows: NDArray[Any],
    width: int,
    scratch: Float32Array,
    outputs: Float32Array,
) -> None:
    tiles, layers = scratch.shape[0], arrays.places.shape[0]
    for tile in range(tiles):
        tile_from_rows(rows, reading, tile * width, width, scratch[tile, 0])
    for layer in range(layers):
        start, count = arrays.places[layer, 5], arrays.places[layer, 6]
        for item in prange(tiles * count):
            tile, block = item // count, start + item % count
            before, after = scratch[tile, layer % 2], scratch[tile, 1 - layer % 2]
            first, last = arrays.blocks[block], arrays.blocks[block + 1]
            layer_rows(arrays, layer, first, last, width, before, after)
    for tile in range(tiles):
        rows_from_tile(scratch[tile, layers % 2], tile * width, width, outputs)
