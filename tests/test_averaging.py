"""downsample_with_averaging against the oracle: dtypes, factors, edges, depth, extremes."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import tinybrain
from cases import AVERAGED, COMPLEX, FLOATS, INTS, check_average, close_means, refused, voxels

# Every shape allows three mips of its factor.
HALVING = [
    ((2,), (41,)),
    ((2,), (19, 6, 5)),
    ((1, 2), (5, 23)),
    ((1, 1, 2), (5, 3, 17)),
    ((2, 2), (18, 21)),
    ((2, 2), (9, 11, 3, 2)),
    ((2, 2, 1), (19, 16, 3)),
    ((2, 1, 2), (17, 3, 10)),
    ((1, 2, 2), (3, 13, 9)),
    ((1, 2, 1, 2), (2, 9, 3, 8)),
    ((2, 2, 2), (11, 9, 13)),
    ((2, 2, 2), (8, 9, 10, 3)),
    ((2, 2, 1, 2), (9, 8, 2, 11)),
    ((1, 2, 2, 2), (3, 9, 8, 8)),
    ((2, 2, 2, 2), (5, 3, 6, 7)),
    ((2, 2, 2, 2, 2), (3, 4, 5, 2, 3)),
]
OTHER = [
    ((3,), (50,)),
    ((3, 3), (31, 28)),
    ((3, 3, 3), (14, 11, 10)),
    ((5, 1, 1), (63, 4, 3)),
    ((1, 7), (6, 40)),
    ((4, 4), (37, 34)),
    ((4, 4, 1), (21, 17, 3)),
    ((4, 2, 1), (23, 11, 2)),
    ((2, 2, 4), (9, 10, 13)),
    ((2, 3), (17, 19)),
    ((1, 1, 1, 3), (3, 2, 4, 11)),
    ((100, 2), (7, 9)),
]
SPARSE = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])


@SPARSE
@pytest.mark.parametrize("dtype", AVERAGED)
@pytest.mark.parametrize(("factor", "shape"), HALVING)
def test_halving_pyramid(rng, dtype, factor, shape, sparse):
    for order in "FC":
        check_average(np.array(voxels(rng, dtype, shape), order=order), factor, 3, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", AVERAGED)
@pytest.mark.parametrize(("factor", "shape"), OTHER)
def test_other_factors(rng, dtype, factor, shape, sparse):
    for order in "FC":
        check_average(np.array(voxels(rng, dtype, shape), order=order), factor, 3, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", [*INTS, "bool", "float32", "float64"])
@pytest.mark.parametrize("num_mips", [1, 2, 4, 5, 6])
def test_two_axes_by_number_of_mips(rng, dtype, num_mips, sparse):
    check_average(np.asfortranarray(voxels(rng, dtype, (70, 67, 2), 0.7)), (2, 2, 1), num_mips, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", INTS)
def test_truncation_after_four_mips_of_two_axes_twice(rng, dtype, sparse):
    # Nine mips pass the truncation of 8- and 16-bit types twice; 600 is odd at mip 3 and below.
    image = np.asfortranarray(voxels(rng, dtype, (600, 513), 0.9))
    check_average(image, (2, 2), 9, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", INTS)
def test_truncation_of_three_axes(rng, dtype, sparse):
    # 16-bit types truncate after five mips, so mip 6 shows it; 8-bit types after eight (next test).
    check_average(np.asfortranarray(voxels(rng, dtype, (64, 67, 70), 0.9)), (2, 2, 2), 6, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_truncation_of_three_axes_after_eight_mips(rng, dtype, sparse):
    # Mip 9 needs 512 voxels along each pooled axis; a broadcast image needs no memory for the third one.
    # Blocks of 128 have means between two integers, so that truncating earlier, later or never shows.
    blocks = rng.integers(20, 40, (5, 6)).repeat(128, axis=0).repeat(128, axis=1)
    plane = (rng.random(blocks.shape) * 10 + blocks / 4 - 10).astype(dtype)[:600, :700, None]
    image = np.broadcast_to(plane, (600, 700, 513))
    got = tinybrain.downsample_with_averaging(image, (2, 2, 2), 9, sparse)
    # All slices are alike: a cell of 8 is a cell of 4 twice, so sums and counts of two axes tell the mean.
    sums, counts = plane[..., 0].astype(np.int64), (plane[..., 0] != 0).astype(np.int64)
    if not sparse:
        counts[...] = 1
    for k, mip in enumerate(got, 1):
        sums, counts = (oracle.cell_sums(a, (2, 2), "mirror") for a in (sums, counts))
        mean = oracle.rendered(sums, counts, plane.dtype)
        np.testing.assert_array_equal(mip, np.broadcast_to(mean[..., None], mip.shape))
        if k == 8:
            sums = mean.astype(np.int64)
            counts = (mean != 0).astype(np.int64) if sparse else np.ones_like(sums)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize(("factor", "shape"), [((2, 2), (256, 300)), ((1, 2, 2), (2, 257, 256))])
def test_eight_mips_are_four_mips_of_the_fourth(rng, dtype, factor, shape):
    image = voxels(rng, dtype, shape)
    first = tinybrain.downsample_with_averaging(image, factor, 4)
    second = tinybrain.downsample_with_averaging(first[3], factor, 4)
    for direct, chained in zip(tinybrain.downsample_with_averaging(image, factor, 8), first + second, strict=True):
        np.testing.assert_array_equal(direct, chained)


@pytest.mark.parametrize("dtype", INTS)
def test_mips_within_the_period_are_means_of_the_whole_cell(rng, dtype):
    image = np.asfortranarray(voxels(rng, dtype, (32, 48)))
    for k, mip in enumerate(tinybrain.downsample_with_averaging(image, (2, 2), 4), 1):
        side = 2**k
        cells = image.reshape(32 // side, side, 48 // side, side).swapaxes(1, 2)
        for index in np.ndindex(*mip.shape):
            total = sum(cells[index].ravel().tolist())
            mean = abs(total) // side**2 * (1 if total > 0 else -1)
            assert mip[index] == mean


def test_eleven_mips_of_2100_by_2100(rng):
    image = np.asfortranarray(rng.integers(0, 256, (2100, 2100)).astype(np.uint8))
    got = tinybrain.downsample_with_averaging(image, (2, 2), 11)
    close_means(image, (2, 2), got, oracle.average(image, (2, 2), 11))
    inner = image[:2048, :2048].astype(np.int64)  # no odd edge here: plain sums of reshaped blocks
    for k, mip in enumerate(got, 1):
        side = 2 ** ((k - 1) % 4 + 1)
        blocks = inner.reshape(len(inner) // side, side, len(inner) // side, side)
        mean = blocks.sum(axis=(1, 3)) // side**2
        np.testing.assert_array_equal(mip[: len(mean), : len(mean)], mean)
        if k % 4 == 0:
            inner = mean


@SPARSE
@pytest.mark.parametrize("dtype", [*INTS, "bool", "float32", "float64"])
def test_fourteen_mips_of_one_axis(rng, dtype, sparse):
    check_average(voxels(rng, dtype, (2**13 + 1,)), (2,), 14, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", [*INTS, "bool"])
@pytest.mark.parametrize(
    ("factor", "shape", "num_mips"),
    [((2,), (5, 3), 70), ((2,), (3,), 140), ((2, 2, 2, 2), (3, 2, 5, 1), 40), ((3, 3), (7, 5), 50)],
)
def test_mips_without_end(rng, dtype, factor, shape, num_mips, sparse):
    # The lone voxel counts twice at every further mip: sums kept naively outgrow any machine integer.
    check_average(voxels(rng, dtype, shape), factor, num_mips, sparse)


def test_mips_without_end_of_floats(rng):
    check_average(voxels(rng, "float32", (5, 3)), (2,), 70)
    check_average(voxels(rng, "float64", (5, 3)), (2,), 70, True)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint64", "float32"])
@pytest.mark.parametrize("order", "FC")
@pytest.mark.parametrize("factor", [(2, 2), (2, 1), (1, 2), (3, 2), (4, 4)])
def test_wide_rows(rng, dtype, order, factor, sparse):
    # Past every vector width and row chunk, and never a multiple of one.
    for shape in ((4099, 5), (7, 3001), (8193, 4)):
        check_average(np.array(voxels(rng, dtype, shape), order=order), factor, 2, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_row_length_up_to_140(rng, dtype, sparse):
    for n in range(2, 141):
        check_average(np.asfortranarray(voxels(rng, dtype, (n, 3))), (2, 2), 1, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "uint32", "float64"])
def test_every_small_size(rng, dtype, sparse):
    for shape in np.ndindex(6, 6, 4):
        image = np.asfortranarray(voxels(rng, dtype, shape))
        for factor in ((2, 2, 1), (2, 2, 2), (2, 1, 1), (3, 2, 2)):
            if not oracle.too_small(shape, factor, 1):
                check_average(image, factor, 1, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", AVERAGED)
@pytest.mark.parametrize("shape", [(0,), (0, 4), (5, 0, 4), (4, 4, 0), (0, 0, 0, 0)])
def test_empty(dtype, shape, sparse):
    for factor in ((2,), (3,), (2, 2), (2, 2, 2), (1, 5)):
        if not oracle.too_small(shape, factor[: len(shape)], 2) and len(factor) <= len(shape):
            check_average(np.empty(shape, dtype), factor, 2, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", AVERAGED)
@pytest.mark.parametrize("factor", [(2,), (2, 2), (2, 2, 2), (2, 2, 2, 2), (3, 3, 3), (4, 4, 1)])
def test_a_constant_stays_constant(dtype, factor, sparse):
    kind = np.dtype(dtype)
    values = [0, 1]
    if kind.kind in "iu":
        values += [np.iinfo(kind).max, np.iinfo(kind).min, np.iinfo(kind).min + 1, np.iinfo(kind).max - 1]
    if kind.kind == "f":
        values += [-1, 0.5, 65504]  # the largest float16
    for value in values:
        image = np.full((35, 33, 34, 3), value, kind, order="F")[: None if len(factor) < 4 else 9]
        for mip in tinybrain.downsample_with_averaging(image, factor, 3, sparse):
            np.testing.assert_array_equal(mip, np.full(mip.shape, value, kind))


@pytest.mark.parametrize("dtype", INTS)
def test_quotients_are_truncated_toward_zero(dtype):
    low = np.iinfo(dtype).min
    for cell in ([1, 0, 0, 0], [3, 3, 3, 2], [low, 0, 0, 1], [low, low, low, low + 1]):
        check_average(np.array(cell, dtype).reshape(2, 2), (2, 2))
        check_average(np.array(cell, dtype).reshape(2, 2), (2, 2), sparse=True)
    if low:
        image = np.array([[-1, -1], [-1, 0]], dtype)
        assert tinybrain.downsample_with_averaging(image, (2, 2))[0].item() == 0
        assert tinybrain.downsample_with_averaging(image - 1, (2, 2))[0].item() == -1


@pytest.mark.parametrize("dtype", INTS)
@SPARSE
def test_only_extreme_values(rng, dtype, sparse):
    info = np.iinfo(dtype)
    ends = np.array([info.min, info.max, 0, info.max - 1, info.min + 1], dtype)
    for factor, shape in (((2, 2), (64, 66)), ((2, 2, 2), (33, 35, 34)), ((3, 5), (40, 41)), ((2,), (99,))):
        check_average(np.asfortranarray(ends[rng.integers(0, 5, shape)]), factor, 5, sparse)
        check_average(np.full(shape, info.max, dtype), factor, 5, sparse)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_sparse_quotients_for_every_sum_and_count(dtype):
    # One cell for each number of voxels present and many sums: a division by reciprocals has to be exact.
    top = np.iinfo(dtype).max
    sums = np.unique(np.concatenate([np.arange(1, 4 * 255 + 1), np.linspace(1, 4 * top, 9000).astype(int)]))
    cells = []
    for count in range(1, 5):
        fitting = sums[(sums >= count) & (sums <= count * top)]
        share, rest = fitting // count, fitting % count
        cells += [[s + (i < r) if i < count else 0 for i in range(4)] for s, r in zip(share, rest, strict=True)]
    image = np.array(cells, dtype).T.reshape(2, 2, -1).swapaxes(1, 2).reshape(2, -1)
    for order in "FC":
        check_average(np.array(image, order=order), (2, 2), 1, True)


@pytest.mark.parametrize("dtype", FLOATS + COMPLEX)
@SPARSE
def test_nan_and_infinity_propagate(rng, dtype, sparse):
    image = voxels(rng, dtype, (40, 37, 4))
    for value in (np.nan, np.inf, -np.inf):
        image[rng.random(image.shape) < 0.02] = value
    for factor in ((2, 2), (2, 2, 2), (3, 3), (2,)):
        check_average(np.asfortranarray(image), factor, 2, sparse)


@pytest.mark.parametrize("dtype", FLOATS)
def test_negative_zero_is_background_and_nan_is_not(dtype):
    image = np.array([[-0.0, 6.0], [-0.0, 2.0]], dtype)
    assert tinybrain.downsample_with_averaging(image, (2, 2), sparse=True)[0].item() == 4.0
    image[0, 0] = np.nan
    assert np.isnan(tinybrain.downsample_with_averaging(image, (2, 2), sparse=True)[0].item())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 2), (2,), (3, 3)])
def test_sparse_cells_without_values_give_positive_zero(dtype, factor):
    image = np.full((9, 8, 10), -0.0, dtype)
    for mip in tinybrain.downsample_with_averaging(image, factor, 2, sparse=True):
        assert not mip.any()
        assert not np.signbit(mip).any()


def test_sums_of_float64_that_overflow_give_infinity():
    top = np.finfo(np.float64).max
    image = np.full((4, 4), top)
    image[2:] = -top
    mip = tinybrain.downsample_with_averaging(image, (2, 2))[0]
    np.testing.assert_array_equal(mip, [[np.inf, np.inf], [-np.inf, -np.inf]])


def test_subnormal_floats_are_kept(rng):
    for dtype in ("float32", "float64"):
        tiny = np.finfo(dtype).smallest_subnormal
        image = (rng.integers(0, 100, (32, 32)) * 4).astype(dtype) * tiny
        got = tinybrain.downsample_with_averaging(image, (2, 2))[0]
        want = image.reshape(16, 2, 16, 2).astype(np.float64).sum(axis=(1, 3)) / 4
        np.testing.assert_array_equal(got, want.astype(dtype))


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (7, 9), (3, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "bool", "float16"])
def test_too_small_for_the_pyramid(dtype, shape):
    image = np.ones(shape, dtype)
    refused(lambda: tinybrain.downsample_with_averaging(image, (2, 2), 4), ValueError)
    refused(lambda: tinybrain.downsample_with_averaging(image, [2, 2], num_mips=4, sparse=True), ValueError)
    assert tinybrain.downsample_with_averaging(image, (2, 2), 0) == []


def test_the_smallest_size_for_the_pyramid(rng):
    check_average(voxels(rng, "uint8", (8, 9)), (2, 2), 3)
    check_average(voxels(rng, "uint16", (8, 1, 15)), (2, 1, 2), 3)
    check_average(voxels(rng, "uint8", (4, 4, 4)), (2, 2, 2), 2)
    image = voxels(rng, "uint8", (4, 4, 3))
    refused(lambda: tinybrain.downsample_with_averaging(image, (2, 2, 2), 2), ValueError)
    for factor in ((2,), (1, 2), (4, 4, 1), (2, 2, 4), (3, 3, 3)):  # no smallest size for these
        check_average(voxels(rng, "uint8", (1, 2, 1)), factor, 4)
    check_average(voxels(rng, "uint8", (1, 2, 1, 3)), (2, 2, 2, 2), 4)


def test_argument_order_and_names(rng):
    image = np.asfortranarray(voxels(rng, "uint8", (16, 16, 3)))
    want = oracle.average(image, (2, 2, 1), 2, True)
    for got in (
        tinybrain.downsample_with_averaging(image, (2, 2, 1), 2, True),
        tinybrain.downsample_with_averaging(img=image, factor=[2.0, 2.0], num_mips=2, sparse=np.bool_(True)),
        tinybrain.downsample_with_averaging(image, np.array([2, 2, 1]), np.int64(2), 1),
        tinybrain.downsample.downsample_with_averaging(image, (2, 2, 1, 1, 1), sparse="yes", num_mips=2),
    ):
        close_means(image, (2, 2, 1), got, want)
