"""Images to try, memory layouts to put them in, and comparisons of tinybrain with the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import oracle
import tinybrain

INTS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64", "longdouble"]
COMPLEX = ["complex64", "complex128", "clongdouble"]
AVERAGED = ["bool", *INTS, *FLOATS, *COMPLEX]
ORDERED = ["bool", *INTS, *FLOATS, "datetime64[s]", "timedelta64[ns]"]
LABELLED = ["bool", *INTS, "float16", "float32", "float64", "complex64", "datetime64[s]", "timedelta64[ns]"]

# How far a float mean may be from the oracle's, relative to the largest term of its cell.
ROOM = {"e": 1e-3, "f": 1e-6, "d": 1e-13, "g": 1e-13, "F": 1e-6, "D": 1e-13, "G": 1e-13}

Mips = list[np.ndarray]


# ------------------------------------------------------------------------------------------------- images


def voxels(rng: np.random.Generator, dtype: str, shape: Sequence[int], zeros: float = 0.3) -> np.ndarray:
    """Return an image over the whole range of its dtype, with a share of exact zeros."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        a = rng.random(shape) < 0.1
    elif kind.kind in "iu":
        info = np.iinfo(kind)
        a = rng.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
        ends = rng.random(shape)
        a = np.where(ends < 0.1, kind.type(info.max), np.where(ends > 0.9, kind.type(info.min), a))
    elif kind.kind in "mM":
        a = rng.integers(-5, 5, shape).astype(kind)
    else:
        a = (rng.normal(size=shape) * 100).astype(kind)
        if kind.kind == "c":
            a = (a + 1j * rng.normal(size=shape)).astype(kind)
    a = np.array(a, dtype=kind)  # rank 0 comes as a scalar
    a[rng.random(shape) < zeros] = np.zeros((), kind)
    return a


def labels(rng: np.random.Generator, dtype: str, shape: Sequence[int], kinds: int = 4) -> np.ndarray:
    """Return an image of few labels, the awkward ones among them: all bits zero, all bits one, one bit."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.array(rng.integers(0, 2, shape), dtype=bool)
    bits = 8 * kind.itemsize
    choice = [0, 2**bits - 1, 1, 2 ** (bits - 1), 2 ** (bits // 2), 2 ** (bits - 1) - 1][:kinds]
    patterns = np.array(choice, f"u{kind.itemsize}")[rng.integers(0, len(choice), shape)]
    return np.frombuffer(patterns.tobytes(), kind).reshape(tuple(shape)).copy()


def patches(rng: np.random.Generator, dtype: str, shape: Sequence[int], size: int = 5) -> np.ndarray:
    """Return labels in blocks of `size` voxels, as real segmentations are, with noise on top."""
    coarse = labels(rng, dtype, [-(-n // size) for n in shape], kinds=6)
    for axis, n in enumerate(shape):
        coarse = coarse.repeat(size, axis=axis).take(range(n), axis=axis)
    return np.where(rng.random(shape) < 0.1, labels(rng, dtype, shape), coarse)


# ------------------------------------------------------------------------------------------------ layouts


def _sliced(a: np.ndarray) -> np.ndarray:
    """Every second voxel of something larger, not starting at its corner."""
    big = np.zeros([2 * n + 3 for n in a.shape], a.dtype)
    view = big[(..., *(slice(2, 2 + 2 * n, 2) for n in a.shape))]
    view[...] = a
    return view


def _sliced_f(a: np.ndarray) -> np.ndarray:
    """A window of a larger Fortran-ordered image: rows stay contiguous, nothing else does."""
    big = np.zeros([n + 5 for n in a.shape], a.dtype, order="F")
    view = big[(..., *(slice(3, 3 + n) for n in a.shape))]
    view[...] = a
    return view


def _reversed(a: np.ndarray) -> np.ndarray:
    back = (..., *(slice(None, None, -1),) * a.ndim)
    return np.array(a[back], order="F")[back]


def _reversed_fast_axis(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a[..., ::-1])[..., ::-1] if a.ndim else a.copy()


def _transposed(a: np.ndarray) -> np.ndarray:
    """The middle axis fastest: neither C nor F."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, a.ndim // 2, -1)), -1, a.ndim // 2) if a.ndim else a


