"""Brute force: what every function must return, written down as slowly and plainly as possible.

Nothing here is imported from tinybrain and nothing is shared with it.  Integers are Python integers (or int64
where the sums provably fit), floats are float64, and every mip is made from whole arrays of cells by numpy
reductions, so that the text below can be read next to the specification line by line.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

# Carried sums are replaced by the rendered mip after so many mips: (bytes per voxel, pooled axes) -> mips.
PERIODS = {(1, 2): 4, (2, 2): 4, (1, 3): 8, (2, 3): 5}

Arrays = list[np.ndarray]


def full_factor(factor: Sequence[float], ndim: int) -> tuple[int, ...]:
    """Return the factor with one int for every axis of the image; extra entries must be ones."""
    entries = [int(f) for f in factor]
    assert all(f == 1 for f in entries[ndim:]), "a factor longer than the rank has no oracle"
    return tuple((entries + [1] * ndim)[:ndim])


def plain(img: object) -> np.ndarray:
    """Return the voxels as a fresh, native, C-ordered plain array."""
    a = np.asarray(img)
    return np.array(a, dtype=a.dtype.newbyteorder("="), order="C", copy=True, subok=False)


def padded(a: np.ndarray, factor: Sequence[int], edge: str) -> np.ndarray:
    """Fill the image up to whole cells: edge="mirror" repeats the last row, edge="zero" adds zeros."""
    for axis, f in enumerate(factor):
        missing = -a.shape[axis] % f
        if missing:
            last = a.take([-1] * missing, axis=axis)
            a = np.concatenate([a, last if edge == "mirror" else np.zeros_like(last)], axis=axis)
    return a


def members(a: np.ndarray, factor: Sequence[int], edge: str = "mirror") -> Arrays:
    """Return the voxels of every cell in raster order, axis 0 fastest: an array of output shape per place."""
    a = padded(a, factor, edge)
    places = itertools.product(*(range(f) for f in reversed(factor)))  # the last entry of each runs fastest
    return [a[tuple(slice(p, None, f) for p, f in zip(reversed(place), factor, strict=True))] for place in places]


def cell_sums(a: np.ndarray, factor: Sequence[int], edge: str) -> np.ndarray:
    """Add up every cell, one axis after the other."""
    a = padded(a, factor, edge)
    for axis, f in enumerate(factor):
        total = a[(slice(None),) * axis + (slice(0, None, f),)]
        for place in range(1, f):
            total = total + a[(slice(None),) * axis + (slice(place, None, f),)]
        a = total
    return a


# ---------------------------------------------------------------------------------------------- averaging


def is_halving(factor: Sequence[int]) -> bool:
    """Tell whether every pooled axis has factor 2."""
    return all(f in (1, 2) for f in factor)


def too_small(shape: Sequence[int], factor: Sequence[float], num_mips: int) -> bool:
    """Tell whether averaging must refuse: 2 or 3 halved axes, one of them of extent 1 .. 2**num_mips - 1."""
    whole = full_factor(factor, len(shape))
    pooled = [n for n, f in zip(shape, whole, strict=True) if f > 1]
    return is_halving(whole) and len(pooled) in (2, 3) and any(1 <= n < 2**num_mips for n in pooled)


def sum_type(a: np.ndarray, factor: Sequence[int], num_mips: int) -> type:
    """Return the type sums are kept in; Python integers (object) unless int64 certainly holds them."""
    if a.dtype.kind == "f":
        return np.longdouble if a.dtype.itemsize > 8 else np.float64
    largest = max(abs(int(a.max())), abs(int(a.min())), 1) if a.size else 1
    return np.int64 if largest * math.prod(factor) ** num_mips < 2**62 else object


def rendered(sums: np.ndarray, counts: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Divide: integers truncate toward zero, floats round once, bool asks for anything but 0; no voxel: 0."""
    divisor = np.where(counts == 0, 1, counts)
    if dtype.kind == "b":
        return (sums != 0).astype(bool)
    if dtype.kind in "iu":
        return (np.sign(sums) * (np.abs(sums) // divisor)).astype(dtype)
    with np.errstate(all="ignore"):
        return np.where(counts == 0, 0.0, sums / divisor).astype(dtype)


def mean_pyramid(a: np.ndarray, present: np.ndarray, factor: Sequence[int], num_mips: int, sparse: bool) -> Arrays:
    """Make the pyramid of one real image; `present` marks the voxels that are not background."""
    halving = is_halving(factor)
    edge = "mirror" if halving else "zero"
    pooled = sum(f > 1 for f in factor)
    period = PERIODS.get((a.dtype.itemsize, pooled)) if halving and a.dtype.kind in "iu" else None
    kept = sum_type(a, factor, num_mips)
    sums = (np.where(present, a, a.dtype.type(0)) if sparse else a).astype(kept)
    counts = (present if sparse else np.ones(a.shape, bool)).astype(int).astype(kept)
    mips: Arrays = []
    for k in range(1, num_mips + 1):
        with np.errstate(all="ignore"):
            sums = np.asarray(cell_sums(sums, factor, edge), kept)
        counts = np.asarray(cell_sums(counts, factor, edge), kept)
        mip = rendered(sums, counts, a.dtype)
        mips.append(mip)
        if period and k % period == 0:
            sums = mip.astype(kept)
            counts = (mip != 0 if sparse else np.ones(mip.shape, bool)).astype(int).astype(kept)
    return mips


def average(img: object, factor: Sequence[float], num_mips: int = 1, sparse: bool = False) -> Arrays:
    """Return the mips of downsample_with_averaging."""
    a = plain(img)
    whole = full_factor(factor, a.ndim)
    if a.dtype.kind != "c":
        return mean_pyramid(a, a != 0, whole, num_mips, bool(sparse))
    parts = [mean_pyramid(part.copy(), a != 0, whole, num_mips, bool(sparse)) for part in (a.real, a.imag)]
    mips = []
    for real, imag in zip(*parts, strict=True):
        mip = np.empty(real.shape, a.dtype)
        mip.real, mip.imag = real, imag
        mips.append(mip)
    return mips


def largest_terms(img: object, factor: Sequence[float], num_mips: int = 1) -> Arrays:
    """Return for every cell of every mip the largest finite magnitude in it: the measure of float errors."""
    a = plain(img)
    with np.errstate(all="ignore"):
        size = np.abs(a.real) if a.dtype.kind != "c" else np.maximum(np.abs(a.real), np.abs(a.imag))
    size = np.where(np.isfinite(size), size, size.dtype.type(0))
    return extremum(size, factor, num_mips, np.maximum)


# ------------------------------------------------------------------------------------------- segmentation


def two_axis_rule(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, sparse: bool) -> np.ndarray:
    """Choose one label of four: a first voxel, b one along the lower axis, c along the higher, d both."""
    if not sparse:
        return np.where((a == b) | (a == c), a, np.where(b == c, b, d))
    any_of_it = np.where(d != 0, d, np.where(a != 0, a, np.where(c != 0, c, b)))
    pair_of_b = np.where((b == c) & (b != 0), b, any_of_it)
    return np.where(((a == b) | (a == c)) & (a != 0), a, pair_of_b)


def counting_rule(cell: Arrays, sparse: bool) -> np.ndarray:
    """Choose the most frequent label; a tie goes to the one met first in raster order."""
    best, most = cell[0], np.full(cell[0].shape, -1)
    for label in cell:
        votes = sum((other == label).astype(int) for other in cell)
        if sparse:
            votes = np.where(label == 0, 0, votes)
        best, most = np.where(votes > most, label, best), np.maximum(votes, most)
    return best


def is_power_of_two(f: int) -> bool:
    """Tell whether f is 1, 2, 4, 8, ..."""
    return bin(f).count("1") == 1


def segmentation(img: object, factor: Sequence[float], num_mips: int = 1, sparse: bool = False) -> Arrays:
    """Return the mips of downsample_segmentation (note the order of the arguments: it is averaging's)."""
    a = plain(img)
    whole = full_factor(factor, a.ndim)
    if not all(is_power_of_two(f) for f in whole):
        return [mip.copy() for mip in striding(a, whole, num_mips)]
    labels = np.frombuffer(a.tobytes(), f"u{a.dtype.itemsize}").reshape(a.shape)
    mips = []
    for _ in range(num_mips):
        left = list(whole)
        while any(f > 1 for f in left):
            step = [2 if f >= 2 else 1 for f in left]
            cell = members(labels, step)
            labels = two_axis_rule(*cell, sparse) if sum(step) == len(step) + 2 else counting_rule(cell, sparse)
            left = [f // s for f, s in zip(left, step, strict=True)]
        mips.append(np.frombuffer(labels.tobytes(), a.dtype).reshape(labels.shape))
    return mips


# --------------------------------------------------------------------------------------- extrema, striding


def extremum(img: object, factor: Sequence[float], num_mips: int, choose: np.ufunc) -> Arrays:
    """Return the mips of min or max pooling; choose is numpy.minimum or numpy.maximum (both keep NaN)."""
    a = plain(img)
    mips = []
    for _ in range(num_mips):
        a = choose.reduce(members(a, full_factor(factor, a.ndim)), axis=0)
        mips.append(np.asarray(a))
    return mips


def striding(img: np.ndarray, factor: Sequence[float], num_mips: int = 1) -> Arrays:
    """Return the first voxel of every cell, again and again."""
    mips = []
    for _ in range(num_mips):
        img = img[tuple(slice(None, None, f) for f in full_factor(factor, img.ndim))]
        mips.append(img)
    return mips


# --------------------------------------------------------------- exact=True: every mip straight from mip 0


def whole_cells(a: np.ndarray, factor: Sequence[int]) -> Iterator[tuple[tuple[int, ...], list]]:
    """Yield each output index with the list of the voxels that exist in its cell."""
    for index in np.ndindex(*(-(-n // f) for n, f in zip(a.shape, factor, strict=True))):
        cell = a[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factor, strict=True))]
        yield index, cell.ravel().tolist()


def each_cell(img: object, factor: Sequence[float], num_mips: int, choose) -> Arrays:
    """Apply choose(list of voxels) to every cell of factor**k for every mip k."""
    a = plain(img)
    mips = []
    for k in range(1, num_mips + 1):
        power = [f**k for f in full_factor(factor, a.ndim)]
        mip = np.empty([-(-n // f) for n, f in zip(a.shape, power, strict=True)], a.dtype)
        for index, cell in whole_cells(a, power):
            mip[index] = choose(cell)
        mips.append(mip)
    return mips


def exact_average(img: object, factor: Sequence[float], num_mips: int = 1, sparse: bool = False) -> Arrays:
    """Return the correctly rounded means (ties to even) of ints, bool, float32 and float64."""
    kind = plain(img).dtype.kind

    def mean(cell: list) -> float:
        values = [v for v in cell if v != 0] if sparse else cell
        if not values:
            return 0
        if kind == "f":
            with np.errstate(all="ignore"):
                return float(np.sum(np.array(values, np.float64)) / len(values))
        exact = Fraction(sum(values), len(values))
        return exact > Fraction(1, 2) if kind == "b" else round(exact)  # round() of a Fraction: ties to even

    return each_cell(img, factor, num_mips, mean)


def exact_mode(img: object, factor: Sequence[float], num_mips: int = 1, sparse: bool = False) -> Arrays:
    """Return the most frequent voxel of every cell; a tie goes to the smallest."""

    def mode(cell: list) -> int:
        values = [v for v in cell if v != 0] if sparse else cell
        counts = Counter(values)
        return min(counts, key=lambda v: (-counts[v], v)) if values else 0

    return each_cell(img, factor, num_mips, mode)
