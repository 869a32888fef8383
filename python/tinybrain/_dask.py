"""Pyramids of dask arrays: the same mips, block by block, when they are asked for.

What: a dask array becomes a list of dask arrays, mip 1 first. One task reads a block and makes all its mips; one more
per mip, which costs nothing, picks it. Every scheduler runs them: what goes to workers is `block_mips`, plain arguments
and blocks.

The idea: a voxel of the last mip is made from a cell of ``factor**num_mips`` voxels. Blocks that begin at multiples of
that can be computed alone, and give the bits of the whole: the truncation starts afresh at the same mips, and where the
image ends, a lone row counts twice at the same levels. Where chunks begin elsewhere, their borders move to the nearest
multiple, and no farther.

Limits: a block has ``factor**num_mips`` voxels along each pooled axis, so many mips need large blocks.
`tinybrain._call.Call` checks the arguments, and imports this module for dask arrays only.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from typing import Any

import numpy as np
from dask.base import tokenize

from tinybrain._arguments import Array, Shape, mip_shapes
from tinybrain._call import Call, Route

Chunks = tuple[Shape, ...]  # the extents of the blocks, for each axis


def pyramid(call: Call) -> list[Any]:
    """Return the mips of a checked call on a dask array: dask arrays, of which nothing is computed yet."""
    img, num_mips = call.chunked, call.num_mips
    if call.is_trivial or not num_mips:
        return [img] * num_mips
    chunks = aligned_chunks(img.chunks, call.factor, num_mips)
    if chunks != img.chunks:
        # Borders move to places nearby. By way of a shuffle every block would wait for all others.
        img = img.rechunk(chunks, method="tasks")
    threads = max(call.parallel, 1)  # the scheduler has the cores
    arguments = (call.method, call.img.dtype, call.factor, num_mips, call.sparse, call.exact, threads)
    name, token = f"tinybrain-{call.method}", tokenize(img, *arguments)
    pyramids = img.map_blocks(
        block_mips,
        *arguments,
        name=f"{name}-block-{token}",
        meta=np.empty((0,) * img.ndim, object),  # lists of arrays, in fact, which only the next lines see
    )
    # Several mips depend on a pyramid, so dask won't make it once for each of them, as it does where it fuses tasks.
    meta = np.empty((0,) * img.ndim, call.img.dtype if call.method == "striding" else call.dtype)
    return [
        pyramids.map_blocks(operator.itemgetter(mip), name=f"{name}-mip-{mip + 1}-{token}", chunks=extents, meta=meta)
        for mip, extents in enumerate(mip_chunks(chunks, call.factor, num_mips))
    ]


def block_mips(
    block: Array,
    method: str,
    dtype: np.dtype[Any],
    factor: Shape,
    num_mips: int,
    sparse: bool,
    exact: bool,
    parallel: int,
) -> list[Array]:
    """Make all mips of a block: a task."""
    if not isinstance(block, np.ndarray) or isinstance(block, np.ma.MaskedArray) or block.dtype != dtype:
        got = f"a {type(block).__name__} of dtype {getattr(block, 'dtype', None)}"
        raise TypeError(f"img: a block of the dask array is {got}; accepted is what the array says, ndarray of {dtype}")
    mips = Call(method, block, factor, num_mips, None, parallel, sparse, exact, whole=False).run()
    # Views would keep the block in memory for as long as one of its mips.
    return [mip.copy(order="K") for mip in mips] if method == "striding" else mips


def aligned_chunks(chunks: Chunks, factor: Shape, num_mips: int) -> Chunks:
    """Return chunks whose borders are multiples of ``factor**num_mips``: the nearest to those there are.

    Examples
    --------
    >>> aligned_chunks(((64, 64, 10), (50, 50, 50), (1, 1, 1)), (2, 2, 1), 5)
    ((64, 64, 10), (64, 32, 54), (1, 1, 1))
    """
    return tuple(
        extents if f == 1 else _aligned(extents, cell_extent(f, num_mips, sum(extents)))
        for extents, f in zip(chunks, factor, strict=True)
    )


def cell_extent(f: int, num_mips: int, extent: int) -> int:
    """Return ``f**num_mips``, or the first power of `f` that the axis fits in."""
    cell = 1
    for _ in range(num_mips):
        if cell >= extent:
            break
        cell *= f
    return cell


def _aligned(extents: Shape, cell: int) -> Shape:
    whole = sum(extents)
    if whole == 0:  # no border is out of place, and dask moves none
        return extents
    borders, end = [0], 0
    for extent in extents[:-1]:
        end += extent
        nearest = (2 * end + cell) // (2 * cell) * cell
        if borders[-1] < nearest < whole:
            borders.append(nearest)
    return tuple(end - start for start, end in zip(borders, [*borders[1:], whole], strict=True))


def mip_chunks(chunks: Chunks, factor: Shape, num_mips: int) -> list[Chunks]:
    """Return the chunks of every mip: each extent divided, rounded up."""
    steps = [mip_shapes(extents, (f,) * len(extents), num_mips) for extents, f in zip(chunks, factor, strict=True)]
    return list(zip(*steps, strict=True))


def route(call: Call) -> Route:
    """Say what `pyramid` would do with the largest block."""
    chunks = aligned_chunks(call.chunked.chunks, call.factor, call.num_mips)
    shape = tuple(max(extents) for extents in chunks)
    block = np.broadcast_to(np.empty((), call.img.dtype), shape)
    threads = max(call.parallel, 1)
    of_block = Call(
        call.method, block, call.factor, call.num_mips, None, threads, call.sparse, call.exact, whole=False
    ).route()
    blocks = math.prod(len(extents) for extents in chunks)
    return dataclasses.replace(of_block, kernel=f"{of_block.kernel}, for each of {blocks} dask blocks up to {shape}")