def _channel(a: np.ndarray) -> np.ndarray:
    """One of three interleaved channels, img[..., 1]."""
    img = np.zeros((*a.shape, 3), a.dtype)
    img[..., 1] = a
    return img[..., 1]


def _interleaved(a: np.ndarray) -> np.ndarray:
    """The last axis fastest, the others in Fortran order: an RGB image of x, y, z."""
    if not a.ndim:
        return a.copy()
    return np.moveaxis(np.asfortranarray(np.moveaxis(a, -1, 0)), 0, -1)


def _broadcast_first(a: np.ndarray) -> np.ndarray:
    return np.broadcast_to(a[:1], a.shape) if a.ndim else a.copy()


def _broadcast_last(a: np.ndarray) -> np.ndarray:
    return np.broadcast_to(a[..., :1], a.shape) if a.ndim else a.copy()


def _broadcast_all(a: np.ndarray) -> np.ndarray:
    return np.broadcast_to(a[(..., *(slice(0, 1),) * a.ndim)], a.shape)


def _read_only(a: np.ndarray) -> np.ndarray:
    a = np.array(a, order="F")
    a.flags.writeable = False
    return a


def _packed(a: np.ndarray) -> np.ndarray:
    """A field of a packed structure: an odd stride, no alignment."""
    img = np.zeros(a.shape, np.dtype([("flag", "u1"), ("voxel", a.dtype), ("tail", "u2")]))
    img["voxel"] = a
    return img["voxel"]


def _unaligned(a: np.ndarray) -> np.ndarray:
    """Contiguous, in Fortran order, but one byte off."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape, order="F") if a.size else a.copy()
    view[...] = a
    return view


def _swapped(a: np.ndarray) -> np.ndarray:
    return np.array(a, dtype=a.dtype.newbyteorder("S"), order="F")


class Subclass(np.ndarray):
    """What igneous passes: an ndarray subclass."""


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": lambda a: np.array(a, order="C"),
    "F": lambda a: np.array(a, order="F"),
    "sliced": _sliced,
    "window of F": _sliced_f,
    "reversed": _reversed,
    "last axis reversed": _reversed_fast_axis,
    "transposed": _transposed,
    "one interleaved channel": _channel,
    "interleaved channels": _interleaved,
    "broadcast first axis": _broadcast_first,
    "broadcast last axis": _broadcast_last,
    "broadcast": _broadcast_all,
    "read-only": _read_only,
    "packed field": _packed,
    "unaligned F": _unaligned,
    "byte-swapped": _swapped,
    "subclass": lambda a: np.array(a, order="F").view(Subclass),
}


# ---------------------------------------------------------------------------------------------- judgement


def bits(a: np.ndarray) -> np.ndarray:
    """Return the voxels as unsigned integers, for comparisons by bits."""
    return np.frombuffer(a.tobytes(), f"u{a.dtype.itemsize}").reshape(a.shape)


def same_bits(got: np.ndarray, want: np.ndarray) -> None:
    """Assert equal shape, dtype and bits (the padding of longdoubles aside)."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    if got.dtype.itemsize <= 8:
        np.testing.assert_array_equal(bits(got), bits(want))
    else:
        np.testing.assert_array_equal(got, want)


