"""What the public functions accept: factors, counts, sizes and outputs.

Every function here returns the checked value or raises an error that names the argument, what came, and what is
accepted. None of them reads a voxel.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Factor: TypeAlias = "Sequence[int] | Sequence[float] | npt.NDArray[Any]"
Shape: TypeAlias = "tuple[int, ...]"

# No extent is larger: a larger entry makes the same cells, and this one fits the machine's integers.
_LARGEST = 1 << 63
# After some sixty mips nothing changes any more; beyond this number the list of arrays alone would fill the memory.
_MOST_MIPS = 1_000_000
# Of more mips than that, what was found out isn't kept.
_FEW_MIPS = 64


def as_array(name: str, img: npt.ArrayLike) -> Array:
    """Return `img` as a plain array, or raise what numpy raises, with the argument's name."""
    try:
        return np.asarray(img)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def dask_array(img: Any) -> Any:
    """Return `img` if it is a dask array, else None. Who hasn't imported dask has none, so this needs no import."""
    module = sys.modules.get("dask.array")
    return img if module is not None and isinstance(img, getattr(module, "Array", ())) else None


def stand_in(name: str, chunked: Any, out: Any) -> Array:
    """Return an array of a dask array's shape and dtype in the memory of one voxel, to be checked in its place."""
    meta = chunked._meta
    if not isinstance(meta, np.ndarray) or isinstance(meta, np.ma.MaskedArray):
        kind = f"{type(meta).__module__}.{type(meta).__qualname__}"
        raise TypeError(f"{name}: got a dask array of {kind}; accepted are dask arrays of numpy.ndarray")
    if out is not None:
        raise TypeError(f"out: got a {type(out).__name__} for a dask array; accepted is None, and mips can be stored")
    if any(extent != extent for extent in chunked.shape):
        raise ValueError(
            f"{name}: got a dask array of unknown shape {chunked.shape}; accepted are known ones: compute_chunk_sizes()"
        )
    return np.broadcast_to(np.empty((), chunked.dtype), chunked.shape)


def factor_entries(factor: Factor) -> tuple[Any, ...]:
    """Return the entries of a factor, or raise `TypeError` if it isn't a row of numbers."""
    if isinstance(factor, (tuple, list)):
        entries: list[Any] = list(factor)
    elif isinstance(factor, np.ndarray):
        if factor.ndim != 1:
            raise TypeError(f"factor: got an array of {factor.ndim} dimensions; accepted is one entry per axis")
        entries = factor.tolist()
    elif isinstance(factor, Sequence) and not isinstance(factor, (str, bytes, bytearray)):
        entries = list(factor)
    else:
        kind = type(factor).__name__
        raise TypeError(f"factor: got {factor!r} of type {kind}; accepted is an entry per axis, such as (2, 2, 1)")
    for entry in entries:
        if not isinstance(entry, (int, float, np.integer, np.floating)):
            raise TypeError(
                f"factor: entry {entry!r} is a {type(entry).__name__}; accepted are integers such as (2, 2, 1)"
            )
    return tuple(entries)


@functools.lru_cache(maxsize=256)
def checked_factor(entries: tuple[Any, ...], ndim: int) -> Shape:
    """Return one integer of at least 1 per axis. Kept, because small chunks come by the thousand."""
    whole = []
    for axis, entry in enumerate(entries):
        if entry != entry or entry in (np.inf, -np.inf) or entry != int(entry) or entry < 1:
            raise ValueError(f"factor: entry {axis} is {entry!r}; accepted are integers of at least 1")
        whole.append(int(entry))
    if any(entry > 1 for entry in whole[ndim:]):
        raise ValueError(f"factor: {tuple(whole)} pools more axes than the image has ({ndim})")
    # What is no power of two stays none.
    within = [min(entry, _LARGEST + (entry & (entry - 1) != 0)) for entry in whole[:ndim]]
    return tuple(within) + (1,) * (ndim - len(within))


def truth(name: str, value: Any) -> bool:
    """Return whether `value` is truthy, or raise `TypeError` if it can't tell."""
    try:
        return bool(value)
    except ValueError:
        raise TypeError(f"{name}: got {value!r}; accepted is anything that is either true or false") from None


