"""What the functions refuse of factor, num_mips, parallel, sparse and exact, and what they must take.

A message names the argument at fault, so the tests look for that word; which argument is
checked first is told by the word that comes first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinybrain as tb
from refusals import FUNCTIONS, Function, Vec, every, first_named, image, names, pooling, refused, same

# --- factor -----------------------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    "factor",
    [2, 2.0, np.int64(2), None, "22", b"22", np.array(2), np.full((2, 2), 2), [[2, 2]], [[2, 2], [1, 1]]],
    ids=lambda value: f"{type(value).__name__} {value!r:.12}",
)
def test_factor_that_is_no_sequence_of_numbers(function: Function, factor: Any) -> None:
    refused(TypeError, "factor", "", function, image(), factor)
    refused(TypeError, "factor", "", function, image(), factor, num_mips=0)


@every
@pytest.mark.parametrize("entry", ["2", None, 2j], ids=repr)
def test_factor_entry_that_is_no_number(function: Function, entry: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"\bfactor\b"):
        function(image(), (2, entry))


@every
@pytest.mark.parametrize("entry", [0, -1, -2, 1.5, 0.5, float("nan"), float("inf"), -float("inf"), -(10**30)])
@pytest.mark.parametrize("num_mips", [0, 1, 3])
def test_factor_entry_below_one_or_not_integral(function: Function, entry: Any, num_mips: int) -> None:
    refused(ValueError, "factor", str(entry), function, image(), (2, entry), num_mips=num_mips)
    refused(ValueError, "factor", str(entry), function, image(), [entry], num_mips=num_mips)


@every
@pytest.mark.parametrize("entry", [np.float32(1.5), np.int8(-3), np.float64("nan"), np.uint64(0)], ids=repr)
def test_factor_entry_of_numpy_below_one_or_not_integral(function: Function, entry: Any) -> None:
    refused(ValueError, "factor", str(entry.item()), function, image(), (entry, 2))
    refused(ValueError, "factor", str(entry.item()), function, image(), np.array([entry, entry]))
    refused(ValueError, "factor", str(entry.item()), function, image(), Vec([entry, entry]))


@every
@pytest.mark.parametrize("factor", [(2, 2, 2), (1, 1, 2), (2, 2, 1, 3), (1, 1, 1, 1, 2)], ids=str)
def test_factor_longer_than_the_rank(function: Function, factor: tuple[int, ...]) -> None:
    refused(ValueError, "factor", "", function, image(), factor)
    refused(ValueError, "factor", "", function, image(), factor, num_mips=0)


@every
def test_factor_longer_than_the_rank_by_ones(function: Function) -> None:
    assert same(function(image(), (2, 2, 1, 1, 1)), function(image(), (2, 2)))


@every
def test_extra_factor_entries_are_checked_too(function: Function) -> None:
    for entry in (0, 1.5, float("nan")):
        refused(ValueError, "factor", str(entry), function, image(), (2, 2, entry))


ACCEPTED_FACTORS = [
    [2, 2],
    (2.0, 2.0),
    [2.0, 2],
    np.array([2, 2]),
    np.array([2.0, 2.0]),
    np.array([2, 2], np.uint8),
    np.array([2, 2], np.float16),
    np.array([2, 2], ">i4"),
    np.array([2, 9, 2])[::2],
    Vec([2, 2]),
    Vec([2.0, 2.0]),
    (np.int64(2), np.uint8(2)),
    [np.float32(2), np.float64(2)],
    [2, 2, 1.0],
]


@every
@pytest.mark.parametrize("factor", ACCEPTED_FACTORS, ids=repr)
def test_factor_kinds_that_are_accepted(function: Function, factor: Any) -> None:
    assert same(function(image(), factor, num_mips=2), function(image(), (2, 2), num_mips=2))


@every
@pytest.mark.parametrize("factor", [(), [], (1,), (1, 1), (1.0, 1), (1, 1, 1), np.ones(2), np.array([])], ids=repr)
@pytest.mark.parametrize("num_mips", [0, 1, 3])
def test_factor_of_ones_gives_the_input_itself(function: Function, factor: Any, num_mips: int) -> None:
    img = image()
    mips = function(img, factor, num_mips=num_mips)
    assert type(mips) is list
    assert len(mips) == num_mips
    if function is not tb.downsample_with_striding:
        assert all(mip is img for mip in mips)
    assert all(np.shares_memory(mip, img) and np.array_equal(mip, img) for mip in mips)


def whole(name: str, img: np.ndarray) -> Any:
    """What one cell over the whole image gives; the image is one where the mode is plain."""
    first = img.reshape(-1)[0]
    return {"averaging": img.mean(dtype=np.float64) // 1, "min": img.min(), "max": img.max()}.get(name, first)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("entry", [17, 2**31, 2**32, 2**40, 3**30, 2**62, 2**63 - 1, 2.0**40])
def test_factor_far_beyond_the_extent(name: str, entry: float) -> None:
    img = np.full((5, 4), 7, np.uint8)
    img[3, 2] = 3
    for num_mips in (1, 3):
        mips = FUNCTIONS[name](img, (entry, entry), num_mips=num_mips)
        assert [mip.shape for mip in mips] == [(1, 1)] * num_mips
        assert [mip[0, 0] for mip in mips] == [whole(name, img)] * num_mips


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("entry", [2**63, 2**64 - 1, 2**64, 10**30, 2**100, 1e30, np.uint64(2**64 - 1)], ids=repr)
def test_factor_beyond_a_machine_word_works_or_is_refused_by_name(name: str, entry: Any) -> None:
    img = np.full((5, 4), 7, np.uint8)
    img[3, 2] = 3
    try:
        mips = FUNCTIONS[name](img, (entry, 8), num_mips=2)
    except ValueError as error:
        assert re.search(r"\bfactor\b", str(error))  # noqa: PT017 (either outcome is right)
    else:
        assert [mip.shape for mip in mips] == [(1, 1)] * 2
        assert [mip[0, 0] for mip in mips] == [whole(name, img)] * 2


# --- num_mips, parallel, sparse, exact ------------------------------------------------------------


@every
@pytest.mark.parametrize("value", [1.5, None, "1", [1], (), 1j, np.float64(1.5), np.array([1, 2])], ids=repr)
def test_num_mips_that_is_no_integer(function: Function, value: Any) -> None:
    refused(TypeError, "num_mips", "", function, image(), (2, 2), num_mips=value)
    refused(TypeError, "num_mips", "", function, image(), (1, 1), num_mips=value)


@pooling
@pytest.mark.parametrize("value", [1.5, None, "1", [1], (), 1j, np.float64(1.5), np.array([1, 2])], ids=repr)
def test_parallel_that_is_no_integer(function: Function, value: Any) -> None:
    refused(TypeError, "parallel", "", function, image(), (2, 2), parallel=value)
    refused(TypeError, "parallel", "", function, image(), (1, 1), parallel=value)
    refused(TypeError, "parallel", "", function, image(), (2, 2), num_mips=0, parallel=value)


@every
@pytest.mark.parametrize("value", [-1, -100, -(10**30), np.int8(-1)])
def test_num_mips_below_zero(function: Function, value: Any) -> None:
    refused(ValueError, "num_mips", str(value), function, image(), (2, 2), num_mips=value)
    refused(ValueError, "num_mips", str(value), function, image(), (1, 1), num_mips=value)


@pooling
@pytest.mark.parametrize("value", [-1, -100, -(10**30), np.int8(-1)])
def test_parallel_below_zero(function: Function, value: Any) -> None:
    refused(ValueError, "parallel", str(value), function, image(), (2, 2), parallel=value)
    refused(ValueError, "parallel", str(value), function, image(), (1, 1), parallel=value)
    refused(ValueError, "parallel", str(value), function, image(), (2, 2), num_mips=0, parallel=value)


@every
@pytest.mark.parametrize("kind", [int, np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_of_any_kind_are_accepted(function: Function, kind: Callable[[int], Any]) -> None:
    expected = function(image(), (2, 2), num_mips=2)
    assert same(function(image(), (2, 2), num_mips=kind(2)), expected)
    if function is not tb.downsample_with_striding:
        assert same(function(image(), (2, 2), num_mips=2, parallel=kind(1)), expected)


@every
def test_no_mips(function: Function) -> None:
    mips = function(image(), (2, 2), num_mips=0)
    assert type(mips) is list
    assert mips == []
    if function is not tb.downsample_with_striding:
        assert function(image(), (2, 2), num_mips=0, out=[]) == []


@pytest.mark.parametrize("name", ["averaging", "segmentation"])
def test_sparse_is_anything_with_a_truth(name: str) -> None:
    img = image()
    img[::3] = 0
    function = FUNCTIONS[name]
    dense, sparse = function(img, (2, 2), sparse=False), function(img, (2, 2), sparse=True)
    assert not same(dense, sparse)
    for yes in (True, np.bool_(True), np.True_, 1, 2.5, "yes", [0], np.array([1]), object()):
        assert same(function(img, (2, 2), sparse=yes), sparse), yes
    for no in (False, np.bool_(False), 0, 0.0, "", [], None, np.array([0])):
        assert same(function(img, (2, 2), sparse=no), dense), no


@pytest.mark.parametrize("name", ["averaging", "segmentation"])
def test_exact_that_is_not_true_changes_nothing(name: str) -> None:
    function = FUNCTIONS[name]
    for no in (False, np.bool_(False), 0, "", [], None):
        assert same(function(image(), (2, 2), exact=no), function(image(), (2, 2)))


@pytest.mark.parametrize("name", ["averaging", "segmentation"])
def test_exact_does_not_change_the_checks(name: str) -> None:
    function = FUNCTIONS[name]
    refused(ValueError, "factor", "0", function, image(), (0, 2), exact=True)
    refused(TypeError, "num_mips", "", function, image(), (2, 2), num_mips=1.5, exact=True)
    refused(ValueError, "parallel", "-1", function, image(), (2, 2), parallel=-1, exact=True)
    refused(ValueError, "out", "", function, image(), (2, 2), out=[], exact=True)
    img = image()
    assert function(img, (1, 1), 1, exact=True)[0] is img


# --- which check comes first --------------------------------------------------------------------------


@pooling
@pytest.mark.parametrize("num_mips", [0, 1])
@pytest.mark.parametrize("factor", [(0, 2), (1, 1), (2, 2, 2)], ids=str)
def test_types_come_before_values(function: Function, factor: Any, num_mips: int) -> None:
    refused(TypeError, names(function)[0], "", function, np.zeros((8, 8), "O"), factor, num_mips=num_mips)
    refused(TypeError, "num_mips", "", function, image(), factor, num_mips=0.5)
    refused(TypeError, "parallel", "", function, image(), factor, num_mips=num_mips, parallel="all")
    refused(TypeError, "parallel", "", function, image(), factor, num_mips=-1, parallel=0.5)
    refused(TypeError, "factor", "", function, image(), 2, num_mips=-1, parallel=-1, out=[])


@pooling
def test_values_are_checked_in_order(function: Function) -> None:
    wrong: dict[str, Any] = {"num_mips": -1, "parallel": -1, "out": [image()]}
    order = ["factor", "num_mips", "parallel"]
    with pytest.raises(ValueError) as caught:
        function(image(), (0, 2), **wrong)
    assert first_named(caught.value, [*order, "out"]) == "factor"
    with pytest.raises(ValueError) as caught:
        function(image(), (2, 2), **wrong)
    assert first_named(caught.value, [*order, "out"]) == "num_mips"
    with pytest.raises(ValueError) as caught:
        function(image(), (2, 2), **{**wrong, "num_mips": 4})
    assert first_named(caught.value, [*order, "out"]) == "parallel"
    with pytest.raises(ValueError) as caught:
        function(image(), (2, 2), **{**wrong, "num_mips": 0, "parallel": 1})
    assert "out" in str(caught.value)


def test_sizes_are_checked_between_parallel_and_out() -> None:
    with pytest.raises(ValueError) as caught:
        tb.downsample_with_averaging(image(), (2, 2), 4, parallel=-1)
    assert first_named(caught.value, ["img", "num_mips", "parallel", "out"]) == "parallel"
    with pytest.raises(ValueError) as caught:
        tb.downsample_with_averaging(image(), (2, 2), 4, out=[])
    assert first_named(caught.value, ["img", "num_mips", "out"]) != "out"
