"""downsample_segmentation against the oracle: dtypes, factors, edges, ties, labels that look special."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import oracle
import tinybrain
from cases import INTS, LABELLED, check_segmentation, labels, patches, same_bits

POWERS_OF_TWO = [
    ((2,), (41,)),
    ((2,), (11, 6, 5)),
    ((1, 2), (5, 23)),
    ((1, 1, 2), (5, 3, 17)),
    ((2, 2), (18, 21)),
    ((2, 2), (9, 11, 3, 2)),
    ((2, 2, 1), (19, 16, 3)),
    ((2, 1, 2), (17, 3, 10)),
    ((1, 2, 2), (3, 13, 9)),
    ((1, 2, 1, 2), (2, 9, 3, 8)),
    ((2, 2, 2), (11, 9, 13)),
    ((2, 2, 2), (8, 7, 5, 3)),
    ((2, 2, 1, 2), (9, 8, 2, 11)),
    ((1, 2, 2, 2), (3, 9, 5, 8)),
    ((2, 2, 2, 2), (5, 3, 6, 7)),
    ((2, 2, 2, 2, 2), (3, 4, 5, 2, 3)),
    ((2, 2, 2, 1, 1), (5, 4, 3, 2, 3)),
    ((4, 4), (21, 18)),
    ((4, 4, 1), (19, 17, 3)),
    ((4, 4, 4), (13, 9, 11)),
    ((4, 2, 1), (13, 9, 2)),
    ((2, 2, 4), (7, 8, 9)),
    ((2, 8, 4, 1), (7, 18, 9, 2)),
    ((4,), (70,)),
    ((1, 16), (2, 50)),
    ((4, 4, 4, 1), (9, 9, 9, 2)),
]
STRIDED = [
    ((3,), (50,)),
    ((3, 3), (31, 28)),
    ((3, 3, 3), (14, 11, 10)),
    ((5, 1, 1), (63, 4, 3)),
    ((6, 2), (20, 21)),
    ((2, 3, 2), (9, 10, 11)),
]
SPARSE = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])


@SPARSE
@pytest.mark.parametrize("dtype", LABELLED)
@pytest.mark.parametrize(("factor", "shape"), POWERS_OF_TWO)
def test_powers_of_two(rng, dtype, factor, shape, sparse):
    for order in "FC":
        check_segmentation(np.array(labels(rng, dtype, shape), order=order), factor, 2, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", LABELLED)
@pytest.mark.parametrize(("factor", "shape"), STRIDED)
def test_other_factors_take_the_first_voxel(rng, dtype, factor, shape, sparse):
    for order in "FC":
        check_segmentation(np.array(labels(rng, dtype, shape), order=order), factor, 2, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64"])
@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 1), (2, 2, 2), (2,), (1, 2, 2)])
@pytest.mark.parametrize("num_mips", [1, 3, 5, 6])
def test_blocks_of_labels_by_number_of_mips(rng, dtype, factor, num_mips, sparse):
    check_segmentation(np.asfortranarray(patches(rng, dtype, (49, 46, 38))), factor, num_mips, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("order", "FC")
def test_every_pattern_of_four_voxels(dtype, order, sparse):
    cells = np.array(list(itertools.product(range(5), repeat=4)), dtype)  # 0 and four labels: every case
    image = cells.T.reshape(2, 2, -1)
    check_segmentation(np.array(image, order=order), (2, 2), 1, sparse)
    side_by_side = image.swapaxes(1, 2).reshape(2, -1)
    check_segmentation(np.array(side_by_side, order=order), (2, 2), 1, sparse)
    check_segmentation(np.array(side_by_side.T, order=order), (2, 2), 1, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("order", "FC")
def test_every_pattern_of_eight_voxels_with_three_labels(dtype, order, sparse):
    cells = np.array(list(itertools.product(range(3), repeat=8)), dtype)
    image = cells.reshape(-1, 2, 2, 2).transpose(1, 0, 2, 3).reshape(-1, 2, 2)
    check_segmentation(np.array(image, order=order), (2, 2, 2), 1, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_ties_and_singles_of_eight_voxels(rng, dtype, sparse):
    # Up to eight different labels per cell, 0 among them, in every proportion.
    kinds = rng.integers(1, 9, (60, 1, 1)).repeat(2, axis=0)
    image = (rng.random((120, 64, 20)) * kinds).astype(dtype)
    check_segmentation(np.asfortranarray(image), (2, 2, 2), 1, sparse)
    check_segmentation(np.ascontiguousarray(image), (2, 2, 2), 1, sparse)


def test_the_two_axis_rule_prefers_the_last_voxel_when_all_differ():
    # Written out, as a reader of the documentation would: axis 0 is the first index.
    def one(cell: list[list[int]], sparse: bool = False) -> int:
        return tinybrain.downsample_segmentation(np.array(cell, np.uint8), (2, 2), sparse)[0].item()

    assert one([[1, 2], [3, 4]]) == 4
    assert one([[1, 1], [3, 4]]) == 1
    assert one([[1, 2], [1, 4]]) == 1
    assert one([[1, 2], [2, 4]]) == 2
    assert one([[1, 2], [3, 1]]) == 1
    assert one([[0, 0], [3, 4]]) == 0
    assert one([[0, 0], [3, 4]], sparse=True) == 4
    assert one([[0, 5], [0, 0]], sparse=True) == 5
    assert one([[0, 5], [3, 0]], sparse=True) == 5  # c before b
    assert one([[7, 5], [3, 0]], sparse=True) == 7  # a before c


def test_a_tie_of_three_axes_goes_to_the_voxel_met_first():
    cell = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, order="F") + 1
    assert tinybrain.downsample_segmentation(cell, (2, 2, 2))[0].item() == 1
    cell[1, 1, 1] = 3  # twice now
    assert tinybrain.downsample_segmentation(cell, (2, 2, 2))[0].item() == 3
    cell[0, 0, 1], cell[0, 0, 0] = 7, 2  # 2, 3 and 7 twice each: 2 comes first
    assert tinybrain.downsample_segmentation(cell, (2, 2, 2))[0].item() == 2


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint64"])
def test_three_axes_of_which_one_has_a_single_voxel_still_count(rng, dtype, sparse):
    # Not the two-axis rule: of four different labels the first wins, not the last.
    for shape in ((20, 21, 1), (20, 1, 21), (1, 20, 21)):
        check_segmentation(np.asfortranarray(labels(rng, dtype, shape, 6)), (2, 2, 2), 1, sparse)
    cell = np.array([[[1], [2]], [[3], [4]]], dtype)
    assert tinybrain.downsample_segmentation(cell, (2, 2, 2), sparse)[0].item() == 1
    assert tinybrain.downsample_segmentation(cell, (2, 2, 1), sparse)[0].item() == 4


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("order", "FC")
@pytest.mark.parametrize("factor", [(2, 2), (2, 1), (1, 2), (4, 4)])
def test_wide_rows(rng, dtype, order, factor, sparse):
    for shape in ((4099, 5), (7, 3001), (8193, 4)):
        check_segmentation(np.array(labels(rng, dtype, shape), order=order), factor, 2, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_wide_rows_of_three_axes(rng, dtype, sparse):
    for shape in ((2051, 3, 3), (3, 2, 2051)):
        for order in "FC":
            check_segmentation(np.array(labels(rng, dtype, shape), order=order), (2, 2, 2), 1, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_every_row_length_up_to_140(rng, dtype, sparse):
    for n in range(1, 141):
        image = np.asfortranarray(labels(rng, dtype, (n, 3)))
        check_segmentation(image, (2, 2), 1, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_every_small_size(rng, dtype, sparse):
    for shape in np.ndindex(5, 5, 4):
        image = np.asfortranarray(labels(rng, dtype, shape))
        for factor in ((2, 2, 1), (2, 2, 2), (2, 1, 1), (4, 2, 2)):
            check_segmentation(image, factor, 1, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", LABELLED)
@pytest.mark.parametrize("shape", [(0,), (0, 4), (5, 0, 4), (4, 4, 0), (0, 0, 0, 0)])
def test_empty(dtype, shape, sparse):
    for factor in ((2,), (3,), (2, 2), (2, 2, 2), (1, 5), (4, 4)):
        if len(factor) <= len(shape):
            check_segmentation(np.empty(shape, dtype), factor, 2, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", INTS)
@pytest.mark.parametrize("factor", [(2,), (2, 2), (2, 2, 2), (2, 2, 2, 2), (3, 3, 3), (4, 4, 1)])
def test_a_constant_stays_constant(dtype, factor, sparse):
    info = np.iinfo(dtype)
    for value in (0, 1, info.max, info.min, info.max - 1):
        image = np.full((35, 9, 10, 3), value, dtype, order="F")
        for mip in tinybrain.downsample_segmentation(image, factor, sparse, 3):
            np.testing.assert_array_equal(mip, np.full(mip.shape, value, dtype))


@SPARSE
def test_labels_that_share_their_low_bits_differ(rng, sparse):
    base = np.array([2**63, 2**63 + 2**32, 2**32, 2**32 + 1, 0, 1], np.uint64)
    for dtype in ("uint64", "int64", "float64", "complex64"):
        image = base[rng.integers(0, 6, (40, 41, 6))].view(dtype)
        for factor in ((2, 2), (2, 2, 2), (2,)):
            check_segmentation(np.asfortranarray(image), factor, 2, sparse)


@SPARSE
def test_nan_is_a_label_by_its_bits(rng, sparse):
    image = rng.integers(0, 3, (40, 41, 6)).astype(np.float32)
    image[image == 2] = np.nan
    image[rng.random(image.shape) < 0.2] = -0.0
    for factor in ((2, 2), (2, 2, 2)):
        check_segmentation(np.asfortranarray(image), factor, 2, sparse)


@SPARSE
@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 2), (4, 4, 1), (4, 4, 4), (2, 1, 1)])
def test_several_mips_are_single_mips_repeated(rng, factor, sparse):
    image = np.asfortranarray(patches(rng, "uint32", (45, 40, 33)))
    above = image
    for mip in tinybrain.downsample_segmentation(image, factor, sparse, 4):
        above = tinybrain.downsample_segmentation(above, factor, sparse)[0]
        same_bits(mip, above)


@SPARSE
def test_every_label_of_a_mip_stands_in_its_cell(rng, sparse):
    image = np.asfortranarray(labels(rng, "uint16", (30, 31, 12), 6))
    for factor in ((2, 2), (2, 2, 2), (4, 4, 1)):
        mip = tinybrain.downsample_segmentation(image, factor, sparse)[0]
        whole = oracle.full_factor(factor, 3)
        cell = oracle.members(image, whole)
        assert np.any([mip == voxel for voxel in cell], axis=0).all()
        if sparse:
            np.testing.assert_array_equal(mip == 0, np.all([voxel == 0 for voxel in cell], axis=0))


def test_argument_order_and_names(rng):
    image = np.asfortranarray(patches(rng, "uint64", (16, 15, 3)))
    want = oracle.segmentation(image, (2, 2, 1), 2, True)
    for got in (
        tinybrain.downsample_segmentation(image, (2, 2, 1), True, 2),
        tinybrain.downsample_segmentation(img=image, factor=[2.0, 2.0], num_mips=2, sparse=np.bool_(True)),
        tinybrain.downsample_segmentation(image, np.array([2, 2, 1]), 1, np.int64(2)),
        tinybrain.downsample.downsample_segmentation(image, (2, 2, 1, 1, 1), sparse="yes", num_mips=2),
    ):
        for mine, right in zip(got, want, strict=True):
            same_bits(mine, right)