def integer(name: str, value: Any) -> int:
    """Return `value` as an int, or raise `TypeError`."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {value!r} of type {type(value).__name__}; accepted are integers") from None


def not_negative(name: str, value: int) -> None:
    """Raise `ValueError` below 0."""
    if value < 0:
        raise ValueError(f"{name}: got {value}; accepted are integers of at least 0")


def check_mips(num_mips: int) -> None:
    """Raise `ValueError` for a number of mips that is none."""
    if not 0 <= num_mips <= _MOST_MIPS:
        raise ValueError(f"num_mips: got {num_mips}; accepted are integers from 0 to {_MOST_MIPS}")


def output_arrays(out: Sequence[Array] | None) -> list[Array] | None:
    """Return the outputs as plain arrays, or raise `TypeError` if they are no sequence of arrays."""
    if out is None:
        return None
    if isinstance(out, (np.ndarray, str, bytes)) or not isinstance(out, Sequence):
        raise TypeError(f"out: got a {type(out).__name__}; accepted is a list of arrays, one per mip")
    for mip, array in enumerate(out, 1):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"out: mip {mip} is a {type(array).__name__}; accepted are numpy arrays")
    # What a subclass says of its shape, strides and flags need not be true.
    return [np.ndarray.view(array, np.ndarray) for array in out]


@functools.lru_cache(maxsize=256)
def check_halving_sizes(shape: Shape, factor: Shape, num_mips: int) -> None:
    """Raise `ValueError` where an axis of a two- or three-axis halving pyramid ends before its last mip."""
    pooled = [axis for axis, f in enumerate(factor) if f > 1]
    if len(pooled) not in (2, 3) or any(factor[axis] != 2 for axis in pooled):
        return
    for axis in pooled:
        if shape[axis] >= 1 and shape[axis].bit_length() <= num_mips:
            most = shape[axis].bit_length() - 1
            raise ValueError(
                f"img: axis {axis} has extent {shape[axis]}, which is too small for num_mips={num_mips} with factor "
                f"{factor}; accepted are extents of at least 2**num_mips (num_mips up to {most})"
            )


def mip_shapes(shape: Shape, factor: Shape, num_mips: int) -> tuple[Shape, ...]:
    """Return the shape of every mip: extents divided, rounded up."""
    return _mip_shapes(shape, factor, num_mips) if num_mips <= _FEW_MIPS else _divided(shape, factor, num_mips)


def _divided(shape: Shape, factor: Shape, num_mips: int) -> tuple[Shape, ...]:
    shapes = []
    for _ in range(num_mips):
        shape = tuple(-(-extent // f) for extent, f in zip(shape, factor, strict=True))
        shapes.append(shape)
    return tuple(shapes)


# Kept, as `checked_factor` is.
_mip_shapes = functools.lru_cache(maxsize=256)(_divided)


@functools.lru_cache(maxsize=256)
def different_mips(shape: Shape, factor: Shape, num_mips: int) -> int:
    """Return after how many mips all pooled axes have extent 1: from there on, mips repeat."""
    reduces = [extent for extent, f in zip(shape, factor, strict=True) if f > 1]
    by = [f for f in factor if f > 1]
    depth = 1 if by else 0
    while 0 < depth < num_mips and max(reduces) > 1:
        reduces = [-(-extent // f) for extent, f in zip(reduces, by, strict=True)]
        depth += max(reduces) > 1
    return min(depth, num_mips)


def check_outputs(out: list[Array], img: Array, shapes: Sequence[Shape], dtype: np.dtype[Any]) -> None:
    """Raise `ValueError` unless `out` can be filled with mips of `shapes`, whatever the order of writing."""
    if len(out) != len(shapes):
        raise ValueError(f"out: got {len(out)} arrays; accepted is one per mip, num_mips={len(shapes)}")
    for mip, (array, shape) in enumerate(zip(out, shapes, strict=True), 1):
        if array.shape != shape:
            raise ValueError(f"out: mip {mip} has shape {array.shape}; accepted is {shape}")
        if array.dtype != dtype or not array.dtype.isnative:
            raise ValueError(f"out: mip {mip} has dtype {_name(array.dtype)}; accepted is {_name(dtype)}")
        if not array.flags.writeable:
            raise ValueError(f"out: mip {mip} is read-only; accepted are arrays that can be written to")
        if _overlaps_itself(array):
            raise ValueError(f"out: mip {mip} has strides {array.strides} that overlap themselves")
        if _share_memory(array, img):
            raise ValueError(f"out: mip {mip} shares memory with img; accepted are separate arrays")
    _check_separate(out)


def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.isnative else f"byte-swapped {dtype.name}"


def _check_separate(out: list[Array]) -> None:
    """Raise `ValueError` if two outputs share memory; only those whose bounds cross are looked at closely."""
    if len(out) < 2:
        return
    bounds = sorted((*_byte_bounds(array), mip) for mip, array in enumerate(out) if array.size)
    for place, (_, end, mip) in enumerate(bounds):
        for start, _, other in bounds[place + 1 :]:
            if start >= end:
                break
            if _share_memory(out[mip], out[other]):
                raise ValueError(f"out: mips {mip + 1} and {other + 1} share memory; accepted are separate arrays")


def _share_memory(a: Array, b: Array) -> bool:
    try:
        shares: Any = np.shares_memory  # whose stub knows two values of max_work only; any number is a bound
        return bool(np.may_share_memory(a, b) and shares(a, b, max_work=1_000_000))
    except RuntimeError:  # too hard to tell
        return True


def _byte_bounds(array: Array) -> tuple[int, int]:
    start = end = array.__array_interface__["data"][0]
    for extent, stride in zip(array.shape, array.strides, strict=True):
        start += min(0, (extent - 1) * stride)
        end += max(0, (extent - 1) * stride)
    return start, end + array.itemsize


def _overlaps_itself(array: Array) -> bool:
    if array.size < 2 or array.flags.c_contiguous or array.flags.f_contiguous:
        return False
    reach = array.itemsize
    axes = sorted(
        (abs(stride), extent) for extent, stride in zip(array.shape, array.strides, strict=True) if extent > 1
    )
    for stride, extent in axes:
        if stride < reach:
            break
        reach += (extent - 1) * stride
    else:
        return False
    # Interlocking strides: count the places that voxels begin at, and how far they are apart.
    places = np.zeros(1, np.int64)
    for stride, extent in axes:
        places = (places[:, None] + stride * np.arange(extent)).ravel()
    places.sort()
    return bool((np.diff(places) < array.itemsize).any())
