"""The arrays given by out=: which are refused, and that the others are filled and given back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from refusals import Function, Vec, image, pooling, refused, same


def blanks(shapes: list[tuple[int, ...]], dtype: Any = np.uint8) -> list[np.ndarray]:
    return [np.full(shape, 99, dtype) for shape in shapes]


def refused_out(function: Function, img: np.ndarray, out: Any, num_mips: int = 2, factor: Any = (2, 2)) -> None:
    """Check that the call is refused by name, and that neither image nor outputs have changed."""
    before = img.copy()
    held = [(array, array.copy()) for array in out if isinstance(array, np.ndarray)]
    refused(ValueError, "out", "", function, img, factor, num_mips=num_mips, out=out)
    assert np.array_equal(img, before)
    assert all(np.array_equal(array, copy) for array, copy in held)


@pooling
def test_out_of_the_wrong_number(function: Function) -> None:
    refused_out(function, image(), [])
    refused_out(function, image(), blanks([(4, 4)]))
    refused_out(function, image(), blanks([(4, 4), (2, 2), (1, 1)]))
    refused_out(function, image(), blanks([(4, 4)]), num_mips=0)
    refused_out(function, image(), [], num_mips=1, factor=(1, 1))


@pooling
def test_out_of_the_wrong_shape(function: Function) -> None:
    for wrong in ((2, 1), (2,), (2, 2, 1), (3, 2), (4,), (), (0, 2)):
        refused_out(function, image(), blanks([(4, 4), wrong]))
    refused_out(function, image(), blanks([(2, 2), (4, 4)]))
    refused_out(function, image((8, 6)), blanks([(3, 4)]), num_mips=1)
    refused_out(function, image(), blanks([(4, 4)]), num_mips=1, factor=(1, 1))


@pooling
def test_out_of_the_wrong_dtype(function: Function) -> None:
    for wrong in ("i1", "?", "u2", "f8", "O", "S1", "V1"):
        refused_out(function, image(), [*blanks([(4, 4)]), np.zeros((2, 2), wrong)])
    refused_out(function, image(dtype="u2"), blanks([(4, 4)], np.int16), num_mips=1)
    refused_out(function, image(), blanks([(8, 8)], np.int8), num_mips=1, factor=(1, 1))


@pooling
def test_out_of_the_other_byte_order(function: Function) -> None:
    swapped = np.dtype(np.uint16).newbyteorder()
    refused_out(function, image(dtype="u2"), blanks([(4, 4)], swapped), num_mips=1)
    refused_out(function, image(dtype=swapped), blanks([(4, 4)], swapped), num_mips=1)
    native = blanks([(4, 4)], np.uint16)
    assert function(image(dtype=swapped), (2, 2), out=native)[0] is native[0]
    assert same(native, function(image(dtype="u2"), (2, 2)))


@pooling
def test_out_that_is_read_only(function: Function) -> None:
    out = blanks([(4, 4), (2, 2)])
    out[1].flags.writeable = False
    refused_out(function, image(), out)


@pooling
def test_out_sharing_memory_with_the_image(function: Function) -> None:
    img = image()
    refused_out(function, img, [img[:4, :4]], num_mips=1)
    refused_out(function, img, [img[4:, 4:][::-1]], num_mips=1)
    refused_out(function, img, [*blanks([(4, 4)]), img[6:, 6:]])
    refused_out(function, img, [img[::2, ::2]], num_mips=1)
    refused_out(function, img, [img], num_mips=1, factor=(1, 1))
    refused_out(function, img[::-1].T, [img[:4, 4:]], num_mips=1)
    refused_out(function, np.broadcast_to(img[0], (8, 8)), [as_strided(img[0], (4, 1), (1, 1))], 1, (2, 8))


@pooling
def test_out_sharing_memory_with_each_other(function: Function) -> None:
    first = np.full((4, 4), 99, np.uint8)
    refused_out(function, image(), [first, first[:2, :2]])
    refused_out(function, image(), [first, first[2:, 2:]])
    square = np.full((8, 8), 99, np.uint8)
    refused_out(function, image(), [square, square], factor=(1, 1))
    three = np.full((4, 6), 99, np.uint8)
    refused_out(function, image(), [three[:, :4], three[:2, 3:5]])


@pooling
def test_out_overlapping_itself(function: Function) -> None:
    memory = np.full(64, 99, np.uint8)
    for strides in ((0, 1), (1, 0), (0, 0), (1, 1), (2, 1), (3, 1), (1, 3), (2, 3), (-1, 1), (3, -1)):
        out = as_strided(memory[32:], (4, 4), strides)
        refused_out(function, image(), [out], num_mips=1)
    assert (memory == 99).all()


@pooling
def test_out_entries_that_are_no_arrays(function: Function) -> None:
    for out in (5, [None], [[[0] * 4] * 4], ["array"], [memoryview(bytearray(16))]):
        with pytest.raises((TypeError, ValueError), match=r"\bout\b"):
            function(image(), (2, 2), out=out)


@pooling
@pytest.mark.parametrize("container", [list, tuple])
def test_out_comes_back_filled_in_a_new_list(function: Function, container: type) -> None:
    out = container(blanks([(4, 4), (2, 2)]))
    mips = function(image(), (2, 2), num_mips=2, out=out)
    assert type(mips) is list
    assert mips is not out
    assert [id(mip) for mip in mips] == [id(array) for array in out]
    assert same(mips, function(image(), (2, 2), num_mips=2))


@pooling
def test_out_of_a_factor_of_ones_gets_a_copy(function: Function) -> None:
    out = blanks([(8, 8), (8, 8)])
    mips = function(image(), (1, 1), num_mips=2, out=out)
    assert [id(mip) for mip in mips] == [id(array) for array in out]
    assert all(np.array_equal(mip, image()) for mip in mips)
    nothing = [np.zeros((), np.uint8)]
    assert function(np.array(5, np.uint8), (), out=nothing)[0] is nothing[0]
    assert nothing[0] == 5


def strided_outs() -> dict[str, np.ndarray]:
    """(4, 4) arrays with strides of every kind that do not overlap themselves."""
    wide = np.full((9, 9, 3), 99, np.uint8)
    return {
        "fortran": np.full((4, 4), 99, np.uint8, order="F"),
        "every second": wide[1::2, 1::2, 1],
        "reversed": wide[7::-2, 3::-1, 2],
        "channel": wide[:4, :4, 0],
        "transposed": wide[:4, 5:, 1].T,
        "longer than wide": as_strided(wide, (4, 4), (5, 1)),
        "interleaved": as_strided(wide, (4, 4), (1, 4)),
        "subclass": Vec(np.full((4, 4), 99, np.uint8)),
    }


@pooling
@pytest.mark.parametrize("name", strided_outs())
@pytest.mark.parametrize("order", ["C", "F"])
def test_out_of_any_strides(function: Function, name: str, order: Any) -> None:
    out = strided_outs()[name]
    base = out.base if isinstance(out.base, np.ndarray) else out
    img = np.asarray(image(), order=order)
    mips = function(img, (2, 2), out=[out])
    assert mips[0] is out
    assert np.array_equal(out, function(img, (2, 2))[0])
    out[...] = 99
    assert (base == 99).all(), "something beside the output was written"


@pooling
def test_out_whose_memory_interleaves_with_the_image_and_the_other_outputs(function: Function) -> None:
    volume = np.full((8, 8, 4), 99, np.uint8)
    volume[..., 2] = image()
    out = [volume[:4, :4, 0], volume[:2, :2, 3]]
    mips = function(volume[..., 2], (2, 2), num_mips=2, out=out)
    assert same(mips, function(image(), (2, 2), num_mips=2))
    assert np.array_equal(volume[..., 2], image())
    assert (volume[..., 1] == 99).all()


@pooling
def test_out_with_any_stride_on_an_axis_of_extent_one(function: Function) -> None:
    memory = np.full(4, 99, np.uint8)
    out = as_strided(memory, (4, 1), (1, 0))
    assert function(image((8, 2)), (2, 2), out=[out])[0] is out
    assert np.array_equal(out, function(image((8, 2)), (2, 2))[0])


@pooling
def test_out_of_nothing(function: Function) -> None:
    out = [np.empty((0, 4), np.uint8)]
    assert function(np.empty((0, 8), np.uint8), (2, 2), out=out)[0] is out[0]
