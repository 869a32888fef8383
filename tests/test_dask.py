"""dask arrays: the bits of the in-memory call on the whole array, whatever the chunks, from one read of every block."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")


import isolated
import oracle
import tinybrain as tb
from cases import AVERAGED, LABELLED, ORDERED, close_means, patches, refused, same_bits, voxels
from tinybrain._dask import aligned_chunks

FUNCTIONS: dict[str, Callable[..., list[Any]]] = {
    "averaging": tb.downsample_with_averaging,
    "segmentation": tb.downsample_segmentation,
    "min": tb.downsample_with_min_pooling,
    "max": tb.downsample_with_max_pooling,
    "striding": tb.downsample_with_striding,
}
DTYPES = {
    "averaging": AVERAGED,
    "segmentation": LABELLED,
    "min": ORDERED,
    "max": ORDERED,
    "striding": [*LABELLED, "longdouble", "object", "U3", "i4,f8"],
}
every = pytest.mark.parametrize("method", FUNCTIONS)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


def image_of(rng: np.random.Generator, method: str, dtype: str, shape: Sequence[int]) -> np.ndarray:
    if dtype == "object":
        return np.array(rng.integers(0, 9, shape), dtype=object)
    if dtype in ("U3", "i4,f8"):
        return rng.integers(0, 9, shape).astype(dtype)
    return patches(rng, dtype, shape, size=3) if method == "segmentation" else voxels(rng, dtype, shape)


def agree(method: str, image: np.ndarray, chunked: Any, factor: Sequence[int], **named: Any) -> list[Any]:
    """Assert that the mips of a dask array are lazy, and have the bits of the whole; return them."""
    mips = FUNCTIONS[method](chunked, factor, **named)
    want = FUNCTIONS[method](image, factor, **named)
    assert type(mips) is list
    assert all(type(mip) is da.Array and type(mip._meta) is np.ndarray for mip in mips)
    assert [(mip.shape, mip.dtype, mip._meta.dtype) for mip in mips] == [(w.shape, w.dtype, w.dtype) for w in want]
    got = dask.compute(*mips)
    if method == "averaging" and image.dtype.char == "d":
        # The order of summation depends on the block: see tinybrain._dask.
        close_means(image, factor, list(got), want)
        return mips
    for mine, right in zip(got, want, strict=True):
        if right.dtype.kind in "OUV":
            np.testing.assert_array_equal(mine, right, strict=True)
        else:
            same_bits(mine, right)
    return mips


# --- the numbers ------------------------------------------------------------------------------------


def _cut(rng: np.random.Generator, extent: int) -> tuple[int, ...]:
    """Cut an axis anywhere, often at multiples of 8, sometimes into single voxels, sometimes with empty chunks."""
    ways = [1, 2, 3, 4, 5, 8, 8, 8, 16, 16, 100]
    size = int(rng.choice(ways))
    if rng.random() < 0.6:
        places = range(size, extent, size)
    else:
        places = sorted(int(place) for place in rng.integers(0, extent + 1, 3))
    borders = [0, *places, extent]
    return tuple(end - start for start, end in itertools.pairwise(borders))


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(sorted(FUNCTIONS)),
    kind=st.integers(0, 100),
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 5, 8, 9, 16, 17, 31, 33, 65]), min_size=1, max_size=4),
    factor=st.sampled_from(
        [(2, 2, 1, 1), (2, 2, 2, 1), (1, 2, 2, 1), (3, 3, 3, 1), (2, 1, 2, 2), (4, 4, 1, 2), (1, 5)]
    ),
    num_mips=st.integers(0, 6),
    sparse=st.booleans(),
    exact=st.booleans(),
    order=st.sampled_from("CF"),
    seed=st.integers(0, 2**32 - 1),
)
def test_random_calls(method, kind, shape, factor, num_mips, sparse, exact, order, seed):
    while np.prod(shape) > 8000:
        shape = shape[:-1]
    rng = np.random.default_rng(seed)
    dtype = DTYPES[method][kind % len(DTYPES[method])]
    image = np.array(image_of(rng, method, dtype, shape), order=order)
    factor = factor[: len(shape)]
    named: dict[str, Any] = {"num_mips": num_mips}
    if method in ("averaging", "segmentation"):
        named |= {"sparse": sparse, "exact": exact and (method == "averaging" or image.dtype.kind in "biu")}
    chunked = da.from_array(image, chunks=tuple(_cut(rng, extent) for extent in shape))
    if method == "averaging" and not named["exact"] and oracle.too_small(shape, factor, num_mips):
        refused(lambda: FUNCTIONS[method](chunked, factor, **named), ValueError, "img", "2**num_mips")
    else:
        agree(method, image, chunked, factor, **named)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    ("dtype", "shape", "factor", "num_mips"),
    [
        ("uint8", (513, 65, 2), (2, 2, 1), 6),  # restarts after mip 4
        ("int8", (3, 257, 515), (1, 2, 2), 7),
        ("int16", (65, 97, 129), (2, 2, 2), 6),  # restarts after mip 5
        ("uint64", (129, 67), (2, 2), 6),  # never
        ("float32", (129, 67), (2, 2), 6),
        ("bool", (129, 67), (2, 2), 6),
        ("uint8", (82, 55), (3, 3), 3),
    ],
)
def test_across_the_truncation_period_with_a_last_block_of_one_voxel(rng, dtype, shape, factor, num_mips, sparse):
    image = voxels(rng, dtype, shape)
    chunked = da.from_array(image, chunks=tuple(f**num_mips if f > 1 else 1 for f in factor))
    assert any(extents[-1] < f**num_mips for extents, f in zip(chunked.chunks, factor, strict=True) if f > 1)
    agree("averaging", image, chunked, factor, num_mips=num_mips, sparse=sparse)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("order", "FC")
@pytest.mark.parametrize(
    ("shape", "chunks", "factor", "num_mips", "exact"),
    [
        ((33, 65, 37), (16, 32, 16), (2, 2, 2), 4, False),  # odd at every level: what counts twice is rounded once
        ((32, 50, 37), (16, 16, 16), (2, 2, 2), 4, True),
        ((129, 130, 6), (32, 64, 1), (2, 2, 1), 5, False),  # one channel of six
        ((4, 65, 65), (4, 32, 32), (2, 2, 2), 2, False),  # rows of four voxels are no rows
        ((16, 21, 12), (4, 9, 4), (4, 3, 2), 1, False),
        ((11, 26, 16), (5, 5, 5), (5, 5, 5), 1, False),  # a last block of one voxel along every axis
        ((65, 130, 64), (64, 64, 64), (2, 2, 2), 6, False),
        ((4, 5, 6, 3), (2, 4, 4, 2), (2, 2, 2, 2), 1, False),
    ],
)
def test_the_last_bit_of_float64_means_does_not_depend_on_the_blocks(
    rng, order, shape, chunks, factor, num_mips, exact, sparse
):
    # Sums of such numbers are rounded at every step, and in another order to something else.
    image = rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 6, shape)
    image[rng.random(shape) < 0.3 * sparse] = 0
    image = np.array(image, order=order)
    chunked = da.from_array(image, chunks=chunks)
    whole = tb.downsample_with_averaging(image, factor, num_mips, sparse, exact=exact)
    for mine, right in zip(
        tb.downsample_with_averaging(chunked, factor, num_mips, sparse, exact=exact), whole, strict=True
    ):
        np.testing.assert_array_equal(mine.compute(scheduler="sync"), right)


def test_labels_by_a_factor_that_is_no_power_of_two_are_those_of_the_first_voxels(rng):
    image = patches(rng, "uint64", (50, 40, 7))
    (mip,) = tb.downsample_segmentation(da.from_array(image, chunks=(17, 11, 2)), (3, 2, 1))
    np.testing.assert_array_equal(mip.compute(), image[::3, ::2])


@every
def test_byte_swapped_blocks_give_native_mips(rng, method):
    image = voxels(rng, "uint16", (33, 20)).astype(">u2")
    agree(method, image, da.from_array(image, chunks=(7, 9)), (2, 2), num_mips=2)


# --- chunks -----------------------------------------------------------------------------------------


@every
def test_chunks_that_are_aligned_stay_and_every_mip_has_them_divided(method):
    image = da.zeros((100, 77, 5), chunks=((64, 36), (32, 32, 13), (1, 3, 1)), dtype=np.uint8)
    mips = FUNCTIONS[method](image, (2, 2, 1), num_mips=5)
    assert [mip.chunks for mip in mips] == [
        ((32, 18), (16, 16, 7), (1, 3, 1)),
        ((16, 9), (8, 8, 4), (1, 3, 1)),
        ((8, 5), (4, 4, 2), (1, 3, 1)),
        ((4, 3), (2, 2, 1), (1, 3, 1)),
        ((2, 2), (1, 1, 1), (1, 3, 1)),
    ]
    assert not [layer for layer in mips[0].dask.layers if layer.startswith("rechunk")]


@pytest.mark.parametrize(
    ("extents", "cell", "aligned"),
    [
        ((100, 100, 100, 100), 32, (96, 96, 96, 112)),
        ((100, 100, 50), 64, (128, 64, 58)),
        ((64, 10), 64, (64, 10)),
        ((65, 10), 64, (64, 11)),
        ((3,) * 40, 16, (16,) * 7 + (8,)),  # no more than has to be
        ((10, 10), 64, (20,)),
        ((0, 8, 0, 8, 3, 0), 8, (8, 8, 3)),
        ((0, 0), 8, (0, 0)),
        ((7,), 2, (7,)),
    ],
)
def test_borders_move_to_the_nearest_multiple(extents, cell, aligned):
    assert aligned_chunks((extents, extents), (cell, 1), 1) == (aligned, extents)


def test_random_borders_move_by_half_a_cell_at_most_and_blocks_grow_by_less_than_one(rng):
    for _ in range(300):
        extents = tuple(int(extent) for extent in rng.integers(1, 50, rng.integers(1, 12)))
        f, num_mips = int(rng.integers(2, 5)), int(rng.integers(1, 4))
        cell = f**num_mips
        (aligned,) = aligned_chunks((extents,), (f,), num_mips)
        old, new = set(np.cumsum(extents).tolist()), np.cumsum(aligned).tolist()
        assert new[-1] == sum(extents)
        assert all(border % cell == 0 and min(abs(border - o) for o in old) <= cell / 2 for border in new[:-1])
        assert max(aligned) < max(extents) + 2 * cell
        assert all(border in new for border in old if border % cell == 0)


def test_a_huge_power_of_the_factor_is_one_block(rng):
    image = voxels(rng, "uint8", (40, 3))
    mips = agree("max", image, da.from_array(image, chunks=(8, 1)), (2, 1), num_mips=200)
    assert mips[-1].chunks == ((1,), (1, 1, 1))
    agree("striding", image, da.from_array(image, chunks=(8, 1)), (10**30, 1), num_mips=3)


# --- the rest of the contract -----------------------------------------------------------------------


@every
def test_no_mips_and_factors_of_ones(method):
    image = da.zeros((9, 7), chunks=4, dtype=np.int16)
    assert FUNCTIONS[method](image, (2, 2), num_mips=0) == []
    assert all(mip is image for mip in FUNCTIONS[method](image, (1, 1), num_mips=3))
    assert len(FUNCTIONS[method](image, (), num_mips=3)) == 3
    point = da.zeros((), dtype=np.int16)
    (mip,) = FUNCTIONS[method](point, ())
    assert mip is point


@every
@pytest.mark.parametrize("shape", [(0, 8), (8, 0, 5), (0,)])
def test_empty_images(method, shape):
    image = np.zeros(shape, np.uint8)
    agree(method, image, da.from_array(image, chunks=4), (2, 2, 2)[: len(shape)], num_mips=2)


@every
@pytest.mark.parametrize(
    ("dtype", "args", "named"),
    [
        ("uint8", (2,), {}),
        ("uint8", ("22",), {}),
        ("uint8", ((2, 0),), {}),
        ("uint8", ((2, 1.5),), {}),
        ("uint8", ((2, 2, 2),), {}),
        ("uint8", ((2, 2),), {"num_mips": -1}),
        ("uint8", ((2, 2),), {"num_mips": 1.5}),
        ("uint8", ((2, 2),), {"num_mips": 5}),
        ("uint8", ((1, 1),), {"num_mips": None}),
        ("object", ((2, 2),), {}),
        ("U3", ((2, 2),), {}),
        ("complex64", ((2, 2),), {}),
        ("datetime64[s]", ((2, 2),), {}),
        ("longdouble", ((2, 2),), {}),
        ("uint8", ((2, 2),), {"parallel": -1}),
        ("uint8", ((2, 2),), {"parallel": "x"}),
        ("uint8", ((2, 2),), {"sparse": np.zeros(2)}),
    ],
    ids=str,
)
def test_refusals_are_those_of_arrays_in_memory_and_come_at_once(method, dtype, args, named):
    image = np.zeros((16, 20), dtype)
    chunked = da.from_array(image, chunks=8)
    call = FUNCTIONS[method]

    def outcome(img: Any) -> Any:
        try:
            return len(call(img, *args, **named))
        except (TypeError, ValueError) as error:
            return type(error), str(error)

    assert outcome(chunked) == outcome(image)


def test_the_size_rule_is_about_the_whole_image_not_its_blocks():
    call = tb.downsample_with_averaging
    image = da.zeros((33, 40), chunks=(32, 20), dtype=np.uint8)
    assert call(image, (2, 2), 5)[-1].chunks == ((1, 1), (1, 1))
    refused(lambda: call(image, (2, 2), 6), ValueError, "img", "axis 0", "33")


@every
def test_unknown_chunks_are_refused(method):
    image = da.zeros((8, 8), chunks=4)
    unknown = image[image[:, 0] >= 0]
    refused(lambda: FUNCTIONS[method](unknown, (2, 2)), ValueError, "nan", "unknown", "compute_chunk_sizes")
    refused(lambda: tb.explain(unknown, (2, 2), method=method), ValueError, "img", "unknown")


@pytest.mark.parametrize("method", [method for method in FUNCTIONS if method != "striding"])
def test_outputs_are_refused(method):
    image = da.zeros((8, 8), chunks=4)
    refused(lambda: FUNCTIONS[method](image, (2, 2), out=[np.zeros((4, 4))]), TypeError, "out", "list", "None")
    refused(lambda: FUNCTIONS[method](image, (2, 2), out=[da.zeros((4, 4))]), TypeError, "out", "list", "None")
    refused(lambda: FUNCTIONS[method](np.zeros((8, 8)), (2, 2), out=[da.zeros((4, 4))]), TypeError, "out", "Array")


@every
def test_blocks_that_are_no_plain_arrays_are_refused(method):
    image = da.zeros((8, 8), chunks=4)
    masked = da.ma.masked_equal(image, 1)
    refused(lambda: FUNCTIONS[method](masked, (2, 2)), TypeError, "MaskedArray", "numpy.ndarray")
    other = da.zeros((8, 8), chunks=4)
    other._meta = memoryview(b"")
    refused(lambda: FUNCTIONS[method](other, (2, 2)), TypeError, "memoryview", "numpy.ndarray")


@every
@pytest.mark.parametrize("lie", ["dtype", "mask", "list"])
def test_blocks_that_are_not_what_their_array_says_are_an_error_not_other_numbers(method, lie):
    ways = {"dtype": lambda b: b.astype("f4"), "mask": np.ma.asarray, "list": lambda b: b.tolist()}
    liar = da.zeros((8, 8), chunks=4, dtype=np.uint8).map_blocks(ways[lie], meta=np.empty((0, 0), np.uint8))
    (mip,) = FUNCTIONS[method](liar, (2, 2))
    refused(mip.compute, TypeError, "img", "block", "uint8")


def test_explain_tells_the_route_of_a_block():
    image = da.zeros((100, 64), chunks=(32, 64), dtype=np.uint8)
    route = tb.explain(image, (2, 2), 5)
    assert route.kernel == "mean, sums in 16 bits, truncated every 4 mips, for each of 4 dask blocks up to (32, 64)"
    assert (route.engine, route.threads, route.copies) == ("native", 1, False)
    assert tb.explain(image, (2, 2), 5, parallel=2).threads <= 2
    assert tb.explain(image.astype(">u2"), (2, 2)).copies
    assert tb.explain(image.astype("f2"), (2, 2)).engine == "numpy"
    assert tb.explain(image, (3, 2), method="segmentation").engine == "copy"
    assert tb.explain(image, (3, 2), method="striding").engine == "view"
    assert tb.explain(image, (1, 1)).kernel == "the input itself"


def test_strict_refuses_at_once(monkeypatch):
    monkeypatch.setenv("TINYBRAIN_STRICT", "1")
    image = da.zeros((16, 16), chunks=8, dtype=np.float16)
    refused(lambda: tb.downsample_with_averaging(image, (2, 2)), RuntimeError, "TINYBRAIN_STRICT", "float16")
    tb.downsample_with_striding(image, (2, 2))
    tb.downsample_with_averaging(image.astype("f4"), (2, 2))


def arrays_in_memory_need_no_dask() -> None:
    import sys

    import numpy as np

    import tinybrain as tb

    for function in (tb.downsample_with_averaging, tb.downsample_segmentation, tb.downsample_with_striding):
        function(np.zeros((8, 8), np.uint8), (2, 2))
    assert not {name for name in sys.modules if name.split(".")[0] == "dask" or name == "tinybrain._dask"}


def test_arrays_in_memory_import_no_dask():
    isolated.run(arrays_in_memory_need_no_dask)


def test_a_dask_that_is_only_half_imported_is_no_reason_to_fail(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.array", type(sys)("dask.array"))
    assert tb.downsample_with_striding(np.zeros(4), (2,))[0].shape == (2,)
