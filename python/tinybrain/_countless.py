"""Functions of earlier releases that other programs import: one level, one array, numpy only.

What: the countless family (mode pooling), its padding, and a one-level average.

The idea: a step over two axes is four strided views and one or two selections. A step over any cell lays its
voxels along a new first axis in raster order (axis 0 fastest), counts for each how often it comes from there
on, and takes the first of the largest counts. Labels are compared by their bits, as unsigned integers, so
none needs a special value and NaN equals itself.

Limits: these are for compatibility. `tinybrain.downsample_segmentation` and
`tinybrain.downsample_with_averaging` do the same natively, for several mips in one call.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinybrain._numpy import average, empty_mip, fold, voxel_counts

Array: TypeAlias = npt.NDArray[Any]
Factor: TypeAlias = Sequence[int] | Sequence[float] | Array


class DimensionError(ValueError):
    """An image has a rank or an extent that a function cannot work with."""


def downsample_with_averaging_numpy(array: npt.ArrayLike, factor: Factor, sparse: bool | np.bool_ = False) -> Array:
    """Average the voxels that exist in every cell, one level.

    Parameters
    ----------
    array : array_like
        bool, integers, floats or complex numbers of any rank and layout.
    factor : sequence of int
        Extent of a cell along each axis; axes without an entry are not pooled.
    sparse : bool
        Average only the voxels that are not zero; a cell without any gives 0.

    Returns
    -------
    numpy.ndarray
        A new array of extents ``ceil(n / f)`` in the dtype (native) and memory order of `array`. Integers are
        truncated toward zero after exact sums, floats are summed in float64 or wider, bool is True where any
        voxel is.

    Raises
    ------
    TypeError
        If `factor` is not a sequence of numbers or `array` holds something that has no mean.
    ValueError
        If an entry of `factor` is not integral or below 1, or pools an axis that is not there.

    Examples
    --------
    >>> image = np.array([[1, 2, 9], [4, 0, 0]], dtype=np.uint8)
    >>> downsample_with_averaging_numpy(image, (2, 2)).tolist()
    [[1, 4]]
    >>> downsample_with_averaging_numpy(image, (2, 2), sparse=True).tolist()
    [[2, 9]]
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"array: dtype {array.dtype} has no mean; accepted: bool, integers, floats, complex")
    cell = _checked_factor(factor, array.ndim)
    if max(cell, default=1) == 1:
        means = array
    elif array.dtype.kind in "fc":
        return average(array, cell, 1, bool(sparse))[0]
    elif array.dtype.kind == "b":
        means = fold(np.logical_or, array, cell, np.bool_)
    else:
        counts = [fold(np.add, count, cell, np.int64) for count in voxel_counts(array, cell, bool(sparse))]
        means = _truncated_means(array, cell, np.maximum(functools.reduce(np.multiply, counts), 1))
    mip = empty_mip(array, means.shape)
    mip[...] = means
    return mip


def downsample_segmentation_2d(data4d: npt.ArrayLike, factor: Factor, sparse: bool | np.bool_) -> Array:
    """Mode pooling of axes 0 and 1 by a power of two, one level.

    Parameters
    ----------
    data4d : array_like
        Labels of 1, 2, 4 or 8 bytes, usually x, y, z and channel; rank 2 and up.
    factor : sequence of int
        ``(2**k, 2**k, 1)``: k steps of 2x2, sides padded to even by `odd_to_even2d` before each.
    sparse : bool
        Background (all bits zero) wins only where nothing else is.

    Returns
    -------
    numpy.ndarray
        A new array of the rank, dtype (native) and memory order of `data4d`, extents ``ceil(n / f)``.

    Raises
    ------
    TypeError
        If `factor` is not a sequence of numbers or the dtype is no label.
    DimensionError
        If `data4d` has fewer than two axes.
    ValueError
        If `factor` is of another kind.

    Examples
    --------
    >>> labels = np.array([[1, 1, 5], [2, 2, 0], [0, 4, 0]]).reshape(3, 3, 1, 1)
    >>> downsample_segmentation_2d(labels, (2, 2, 1), sparse=False)[:, :, 0, 0].tolist()
    [[1, 5], [0, 0]]
    >>> downsample_segmentation_2d(labels, (4, 4, 1), sparse=True).tolist()
    [[[[1]]]]
    """
    data = np.asarray(data4d)
    labels = _labels("data4d", data)
    cell = _checked_factor(factor, max(data.ndim, 3))
    _check_rank("data4d", data, 2)
    side = cell[0]
    if cell[1] != side or side & (side - 1) or max(cell[2:], default=1) > 1:
        raise ValueError(f"factor: {tuple(cell)} is not (2**k, 2**k, 1)")
    for _ in range(side.bit_length() - 1):
        if max(labels.shape[:2]) <= 1:
            break  # one voxel stays itself, however often it is halved
        labels = _mode_2x2(_padded(labels), bool(sparse))
    return _like(data, labels)


