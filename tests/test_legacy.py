"""Names kept from earlier releases, against loops over cells in plain Python integers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

import tinybrain
from tinybrain import accelerated
from tinybrain.downsample import (
    DimensionError,
    countless,
    countless2d,
    countless3d,
    downsample_segmentation_2d,
    downsample_with_averaging_numpy,
    odd_to_even2d,
    stippled_countless2d,
)

INTS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
LABELS = ["bool", *INTS, "float16", "float32", "float64", "complex64", "datetime64[s]", "timedelta64[s]"]
Factor = tuple[int, ...]


def random_labels(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return few labels, among them 0, 1, -1 (the largest where unsigned) and the most negative."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    bits = np.array([0, 1, 2 ** (8 * kind.itemsize) - 1, 2 ** (8 * kind.itemsize - 1)], f"u{kind.itemsize}")
    return bits[rng.integers(0, 4, shape)].view(kind)


def bits(img: np.ndarray) -> np.ndarray:
    return img.view(f"u{img.dtype.itemsize}")


def cells(img: np.ndarray, factor: Factor) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    factor = (*factor, *(1,) * img.ndim)[: img.ndim]
    for corner in itertools.product(*[range(0, n, f) for n, f in zip(img.shape, factor, strict=True)]):
        place = tuple(c // f for c, f in zip(corner, factor, strict=True))
        yield place, img[tuple(slice(c, c + f) for c, f in zip(corner, factor, strict=True))]


def by_cell(img: np.ndarray, factor: Factor, of: Callable[[list[int]], int]) -> np.ndarray:
    """Apply `of` to the voxels of every cell in raster order, axis 0 fastest."""
    found = {place: of(cell.ravel(order="F").tolist()) for place, cell in cells(img, factor)}
    mip = np.empty([1 + max(ks) for ks in zip(*found, strict=True)], img.dtype)
    for place, voxel in found.items():
        mip[place] = voxel
    return mip


def rule_of_four(cell: list[int]) -> int:
    a, b, c, d = cell
    if a in (b, c):
        return a
    return b if b == c else d


def sparse_rule_of_four(cell: list[int]) -> int:
    a, b, c, d = cell
    if a and a in (b, c):
        return a
    if b and b == c:
        return b
    return d or a or c or b


def most_frequent(cell: list[int]) -> int:
    return max(cell, key=lambda voxel: (cell.count(voxel), -cell.index(voxel)))


def truncated_mean(cell: list[int], sparse: bool) -> int:
    counted = [voxel for voxel in cell if voxel] if sparse else cell
    return int(Fraction(sum(counted), max(len(counted), 1)))  # int() truncates toward zero


def mirrored(img: np.ndarray) -> np.ndarray:
    return np.pad(img, [(0, n % 2 if axis < 2 else 0) for axis, n in enumerate(img.shape)], "edge")


def layouts(img: np.ndarray) -> Iterator[np.ndarray]:
    yield np.asfortranarray(img)
    yield np.ascontiguousarray(img[:, ::-1])[:, ::-1]
    yield np.repeat(img, 2, axis=1)[:, ::2]
    yield img.astype(img.dtype.newbyteorder())
    packed = np.empty(img.shape, [("pad", "u1"), ("voxel", img.dtype)])
    packed["voxel"] = img
    yield packed["voxel"]
    fixed = img.copy()
    fixed.flags.writeable = False
    yield fixed


def same(got: np.ndarray, want: np.ndarray) -> None:
    assert type(got) is np.ndarray
    assert got.dtype == want.dtype.newbyteorder("=")
    assert got.shape == want.shape
    assert got.tobytes() == want.tobytes()


# ------------------------------------------------------------------------------------- mode pooling


@pytest.mark.parametrize("shape", [(4, 6), (6, 4, 3), (8, 2, 2, 1), (4, 4, 3, 2)])
@pytest.mark.parametrize("dtype", LABELS)
def test_countless2d_dense_and_stippled(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> None:
    img = random_labels(rng, dtype, shape)
    for function, rule in [(countless2d, rule_of_four), (stippled_countless2d, sparse_rule_of_four)]:
        same(function(img), by_cell(bits(img), (2, 2), rule).view(img.dtype))


def test_every_2x2_pattern_with_the_awkward_labels() -> None:
    for dtype, last in [("uint8", 255), ("uint64", 2**64 - 1), ("int32", -1)]:
        patterns = list(itertools.product([0, 1, 2, last], repeat=4))
        img = np.array(patterns, dtype).T.reshape(2, 2, -1, order="F")
        assert countless2d(img).ravel().tolist() == [rule_of_four(list(p)) for p in patterns]
        assert stippled_countless2d(img).ravel().tolist() == [sparse_rule_of_four(list(p)) for p in patterns]


@pytest.mark.parametrize("shape", [(4, 6, 2), (2, 4, 6, 1), (4, 4, 2, 1, 1)])
@pytest.mark.parametrize("dtype", LABELS)
def test_countless3d_takes_the_mode(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> None:
    img = random_labels(rng, dtype, shape)
    same(countless3d(img), by_cell(bits(img), (2, 2, 2), most_frequent).view(img.dtype))


@pytest.mark.parametrize(
    ("shape", "factor"),
    [
        ((12,), (4,)),
        ((6, 6), (3, 2)),
        ((6, 4, 3), (2, 2)),
        ((6, 6, 4), (3, 3, 2)),
        ((4, 2, 3, 2), (1, 1, 3, 2)),
        ((8, 8), (8, 8)),
        ((2, 3), (1, 1)),
        ((4, 4), [2.0, 2.0, 1.0]),
        ((4, 4), np.array([2, 4])),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint64", "float32"])
def test_countless_takes_the_mode_of_any_cell(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], factor: Factor
) -> None:
    img = random_labels(rng, dtype, shape)
    whole = tuple(int(f) for f in factor)
    same(countless(img, factor), by_cell(bits(img), whole, most_frequent).view(img.dtype))


def test_countless_of_rank_0_and_of_nothing() -> None:
    same(countless(np.array(7), ()), np.array(7))
    same(countless(np.zeros((0, 4), np.uint8), (2, 2)), np.zeros((0, 2), np.uint8))
    same(countless2d(np.zeros((2, 0, 3), np.uint8)), np.zeros((1, 0, 3), np.uint8))
    same(countless3d(np.zeros((2, 2, 0), np.uint8)), np.zeros((1, 1, 0), np.uint8))


def test_labels_are_compared_by_their_bits() -> None:
    zeros = np.array([[0.0, -0.0], [-0.0, 5.0]])
    assert np.signbit(countless2d(zeros)).all()
    assert np.signbit(stippled_countless2d(zeros)).all()
    nans = np.array([[1.0, np.nan], [np.nan, 2.0]], np.float32)
    assert np.isnan(countless2d(nans)).all()


@pytest.mark.parametrize("sparse", [False, True, np.bool_(True)])
@pytest.mark.parametrize("side", [1, 2, 4, 8, 2**40])
@pytest.mark.parametrize("shape", [(8, 8, 2, 1), (7, 5, 3, 2), (1, 9, 1, 1), (6, 7), (3, 3, 2)])
@pytest.mark.parametrize("dtype", ["uint8", "uint64", "int16", "float32"])
def test_segmentation_2d_repeats_the_2x2_step(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], side: int, sparse: bool
) -> None:
    img = random_labels(rng, dtype, shape)
    want, left = bits(img), side
    while left > 1 and max(want.shape[:2]) > 1:
        want = by_cell(mirrored(want), (2, 2), sparse_rule_of_four if sparse else rule_of_four)
        left //= 2
    same(downsample_segmentation_2d(img, (side, side, 1), sparse), want.view(img.dtype))


def test_segmentation_2d_refuses_other_factors() -> None:
    img = np.zeros((6, 6, 2, 1), np.uint8)
    for factor in [(3, 3, 1), (2, 4, 1), (2, 2, 2), (6, 6, 1), (2,)]:
        with pytest.raises(ValueError, match="factor"):
            downsample_segmentation_2d(img, factor, False)
    with pytest.raises(DimensionError, match="data4d"):
        downsample_segmentation_2d(np.zeros(4, np.uint8), (2, 2, 1), False)


# ------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("dtype", ["uint8", "float64", "complex128", "U3"])
@pytest.mark.parametrize("shape", [(3, 3), (4, 3, 2), (3, 4, 2, 1), (1, 1, 5), (5, 7, 2, 3, 2), (0, 3, 1)])
def test_odd_to_even2d_repeats_the_trailing_voxels(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...]
) -> None:
    img = rng.integers(0, 9, shape).astype(dtype)
    want = mirrored(img) if min(shape) else np.zeros((0, 4, 1), dtype)
    same(odd_to_even2d(img), want[..., np.newaxis] if img.ndim == 3 else want)


def test_odd_to_even2d_returns_an_even_image_itself() -> None:
    for shape in [(4, 2), (2, 4, 3, 1)]:
        img = np.ones(shape)
        assert odd_to_even2d(img) is img
    flat = np.ones((4, 2, 3))
    same(odd_to_even2d(flat), flat[..., np.newaxis])


# ------------------------------------------------------------------------------------- averaging


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("shape", "factor"),
    [
        ((7,), (2,)),
        ((5, 5), (2, 2)),
        ((1, 1, 3), (2, 2)),
        ((6, 5, 4), (3, 2, 2)),
        ((4, 5, 3, 2), (4, 4, 1)),
        ((3, 3), (1, 1)),
        ((2, 3), (2**62, 2)),
        ((5, 6), [2.0, 3.0, 1.0]),
        ((5, 6), np.array([2, 3])),
    ],
)
@pytest.mark.parametrize("dtype", INTS)
def test_integer_averages_are_exact_and_truncated_toward_zero(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], factor: Factor, sparse: bool
) -> None:
    info = np.iinfo(dtype)
    whole = tuple(int(f) for f in factor)
    for low, high in [(info.min, info.max), (info.max - 2, info.max), (info.min, info.min + 2), (0, 3)]:
        img = rng.integers(low, high, shape, dtype=dtype, endpoint=True)
        img[rng.random(shape) < 0.3] = 0
        for laid in (img, np.asfortranarray(img)):
            want = by_cell(img, whole, lambda cell: truncated_mean(cell, sparse))
            same(downsample_with_averaging_numpy(laid, factor, sparse), want)


def test_small_negative_sums_truncate_to_zero() -> None:
    for dtype in ("int8", "int64"):
        img = np.array([-1, 0, -1, -2, 1, 0], dtype)
        assert downsample_with_averaging_numpy(img, (2,)).tolist() == [0, -1, 0]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", "complex64", "complex128"])
def test_float_averages(rng: np.random.Generator, dtype: str, sparse: bool) -> None:
    img = (rng.integers(-8, 9, (5, 7, 2)) / 4).astype(dtype)
    if img.dtype.kind == "c":
        img += 0.5j * img[::-1].copy()
    mip = downsample_with_averaging_numpy(img, (2, 3), sparse)
    assert (mip.dtype, mip.shape) == (img.dtype, (3, 3, 2))
    for place, cell in cells(img, (2, 3)):
        counted = cell[cell != 0] if sparse else cell
        total = counted.sum(dtype=np.result_type(dtype, np.float64))
        size = max(counted.size, 1)
        assert mip[place].real == mip.real.dtype.type(total.real / size)
        assert mip[place].imag == mip.imag.dtype.type(total.imag / size)


def test_bool_average_is_any(rng: np.random.Generator) -> None:
    img = rng.random((5, 6)) < 0.2
    for sparse in (False, True):
        same(downsample_with_averaging_numpy(img, (2, 3), sparse), by_cell(img, (2, 3), any))


def test_averaging_by_ones_gives_the_values() -> None:
    same(downsample_with_averaging_numpy(np.array(-5), ()), np.array(-5))
    for dtype in ("uint8", "float16", "uint64", "complex64", "bool"):
        img = np.array([[0, 1]], dtype)
        same(downsample_with_averaging_numpy(img, (1, 1)), img)


def test_averaging_nothing() -> None:
    for dtype in ("uint8", "float16", "uint64", "bool"):
        same(downsample_with_averaging_numpy(np.zeros((3, 0), dtype), (2, 2)), np.zeros((2, 0), dtype))


# ------------------------------------------------------------------------------------- all of them

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "averaging": lambda img: downsample_with_averaging_numpy(img, (2, 2, 3)),
    "sparse averaging": lambda img: downsample_with_averaging_numpy(img, (2, 2), True),
    "segmentation 2d": lambda img: downsample_segmentation_2d(img, (4, 4, 1), False),
    "padding": lambda img: odd_to_even2d(img[:-1]),
    "countless2d": countless2d,
    "stippled": stippled_countless2d,
    "countless3d": countless3d,
    "countless": lambda img: countless(img, (3, 2, 1)),
}


@pytest.mark.parametrize("dtype", [*INTS, "float32"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_layout_does_not_matter_and_the_argument_stays(rng: np.random.Generator, name: str, dtype: str) -> None:
    img = rng.integers(0, 3, (6, 6, 4)).astype(dtype)
    want = FUNCTIONS[name](img)
    for laid in layouts(img):
        before = laid.tobytes()
        got = FUNCTIONS[name](laid)
        same(got, want)
        assert not np.shares_memory(got, laid)
        assert got.flags.writeable
        assert laid.tobytes() == before
    assert FUNCTIONS[name](np.asfortranarray(img)).flags.f_contiguous
    assert FUNCTIONS[name](np.ascontiguousarray(img)).flags.c_contiguous


@pytest.mark.parametrize("name", FUNCTIONS)
def test_subclasses_give_plain_arrays(name: str) -> None:
    img = np.arange(6 * 6 * 4, dtype=np.uint8).reshape(6, 6, 4)
    same(FUNCTIONS[name](np.ma.masked_array(img, img > 9)), FUNCTIONS[name](img))


def test_odd_sizes_and_wrong_ranks_are_dimension_errors() -> None:
    assert issubclass(DimensionError, ValueError)
    assert tinybrain.DimensionError is DimensionError
    bad: list[tuple[Callable[[np.ndarray], np.ndarray], tuple[int, ...]]] = [
        (countless2d, (3, 4)),
        (countless2d, (4, 3, 2)),
        (countless2d, (4,)),
        (stippled_countless2d, (5, 5)),
        (countless3d, (4, 4)),
        (countless3d, (4, 4, 3)),
        (countless3d, (4, 4, 4, 2)),
        (lambda img: countless(img, (3, 2)), (4, 4)),
        (odd_to_even2d, (3,)),
    ]
    for function, shape in bad:
        with pytest.raises(DimensionError, match=r"shape \("):
            function(np.zeros(shape, np.uint8))


def test_dtypes_that_are_no_labels_or_have_no_mean() -> None:
    for dtype in ("U1", "O", "longdouble", "complex128", "i4,i4"):
        for function in (countless2d, stippled_countless2d, countless3d):
            with pytest.raises(TypeError, match="dtype"):
                function(np.zeros((2, 2, 2), dtype))
    for dtype in ("U1", "O", "datetime64[s]", "timedelta64[s]", "i4,i4"):
        with pytest.raises(TypeError, match="dtype"):
            downsample_with_averaging_numpy(np.zeros((2, 2), dtype), (2, 2))


@pytest.mark.parametrize("call", [downsample_with_averaging_numpy, countless])
def test_bad_factors_name_the_argument(call: Callable[..., np.ndarray]) -> None:
    img = np.zeros((4, 4), np.uint8)
    for factor in [2, "22", None, np.array(2), np.ones((2, 2), int), (2, "2"), (0, None), [2, (2, 2)]]:
        with pytest.raises(TypeError, match="factor"):
            call(img, factor)
    for factor in [(0, 2), (2, -1), (1.5, 2), (2, np.nan), (np.inf, 2), (2, 2, 2)]:
        with pytest.raises(ValueError, match="factor: entry"):
            call(img, factor)


# ------------------------------------------------------------------------------------- accelerated


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "int64"])
def test_accelerated_average_pooling(rng: np.random.Generator, dtype: str, order: str) -> None:
    info = np.iinfo(dtype)
    img = rng.integers(info.min, info.max, (6, 5, 4), dtype=dtype, endpoint=True)
    img[rng.random(img.shape) < 0.3] = 0
    img = np.asarray(img, order=order)
    for function, factor in [
        (accelerated.average_pooling_2x2, (2, 2)),
        (accelerated.average_pooling_2x2x2, (2, 2, 2)),
    ]:
        for sparse in (False, True):
            want = by_cell(img, factor, lambda cell, sparse=sparse: truncated_mean(cell, sparse))
            mips = function(img, 2, sparse)
            assert isinstance(mips, list)
            assert len(mips) == 2
            same(mips[0], want)
            same(function(channel=img, num_mips=1, sparse=sparse)[0], want)
        assert len(function(img)) == 1


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "uint64", "float32"])
def test_accelerated_mode_pooling(rng: np.random.Generator, dtype: str, order: str) -> None:
    img = np.asarray(random_labels(rng, dtype, (6, 5, 4)), order=order)
    same(accelerated.mode_pooling_2x2(img)[0], by_cell(mirrored(bits(img)), (2, 2), rule_of_four).view(dtype))
    mips = accelerated.mode_pooling_2x2(img=img, num_mips=2)
    assert [mip.shape for mip in mips] == [(3, 3, 4), (2, 2, 4)]
    same(mips[1], by_cell(mirrored(bits(mips[0])), (2, 2), rule_of_four).view(dtype))
    for sparse in (False, True):

        def mode(cell: list[int], sparse: bool = sparse) -> int:
            return most_frequent([voxel for voxel in cell if voxel] if sparse and any(cell) else cell)

        mips = accelerated.mode_pooling_2x2x2(img, 2, sparse)
        first = by_cell(bits(img), (2, 2, 2), mode)
        same(mips[0], first.view(dtype))
        same(mips[1], by_cell(first, (2, 2, 2), mode).view(dtype))
        same(accelerated.mode_pooling_2x2x2(img=img, num_mips=1, sparse=sparse)[0], mips[0])
