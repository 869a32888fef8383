"""Any strides in, the right order out: layouts, ranks, out=, what is returned and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import tinybrain
from cases import (
    AVERAGED,
    COMPLEX,
    FLOATS,
    INTS,
    LABELLED,
    LAYOUTS,
    ORDERED,
    Subclass,
    check_average,
    check_extrema,
    check_segmentation,
    close_means,
    labels,
    refused,
    same_bits,
    voxels,
)

SPARSE = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
SHAPES = [
    ((2, 2), (21, 18)),
    ((2, 2, 1), (13, 10, 3)),
    ((2, 2, 2), (7, 10, 9)),
    ((1, 2, 2), (5, 9, 6)),
    ((2, 1, 2), (7, 4, 9)),
    ((2,), (9, 4, 3)),
    ((1, 1, 2), (5, 4, 7)),
    ((3, 2, 1), (8, 7, 3)),
    ((4, 4, 1), (11, 9, 3)),
    ((2, 2, 1, 2), (5, 6, 2, 7)),
]


@SPARSE
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("factor", "shape"), SHAPES)
def test_averaging_of_every_layout(rng, layout, factor, shape, sparse):
    for dtype in ("uint8", "int16", "uint32", "int64", "float32", "float64", "bool"):
        check_average(LAYOUTS[layout](voxels(rng, dtype, shape)), factor, 2, sparse)


@SPARSE
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("factor", "shape"), SHAPES)
def test_segmentation_of_every_layout(rng, layout, factor, shape, sparse):
    for dtype in ("uint8", "uint16", "int32", "uint64", "float32", "datetime64[s]"):
        check_segmentation(LAYOUTS[layout](labels(rng, dtype, shape)), factor, 2, sparse)


@pytest.mark.parametrize("dtype", AVERAGED)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_averaging_of_every_dtype_in_every_layout(rng, dtype, layout):
    image = LAYOUTS[layout](voxels(rng, dtype, (18, 9, 3)))
    check_average(image, (2, 2), 3)
    check_average(image, (2, 2), 2, True)


@pytest.mark.parametrize("dtype", LABELLED)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_segmentation_of_every_dtype_in_every_layout(rng, dtype, layout):
    image = LAYOUTS[layout](labels(rng, dtype, (18, 9, 3)))
    for factor in ((2, 2), (2, 2, 2), (3, 2)):
        check_segmentation(image, factor, 2)
    check_segmentation(image, (2, 2), 2, True)


@pytest.mark.parametrize("rank", range(6))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_rank_in_every_layout(rng, rank, layout):
    shape = (9, 10, 8, 3, 2)[:rank]
    for factor in ((), (2,), (2, 2), (1, 2), (2, 2, 2), (1, 1, 1, 2), (3, 1, 2), (2, 2, 2, 2, 2)):
        if len(factor) <= rank:
            check_average(LAYOUTS[layout](voxels(rng, "uint16", shape)), factor, 2)
            check_average(LAYOUTS[layout](voxels(rng, "float32", shape)), factor, 2, True)
            check_segmentation(LAYOUTS[layout](labels(rng, "uint32", shape)), factor, 2)
            check_extrema(LAYOUTS[layout](voxels(rng, "int16", shape)), factor, 2)


@pytest.mark.parametrize("layout", ["C", "F", "sliced", "one interleaved channel", "interleaved channels"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "uint64"])
def test_wide_rows_of_layouts(rng, layout, dtype):
    for shape in ((1037, 9, 3), (5, 2050, 3)):
        for factor in ((2, 2), (1, 2), (2, 1)):
            check_average(LAYOUTS[layout](voxels(rng, dtype, shape)), factor, 2)
            check_average(LAYOUTS[layout](voxels(rng, dtype, shape)), factor, 2, True)
            check_segmentation(LAYOUTS[layout](labels(rng, dtype, shape)), factor, 2)
            check_extrema(LAYOUTS[layout](voxels(rng, dtype, shape)), factor, 2)


@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 2), (1, 2), (4, 4), (3, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "uint32"])
def test_tall_thin_arrays(rng, factor, dtype):
    for shape in ((2, 3001, 2), (2, 2, 3001), (3001, 2, 3), (3, 5003)):
        if len(factor) <= len(shape):
            for order in "FC":
                check_average(np.array(voxels(rng, dtype, shape), order=order), factor)
                check_segmentation(np.array(labels(rng, dtype, shape), order=order), factor, 2)


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "u8"])
@pytest.mark.parametrize("factor", [(2, 2, 2), (2, 1, 2), (1, 1, 2), (1, 2, 2), (1, 1, 4), (3, 3, 3)])
def test_slices_that_are_aligned_beside_slices_that_are_not(rng, dtype, factor):
    size = np.dtype(dtype).itemsize
    bytes_ = np.zeros(40 * 9 * 8 * size + 64, np.uint8)
    # Rows with a gap, slices an odd number of bytes apart: every other slice, or fewer, can be read as it lies.
    image = np.ndarray((37, 8, 6), dtype, bytes_, strides=(size, 40 * size, 40 * 9 * size + 1))
    image[...] = voxels(rng, dtype, image.shape)
    check_average(image, factor)
    check_average(image, factor, sparse=True)
    check_extrema(image, factor)
    if 3 not in factor:
        check_segmentation(image, factor)


@pytest.mark.parametrize("shape", [(1024, 1024, 66), (1000, 1021, 70)], ids=["even", "odd"])
@pytest.mark.parametrize("factor", [(2, 2, 1), (2, 1, 1), (5, 1, 1), (2, 4, 1)], ids=str)
def test_volumes_larger_than_caches_are_what_their_slices_are(rng, shape, factor):
    image = np.asfortranarray(rng.integers(0, 256, shape, np.uint8))
    assert image.nbytes > 64 << 20  # memory is asked for in another way
    for call in (
        tinybrain.downsample_with_averaging,
        tinybrain.downsample_segmentation,
        tinybrain.downsample_with_min_pooling,
    ):
        mips = call(image, factor, num_mips=2)
        for z in range(0, shape[2], 11):
            for whole, part in zip(mips, call(image[:, :, z : z + 11], factor, num_mips=2), strict=True):
                assert np.array_equal(whole[:, :, z : z + 11], part)


@pytest.mark.parametrize("begin", [0, 4, 8, 16, 24, 48, 63])
@pytest.mark.parametrize("width", [2048, 1280, 2040])
def test_large_mips_begin_anywhere_in_a_line_of_the_memory(rng, width, begin):
    image = np.asfortranarray(rng.integers(0, 50, (width, 1024, 24), np.uint8))
    for call, factor, mips in (
        (tinybrain.downsample_with_averaging, (2, 2), 3),
        (tinybrain.downsample_with_averaging, (2, 1), 1),
        (tinybrain.downsample_with_averaging, (1, 2), 2),
        (tinybrain.downsample_segmentation, (2, 2), 1),
        (tinybrain.downsample_with_max_pooling, (2, 2), 1),
    ):
        expected = call(image, factor, num_mips=mips)
        assert expected[0].nbytes > 4 << 20  # written past the caches
        rooms = [np.full(mip.size + 256, 99, np.uint8) for mip in expected]
        firsts = [-room.ctypes.data % 64 + begin for room in rooms]
        out = [
            room[first : first + mip.size].reshape(mip.shape, order="F")
            for mip, room, first in zip(expected, rooms, firsts, strict=True)
        ]
        assert all(np.shares_memory(mip, room) for mip, room in zip(out, rooms, strict=True))
        call(image, factor, num_mips=mips, out=out, parallel=2)
        for mip, room, first, want in zip(out, rooms, firsts, expected, strict=True):
            assert np.array_equal(mip, want)
            assert (room[:first] == 99).all()
            assert (room[first + want.size :] == 99).all()


def test_a_permutation_of_four_axes_keeps_its_memory_order(rng):
    image = voxels(rng, "uint8", (9, 8, 10, 3)).transpose(2, 0, 3, 1)
    for factor in ((2, 2), (2, 1, 1, 2), (1, 1, 3)):
        check_average(image, factor, 2)
        check_segmentation(image, factor, 2)
        check_extrema(image, factor, 2)


def test_every_mip_has_the_memory_order_of_the_image_even_one_voxel_wide(rng):
    image = voxels(rng, "uint8", (33, 2, 20)).transpose(1, 2, 0)  # the middle axis is the fast one
    for mips in (
        tinybrain.downsample_with_averaging(image, (1, 2), num_mips=4),
        tinybrain.downsample_segmentation(image, (2, 2), num_mips=4),
        tinybrain.downsample_with_max_pooling(image, (2, 2), num_mips=4),
    ):
        assert [mip.strides[1] for mip in mips] == [1] * 4
        assert all(mip.strides[2] >= mip.shape[1] for mip in mips)


def test_things_that_are_not_arrays():
    rows = [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert tinybrain.downsample_with_averaging(rows, (2, 2))[0].tolist() == [[3, 5]]
    assert tinybrain.downsample_segmentation(rows, [2, 2])[0].tolist() == [[6, 8]]
    assert tinybrain.downsample_with_min_pooling(rows, (2, 2))[0].tolist() == [[1, 3]]


def test_masked_arrays_give_their_data():
    image = np.ma.masked_array([[1, 2], [3, 6]], mask=[[True, False], [False, False]])
    for function in (tinybrain.downsample_with_averaging, tinybrain.downsample_with_max_pooling):
        got = function(image, (2, 2))[0]
        assert type(got) is np.ndarray
    assert tinybrain.downsample_with_averaging(image, (2, 2))[0].item() == 3


@pytest.mark.parametrize("factor", [(), (1,), (1, 1), (1, 1, 1, 1), [1.0, 1.0]])
def test_a_factor_of_ones_returns_the_image_itself(factor):
    image = np.arange(6).reshape(2, 3)
    for function in (
        tinybrain.downsample_with_averaging,
        tinybrain.downsample_segmentation,
        tinybrain.downsample_with_min_pooling,
        tinybrain.downsample_with_max_pooling,
        tinybrain.downsample_with_striding,
    ):
        got = function(image, factor, num_mips=3)
        assert type(got) is list
        assert len(got) == 3
        assert all(mip is image for mip in got)
        assert function(image, factor, num_mips=0) == []


def test_no_mips():
    image = np.ones((3, 3), np.uint8)
    for function in (
        tinybrain.downsample_with_averaging,
        tinybrain.downsample_segmentation,
        tinybrain.downsample_with_min_pooling,
        tinybrain.downsample_with_striding,
    ):
        assert function(image, (2, 2), num_mips=0) == []


def test_results_can_be_popped_and_written_into(rng):
    image = np.asfortranarray(voxels(rng, "uint8", (16, 16, 2))).view(Subclass)
    image.flags.writeable = False
    for function in (tinybrain.downsample_with_averaging, tinybrain.downsample_segmentation):
        mips = function(image, (2, 2, 1), num_mips=3)
        mips.insert(0, image)
        assert mips.pop(0) is image
        mips[0][...] = 7
        assert not (mips[1] == 7).all()
        assert not any(np.shares_memory(mips[i], mips[j]) for i in range(3) for j in range(i))


# ---------------------------------------------------------------------------------------------------- out=


def _given(want: list[np.ndarray], make: str) -> list[np.ndarray]:
    if make == "C":
        return [np.full(mip.shape, 99, mip.dtype) for mip in want]
    if make == "F":
        return [np.full(mip.shape, 99, mip.dtype, order="F") for mip in want]
    if make == "reversed":
        return [np.full(mip.shape, 99, mip.dtype)[(slice(None, None, -1),) * mip.ndim] for mip in want]
    if make == "channels":
        return [np.full((*mip.shape, 3), 99, mip.dtype)[..., 1] for mip in want]
    big = [np.full([2 * n + 1 for n in mip.shape], 99, mip.dtype, order="F") for mip in want]
    return [b[tuple(slice(1, None, 2) for _ in b.shape)] for b in big]


@SPARSE
@pytest.mark.parametrize("make", ["C", "F", "reversed", "channels", "sliced"])
@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 2), (1, 2), (3, 2, 1), (4, 4, 1), (2,)])
def test_out_of_any_strides_is_filled_and_returned(rng, make, factor, sparse):
    for dtype in ("uint8", "int32", "float64", "float16", "bool", "complex64"):
        image = np.asfortranarray(voxels(rng, dtype, (17, 13, 9)))
        want = oracle.average(image, factor, 2, sparse)
        out = _given(want, make)
        got = tinybrain.downsample_with_averaging(image, factor, 2, sparse, out=out)
        assert all(mine is given for mine, given in zip(got, out, strict=True))
        close_means(image, factor, got, want)
    for dtype in ("uint8", "uint64", "float16"):
        image = np.ascontiguousarray(labels(rng, dtype, (17, 13, 9)))
        want = oracle.segmentation(image, factor, 2, sparse)
        out = _given(want, make)
        got = tinybrain.downsample_segmentation(image, factor, sparse, 2, out=tuple(out))
        assert type(got) is list
        for mine, given, right in zip(got, out, want, strict=True):
            assert mine is given
            same_bits(mine, right)


@pytest.mark.parametrize("make", ["F", "reversed", "channels", "sliced"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "datetime64[s]"])
def test_out_of_min_and_max_of_any_strides(rng, make, dtype):
    image = voxels(rng, dtype, (17, 13, 9))
    for function, choose in (
        (tinybrain.downsample_with_min_pooling, np.minimum),
        (tinybrain.downsample_with_max_pooling, np.maximum),
    ):
        want = oracle.extremum(image, (2, 2, 1), 2, choose)
        out = _given(want, make)
        got = function(image, (2, 2, 1), 2, out=out)
        for mine, given, right in zip(got, out, want, strict=True):
            assert mine is given
            np.testing.assert_array_equal(mine, right)


def test_out_leaves_the_gaps_between_its_voxels_alone(rng):
    image = np.asfortranarray(voxels(rng, "uint8", (66, 70)))
    for function in (
        tinybrain.downsample_with_averaging,
        tinybrain.downsample_segmentation,
        tinybrain.downsample_with_max_pooling,
    ):
        frame = np.full((70, 41), 99, np.uint8, order="F")
        function(image, (2, 2), out=[frame[2:68:2, 3:38]])
        frame[2:68:2, 3:38] = 99
        assert (frame == 99).all()


def test_out_beside_the_image_in_the_same_memory(rng):
    for dtype in ("uint8", "uint16", "float32"):
        memory = voxels(rng, dtype, (20, 12, 2))
        image = memory[..., 0]
        want = oracle.average(image, (2, 1))
        given = memory[::2, :, 1]
        got = tinybrain.downsample_with_averaging(image, (2, 1), out=[given])
        assert got[0] is given
        close_means(image, (2, 1), got, want)
        want = oracle.segmentation(image, (2, 1))
        same_bits(tinybrain.downsample_segmentation(image, (2, 1), out=[given])[0], want[0])


def test_out_interleaved_with_each_other(rng):
    image = voxels(rng, "uint8", (32, 16))
    memory = np.zeros((16, 8, 2), np.uint8)
    out = [memory[..., 0], memory[:8, :4, 1]]
    got = tinybrain.downsample_with_averaging(image, (2, 2), 2, out=out)
    close_means(image, (2, 2), got, oracle.average(image, (2, 2), 2))


def test_out_with_a_factor_of_ones_is_copied_into(rng):
    image = voxels(rng, "uint8", (5, 6))
    for function in (tinybrain.downsample_with_averaging, tinybrain.downsample_segmentation):
        out = [np.zeros((5, 6), np.uint8), np.zeros((5, 6), np.uint8, order="F")]
        got = function(image, (1, 1), num_mips=2, out=out)
        for mine, given in zip(got, out, strict=True):
            assert mine is given
            np.testing.assert_array_equal(mine, image)


def test_out_of_rank_zero_and_empty():
    out = [np.zeros((), np.uint8)]
    assert tinybrain.downsample_with_averaging(np.array(7, np.uint8), (), out=out)[0] is out[0]
    assert out[0] == 7
    out = [np.zeros((0, 2), np.uint8)]
    assert tinybrain.downsample_with_averaging(np.zeros((0, 4), np.uint8), (2, 2), out=out)[0] is out[0]
    assert tinybrain.downsample_with_averaging(np.zeros((4, 4), np.uint8), (2, 2), 0, out=[]) == []


def test_out_that_does_not_fit_is_refused_before_anything_is_written(rng):
    image = np.asfortranarray(voxels(rng, "uint8", (16, 17)))
    before = image.copy()
    good = np.full((8, 9), 99, np.uint8)
    small = np.full((4, 5), 99, np.uint8)
    locked = small.copy()
    locked.flags.writeable = False
    shared = np.full((8, 9), 99, np.uint8)
    for function in (
        tinybrain.downsample_with_averaging,
        tinybrain.downsample_segmentation,
        tinybrain.downsample_with_min_pooling,
        tinybrain.downsample_with_max_pooling,
    ):
        for out in (
            [good],  # one too few
            [good, small, small.copy()],
            [],
            [good, small[:, :4]],
            [good, small[np.newaxis]],
            [good, small.astype(np.uint16)],
            [good, small.astype(np.int8)],
            [good, locked],
            [good, image[:4, :5]],  # the image itself
            [good, image[::4, ::4][:4, :5]],
            [shared, shared[::2, ::2][:4, :5]],  # each other
            [good, np.lib.stride_tricks.as_strided(small, (4, 5), (1, 1))],  # itself
        ):
            refused(lambda f=function, o=out: f(image, (2, 2), num_mips=2, out=o), ValueError, "out")
        assert (good == 99).all()
        assert (small == 99).all()
        assert (shared == 99).all()
        np.testing.assert_array_equal(image, before)


def test_out_in_foreign_byte_order_is_refused():
    image = np.zeros((4, 4), np.uint16)
    swapped = np.zeros((2, 2), np.dtype(np.uint16).newbyteorder("S"))
    refused(lambda: tinybrain.downsample_with_averaging(image, (2, 2), out=[swapped]), ValueError, "out")


def test_out_of_swapped_input_is_native(rng):
    image = voxels(rng, "uint16", (8, 9)).astype(np.dtype(np.uint16).newbyteorder("S"))
    out = [np.zeros((4, 5), np.uint16)]
    assert tinybrain.downsample_with_averaging(image, (2, 2), out=out)[0] is out[0]
    close_means(image, (2, 2), out, oracle.average(image, (2, 2)))


def test_dtypes_that_cannot_be_averaged_or_compared():
    for image in (
        np.array([["a", "b"], ["c", "d"]]),
        np.array([[b"a", b"b"]]),
        np.array([[None, 1]], dtype=object),
        np.zeros((2, 2), [("a", "u1"), ("b", "u1")]),
    ):
        for function in (
            tinybrain.downsample_with_averaging,
            tinybrain.downsample_segmentation,
            tinybrain.downsample_with_min_pooling,
        ):
            refused(lambda f=function, i=image: f(i, (2, 2)), TypeError)
    for kind in ("datetime64[s]", "timedelta64[s]"):
        refused(lambda k=kind: tinybrain.downsample_with_averaging(np.zeros((2, 2), k), (2, 2)), TypeError, kind)


def test_the_lists_of_dtypes_in_these_tests_are_complete():
    assert set(AVERAGED) == {"bool", *INTS, *FLOATS, *COMPLEX}
    assert set(INTS) <= set(ORDERED) & set(LABELLED)
