"""Sums of cells, and their division: the arithmetic of averages that are made in several stages.

A sum of integers is exact. It is an array of *limbs*, the first axis: one int64, or where 62 bits may be too few,
several of 32 bits, least first, each in an int64 that has room for what is added up until `normal` moves the excess
on; the last one has the sign. Division is done in int64 where a sum fits, and in Python's integers for the few that
don't. A sum of float64 has two limbs, as its last bit would depend on the order of the terms: the sum, and what
rounding took from it (D. E. Knuth's exact sum of two floats, TAOCP 2, 4.2.2). Other floats have one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinybrain._arguments import Array

_LIMB = 32
_MASK = (1 << _LIMB) - 1


def limbs_of(voxels: Array, limbs: int) -> Array:
    """Return integers as sums of several limbs, float64 as sums of two."""
    if voxels.dtype.kind == "f":
        return np.stack([voxels, np.zeros_like(voxels)])
    parts = [voxels.astype(np.int64)]
    if voxels.dtype.itemsize == 8:
        parts = [
            (voxels & voxels.dtype.type(_MASK)).astype(np.int64),
            (voxels >> voxels.dtype.type(_LIMB)).astype(np.int64),
        ]
    return normal(np.stack(parts + [np.zeros_like(parts[0])] * (limbs - len(parts))))


def fold(
    values: Array, factor: Sequence[int], twice: Sequence[bool], plus: Callable[[Array, Array], object] = operator.iadd
) -> Array:
    """Add up the cells of an array; the last cell of an axis may be smaller.

    `twice` says along which axes a trailing cell of one voxel, where a cell has more, counts twice; `plus` how to add
    terms to sums in place.

    Examples
    --------
    >>> fold(np.array([1, 2, 5]), (2,), (True,)), fold(np.array([1, 2, 5]), (2,), (False,))
    (array([ 3, 10]), array([3, 5]))
    """
    for axis, f in enumerate(factor):
        extent = values.shape[axis]
        if f == 1:
            continue
        folded = values[_along(axis, slice(None, None, f))].copy(order="K")
        for offset in range(1, min(f, extent)):
            part = values[_along(axis, slice(offset, None, f))]
            plus(folded[_along(axis, slice(part.shape[axis]))], part)
        if twice[axis] and extent % f == 1:
            folded[_along(axis, slice(-1, None))] *= 2
        values = folded
    return values


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)


def fold_sums(sums: Array, factor: Sequence[int], twice: Sequence[bool]) -> Array:
    """As `fold`, of sums."""
    floats = sums.dtype.kind in "fc"
    folded = fold(sums, (1, *factor), (False, *twice), _plus_floats if floats and len(sums) == 2 else operator.iadd)
    return folded if floats else normal(folded)


def _plus_floats(sums: Array, terms: Array) -> None:
    total = sums[0] + terms[0]
    taken = total - sums[0]
    lost = (sums[0] - (total - taken)) + (terms[0] - taken) + (sums[1] + terms[1])
    sums[0] = total
    sums[1] = np.where(np.isfinite(lost), lost, 0)  # infinity and NaN have lost nothing


def normal(sums: Array) -> Array:
    """Move what doesn't fit in 32 bits from each limb to the next."""
    for limb in range(len(sums) - 1):
        sums[limb + 1] += sums[limb] >> _LIMB
        sums[limb] &= _MASK
    return sums


def rendered(sums: Array, counts: Array, dtype: np.dtype[Any], exact: bool) -> Array:
    """Divide sums of integers by counts (0 where nothing was counted): truncated toward zero, or rounded if `exact`."""
    voxels = np.empty_like(sums[0], dtype)
    counts = np.maximum(counts, 1)
    whole, fits = _whole(sums)
    voxels[...] = _divide(whole, counts, dtype, exact)
    if not fits.all():
        large = ~fits
        counted = np.broadcast_to(counts, voxels.shape)[large].tolist()
        totals = [sum(limb << (_LIMB * place) for place, limb in enumerate(cell)) for cell in sums[:, large].T.tolist()]
        divided = [_divide_exactly(s, count, dtype, exact) for s, count in zip(totals, counted, strict=True)]
        voxels[large] = np.array(divided, dtype)
    return voxels


def quotient(sums: Array, counts: Array) -> Array:
    """Return sums / counts, +0.0 where nothing was counted; complex ones part by part: inf must not spoil the other."""
    quotient = np.empty_like(sums)
    parts = [(sums, quotient)] if sums.dtype.kind != "c" else [(sums.real, quotient.real), (sums.imag, quotient.imag)]
    for total, to in parts:
        to[...] = total / np.where(counts == 0, 1, counts)
        to[np.broadcast_to(counts == 0, to.shape)] = 0
    return quotient


def _whole(sums: Array) -> tuple[Array, Array]:
    """Return the limbs as one int64 each, and where that is exact."""
    if len(sums) == 1:
        return sums[0], np.ones((), bool)
    low = sums[0] + (sums[1] << _LIMB)  # wraps where it isn't exact
    fits = np.abs(sums[1]) < 1 << 29 if len(sums) == 2 else np.zeros(low.shape, bool)
    if len(sums) > 2:  # a small number has nothing but its sign in the upper limbs
        upper = sums[2:]
        positive = (upper == 0).all(axis=0) & (sums[1] < 1 << 29)
        sign = np.array([_MASK] * (len(upper) - 1) + [-1]).reshape(-1, *[1] * low.ndim)
        negative = (upper == sign).all(axis=0) & (sums[1] > _MASK - (1 << 29))
        low = np.where(negative, sums[0] + ((sums[1] - (1 << _LIMB)) << _LIMB), low)
        fits = positive | negative
    return np.where(fits, low, 0), fits


def _divide(sums: Array, counts: Array, dtype: np.dtype[Any], exact: bool) -> Array:
    """Truncate sum / count toward zero, or round it to the nearest, ties to even; bool: any, or more than half."""
    if dtype.kind == "b":
        true: Array = 2 * sums > counts if exact else sums != 0
        return true
    quotient: Array = sums // counts
    rest = sums - quotient * counts
    if exact:
        up = (rest > counts - rest) | ((rest == counts - rest) & (quotient & 1 == 1))
    else:
        up = (quotient < 0) & (rest != 0)
    quotient += up
    return quotient


def _divide_exactly(total: int, count: int, dtype: np.dtype[Any], exact: bool) -> int:
    """As `_divide`, of one sum of any size."""
    quotient, rest = divmod(total, count)
    if dtype.kind == "b":
        return int(2 * total > count if exact else total != 0)
    if exact:
        return quotient + (2 * rest > count or (2 * rest == count and quotient % 2 == 1))
    return quotient + (quotient < 0 and rest != 0)
