"""Exact pyramids: every mip straight from the input, rounded to the nearest, ties of labels to the smallest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isolated
import oracle
import tinybrain
from cases import INTS, LAYOUTS, close_means, labels, patches, refused, same_bits, voxels, watched, well_made

DATA = Path(__file__).parents[2] / "shared" / "data"
SPARSE = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
random_calls = settings(
    max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
CALL = {
    "shape": st.lists(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33]), min_size=0, max_size=5).filter(
        lambda shape: np.prod(shape, initial=1) < 4000
    ),
    "factor": st.lists(st.sampled_from([1, 1, 2, 2, 2, 3, 4, 5]), min_size=5, max_size=5),
    "num_mips": st.integers(1, 5),
    "sparse": st.booleans(),
    "layout": st.sampled_from(sorted(LAYOUTS)),
    "parallel": st.integers(0, 3),
    "seed": st.integers(0, 2**32 - 1),
}


def check_mode(img, factor, num_mips=1, sparse=False, **named):
    """Run the exact mode and compare everything with the oracle."""
    got = watched(tinybrain.downsample_segmentation, img, factor, sparse, num_mips, exact=True, **named)
    if any(f > 1 for f in oracle.full_factor(factor, img.ndim)):
        want = oracle.exact_mode(img, factor, num_mips, sparse)
        for k, (mine, right) in enumerate(zip(got, want, strict=True), 1):
            well_made(img, mine, factor, k)
            np.testing.assert_array_equal(mine, right, strict=True)


def check_mean(img, factor, num_mips=1, sparse=False, **named):
    """Run the exact mean and compare everything with the oracle."""
    got = watched(tinybrain.downsample_with_averaging, img, factor, num_mips, sparse, exact=True, **named)
    if any(f > 1 for f in oracle.full_factor(factor, img.ndim)):
        for k, mip in enumerate(got, 1):
            well_made(img, mip, factor, k)
        close_means(img, factor, got, oracle.exact_average(img, factor, num_mips, sparse))


# ------------------------------------------------------------------------------------------- random calls


@random_calls
@given(dtype=st.sampled_from(["bool", *INTS]), **CALL)
def test_random_exact_modes(dtype, shape, factor, num_mips, sparse, layout, parallel, seed):
    kind = (labels, patches, voxels)[seed % 3] if shape else labels
    image = LAYOUTS[layout](kind(np.random.default_rng(seed), dtype, shape))
    check_mode(image, factor[: len(shape)], num_mips, sparse, parallel=parallel)


@random_calls
@given(dtype=st.sampled_from(["bool", *INTS, "float32", "float64"]), **CALL)
def test_random_exact_means(dtype, shape, factor, num_mips, sparse, layout, parallel, seed):
    image = LAYOUTS[layout](voxels(np.random.default_rng(seed), dtype, shape))
    check_mean(image, factor[: len(shape)], num_mips, sparse, parallel=parallel)


# ---------------------------------------------------------------------- rows longer than vectors, many labels


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint64", "int64"])
@pytest.mark.parametrize("order", "FC")
@pytest.mark.parametrize(
    "factor", [(2, 2, 1), (2, 2, 2), (1, 2, 2), (3, 3, 3), (5, 5, 1), (2, 1, 4), (1, 1, 3), (8, 8, 1)]
)
def test_long_rows_of_labels(rng, dtype, order, factor, sparse):
    for shape in ((331, 12, 5), (128, 9, 16), (9, 17, 200)):
        check_mode(np.array(patches(rng, dtype, shape), order=order), factor, 3, sparse)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "uint64"])
@pytest.mark.parametrize("kinds", [2, 9, 200, 2**63])
def test_from_two_labels_to_all_different(rng, dtype, kinds):
    image = rng.integers(0, kinds, (67, 18, 9), dtype=np.uint64).astype(dtype)
    image[rng.random(image.shape) < 0.02] = np.iinfo(dtype).max
    for factor in ((2, 2, 2), (2, 2, 1), (4, 4, 4), (7, 3, 2)):
        check_mode(np.asfortranarray(image), factor, 3)


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64"])
@pytest.mark.parametrize(
    ("factor", "num_mips"),
    [
        ((2, 2, 1), 5),
        ((2, 2, 2), 3),
        ((1, 1, 2), 6),
        ((5, 5, 5), 1),
        ((8, 8, 4), 1),
        ((8, 8, 1), 2),
        ((6, 4, 1), 2),
        ((32, 1, 1), 2),
        ((64, 2, 2), 1),
    ],
)
def test_cells_of_many_voxels_where_few_or_many_labels_meet(rng, dtype, factor, num_mips, sparse):
    """Blocks of a few labels with noise: from cells that two labels decide to those whose most frequent one is rare."""
    limits = np.iinfo(dtype)
    kinds = rng.integers(limits.min, limits.max, 12, dtype, endpoint=True)
    kinds[0] = 0
    blocks = kinds[rng.integers(0, 12, (12, 10, 3))].repeat(6, 0).repeat(7, 1).repeat(5, 2)[:70, :66, :13]
    noise = rng.random(blocks.shape) < np.linspace(0, 1, 66)[:, None]
    img = np.asfortranarray(np.where(noise, kinds[rng.integers(0, 12, blocks.shape)], blocks))
    check_mode(img, factor, num_mips, sparse)


def test_ties_go_to_the_smallest_value_of_signed_and_unsigned_labels():
    pair = np.array([[3, 3, -2, -2]], np.int8)
    assert tinybrain.downsample_segmentation(pair, (1, 4), exact=True)[0].tolist() == [[-2]]
    assert tinybrain.downsample_segmentation(pair.view(np.uint8), (1, 4), exact=True)[0].tolist() == [[3]]
    assert tinybrain.downsample_segmentation(pair, (1, 2), exact=True, num_mips=2)[1].tolist() == [[-2]]


def test_labels_above_four_million_voxels_are_counted():
    # A label that is a bare majority of a cell of 2^22 voxels, in one mip and in eleven.
    image = np.zeros((2048, 2048), np.uint16, order="F")
    image[:, ::2] = 7
    image[5, 0] = 9
    image[1, 1] = 7
    image[3, 3] = 7
    assert tinybrain.downsample_segmentation(image, (2048, 2048), exact=True)[0].item() == 7
    assert tinybrain.downsample_segmentation(image, (2, 2), exact=True, num_mips=11)[10].item() == 7


# -------------------------------------------------------------------------------------------------- means


@pytest.mark.parametrize("dtype", INTS)
def test_means_of_extremes_do_not_wrap(dtype):
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        image = np.full((37, 34, 33), value, dtype)
        for factor in ((2, 2), (2, 2, 2), (3, 3, 3)):
            for mip in tinybrain.downsample_with_averaging(image, factor, 4, exact=True):
                assert (mip == value).all()


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"])
def test_long_rows_of_means(rng, dtype, sparse):
    for shape in ((333, 18, 5), (257, 9, 8), (512, 4, 4)):
        image = np.asfortranarray(voxels(rng, dtype, shape))
        for factor in ((2, 2, 1), (2, 2, 2), (2, 1, 1), (3, 3, 1)):
            check_mean(image, factor, 3, sparse)


def test_halves_go_to_the_even_neighbour():
    pairs = np.array([[0, 1], [1, 2], [2, 3], [-1, 0], [-2, -1], [-3, -2]], np.int8)
    got = tinybrain.downsample_with_averaging(pairs, (1, 2), exact=True)[0][:, 0]
    assert got.tolist() == [0, 2, 2, 0, -2, -2]


def test_bools_are_true_above_one_half():
    image = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool)
    assert tinybrain.downsample_with_averaging(image, (1, 4), exact=True)[0][:, 0].tolist() == [False, True]
    sparse = tinybrain.downsample_with_averaging(image, (1, 4), sparse=True, exact=True)[0][:, 0]
    assert sparse.tolist() == [True, True]


@pytest.mark.parametrize("dtype", ["float16", "longdouble", "complex64"])
def test_dtypes_of_the_numpy_path_count_lone_voxels_once(dtype):
    image = np.array([1, 2, 6], dtype)
    assert tinybrain.downsample_with_averaging(image, (2,), 2, exact=True)[1].tolist() == [3]
    assert tinybrain.downsample_with_averaging(image, (2,), 2)[1].tolist() == [3.75]


def test_brightness_does_not_drift(rng):
    image = np.asfortranarray(rng.integers(0, 256, (256, 256, 8), dtype=np.uint8))
    exact = tinybrain.downsample_with_averaging(image, (2, 2, 1), 6, exact=True)
    default = tinybrain.downsample_with_averaging(image, (2, 2, 1), 6)
    assert abs(exact[5].mean() - image.mean()) < 0.2
    assert default[5].mean() < image.mean() - 0.5


# ---------------------------------------------------------------------------------------------- invariants


@SPARSE
@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 2), (3, 3, 3), (1, 2, 2), (5, 1, 3)])
def test_a_mip_is_one_call_with_the_power_of_the_factor(rng, factor, sparse):
    image = np.asfortranarray(patches(rng, "uint16", (90, 71, 40)))
    for function in (tinybrain.downsample_segmentation, tinybrain.downsample_with_averaging):
        many = function(image, factor, num_mips=3, sparse=sparse, exact=True)
        for k, mip in enumerate(many, 1):
            once = function(image, tuple(f**k for f in factor), sparse=sparse, exact=True)[0]
            np.testing.assert_array_equal(mip, once)


@SPARSE
def test_threads_and_layouts_change_nothing(rng, sparse):
    image = patches(rng, "uint32", (150, 131, 60), size=7)
    for factor in ((2, 2), (2, 2, 2), (3, 3, 3)):
        for function in (tinybrain.downsample_segmentation, tinybrain.downsample_with_averaging):
            first = function(image, factor, num_mips=3, sparse=sparse, exact=True, parallel=1)
            for layout in ("F", "transposed", "reversed", "one interleaved channel"):
                for parallel in (1, 2, 7):
                    again = function(
                        LAYOUTS[layout](image), factor, num_mips=3, sparse=sparse, exact=True, parallel=parallel
                    )
                    for mine, right in zip(again, first, strict=True):
                        np.testing.assert_array_equal(mine, right)


def test_out_is_filled(rng):
    image = np.asfortranarray(patches(rng, "int32", (66, 50, 9)))
    for function in (tinybrain.downsample_segmentation, tinybrain.downsample_with_averaging):
        want = function(image, (3, 2), num_mips=2, exact=True)
        out = [np.empty_like(mip) for mip in want]
        strided = [np.zeros((*mip.shape, 2), mip.dtype)[..., 1] for mip in want]
        for arrays in (out, strided):
            got = function(image, (3, 2), num_mips=2, exact=True, out=arrays)
            assert all(mine is given for mine, given in zip(got, arrays, strict=True))
            for mine, right in zip(got, want, strict=True):
                same_bits(np.ascontiguousarray(mine), np.ascontiguousarray(right))


def test_floats_have_no_exact_mode():
    refused(
        lambda: tinybrain.downsample_segmentation(np.zeros((4, 4), np.float32), (2, 2), exact=True),
        TypeError,
        "img",
        "float32",
    )


def random_labels(dtype: str, kinds: int) -> None:
    from pathlib import Path

    import numpy as np

    import tinybrain as tb

    def kilobytes(what: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(what)).split()[1])

    slices = 2**28 // (512 * 512 * np.dtype(dtype).itemsize)
    volume = np.random.default_rng(0).integers(0, kinds, (slices, 512, 512), dtype=dtype).T
    out = [np.ones_like(mip) for mip in tb.downsample_segmentation(volume, (2, 2, 2), num_mips=5)]
    # The peak from here on, above what is there before the call.
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    tb.downsample_segmentation(volume, (2, 2, 2), num_mips=5, exact=True, out=out, parallel=2)
    taken = (kilobytes("VmHWM") - before) * 1024
    assert taken < volume.nbytes / 4, f"{taken / 2**20:.1f} MiB for {volume.nbytes / 2**20} MiB"


@pytest.mark.parametrize(("dtype", "kinds"), [("uint8", 256), ("uint32", 2**32), ("uint64", 256), ("uint64", 2**63)])
def test_random_labels_stay_within_a_quarter_of_the_input(dtype, kinds) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("measured by /proc")
    isolated.run(random_labels, dtype, kinds)


# --------------------------------------------------------------------------------- an independent engine


@pytest.mark.parametrize(
    ("name", "dtype", "method"),
    [
        ("em", "uint8", "mean"),
        ("em", "int16", "mean"),
        ("em", "uint64", "mean"),
        ("em", "bool", "mean"),
        ("seg", "uint32", "mode"),
        ("seg", "int64", "mode"),
        ("seg", "uint8", "mode"),
        ("seg", "bool", "mode"),
    ],
)
@pytest.mark.parametrize(("factor", "num_mips"), [((2, 2, 1), 6), ((2, 2, 2), 5), ((3, 3, 3), 3), ((5, 2, 1), 2)])
def test_tensorstore_computes_the_same(name, dtype, method, factor, num_mips):
    tensorstore = pytest.importorskip("tensorstore", reason="the independent engine is not installed")
    path = DATA / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    with np.load(path) as file:
        tissue = file[name][: 301 if dtype != "uint32" else None, :259, :33]
    if dtype == "bool":
        tissue = tissue > np.median(tissue)
    image = np.asfortranarray(tissue.astype(dtype))
    if dtype == "int16":
        image = np.asfortranarray(image * 300 - 20000)
    function = tinybrain.downsample_segmentation if method == "mode" else tinybrain.downsample_with_averaging
    store = tensorstore.array(image)
    for k, mip in enumerate(function(image, factor, num_mips=num_mips, exact=True), 1):
        want = tensorstore.downsample(store, [f**k for f in factor], method=method).read().result()
        np.testing.assert_array_equal(mip, want)