def odd_to_even2d(image: npt.ArrayLike) -> Array:
    """Pad axes 0 and 1 to even extents by repeating the trailing row, column and corner.

    Parameters
    ----------
    image : array_like
        Any dtype, rank 2 and up.

    Returns
    -------
    numpy.ndarray
        An even image itself, else a padded copy; images of three axes get a fourth of extent 1.

    Raises
    ------
    DimensionError
        If `image` has fewer than two axes.

    Examples
    --------
    >>> odd_to_even2d(np.array([[1, 2, 3]])).tolist()
    [[1, 2, 3, 3], [1, 2, 3, 3]]
    >>> odd_to_even2d(np.zeros((2, 2, 5))).shape
    (2, 2, 5, 1)
    """
    image = np.asarray(image)
    _check_rank("image", image, 2)
    return _padded(image[..., np.newaxis] if image.ndim == 3 else image)


def countless2d(data: npt.ArrayLike) -> Array:
    """Mode pooling by one 2x2 step on axes 0 and 1.

    Parameters
    ----------
    data : array_like
        Labels of 1, 2, 4 or 8 bytes, axes 0 and 1 of even extent.

    Returns
    -------
    numpy.ndarray
        A new array of half the extents. With a the first voxel of a cell, b the next on axis 0, c the next on
        axis 1 and d the last: a if it equals b or c, else b if it equals c, else d.

    Raises
    ------
    TypeError
        If the dtype is no label.
    DimensionError
        If axis 0 or 1 is missing or of odd extent.

    Examples
    --------
    >>> countless2d(np.array([[0, 0, 5, 6], [3, 4, 7, 8]], dtype=np.uint8)).tolist()
    [[0, 8]]
    """
    return _countless2d(data, sparse=False)


def stippled_countless2d(data: npt.ArrayLike) -> Array:
    """Mode pooling by one 2x2 step on axes 0 and 1 that leaves background out.

    Parameters
    ----------
    data : array_like
        Labels of 1, 2, 4 or 8 bytes, axes 0 and 1 of even extent.

    Returns
    -------
    numpy.ndarray
        A new array of half the extents. As `countless2d`, but pairs of background (all bits zero) do not
        count, and where no two voxels agree the first of d, a, c, b that is not background stands.

    Raises
    ------
    TypeError
        If the dtype is no label.
    DimensionError
        If axis 0 or 1 is missing or of odd extent.

    Examples
    --------
    >>> stippled_countless2d(np.array([[0, 0, 5, 6], [3, 0, 7, 0]], dtype=np.uint8)).tolist()
    [[3, 5]]
    """
    return _countless2d(data, sparse=True)


def countless3d(data: npt.ArrayLike) -> Array:
    """Mode pooling by one 2x2x2 step; a tie goes to the label met first with axis 0 running fastest.

    Parameters
    ----------
    data : array_like
        Labels of 1, 2, 4 or 8 bytes: x, y, z of even extent and at most one channel.

    Returns
    -------
    numpy.ndarray
        A new array of half the extents.

    Raises
    ------
    TypeError
        If the dtype is no label.
    DimensionError
        If there are fewer than three axes, an odd extent or several channels.

    Examples
    --------
    >>> labels = np.array([[[1, 2], [2, 3]], [[1, 2], [1, 3]]])
    >>> countless3d(labels).tolist()
    [[[1]]]
    """
    data = np.asarray(data)
    labels = _labels("data", data)
    _check_rank("data", data, 3)
    if math.prod(data.shape[3:]) > 1:
        raise DimensionError(f"data: shape {data.shape} has several channels; accepted: at most one")
    factor = (2, 2, 2, *(1,) * (data.ndim - 3))
    _check_divides(data, factor)
    return _like(data, _mode(labels, factor))


def countless(data: npt.ArrayLike, factor: Factor) -> Array:
    """Take the most frequent label of every cell; a tie goes to the one met first with axis 0 fastest.

    Parameters
    ----------
    data : array_like
        Labels of 1, 2, 4 or 8 bytes.
    factor : sequence of int
        Extent of a cell along each axis, dividing that of `data`; axes without an entry are not pooled.

    Returns
    -------
    numpy.ndarray
        A new array of extents ``n / f`` in the dtype (native) and memory order of `data`.

    Raises
    ------
    TypeError
        If `factor` is not a sequence of numbers or the dtype is no label.
    DimensionError
        If `factor` does not divide the extents.
    ValueError
        If an entry of `factor` is not integral or below 1, or pools an axis that is not there.

    Examples
    --------
    >>> countless(np.array([4, 8, 8, 5, 6, 7]), (3,)).tolist()
    [8, 5]
    """
    data = np.asarray(data)
    labels = _labels("data", data)
    cell = _checked_factor(factor, data.ndim)
    _check_divides(data, cell)
    return _like(data, _mode(labels, cell))


def _countless2d(data: npt.ArrayLike, *, sparse: bool) -> Array:
    data = np.asarray(data)
    labels = _labels("data", data)
    _check_rank("data", data, 2)
    _check_divides(data, (2, 2))
    return _like(data, _mode_2x2(labels, sparse))


