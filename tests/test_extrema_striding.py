"""Min, max and striding against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import tinybrain
from cases import COMPLEX, FLOATS, LAYOUTS, ORDERED, check_extrema, refused, voxels

FACTORS = [
    ((2,), (41,)),
    ((2,), (11, 6, 5)),
    ((1, 2), (5, 23)),
    ((2, 2), (18, 21)),
    ((2, 2, 1), (19, 16, 3)),
    ((1, 2, 2), (3, 13, 9)),
    ((2, 1, 2), (7, 3, 10)),
    ((2, 2, 2), (11, 9, 13)),
    ((2, 2, 2), (8, 7, 5, 3)),
    ((2, 2, 2, 2), (5, 3, 6, 7)),
    ((3, 3, 3), (14, 11, 10)),
    ((5, 1, 1), (63, 4, 3)),
    ((4, 4, 1), (21, 17, 3)),
    ((4, 2, 1), (23, 11, 2)),
    ((7, 3), (20, 40)),
    ((100, 2), (7, 9)),
    ((1, 1, 1, 1, 2), (2, 3, 2, 1, 5)),
]


@pytest.mark.parametrize("dtype", ORDERED)
@pytest.mark.parametrize(("factor", "shape"), FACTORS)
def test_min_and_max(rng, dtype, factor, shape):
    for order in "FC":
        check_extrema(np.array(voxels(rng, dtype, shape), order=order), factor, 2)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint64", "float32", "float64"])
@pytest.mark.parametrize("order", "FC")
def test_min_and_max_of_wide_rows(rng, dtype, order):
    for shape in ((4099, 5), (7, 3001)):
        for factor in ((2, 2), (2, 1), (1, 2), (3, 3)):
            check_extrema(np.array(voxels(rng, dtype, shape), order=order), factor, 3)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "float32", "int64"])
def test_min_and_max_of_every_row_length_up_to_100(rng, dtype):
    for n in range(1, 101):
        check_extrema(np.asfortranarray(voxels(rng, dtype, (n, 3))), (2, 2))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_min_and_max_of_every_small_size(rng, dtype):
    for shape in np.ndindex(5, 5, 4):
        for factor in ((2, 2, 1), (2, 2, 2), (3, 1, 2)):
            check_extrema(np.asfortranarray(voxels(rng, dtype, shape)), factor, 2)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 2), (3, 3), (1, 2), (2,)])
def test_nan_propagates_and_infinity_is_a_value(rng, dtype, factor):
    image = voxels(rng, dtype, (70, 37, 4))
    for value in (np.nan, np.inf, -np.inf, -0.0):
        image[rng.random(image.shape) < 0.05] = value
    for order in "FC":
        check_extrema(np.array(image, order=order), factor, 3)


def test_nan_at_each_place_of_a_cell():
    for place in range(4):
        image = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
        image[place] = np.nan
        for function in (tinybrain.downsample_with_min_pooling, tinybrain.downsample_with_max_pooling):
            assert np.isnan(function(image.reshape(2, 2), (2, 2))[0].item())


def test_not_a_time_propagates(rng):
    image = voxels(rng, "datetime64[s]", (20, 21))
    image[rng.random(image.shape) < 0.1] = np.datetime64("NaT")
    check_extrema(image, (2, 2), 2)


@pytest.mark.parametrize("factor", [(2, 2), (3, 3, 3), (2, 1, 4)])
def test_a_later_mip_is_one_call_with_the_power_of_the_factor(rng, factor):
    image = np.asfortranarray(voxels(rng, "int16", (41, 38, 29)))
    for function in (tinybrain.downsample_with_min_pooling, tinybrain.downsample_with_max_pooling):
        for k, mip in enumerate(function(image, factor, 3), 1):
            np.testing.assert_array_equal(mip, function(image, [f**k for f in factor])[0])


@pytest.mark.parametrize("shape", [(0,), (0, 4), (5, 0, 4), (0, 0, 0)])
def test_min_and_max_of_nothing(shape):
    for factor in ((2,), (3,), (2, 2), (2, 2, 2)):
        if len(factor) <= len(shape):
            check_extrema(np.empty(shape, np.float32), factor, 2)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "datetime64[s]", "float16", "longdouble"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_min_and_max_of_every_layout(rng, dtype, layout):
    for shape, factor in (((21, 18), (2, 2)), ((7, 10, 9), (2, 2, 2)), ((13, 6, 3), (3, 1, 2))):
        check_extrema(LAYOUTS[layout](voxels(rng, dtype, shape)), factor, 2)


@pytest.mark.parametrize("dtype", COMPLEX)
def test_complex_numbers_have_no_min_and_max(dtype):
    for function in (tinybrain.downsample_with_min_pooling, tinybrain.downsample_with_max_pooling):
        refused(lambda function=function: function(np.ones((4, 4), dtype), (2, 2)), TypeError, "complex")


def test_negative_and_positive_extremes_of_integers():
    for dtype in ("int8", "int16", "int32", "int64", "uint64", "uint32"):
        info = np.iinfo(dtype)
        image = np.full((66, 5), info.max, dtype, order="F")
        image[::7] = info.min
        check_extrema(image, (2, 2), 2)


def test_extrema_into_given_arrays(rng):
    image = np.asfortranarray(voxels(rng, "uint8", (21, 18)))
    for function in (tinybrain.downsample_with_min_pooling, tinybrain.downsample_with_max_pooling):
        out = [np.empty((11, 9), np.uint8), np.empty((6, 10), np.uint8)[:, ::2]]
        got = function(image, (2, 2), 2, out=out)
        assert all(mine is given for mine, given in zip(got, out, strict=True))
        for mine, right in zip(got, function(array=image, factor=[2, 2], num_mips=2), strict=True):
            np.testing.assert_array_equal(mine, right)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("factor", [(2, 2), (1, 2), (3, 3, 3), (2, 1, 4), (5,)])
def test_striding_gives_views(rng, layout, factor):
    image = LAYOUTS[layout](voxels(rng, "uint16", (13, 10, 9)))
    got = tinybrain.downsample_with_striding(image, factor, 3)
    assert type(got) is list
    for mine, right in zip(got, oracle.striding(np.asarray(image), factor, 3), strict=True):
        assert type(mine) is np.ndarray
        np.testing.assert_array_equal(mine, right, strict=True)
        assert mine.strides == right.strides
        assert np.shares_memory(mine, image)
        assert mine.flags.writeable == image.flags.writeable


def test_striding_takes_any_dtype():
    words = np.array(["a", "b", "c", "d", "e"])
    assert tinybrain.downsample_with_striding(words, (2,), 2)[0].tolist() == ["a", "c", "e"]
    things = np.array([None, 1, "x", (), 2.5], dtype=object)
    assert tinybrain.downsample_with_striding(things, (2,))[0].tolist() == [None, "x", 2.5]
    fields = np.zeros((4, 4), [("a", "u1"), ("b", "f4")])
    assert tinybrain.downsample_with_striding(array=fields, factor=[2, 2], num_mips=1)[0].shape == (2, 2)


def test_striding_of_nothing_and_of_a_single_voxel():
    assert tinybrain.downsample_with_striding(np.empty((0, 5)), (2, 2), 2)[1].shape == (0, 2)
    assert [mip.shape for mip in tinybrain.downsample_with_striding(np.ones((1, 1)), (2, 3), 3)] == [(1, 1)] * 3
