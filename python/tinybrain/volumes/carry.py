"""The mips of a block, and the state that is carried on to the next stage.

From voxels, mips are made by the functions in memory. From a state that isn't voxels they are made here, by the same
rules (section "What is computed" of the README): sums and counts are folded level after level, with a lone trailing
slice twice where that is the rule, and divided when a mip is rendered. Sums of integers are exact: int64, or limbs of
32 bits in int64 where a sum may take more than 62 bits. Those of float64 are pairs of floats, as in the kernels. Of
float32 and complex numbers halved the means are carried, folded by the functions in memory: the same sums, scaled by a
power of two.

Blocks begin at whole cells, so an odd extent is the end of the volume. The extents of the whole mip are asked for one
reason: along an axis of one voxel nothing counts twice, while the last block of a longer axis may be one voxel long
too.

A state is a dict of arrays by the names of its parts (`recipe.Part`); limbs come first in the shape.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

import tinybrain
from tinybrain import _native, _numpy
from tinybrain._arguments import Array, mip_shapes
from tinybrain.volumes import sums as sums_
from tinybrain.volumes.plan import SCRATCH
from tinybrain.volumes.recipe import Part, Recipe
from tinybrain.volumes.storage import Shape, inner, ordered

State: TypeAlias = "dict[str, Array]"


def advance(
    recipe: Recipe,
    state: State,
    first: int,
    last: int,
    start: Shape,
    shapes: Sequence[Shape],
    *,
    threads: int = 0,
    carries: bool = False,
) -> tuple[list[Array], State]:
    """Make the mips `first` + 1 to `last` of a block.

    Parameters
    ----------
    recipe : Recipe
        The pyramid.
    state : dict of ndarray
        The block at mip `first`: ``{"rendered": voxels}``, or another state that `recipe.state` names.
    first, last : int
        Mips.
    start : tuple of int
        Where the block begins, in voxels of mip `first`.
    shapes : sequence of tuple of int
        Of all mips of the volume, mip 0 first.
    threads : int
        For the kernels; 0 means all cores.
    carries : bool
        Whether the state at `last` is asked for.

    Returns
    -------
    list of ndarray, dict of ndarray
        The mips in the memory order of the block, and the state (empty if it wasn't asked for).
    """
    mips: list[Array] = []
    at = first
    if "rendered" not in state:
        at = min(recipe.segment_end(first), last)
        mips, state = _continue(recipe, state, first, at, start, shapes, threads)
        if recipe.restarts(at) and mips:
            state = {"rendered": mips[-1]}
    voxels = state.get("rendered")
    if voxels is not None and at < last:
        mips += _from_voxels(recipe, voxels, at, last, threads)
    if not carries:
        return mips, {}
    if recipe.restarts(last):
        return mips, {"rendered": mips[-1]}
    origin = max(recipe.origin(last), at)
    if origin == last:
        return mips, state
    base = voxels if origin == at else mips[origin - first - 1]
    assert base is not None  # a stage that carries sums began at voxels or went on from sums to `last`
    return mips, _sums_of(recipe, base, origin, last, shapes, threads)


def pyramid(recipe: Recipe, voxels: Array, factor: Shape, num_mips: int, threads: int) -> list[Array]:
    """Make one run of mips from voxels, as the function in memory does, but of blocks as small as an edge leaves."""
    if max(factor) == 1:
        return [voxels] * num_mips
    if recipe.method == "average" and not recipe.exact:
        return _averages(voxels, factor, num_mips, recipe.sparse, threads)
    if recipe.method == "average":
        return tinybrain.downsample_with_averaging(
            voxels, factor, num_mips, recipe.sparse, exact=True, parallel=threads
        )
    if recipe.method == "mode":
        return tinybrain.downsample_segmentation(
            voxels, factor, recipe.sparse, num_mips, exact=recipe.exact, parallel=threads
        )
    if recipe.method == "stride":
        return tinybrain.downsample_with_striding(voxels, factor, num_mips)
    extremum: Callable[..., list[Array]] = getattr(tinybrain, f"downsample_with_{recipe.method}_pooling")
    return extremum(voxels, factor, num_mips, parallel=threads)


def _averages(voxels: Array, factor: Shape, num_mips: int, sparse: bool, threads: int) -> list[Array]:
    if voxels.dtype.kind not in "biuf" or voxels.dtype == np.float16:
        return _numpy.average(voxels, factor, num_mips, sparse)
    mips = [_numpy.empty_mip(voxels, shape) for shape in mip_shapes(voxels.shape, factor, num_mips)]
    _native.averaging(voxels, factor, sparse, mips, threads)
    return mips


def _from_voxels(recipe: Recipe, voxels: Array, first: int, last: int, threads: int) -> list[Array]:
    """Make the mips of a block of voxels: run after run, or each from the voxels if it is to be exact."""
    runs = [run for run in recipe.runs if run.last > first and run.first < last]
    if recipe.exact and len(runs) > 1:
        return [pyramid(recipe, voxels, recipe.scale(first, mip), 1, threads)[0] for mip in range(first + 1, last + 1)]
    mips: list[Array] = []
    for run in runs:
        count = min(run.last, last) - max(run.first, first)
        mips += pyramid(recipe, mips[-1] if mips else voxels, run.factor, count, threads)
    return mips


# --- States that are not voxels ---


def _continue(
    recipe: Recipe, state: State, first: int, last: int, start: Shape, shapes: Sequence[Shape], threads: int
) -> tuple[list[Array], State]:
    """Fold a state level by level, and render every mip."""
    mips = []
    for mip in range(first + 1, last + 1):
        start = tuple(a // f for a, f in zip(start, recipe.factors[mip - 1], strict=True))
        state = _fold(recipe, state, mip, shapes, threads)
        mips.append(_render(recipe, state, mip, start, shapes))
    return mips, state


def _sums_of(recipe: Recipe, voxels: Array, origin: int, last: int, shapes: Sequence[Shape], threads: int) -> State:
    """Return the state at mip `last` of voxels that a chain of sums starts from, part by part in bounded memory."""
    parts = recipe.state(last) or ()
    # As many levels at once as leave cells of at most 2**18 voxels; what is left then is small, and folded as a whole.
    near = origin + 1
    while near < last and np.prod([float(f) for f in recipe.scale(origin, near + 1)]) <= 1 << 18:
        near += 1
    cell = recipe.scale(origin, near)
    most = SCRATCH // (4 * sum(part.itemsize for part in parts))
    step = list(cell)
    for axis in np.argsort([abs(stride) for stride in voxels.strides]):
        while step[axis] < voxels.shape[axis] and 2 * np.prod(step) <= most:
            step[axis] *= 2
    folded = tuple(-(-n // f) for n, f in zip(voxels.shape, cell, strict=True))
    state = empty_state(folded, parts, sorted(range(voxels.ndim), key=lambda axis: -abs(voxels.strides[axis])))
    for corner in itertools.product(*(range(0, n, s) for n, s in zip(voxels.shape, step, strict=True))):
        some = voxels[tuple(slice(a, a + s) for a, s in zip(corner, step, strict=True))]
        piece = _lift(recipe, some, parts)
        for mip in range(origin + 1, near + 1):
            piece = _fold(recipe, piece, mip, shapes, threads)
        to = tuple(
            slice(a // f, -(-min(a + s, n) // f)) for a, s, n, f in zip(corner, step, voxels.shape, cell, strict=True)
        )
        for name, array in piece.items():
            state[name][inner(to)] = array
    for mip in range(near + 1, last + 1):
        state = _fold(recipe, state, mip, shapes, threads)
    return state


def lead(part: Part) -> tuple[int, ...]:
    """Return the axes that a part has before those of the volume: limbs."""
    return (part.limbs,) if part.name == "sums" else ()


def empty_state(shape: Shape, parts: Sequence[Part], order: Sequence[int]) -> State:
    """Return arrays for the parts of a state of `shape`, whose axes lie in memory as `order` has them."""
    stored = tuple(shape[axis] for axis in order)
    return {part.name: ordered(np.empty(lead(part) + stored, part.dtype), order) for part in parts}


def _lift(recipe: Recipe, voxels: Array, parts: Sequence[Part]) -> State:
    """Return voxels as sums of one."""
    state: State = {}
    for part in parts:
        if part.name == "scaled":
            state["scaled"] = voxels.astype(part.dtype)
        elif part.name == "present":
            state["present"] = (voxels != 0).astype(np.float64)
        elif part.name == "counts":
            state["counts"] = (voxels != 0).astype(np.int64)
        elif part.limbs == 1:
            state["sums"] = voxels.astype(part.dtype)[None]
        else:
            state["sums"] = sums_.limbs_of(voxels, part.limbs)
    return state


def _fold(recipe: Recipe, state: State, mip: int, shapes: Sequence[Shape], threads: int) -> State:
    """Fold the state at mip `mip` - 1 into that of mip `mip`."""
    factor = recipe.factors[mip - 1]
    halves = recipe.halves(factor)
    if "scaled" in state:
        return {name: _averages(array, factor, 1, False, threads)[0] for name, array in state.items()}
    twice = tuple(halves and n > 1 for n in shapes[mip - 1])
    with np.errstate(all="ignore"):  # floats may overflow, which is a result
        folded = {"sums": sums_.fold_sums(state["sums"], factor, twice)}
    if "counts" in state:
        folded["counts"] = sums_.fold(state["counts"], factor, twice)
    return folded


# --- Rendering ---


def _render(recipe: Recipe, state: State, mip: int, start: Shape, shapes: Sequence[Shape]) -> Array:
    """Divide sums by counts, as the dtype of the image does it."""
    dtype = np.dtype(recipe.dtype)
    if "scaled" in state:
        mean = state["scaled"]
        with np.errstate(all="ignore"):
            if "present" in state:
                mean = sums_.quotient(mean, state["present"])
            return mean.astype(dtype)
    sums = state["sums"]
    counts = state["counts"] if "counts" in state else _dense_counts(recipe, mip, start, shapes, sums.shape[1:])
    if dtype.kind in "fc":
        with np.errstate(all="ignore"):
            return sums_.quotient(sums.sum(axis=0), counts).astype(dtype)
    return sums_.rendered(sums, counts, dtype, recipe.exact)


def _dense_counts(recipe: Recipe, mip: int, start: Shape, shapes: Sequence[Shape], block: Shape) -> Array:
    """How many voxels each cell of a block has, those that count twice twice; broadcasts against the block."""
    run = recipe.run_of(mip)
    base = 0 if recipe.exact else recipe.origin(mip - 1) if recipe.halves(run.factor) else run.first
    counts = []
    for axis, (at, extent) in enumerate(zip(start, block, strict=True)):
        if recipe.halves(run.factor):
            levels = sum(recipe.factors[k][axis] > 1 and shapes[k][axis] > 1 for k in range(base, mip))
            along = np.full(extent, 1 << levels, np.int64)
        else:
            f = recipe.scale(base, mip)[axis]
            from_ = np.arange(at, at + extent, dtype=np.int64) * f
            along = np.minimum(from_ + f, shapes[base][axis]) - from_
        counts.append(along.reshape([-1 if a == axis else 1 for a in range(len(block))]))
    return functools.reduce(np.multiply, counts)
