"""The numpy paths: averages and extrema of dtypes the kernels do not take, against loops over cells."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tinybrain._numpy import average, extremum

FLOATS = ["float16", "float32", "float64", "longdouble"]
COMPLEX = ["complex64", "complex128", "clongdouble"]
TIMES = ["datetime64[s]", "timedelta64[us]"]
HALVING = [
    ((7,), (2,)),
    ((5, 6), (2, 2)),
    ((5, 3, 4), (2, 1, 2)),
    ((3, 5, 6), (2, 2, 2)),
    ((1, 9, 2), (2, 2, 1)),
]
OTHER = [((10,), (3,)), ((5, 9), (3, 2)), ((6, 7, 4), (4, 4, 1)), ((5, 4, 7), (1, 3, 5)), ((2, 3), (9, 4))]


def voxels(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return quarters of small integers, many of them zero: every sum is exact in every dtype."""
    img = rng.integers(-9, 10, shape) * (rng.random(shape) < 0.6)
    if np.dtype(dtype).kind in "mM":
        return img.astype(dtype)
    if np.dtype(dtype).kind == "c":
        return (img / 4 + 0.5j * rng.integers(-1, 2, shape)).astype(dtype)
    return (img / 4).astype(dtype)


def cells(img: np.ndarray, factor: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Walk over the output places and the voxels that exist behind each."""
    corners = [range(0, n, f) for n, f in zip(img.shape, factor, strict=True)]
    for corner in itertools.product(*corners):
        place = tuple(c // f for c, f in zip(corner, factor, strict=True))
        yield place, img[tuple(slice(c, c + f) for c, f in zip(corner, factor, strict=True))].ravel()


def by_cell(img: np.ndarray, factor: tuple[int, ...], of: Callable[[np.ndarray], object]) -> np.ndarray:
    shape = tuple(-(-n // f) for n, f in zip(img.shape, factor, strict=True))
    mip = np.empty(shape, img.dtype.newbyteorder("="))
    for place, cell in cells(img, factor):
        mip[place] = of(cell)
    return mip


def divided(sums: np.ndarray, counts: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Divide part by part: a complex quotient of numpy is off by a bit now and then."""
    counts = np.maximum(counts, 1)
    if dtype.kind != "c":
        return (sums / counts).astype(dtype.newbyteorder("="))
    mean = np.empty(sums.shape, dtype.newbyteorder("="))
    mean.real, mean.imag = sums.real / counts, sums.imag / counts
    return mean


def mirrored(img: np.ndarray, factor: tuple[int, ...]) -> np.ndarray:
    return np.pad(img, [(0, n % 2 if f == 2 else 0) for n, f in zip(img.shape, factor, strict=True)], "edge")


def halving_pyramid(img: np.ndarray, factor: tuple[int, ...], num_mips: int, sparse: bool) -> list[np.ndarray]:
    """Mirror odd edges, add, repeat; divide sums by counts at every mip."""
    wide = np.result_type(img.dtype, np.float64)
    sums, counts = img.astype(wide), (img != 0) if sparse else np.ones(img.shape)
    counts, mips = counts.astype(np.float64), []
    for _ in range(num_mips):
        sums = by_cell(mirrored(sums, factor), factor, np.sum)
        counts = by_cell(mirrored(counts, factor), factor, np.sum)
        mips.append(divided(sums, counts, img.dtype))
    return mips


def direct_pyramid(img: np.ndarray, factor: tuple[int, ...], num_mips: int, sparse: bool) -> list[np.ndarray]:
    """Add and count the mip-0 voxels that exist in the whole cell of every mip."""
    wide = np.result_type(img.dtype, np.float64)
    counts = ((img != 0) if sparse else np.ones(img.shape)).astype(np.float64)
    mips = []
    for mip in range(1, num_mips + 1):
        whole = tuple(f**mip for f in factor)
        sums = by_cell(img.astype(wide), whole, np.sum)
        mips.append(divided(sums, by_cell(counts, whole, np.sum), img.dtype))
    return mips


def layouts(img: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the same voxels in C, F, reversed, spread out, byte-swapped, packed and read-only memory."""
    yield np.ascontiguousarray(img)
    yield np.asfortranarray(img)
    yield np.ascontiguousarray(img[::-1])[::-1]
    spread = np.empty(tuple(2 * n for n in img.shape), img.dtype, order="F")
    spread[(slice(None, None, 2),) * img.ndim] = img
    yield spread[(slice(None, None, 2),) * img.ndim]
    yield img.astype(img.dtype.newbyteorder())
    packed = np.empty(img.shape, [("pad", "u1"), ("voxel", img.dtype)])
    packed["voxel"] = img
    yield packed["voxel"]
    fixed = img.copy()
    fixed.flags.writeable = False
    yield fixed


def same(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert type(a) is np.ndarray
        assert a.dtype == b.dtype
        assert a.dtype.isnative
        assert a.flags.owndata
        assert a.flags.writeable
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("shape", "factor"), HALVING)
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX)
def test_average_of_halves_mirrors_odd_edges(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], factor: tuple[int, ...], sparse: bool
) -> None:
    img = voxels(rng, dtype, shape)
    same(average(img, factor, 4, sparse), halving_pyramid(img, factor, 4, sparse))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("shape", "factor"), OTHER)
@pytest.mark.parametrize("dtype", FLOATS + COMPLEX)
def test_average_by_other_factors_takes_the_voxels_that_exist(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], factor: tuple[int, ...], sparse: bool
) -> None:
    img = voxels(rng, dtype, shape)
    same(average(img, factor, 3, sparse), direct_pyramid(img, factor, 3, sparse))


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(("shape", "factor"), HALVING + OTHER)
@pytest.mark.parametrize("dtype", [*FLOATS, *TIMES])
def test_extremum_of_the_voxels_that_exist(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], factor: tuple[int, ...], largest: bool
) -> None:
    img = voxels(rng, dtype, shape)
    want = [by_cell(img, tuple(f**k for f in factor), np.max if largest else np.min) for k in (1, 2, 3)]
    same(extremum(img, factor, 3, largest), want)


@pytest.mark.parametrize("dtype", ["float16", "longdouble", "complex64", "datetime64[s]"])
def test_every_layout_gives_the_same_and_stays_untouched(rng: np.random.Generator, dtype: str) -> None:
    img = voxels(rng, dtype, (5, 6, 3))
    for laid in layouts(img):
        before = laid.tobytes()
        if dtype != "datetime64[s]":
            same(average(laid, (2, 2, 1), 2, True), average(img, (2, 2, 1), 2, True))
        if dtype != "complex64":
            same(extremum(laid, (2, 3, 1), 2, True), extremum(img, (2, 3, 1), 2, True))
        assert laid.tobytes() == before


@pytest.mark.parametrize("order", ["C", "F"])
def test_mips_keep_the_memory_order(order: str) -> None:
    img = np.zeros((9, 8, 7), np.float16, order=order)
    turned = np.zeros((8, 7, 9), np.float16).transpose(2, 0, 1)
    for make in (lambda a: average(a, (2, 2, 1), 2, False), lambda a: extremum(a, (2, 2, 1), 2, True)):
        for mip in make(img):
            assert mip.flags[f"{order}_CONTIGUOUS"]
        for mip in make(turned):
            assert np.argsort(mip.strides).tolist() == np.argsort(turned.strides).tolist()


def test_a_subclass_gives_plain_arrays() -> None:
    img = np.arange(6, dtype=np.float16).view(np.recarray)
    same(average(img, (2,), 1, False), [np.array([0.5, 2.5, 4.5], np.float16)])
    same(extremum(img, (2,), 1, True), [np.array([1, 3, 5], np.float16)])


def test_no_mips_and_empty_images() -> None:
    assert average(np.ones((3, 3), np.float16), (2, 2), 0, False) == []
    assert extremum(np.ones((3, 3), np.float16), (2, 2), 0, False) == []
    empty = np.ones((3, 0), np.float16)
    for sparse in (False, True):
        assert [mip.shape for mip in average(empty, (2, 2), 2, sparse)] == [(2, 0), (1, 0)]
        assert [mip.shape for mip in average(empty, (3, 2), 2, sparse)] == [(1, 0), (1, 0)]
        assert [mip.shape for mip in extremum(empty, (2, 2), 2, sparse)] == [(2, 0), (1, 0)]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("factor", [(2, 2), (2, 3)])
def test_thousands_of_mips_stay_the_mean(factor: tuple[int, int], sparse: bool) -> None:
    mips = average(np.full((5, 3), 1.5, np.float16), factor, 3000, sparse)
    assert all((mip == 1.5).all() for mip in mips)


@pytest.mark.parametrize("sparse", [False, True])
def test_nan_and_infinity_propagate(sparse: bool) -> None:
    img = np.array([1, np.nan, np.inf, 1, np.inf, -np.inf, np.nan, 0], np.float16)
    (mip,) = average(img, (2,), 1, sparse)
    np.testing.assert_array_equal(mip, np.array([np.nan, np.inf, np.nan, np.nan], np.float16))


def test_complex_parts_do_not_spoil_each_other() -> None:
    img = np.array([complex(np.inf, 1), complex(1, 3), complex(np.nan, 2), complex(0, 4)], np.complex64)
    for sparse in (False, True):
        (mip,) = average(img, (2,), 1, sparse)
        np.testing.assert_array_equal(mip.real, np.array([np.inf, np.nan], np.float32))
        np.testing.assert_array_equal(mip.imag, np.array([2, 3], np.float32))


def test_complex_background_needs_both_parts_zero() -> None:
    img = np.array([complex(0, 2), complex(-0.0, 0), complex(4, 0), complex(0, -0.0)], np.complex128)
    assert average(img, (2,), 1, True)[0].tolist() == [2j, 4]


def test_sparse_cells_without_values_are_plus_zero() -> None:
    img = np.full((5, 5), -0.0, np.float16)
    for factor in [(2, 2), (3, 2)]:
        for mip in average(img, factor, 4, True):
            assert not np.signbit(mip).any()
    for mip in average(-img.astype(np.complex64), (2, 2), 2, True):
        assert not np.signbit(mip.real).any()
        assert not np.signbit(mip.imag).any()


def test_means_at_the_edge_of_the_dtype_do_not_overflow() -> None:
    for dtype in ("float16", "float32"):
        largest = np.finfo(dtype).max
        for mip in average(np.full((7, 7), largest, dtype), (2, 2), 3, False):
            assert (mip == largest).all()


def test_longdouble_keeps_its_own_digits() -> None:
    fine = 1 + np.finfo(np.longdouble).eps
    for dtype in (np.longdouble, np.clongdouble):
        assert (average(np.full(6, fine, dtype), (2,), 2, False)[1] == fine).all()


def test_nan_and_nat_win_every_extremum() -> None:
    img = np.array([1, np.nan, 2, 3, np.inf], np.float16)
    times = np.array([1, "NaT", 2, 3, 4], "datetime64[s]")
    for largest in (False, True):
        assert np.isnan(extremum(img, (2,), 1, largest)[0]).tolist() == [True, False, False]
        assert np.isnat(extremum(times, (2,), 1, largest)[0]).tolist() == [True, False, False]
        assert extremum(times, (2,), 1, largest)[0].dtype == times.dtype


def test_a_factor_beyond_the_image_takes_it_whole() -> None:
    img = np.array([[1, 2], [3, 6]], np.float16)
    assert average(img, (2**62, 5), 3, False)[2].tolist() == [[3]]
    assert extremum(img, (2**62, 1), 3, True)[2].tolist() == [[3, 6]]