def _mode_2x2(labels: Array, sparse: bool) -> Array:
    """Apply the rule of `countless2d` or `stippled_countless2d` to even axes 0 and 1."""
    a, b = labels[0::2, 0::2], labels[1::2, 0::2]
    c, d = labels[0::2, 1::2], labels[1::2, 1::2]
    first, second, rest = (a == b) | (a == c), b == c, d
    if sparse:
        first, second = first & (a != 0), second & (b != 0)
        rest = np.where(d != 0, d, np.where(a != 0, a, np.where(c != 0, c, b)))
    mode: Array = np.where(first, a, np.where(second, b, rest))
    return mode


def _mode(labels: Array, factor: tuple[int, ...]) -> Array:
    """Most frequent label of every cell by counting."""
    shape = tuple(n // f for n, f in zip(labels.shape, factor, strict=True))
    split = [extent for pair in zip(shape, factor, strict=True) for extent in pair]
    # The place inside the cell first, its last axis slowest: raster order once these axes are flattened.
    order = [*range(len(split) - 1, 0, -2), *range(0, len(split), 2)]
    size = math.prod(factor)
    cells = labels.reshape(split).transpose(order).reshape(size, *shape)
    best, most = np.array(cells[0]), np.zeros(shape, np.intp)
    for place, candidate in enumerate(cells):
        # Counting from here on is enough: a label met before had its full count there, and ties stay there.
        count = np.count_nonzero(cells[place:] == candidate, axis=0)
        wins = count > most
        np.copyto(best, candidate, where=wins)
        np.copyto(most, count, where=wins)
        if np.all(most >= size - place - 1):
            break  # fewer voxels are left than any winner has
    return best


def _truncated_means(array: Array, factor: tuple[int, ...], counts: Array) -> Array:
    """Exact sums of the cells over `counts`, truncated toward zero, as int64 or uint64."""
    if array.dtype.itemsize < 8:
        sums = fold(np.add, array, factor, np.int64).astype(np.int64, copy=False)
        return np.abs(sums) // counts * np.sign(sums)
    # 64-bit voxels as upper * 2**32 + lower: both sums fit int64 for cells of up to 2**31 voxels.
    upper = fold(np.add, (array >> 32).astype(np.int64), factor, np.int64)
    lower = fold(np.add, (array & 0xFFFFFFFF).astype(np.int64), factor, np.int64)
    high, carry = np.divmod(upper, counts)
    low, remainder = np.divmod(
        (carry.astype(np.uint64) << np.uint64(32)) + lower.astype(np.uint64), counts.astype(np.uint64)
    )
    means: Array = ((high.astype(np.uint64) << np.uint64(32)) + low).astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "i":
        means += (means < 0) & (remainder != 0)  # so far rounded down
    return means


def _padded(image: Array) -> Array:
    """Repeat the trailing slice of odd axes 0 and 1; an even image comes back itself."""
    x, y = image.shape[:2]
    if x % 2 == 0 and y % 2 == 0:
        return image
    padded = empty_mip(image, (x + x % 2, y + y % 2, *image.shape[2:]))
    padded[:x, :y] = image
    padded[x:, :y] = image[-1:]
    padded[:, y:] = padded[:, y - 1 : y]
    return padded


def _labels(name: str, data: Array) -> Array:
    """Return the bits of `data` as unsigned integers, a view where the byte order allows."""
    size = data.dtype.itemsize
    if data.dtype.kind not in "biufcmM" or size not in (1, 2, 4, 8):
        raise TypeError(f"{name}: dtype {data.dtype} is no label; accepted: numbers and times of 1 to 8 bytes")
    return data.astype(data.dtype.newbyteorder("="), copy=False).view(f"u{size}")


def _like(data: Array, labels: Array) -> Array:
    """Write `labels` (bits) to a new array in the dtype and memory order of `data`."""
    mip = empty_mip(data, labels.shape)
    mip.view(labels.dtype)[...] = labels
    return mip


def _check_rank(name: str, data: Array, least: int) -> None:
    if data.ndim < least:
        raise DimensionError(f"{name}: shape {data.shape} has too few axes; accepted: {least} or more")


def _check_divides(data: Array, factor: tuple[int, ...]) -> None:
    for axis, f in enumerate(factor):
        if data.shape[axis] % f:
            raise DimensionError(f"data: shape {data.shape}, axis {axis} is not a multiple of {f}")


def _checked_factor(factor: Factor, rank: int) -> tuple[int, ...]:
    """Return `factor` as `rank` ints."""
    if not isinstance(factor, tuple | list | np.ndarray) or getattr(factor, "ndim", 1) != 1:
        raise TypeError(f"factor: {factor!r}; accepted: a tuple, list or 1-D array of numbers")
    for axis, entry in enumerate(factor):
        if not isinstance(entry, int | float | np.integer | np.floating):
            raise TypeError(f"factor: entry {axis} is {entry!r}; accepted: an integer of at least 1")
    for axis, entry in enumerate(factor):
        if not math.isfinite(entry) or entry != int(entry) or entry < 1 or (axis >= rank and entry != 1):
            accepted = "an integer of at least 1" if axis < rank else f"1, for there are {rank} axes"
            raise ValueError(f"factor: entry {axis} is {entry!r}; accepted: {accepted}")
    return (*map(int, factor), *(1,) * rank)[:rank]
