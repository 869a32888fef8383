"""What the functions refuse of the image: dtypes, sizes too small for the mips, sizes beyond memory."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import isolated
import tinybrain as tb
from refusals import (
    FUNCTIONS,
    Function,
    dtype_named,
    every,
    extrema,
    first_named,
    image,
    names,
    pooling,
    refused,
    same,
)

# --- the image ------------------------------------------------------------------------------------


@pooling
@pytest.mark.parametrize("dtype", ["O", "U3", "S4", "S8", "V8", [("a", "i4")], [("a", "u1"), ("b", "u1")]], ids=str)
@pytest.mark.parametrize("factor", [(2, 2), (3, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("num_mips", [0, 1])
def test_dtypes_that_are_no_numbers(function: Function, dtype: Any, factor: tuple[int, int], num_mips: int) -> None:
    img = np.zeros((4, 4), dtype)
    with pytest.raises(TypeError) as caught:
        function(img, factor, num_mips=num_mips)
    assert first_named(caught.value, names(function)) == names(function)[0]
    assert dtype_named(caught.value, img.dtype), str(caught.value)


def test_striding_takes_any_dtype() -> None:
    for dtype in ("O", "U3", "S4", "V8", [("a", "i4")], "M8[s]", "c16", "g"):
        img = np.zeros((5, 4), dtype)
        (mip,) = tb.downsample_with_striding(img, (2, 2))
        assert mip.shape == (3, 2)
        assert mip.dtype == img.dtype
        assert np.shares_memory(mip, img)


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[ns]", "M8[D]"])
def test_averages_of_dates(dtype: str) -> None:
    for factor in ((2, 2), (3, 1), (1, 1)):
        with pytest.raises(TypeError, match=r"\bimg\b") as caught:
            tb.downsample_with_averaging(np.zeros((4, 4), dtype), factor)
        assert dtype_named(caught.value, np.dtype(dtype))


@extrema
@pytest.mark.parametrize("dtype", ["c8", "c16", "G"])
def test_extrema_of_complex_numbers(function: Function, dtype: str) -> None:
    with pytest.raises(TypeError, match=r"\barray\b") as caught:
        function(np.zeros((4, 4), dtype), (2, 2))
    assert dtype_named(caught.value, np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["c16", "G"])
def test_labels_wider_than_eight_bytes(dtype: str) -> None:
    with pytest.raises(TypeError, match=r"\bimg\b") as caught:
        tb.downsample_segmentation(np.zeros((4, 4), dtype), (2, 2))
    assert dtype_named(caught.value, np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "M8[s]"])
def test_exact_mode_of_anything_but_integers(dtype: str) -> None:
    with pytest.raises(TypeError, match=r"\b(img|exact)\b") as caught:
        tb.downsample_segmentation(np.zeros((4, 4), dtype), (2, 2), exact=True)
    assert dtype_named(caught.value, np.dtype(dtype))


@pooling
def test_things_that_are_not_arrays(function: Function) -> None:
    assert same(function(image((4, 4), np.int64).tolist(), (2, 2)), function(image((4, 4), np.int64), (2, 2)))
    for thing in (None, "image", object()):
        refused(TypeError, names(function)[0], "", function, thing, ())


@every
def test_rank_zero_gives_the_input_itself(function: Function) -> None:
    img = np.array(5, np.int32)
    for factor in ((), (1,), (1, 1.0)):
        mips = function(img, factor, num_mips=2)
        assert [mip.shape for mip in mips] == [(), ()]
        assert [mip[()] for mip in mips] == [5, 5]
        assert all(np.shares_memory(mip, img) for mip in mips)
    refused(ValueError, "factor", "", function, img, (2,))
    assert function(7, ())[0] == 7


# --- sizes ------------------------------------------------------------------------------------------

TOO_SMALL = [
    ((1, 8), (2, 2), 1),
    ((8, 1), (2, 2), 1),
    ((3, 8), (2, 2), 2),
    ((8, 7), (2, 2), 3),
    ((8, 8), (2, 2), 4),
    ((8, 8), (2, 2), 63),
    ((8, 8), (2, 2), 64),
    ((8, 8), (2, 2), 65),
    ((8, 8), (2, 2), 1000),
    ((8, 8), (2, 2), 10**30),
    ((8, 8, 1), (2, 1, 2), 1),
    ((8, 8, 1), (1, 2, 2), 1),
    ((8, 8, 1), (2, 2, 2), 1),
    ((8, 8, 3, 2), (2, 2, 2), 2),
    ((8, 8, 1), (2, 2, 2, 1, 1), 1),
    ((1, 1, 9, 1), (2, 1, 2), 1),
]


@pytest.mark.parametrize(("shape", "factor", "num_mips"), TOO_SMALL, ids=str)
@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f2", "?", ">u2"])
def test_average_of_an_image_too_small_for_its_mips(shape: Any, factor: Any, num_mips: int, dtype: str) -> None:
    for sparse in (False, True):
        with pytest.raises(ValueError) as caught:
            tb.downsample_with_averaging(image(shape, dtype), factor, num_mips, sparse)
        first_named(caught.value, ["img", "num_mips"])


LARGE_ENOUGH = [
    ((2, 2), (2, 2), 1),
    ((4, 4), (2, 2), 2),
    ((8, 9), (2, 2), 3),
    ((1,), (2,), 5),
    ((1, 8), (2, 1), 3),  # one pooled axis has no rule
    ((1, 1), (1, 2), 2),
    ((4, 4, 1), (2, 2, 1), 2),  # unpooled axes have none
    ((2, 1, 2), (2, 1, 2), 1),
    ((1, 1, 1, 1), (2, 2, 2, 2), 2),  # nor have four pooled axes
    ((1, 1), (4, 4), 2),  # nor other factors
    ((1, 1), (2, 3), 2),
    ((1, 1, 1), (2, 2, 4), 1),
    ((1, 1), (2, 2), 0),
    ((3, 3, 3), (2, 2, 2), 0),
    ((0, 8), (2, 2), 2),
    ((0, 0, 0), (2, 2, 2), 3),
]


@pytest.mark.parametrize(("shape", "factor", "num_mips"), LARGE_ENOUGH, ids=str)
def test_average_of_an_image_large_enough(shape: Any, factor: Any, num_mips: int) -> None:
    mips = tb.downsample_with_averaging(image(shape), factor, num_mips)
    padded = tuple(factor) + (1,) * (len(shape) - len(factor))
    for level, mip in enumerate(mips, 1):
        assert mip.shape == tuple(-(-n // f**level) for n, f in zip(shape, padded, strict=True))


def test_exact_averages_have_no_minimum_size() -> None:
    mips = tb.downsample_with_averaging(image((1, 3)), (2, 2), 4, exact=True)
    assert [mip.shape for mip in mips] == [(1, 2), (1, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("name", ["segmentation", "min", "max", "striding"])
def test_only_averages_have_a_minimum_size(name: str) -> None:
    mips = FUNCTIONS[name](image((1, 3)), (2, 2), num_mips=4)
    assert [mip.shape for mip in mips] == [(1, 2), (1, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u4", "i8", "u8", "f4", "f8"])
def test_ten_thousand_averages(dtype: str) -> None:
    mips = tb.downsample_with_averaging(np.array([1, 2, 4], dtype), (2,), 10_000)
    assert len(mips) == 10_000
    assert [mip.shape for mip in mips[:3]] == [(2,), (1,), (1,)]
    assert {mip[0] for mip in mips[1:]} == {2.75 if dtype[0] == "f" else 2}
    mips = tb.downsample_with_averaging(np.array([1, 0, 4], dtype), (2,), 10_000, True)
    assert {mip[0] for mip in mips[1:]} == {3}
    mips = tb.downsample_with_averaging(np.array([1, 2, 4], dtype), (3,), 10_000)
    assert {mip[0] for mip in mips} == {np.float64(7 / 3).astype(dtype)}
    if dtype[0] == "i":
        mips = tb.downsample_with_averaging(np.array([-1, -2, -4], dtype), (2,), 10_000)
        assert {mip[0] for mip in mips[1:]} == {-2}


@pytest.mark.parametrize("name", ["segmentation", "min", "max", "striding"])
def test_ten_thousand_mips(name: str) -> None:
    for factor in ((2,), (3,), (4,)):
        mips = FUNCTIONS[name](np.array([6, 6, 5, 6, 6], np.uint16), factor, num_mips=10_000)
        assert len(mips) == 10_000
        assert {mip.shape for mip in mips[2:]} == {(1,)}
        assert len({int(mip[0]) for mip in mips[2:]}) == 1
        assert mips[-1][0] == (5 if name == "min" else 6)


# --- more than the machine has ------------------------------------------------------------------------


def ask_for_too_much() -> None:
    import resource

    import numpy as np

    import tinybrain as tb

    # Without a limit, a system that promises more memory than it has would let the calls begin.
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
    pooling = (
        tb.downsample_with_averaging,
        tb.downsample_segmentation,
        tb.downsample_with_min_pooling,
        tb.downsample_with_max_pooling,
    )
    for shape, factor in (
        ((2**45,), (2,)),
        ((2**45,), (3,)),
        ((2**23, 2**22), (2, 2)),
        ((2**15, 2**15, 2**15), (2, 2, 2)),
        ((2**45, 4), (1, 2)),
        ((2**59,), (2,)),
    ):
        for dtype in (np.uint8, np.uint64, np.float32, np.float16):
            if dtype is not np.uint8 and shape[0] == 2**59:
                continue
            img = np.broadcast_to(np.ones((), dtype), shape)
            assert tb.downsample_with_striding(img, factor)[0].shape[0] == -(-shape[0] // factor[0])
            for function in pooling:
                assert function(img, (1,))[0] is img
                try:
                    function(img, factor, num_mips=2)
                except (MemoryError, ValueError):
                    continue
                raise AssertionError(f"{function.__name__} of {shape} by {factor} was not refused")
    small = np.full((64, 64), 3, np.uint8)
    for function in pooling:
        assert (function(small, (2, 2))[0] == 3).all()
        for parallel in (2**31, 2**63 - 1):
            assert (function(small, (2, 2), parallel=parallel)[0] == 3).all()
    print("done")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space the Linux way")
def test_sizes_beyond_memory_never_abort() -> None:
    assert isolated.run(ask_for_too_much)[0] == "done\n"
