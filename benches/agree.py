"""Whether a peer's result is right by the peer's own rule, and tinybrain 2.0's by its rule.

Exact results have to be the same.  Means differ in rounding only: each is compared with exact sums under the
rule its library documents.  Modes differ in ties only: where two results differ, both labels must be equally
frequent in their cell.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from bars import OLD, Call
from volumes import Array, Shape

RULES = {
    "tinybrain 2.0": "truncated",
    OLD: "truncated",
    "TensorStore": "half to even",
    "OpenCV": "half up",
    "Pillow": "half up",
    "ITK-Wasm": "half up",
    "scikit-image": "not rounded",
}


def cells(array: Array, factor: Shape) -> list[Array]:
    """Views of the first, second ... voxel of every cell, raster order; the sizes divide."""
    places = itertools.product(*(range(f) for f in factor[::-1]))
    return [array[tuple(slice(p, None, f) for p, f in zip(place[::-1], factor, strict=True))] for place in places]


def mean(array: Array, factor: Shape, rule: str) -> Array:
    """Mean of whole cells under a rule of rounding."""
    floats = array.dtype.kind == "f"
    voxels = cells(array, factor)
    total = np.zeros(voxels[0].shape, np.float64 if floats else np.uint32, order="F")
    for voxel in voxels:
        total += voxel
    n = len(voxels)
    if floats or rule == "not rounded":
        return np.asarray(total / n)
    if rule == "half up":
        total += n // 2
    elif rule == "half to even":  # n is a power of two
        total += n // 2 - 1 + (total // n & 1)
    return np.asarray(total // n).astype(array.dtype)


def same(one: Array, other: Array) -> bool:
    """Equal, but for the last bits of floats."""
    if one.shape != other.shape:
        return False
    if other.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=1e-6, atol=0))
    return bool(np.array_equal(one, other))


def ties_only(array: Array, factor: Shape, one: Array, other: Array) -> str:
    """Whether two modes differ only where their labels are equally frequent."""
    where = one != other
    if not where.any():
        return "same bits"
    voxels = [voxel[where] for voxel in cells(array, factor)]
    counts = [
        sum((voxel == label).astype(np.uint8) for voxel in voxels) for label in (*voxels, one[where], other[where])
    ]
    top = np.max(counts[: len(voxels)], axis=0)
    if not (np.array_equal(counts[-2], top) and np.array_equal(counts[-1], top)):
        return "WRONG: differs beyond ties"
    return f"same but for ties ({where.mean():.2%})"


def judge(call: Call, array: Array, mips: list[Array], ours: list[Array]) -> str:
    """Say how the result of a library compares; anything wrong begins with WRONG."""
    if [m.shape for m in mips] != [o.shape for o in ours]:
        return "WRONG: other shapes"
    bits = all(same(m, o) and m.dtype == o.dtype for m, o in zip(mips, ours, strict=True))
    if call.library == OLD:
        if bits:
            return "same bits" if array.dtype.kind != "f" else "same but for the last bit"
        return "WRONG: differs"
    if call.exact:
        return "same bits" if bits else "WRONG: differs"
    if call.op == "seg":
        return ties_only(array, call.factor, mips[0], ours[0])
    if call.sparse:
        return "same bits" if bits else "WRONG: differs"
    rule, above, k = RULES[call.library], array, 1
    for k, mip in enumerate(mips, 1):
        if rule == "truncated" and k <= 4:  # exact sums go down four mips
            right = mean(array, tuple(f**k for f in call.factor), rule)
        else:
            right = mean(above, call.factor, rule)
        if not same(mip, right):
            share = float((np.asarray(mip) != right).mean()) if mip.shape == right.shape else math.nan
            return f"WRONG: mip {k} is not the mean, {rule} ({share:.2%} of voxels)"
        above = right
    return f"right: {rule}" if array.dtype.kind != "f" else "right, to 1e-6"
