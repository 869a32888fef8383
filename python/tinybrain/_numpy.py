"""Numpy paths: averages and extrema of the dtypes that the kernels do not take.

What: means of float16, longdouble and complex images, minima and maxima of float16, longdouble and
datetimes. They are rare, so here they are short rather than fast, and the Rust side needs no half floats,
no 80-bit floats and no complex numbers.

The idea: one fold serves all. To fold an axis by ``f`` is to combine the slices ``values[o::f]`` for ``o``
in ``range(f)``, which are whole arrays as far as numpy is concerned; a ragged last cell only makes the later
slices one shorter. An average carries sums and counts through the same fold, level after level, and divides
when a mip is written.

Limits: arguments come checked from `tinybrain.downsample`, and nothing here is threaded.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def average(img: Array, factor: tuple[int, ...], num_mips: int, sparse: bool, exact: bool = False) -> list[Array]:
    """Mean pooling of a float or complex image.

    With all pooled axes of factor 2 a lone trailing slice counts twice at every level; with other factors, or `exact`,
    mip k is the mean of the mip-0 voxels that exist in its factor**k cell. Nothing is rounded between mips.

    Parameters
    ----------
    img : numpy.ndarray
        Floats or complex numbers, in any layout and byte order. Never written to.
    factor : tuple of int
        One entry of at least 1 for each axis.
    num_mips : int
        How many mips to return.
    sparse : bool
        Leave out voxels that compare equal to zero.
    exact : bool
        Let every voxel of the image count once.

    Returns
    -------
    list of numpy.ndarray
        The mips in native byte order and in the memory order of `img`.

    Examples
    --------
    >>> img = np.array([1, 2, 6], dtype=np.float16)
    >>> [mip.tolist() for mip in average(img, (2,), 2, False)]
    [[1.5, 6.0], [3.75]]
    >>> [mip.tolist() for mip in average(img, (3,), 1, False)]
    [[3.0]]
    """
    halving = max(factor, default=1) <= 2 and not exact
    # float64 and complex128 for everything narrower, longdouble and clongdouble for themselves.
    wide = np.result_type(img.dtype, np.float64)
    sums, counts = img, voxel_counts(img, factor, sparse)
    mips: list[Array] = []
    # inf - inf is NaN, a float64 mean can leave the range of float16: both are results, not accidents.
    with np.errstate(all="ignore"):
        for _ in range(num_mips):
            sums = fold(np.add, sums, factor, wide, lone_counts_twice=halving)
            counts = [fold(np.add, count, factor, np.int64, lone_counts_twice=halving) for count in counts]
            mips.append(_mean(img, sums, functools.reduce(np.multiply, counts)))
    return mips


def extremum(img: Array, factor: tuple[int, ...], num_mips: int, largest: bool) -> list[Array]:
    """Min or max pooling over the voxels that exist; NaN and NaT propagate.

    Parameters
    ----------
    img : numpy.ndarray
        Anything `numpy.minimum` takes, in any layout and byte order. Never written to.
    factor : tuple of int
        One entry of at least 1 for each axis.
    num_mips : int
        How many mips to return.
    largest : bool
        Maximum instead of minimum.

    Returns
    -------
    list of numpy.ndarray
        The mips in native byte order and in the memory order of `img`.

    Examples
    --------
    >>> img = np.array([3, 1, 2, 7, 5], dtype=np.float16)
    >>> [mip.tolist() for mip in extremum(img, (2,), 2, True)]
    [[3.0, 7.0, 5.0], [7.0, 5.0]]
    """
    pick = np.maximum if largest else np.minimum
    native = img.dtype.newbyteorder("=")
    mips: list[Array] = []
    values = img
    with np.errstate(all="ignore"):  # some numpy releases warn of NaN here
        for _ in range(num_mips):
            values = fold(pick, values, factor, native)
            mip = empty_mip(img, values.shape)
            mip[...] = values
            mips.append(mip)
    return mips


def fold(
    combine: np.ufunc,
    values: Array,
    factor: tuple[int, ...],
    dtype: npt.DTypeLike,
    *,
    lone_counts_twice: bool = False,
) -> Array:
    """Combine the voxels of every cell; the last cell of an axis may be smaller.

    Axes of extent 1 are left as they are. With `lone_counts_twice` (for factors of 2) a cell that is a single
    slice enters twice, unless it is the whole axis: there the doubling would change sums and counts alike,
    and after a thousand mips it would overflow them.

    Returns
    -------
    numpy.ndarray
        A new array of `dtype`, or `values` itself where there is nothing to fold.
    """
    for axis, f in enumerate(factor):
        extent = values.shape[axis]
        if f == 1 or extent <= 1:
            continue
        rows = values.swapaxes(0, axis)
        folded = rows[::f].astype(dtype)
        for offset in range(1, min(f, extent)):
            part = rows[offset::f]
            cells = folded[: len(part)]
            combine(cells, part, out=cells)
        if lone_counts_twice and extent % 2:
            combine(folded[-1:], folded[-1:], out=folded[-1:])
        values = folded.swapaxes(0, axis)
    return values


def voxel_counts(img: Array, factor: tuple[int, ...], sparse: bool) -> list[Array]:
    """Arrays whose broadcast product says how often each voxel counts; folded like sums, so do the cells.

    Sparse: one array, 1 where there is a value (NaN is one, -0.0 is none). Else a row of ones for each pooled
    axis, because the count of a cell is the product of its extents and needs no array of the image's size.
    """
    if sparse:
        return [np.not_equal(img, 0)]
    rows = []
    for axis, f in enumerate(factor):
        if f > 1:
            shape = [1] * img.ndim
            shape[axis] = img.shape[axis]
            rows.append(np.ones(shape, np.int64))
    return rows or [np.ones([1] * img.ndim, np.int64)]


def empty_mip(img: Array, shape: tuple[int, ...]) -> Array:
    """Return a new plain array of another shape in the dtype (native) and the memory order of `img`."""
    # Not by dtype=: numpy 1.23 loses a reference to it when there is no memory, and dies of that later.
    native = img if img.dtype.isnative else img.view(img.dtype.newbyteorder("="))
    return np.empty_like(native, order="K", subok=False, shape=shape)


def _mean(img: Array, sums: Array, counts: Array) -> Array:
    """Divide; cells without a single count give +0.0."""
    mip = empty_mip(img, sums.shape)
    parts = [(sums, mip)]
    if mip.dtype.kind == "c":
        # numpy divides a complex number by a complex one, and then an infinite part spoils the other.
        parts = [(sums.real, mip.real), (sums.imag, mip.imag)]
    for total, mean in parts:
        mean[...] = total / np.maximum(counts, 1)
        mean[np.broadcast_to(counts == 0, mean.shape)] = 0
    return mip