def well_made(img: np.ndarray, mip: np.ndarray, factor: Sequence[float], k: int) -> None:
    """Assert that mip k is a plain, writable, native array of its own, in the memory order of the image."""
    whole = oracle.full_factor(factor, img.ndim)
    shape = img.shape
    for _ in range(k):
        shape = tuple(-(-n // f) for n, f in zip(shape, whole, strict=True))
    assert type(mip) is np.ndarray
    assert mip.shape == shape
    assert mip.dtype == img.dtype.newbyteorder("=")
    assert mip.dtype.isnative
    assert mip.flags.owndata
    assert mip.flags.writeable
    assert mip.flags.aligned
    expected = np.empty_like(img, dtype=mip.dtype, shape=shape, subok=False)
    if mip.size:
        walked = [axis for axis in range(mip.ndim) if mip.shape[axis] > 1]
        assert [mip.strides[axis] for axis in walked] == [expected.strides[axis] for axis in walked]
    assert not np.shares_memory(mip, img)


def watched(function: Callable[..., Mips], img: np.ndarray, *args: Any, **named: Any) -> Mips:
    """Call function and assert that it returns a list and leaves the image as it was."""
    before = img.tobytes()
    mips = function(img, *args, **named)
    assert img.tobytes() == before
    assert type(mips) is list
    return mips


def close_means(img: np.ndarray, factor: Sequence[float], got: Mips, want: Mips) -> None:
    """Assert equal means: to the bit for ints and bool, within the room for summation order for floats."""
    assert len(got) == len(want)
    if want and want[0].dtype.kind not in "fc":
        for mine, right in zip(got, want, strict=True):
            np.testing.assert_array_equal(mine, right, strict=True)
        return
    scales = oracle.largest_terms(img, factor, len(want))
    for mine, right, scale in zip(got, want, scales, strict=True):
        assert mine.shape == right.shape
        assert mine.dtype == right.dtype
        room = scale * scale.dtype.type(ROOM[right.dtype.char])
        if right.dtype.kind == "f":
            _close(mine, right, room)
        else:
            _close(mine.real, right.real, room)
            _close(mine.imag, right.imag, room)


def _close(mine: np.ndarray, right: np.ndarray, room: np.ndarray) -> None:
    finite = np.isfinite(right)
    np.testing.assert_array_equal(mine[~finite], right[~finite])  # NaN stays NaN, infinity keeps its sign
    assert np.isfinite(mine[finite]).all()
    difference = np.abs(mine[finite].astype(np.longdouble) - right[finite])
    assert (difference <= room[finite]).all(), f"off by {difference.max()}"


def _factor_of(mips: Mips, img: np.ndarray, factor: Sequence[float]) -> bool:
    """Tell whether the mips are new arrays (a factor of all ones gives the image itself)."""
    if any(f > 1 for f in oracle.full_factor(factor, img.ndim)):
        return True
    assert all(mip is mips[0] for mip in mips)
    return False


def check_average(
    img: np.ndarray, factor: Sequence[float], num_mips: int = 1, sparse: bool = False, **named: Any
) -> Mips:
    """Run downsample_with_averaging and compare everything with the oracle."""
    got = watched(tinybrain.downsample_with_averaging, img, factor, num_mips, sparse, **named)
    if _factor_of(got, img, factor):
        for k, mip in enumerate(got, 1):
            well_made(img, mip, factor, k)
        close_means(img, factor, got, oracle.average(img, factor, num_mips, sparse))
    return got


def check_segmentation(
    img: np.ndarray, factor: Sequence[float], num_mips: int = 1, sparse: bool = False, **named: Any
) -> Mips:
    """Run downsample_segmentation and compare everything with the oracle."""
    got = watched(tinybrain.downsample_segmentation, img, factor, sparse, num_mips, **named)
    if _factor_of(got, img, factor):
        want = oracle.segmentation(img, factor, num_mips, sparse)
        for k, (mine, right) in enumerate(zip(got, want, strict=True), 1):
            well_made(img, mine, factor, k)
            same_bits(mine, right)
    return got


def check_extrema(img: np.ndarray, factor: Sequence[float], num_mips: int = 1, **named: Any) -> None:
    """Run min and max pooling and compare everything with the oracle."""
    for function, choose in (
        (tinybrain.downsample_with_min_pooling, np.minimum),
        (tinybrain.downsample_with_max_pooling, np.maximum),
    ):
        got = watched(function, img, factor, num_mips, **named)
        if _factor_of(got, img, factor):
            want = oracle.extremum(img, factor, num_mips, choose)
            for k, (mine, right) in enumerate(zip(got, want, strict=True), 1):
                well_made(img, mine, factor, k)
                np.testing.assert_array_equal(mine, right, strict=True)


def refused(call: Callable[[], object], kind: type[Exception], *words: str) -> None:
    """Assert that call raises kind with all words in its message."""
    with pytest.raises(kind) as caught:
        call()
    assert all(word in str(caught.value) for word in words), f"{words} not in: {caught.value}"
