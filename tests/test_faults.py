"""The thirty known faults of tinybrain 1.7.0: the right behaviour in each state, a test per fault."""

from __future__ import annotations

import gc
import importlib.metadata
import mmap
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

import oracle
import tinybrain
import tinybrain.accelerated
from cases import (
    AVERAGED,
    INTS,
    LAYOUTS,
    check_average,
    check_extrema,
    check_segmentation,
    labels,
    refused,
    voxels,
)

avg = tinybrain.downsample_with_averaging
seg = tinybrain.downsample_segmentation


def fortran(a: np.ndarray) -> np.ndarray:
    return np.array(a, order="F")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_fault_01_2x2x2_mode_of_several_channels(rng, dtype):
    for channels in (2, 3, 5):
        for shape in ((16, 16, 16), (17, 15, 9), (64, 33, 2)):
            check_segmentation(fortran(labels(rng, dtype, (*shape, channels))), (2, 2, 2), 2)
            check_segmentation(fortran(labels(rng, dtype, (*shape, channels))), (2, 2, 2, 1), 2, True)


@pytest.mark.parametrize("layout", ["C", "sliced", "reversed", "last axis reversed", "transposed", "window of F"])
def test_fault_02_2x2x2_mode_of_c_order_strided_and_reversed(rng, layout):
    for dtype in ("uint8", "uint32", "uint64"):
        for sparse in (False, True):
            check_segmentation(LAYOUTS[layout](labels(rng, dtype, (31, 22, 17))), (2, 2, 2), 2, sparse)


@pytest.mark.parametrize("dtype", [*INTS, "float32", "float64"])
def test_fault_03_2x2_mean_one_mip_odd_y(rng, dtype):
    for shape in ((16, 17), (64, 3), (16, 17, 4), (100, 33, 2)):
        check_average(fortran(voxels(rng, dtype, shape)), (2, 2))


@pytest.mark.parametrize("dtype", [*INTS, "float32", "float64"])
def test_fault_04_2x2_mean_one_mip_odd_x(rng, dtype):
    for shape in ((17, 16), (3, 64), (17, 16, 4), (33, 100, 2), (65, 17)):
        check_average(fortran(voxels(rng, dtype, shape)), (2, 2))
    edge = avg(fortran(np.array([[2, 2], [2, 2], [8, 6]], dtype)), (2, 2))[0]
    assert edge.tolist() == [[2], [7]]


@pytest.mark.parametrize("dtype", [*INTS, "float32", "float64"])
def test_fault_05_sparse_2x2_mean_one_mip_odd_y(rng, dtype):
    for shape in ((16, 17), (64, 3), (16, 17, 4), (17, 17)):
        check_average(fortran(voxels(rng, dtype, shape, 0.5)), (2, 2), 1, True)
    assert avg(fortran(np.array([[1, 1, 0], [1, 1, 8]], dtype)), (2, 2), 1, True)[0].tolist() == [[1, 8]]


@pytest.mark.parametrize("dtype", [*INTS, "float32", "float64"])
def test_fault_06_sparse_mean_odd_x_does_not_double_the_last_column(rng, dtype):
    for shape in ((17, 16), (33, 18, 3)):
        check_average(fortran(voxels(rng, dtype, shape, 0.5)), (2, 2), 3, True)
    check_average(fortran(voxels(rng, dtype, (17, 16, 18), 0.5)), (2, 2, 2), 1, True)
    check_average(fortran(voxels(rng, dtype, (17, 16, 18), 0.5)), (2, 2, 2), 3, True)


@pytest.mark.parametrize("dtype", [*INTS, "float32", "float64"])
def test_fault_07_sparse_2x2_mean_several_mips_odd_y_several_slices(rng, dtype):
    check_average(fortran(voxels(rng, dtype, (16, 17, 5), 0.5)), (2, 2, 1), 3, True)
    for mip in avg(np.full((16, 19, 5), 100, dtype, order="F"), (2, 2, 1), 3, True):
        assert (mip == 100).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int8", "int16"])
def test_fault_08_sparse_mean_past_the_truncation_of_cells_not_full(rng, dtype):
    check_average(fortran(voxels(rng, dtype, (64, 64), 0.9)), (2, 2), 6, True)
    check_average(fortran(voxels(rng, dtype, (256, 130), 0.97)), (2, 2), 7, True)
    check_average(fortran(voxels(rng, dtype, (64, 64, 64), 0.99)), (2, 2, 2), 6, True)
    image = np.zeros((64, 64), dtype, order="F")
    image[0, 0] = 100
    assert [mip.flat[0].item() for mip in avg(image, (2, 2), 6, True)] == [100] * 6


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_fault_09_signed_carry_truncates_like_the_output(rng, dtype):
    image = fortran(-np.abs(voxels(rng, dtype, (64, 64)) // 2))
    check_average(image, (2, 2), 6)
    check_average(fortran(voxels(rng, dtype, (64, 64, 64))), (2, 2, 2), 6)
    nearly = np.full((32, 32), -1, dtype, order="F")
    nearly[0, 0] = nearly[16, 16] = nearly[0, 16] = nearly[16, 0] = 0
    assert avg(nearly, (2, 2), 5)[3].tolist() == [[0, 0], [0, 0]]  # -255/256
    assert avg(nearly, (2, 2), 5)[4].tolist() == [[0]]


@pytest.mark.parametrize("dtype", [d for d in AVERAGED if d != "clongdouble"])
def test_fault_10_2x2x2_mean_of_every_dtype(rng, dtype):
    for sparse in (False, True):
        for n in (1, 2, 3):
            check_average(fortran(voxels(rng, dtype, (16, 18, 17))), (2, 2, 2), n, sparse)


def test_fault_11_five_axes(rng):
    for dtype in ("uint8", "int8", "uint16", "uint64"):
        for order in "FC":
            image = np.array(voxels(rng, dtype, (9, 8, 10, 3, 2)), order=order)
            check_average(image, (2, 2, 2), 2)
            check_average(image, (2, 2, 2, 1, 1), 2, True)
            check_segmentation(np.array(labels(rng, dtype, (9, 8, 10, 3, 2)), order=order), (2, 2, 2), 2)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "uint32", "int32", "float32"])
def test_fault_12_sums_of_the_largest_values(dtype):
    top = np.iinfo(dtype).max if dtype != "float32" else np.finfo(dtype).max
    for shape in ((8, 8, 8), (9, 11, 13), (15, 8, 9)):
        image = np.full(shape, top, dtype, order="F")
        for factor in ((2, 2), (2, 2, 2), (2,), (3, 3, 3), (4, 4, 1)):
            for sparse in (False, True):
                for mip in avg(image, factor, 3, sparse):
                    assert (mip == top).all()
    if dtype != "float32" and np.iinfo(dtype).min:
        image[...] = np.iinfo(dtype).min
        assert (avg(image, (2, 2, 2), 3)[2] == np.iinfo(dtype).min).all()


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float64"])
def test_fault_13_other_factors_keep_every_bit(rng, dtype):
    for factor in ((3, 3, 1), (5, 1, 1), (4, 4), (1, 2, 3)):
        image = fortran(voxels(rng, dtype, (28, 27, 9)))
        check_average(image, factor, 3)
        check_average(image, factor, 3, True)
        top = np.iinfo(dtype).max if dtype != "float64" else 1 + 2.0**-52
        for mip in avg(np.full((28, 27, 9), top, dtype), factor, 3):
            if dtype == "float64":
                np.testing.assert_allclose(mip, top, rtol=1e-15)
            else:
                assert (mip == top).all()


def test_fault_14_float32_near_the_maximum(rng):
    top = np.finfo(np.float32).max
    image = fortran(np.where(rng.random((32, 33, 34)) < 0.5, top, top / 2).astype(np.float32))
    for factor in ((2, 2), (2, 2, 2), (3, 3), (2,), (4, 4, 4)):
        for mip in check_average(image, factor, 4):
            assert np.isfinite(mip).all()
        check_average(image, factor, 4, True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "float32"])
def test_fault_15_read_only_input(rng, dtype):
    for order in "FC":
        image = np.array(labels(rng, dtype, (32, 34, 33)), order=order)
        if dtype == "float32":
            image = np.array(voxels(rng, dtype, (32, 34, 33)), order=order)
        image.flags.writeable = False
        for factor in ((2, 2), (2, 2, 2), (2, 2, 1), (4, 4, 1), (3, 3, 3)):
            for sparse in (False, True):
                check_average(image, factor, 2, sparse)
                check_segmentation(image, factor, 2, sparse)
            check_extrema(image, factor, 2)


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="needs pages that cannot be written")
def test_fault_16_the_callers_array_is_never_written(tmp_path):
    # In a process of its own: a write into these pages would be its end.
    code = """if True:
        import sys
        import numpy as np
        import tinybrain

        image = np.memmap(sys.argv[1], np.uint8, "r", shape=(40, 41, 17), order=sys.argv[2])
        for factor in ((4, 4, 1), (4, 4, 4), (8, 2, 1), (2, 2), (2, 2, 2), (2, 1, 1), (3, 3, 3), (4,)):
            for sparse in (False, True):
                tinybrain.downsample_segmentation(image, factor, sparse, 2)
                tinybrain.downsample_with_averaging(image, factor, 2, sparse)
            tinybrain.downsample_with_min_pooling(image, factor, 2)
    """
    path = tmp_path / "image"
    np.arange(40 * 41 * 17, dtype=np.uint8).tofile(path)
    for order in "FC":
        done = subprocess.run([sys.executable, "-c", code, str(path), order], timeout=120, check=False)
        assert done.returncode == 0


def test_fault_16_two_threads_share_one_array(rng):
    image = fortran(labels(rng, "uint8", (160, 160, 16), 6))
    before = image.copy()
    wants = {factor: oracle.segmentation(image, factor)[0] for factor in ((4, 4, 1), (4, 4, 4))}
    wrong = []

    def work() -> None:
        for factor, want in wants.items():
            for _ in range(30):
                if not np.array_equal(seg(image, factor)[0], want):
                    wrong.append(factor)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("dtype", INTS)
def test_fault_17_minus_one_and_the_largest_value_are_labels(rng, dtype):
    ends = [np.iinfo(dtype).max, np.iinfo(dtype).min, 0, 1]
    if np.iinfo(dtype).min:
        ends.append(-1)
    image = fortran(np.array(ends, dtype)[rng.integers(0, len(ends), (33, 32, 18))])
    for factor in ((4, 4), (4, 4, 1), (2,), (4, 4, 4), (2, 2, 1), (2, 2, 2), (2, 1, 2)):
        check_segmentation(image, factor, 2)
        check_segmentation(image, factor, 2, True)
    for value in ends:
        assert (seg(np.full((8, 8, 8), value, dtype), (4, 4, 1))[0] == value).all()


def test_fault_18_a_factor_shorter_than_the_rank_leaves_z_alone(rng):
    image = fortran(labels(rng, "uint32", (17, 18, 11)))
    for factor, shape in (
        ((4, 4), (5, 5, 11)),
        ((2,), (9, 18, 11)),
        ((2, 2), (9, 9, 11)),
        ((8,), (3, 18, 11)),
    ):
        for sparse in (False, True):
            assert check_segmentation(image, factor, 1, sparse)[0].shape == shape
            check_average(image, factor, 1, sparse)


@pytest.mark.parametrize("factor", [(2, 1, 1), (4, 2, 1), (2, 2, 4), (4, 4, 4, 1), (2, 2, 1, 1)])
def test_fault_19_every_power_of_two_factor_is_a_mode(rng, factor):
    for dtype in ("uint8", "uint64", "bool"):
        for sparse in (False, True):
            check_segmentation(fortran(labels(rng, dtype, (16, 16, 16, 2))), factor, 2, sparse)
            check_segmentation(fortran(labels(rng, dtype, (15, 17, 9, 3))), factor, 2, sparse)
            if len(factor) == 3:
                check_segmentation(fortran(labels(rng, dtype, (15, 17, 9))), factor, 2, sparse)


@pytest.mark.parametrize("factor", [(4, 4, 1), (4, 4, 4), (8, 8, 1)])
def test_fault_20_sparse_holds_for_every_halving(rng, factor):
    image = labels(rng, "uint16", (32, 33, 32))
    image[rng.random(image.shape) < 0.8] = 0
    check_segmentation(fortran(image), factor, 2, True)
    lonely = np.zeros((8, 8, 8), np.uint16, order="F")
    lonely[5, 2, 0] = 9
    mip = seg(lonely, factor, True)[0]
    assert 9 in mip


@pytest.mark.parametrize("shape", [(17, 16, 16), (16, 15, 13), (5, 5, 5), (9, 30, 7)])
def test_fault_21_4x4x4_on_odd_sizes_is_a_mode(rng, shape):
    for sparse in (False, True):
        check_segmentation(fortran(labels(rng, "uint32", shape)), (4, 4, 4), 2, sparse)
    image = np.full((17, 17, 17), 5, np.uint32, order="F")
    image[::4, ::4, ::4] = 6  # what striding would see
    assert (seg(image, (4, 4, 4))[0][:4, :4, :4] == 5).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "uint64"])
def test_fault_22_min_and_max_of_sizes_that_do_not_divide(rng, dtype):
    for shape in ((17, 16, 5), (16, 17, 5), (5, 7, 11), (1, 2, 3)):
        for factor in ((2, 2, 1), (2, 2, 2), (3, 3, 3), (4, 4, 1)):
            check_extrema(fortran(voxels(rng, dtype, shape)), factor, 3)
    assert tinybrain.downsample_with_min_pooling(np.full((3, 3), 7, dtype), (2, 2))[0].tolist() == [[7, 7]] * 2
    low = np.full((3, 3), -7 if dtype in ("int16", "float32") else 1).astype(dtype)
    assert (tinybrain.downsample_with_max_pooling(low, (2, 2))[0] == low[0, 0]).all()


def test_fault_23_striding_by_ones_returns_the_image():
    image = np.arange(12).reshape(3, 4)
    got = tinybrain.downsample_with_striding(image, (1, 1), 2)
    assert len(got) == 2
    assert all(mip is image for mip in got)


def test_fault_24_public_names_and_version():
    for name in (
        "downsample_with_averaging",
        "downsample_segmentation",
        "downsample_with_min_pooling",
        "downsample_with_max_pooling",
        "downsample_with_striding",
        "DimensionError",
    ):
        assert getattr(tinybrain, name) is getattr(tinybrain.downsample, name)
    assert issubclass(tinybrain.DimensionError, ValueError)
    assert tinybrain.__version__ == importlib.metadata.version("tinybrain")
    assert int(tinybrain.__version__.split(".")[0]) >= 2


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_fault_25_nothing_leaks_from_results_or_errors(rng):
    image = fortran(voxels(rng, "uint16", (512, 512, 2)))
    bad = [np.zeros((256, 256, 2), np.uint16), np.zeros((1, 1, 2), np.uint16)]

    def calls() -> None:
        for sparse in (False, True):
            avg(image, (2, 2), 4, sparse)
            seg(image, (2, 2), sparse, 2)
        avg(image, (3, 3), 2, True)
        refused(lambda: avg(image, (2, 2), 12), ValueError)
        refused(lambda: avg(image, (2, 2), 2, out=bad), ValueError)
        refused(lambda: seg(image, (2, 0)), ValueError)

    for _ in range(5):
        calls()
    gc.collect()
    tracemalloc.start()
    held, resident = tracemalloc.get_traced_memory()[0], _resident()
    for _ in range(60):
        calls()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    assert grown < 200_000  # a single leaked mip would be 60 times 262 144 bytes
    assert _resident() - resident < 12_000_000


def test_fault_25_python_in_development_mode():
    code = """if True:
        import numpy as np
        import tinybrain

        for dtype in ("uint8", "uint16", "uint32", "float32"):
            image = np.arange(64 * 67 * 66, dtype=np.float64).reshape((64, 67, 66), order="F").astype(dtype)
            for factor in ((2, 2), (2, 2, 2), (3, 3)):
                for sparse in (False, True):
                    for n in (1, 2, 5):
                        tinybrain.downsample_with_averaging(image, factor, n, sparse)
                        tinybrain.downsample_segmentation(image, factor, sparse, n)
            try:
                tinybrain.downsample_with_averaging(image, (2, 2), 9)
            except ValueError:
                pass
    """
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], timeout=120, check=False)
    assert done.returncode == 0


def test_fault_26_the_fourth_factor_counts_and_long_factors_are_refused(rng):
    image = fortran(voxels(rng, "uint8", (6, 5, 4, 9)))
    for k in (2, 3, 4):
        check_average(image, (1, 1, 1, k), 2)
        check_segmentation(image, (1, 1, 1, k), 2)
        check_extrema(image, (1, 1, 1, k), 2)
        for function in (
            avg,
            seg,
            tinybrain.downsample_with_min_pooling,
            tinybrain.downsample_with_max_pooling,
            tinybrain.downsample_with_striding,
        ):
            refused(lambda f=function, k=k: f(image, (1, 1, 1, 1, k)), ValueError, "factor")
            refused(lambda f=function, k=k: f(image[..., 0, 0], (2, 2, k)), ValueError, "factor")
    check_average(image, (2, 2, 1, 1, 1, 1))
    check_segmentation(image[..., 0, 0], (2, 2, 1, 1))


@pytest.mark.parametrize("num_mips", [63, 64, 65, 128, 1000, 10**6])
def test_fault_26_the_size_check_holds_for_any_number_of_mips(num_mips):
    image = np.ones((4, 4, 4), np.uint8, order="F")
    refused(lambda: avg(image, (2, 2), num_mips), ValueError)
    refused(lambda: avg(image, (2, 2, 2), num_mips, True), ValueError)


def test_fault_26_other_factors_take_more_than_64_mips(rng):
    image = voxels(rng, "uint8", (9, 5))
    for factor in ((3, 3), (2,), (4, 4)):
        check_average(image, factor, 70)
        check_segmentation(image, factor, 70)
        check_extrema(image, factor, 70)


@pytest.mark.parametrize("layout", ["byte-swapped", "reversed", "packed field", "unaligned F", "F"])
@pytest.mark.parametrize("dtype", ["bool", "float16", "uint16", "float64"])
def test_fault_27_unusual_dtypes_layouts_and_ranks(rng, dtype, layout):
    for shape in ((16, 17, 9), (9, 8, 8, 1, 2), (8, 9, 8, 1, 2, 1, 2), (0, 8, 8), (8, 8, 0)):
        image = LAYOUTS[layout](voxels(rng, dtype, shape))
        for factor in ((2, 2), (2, 2, 2), (3, 2)):
            for sparse in (False, True):
                check_average(image, factor, 2, sparse)
                check_segmentation(image, factor, 2, sparse)
            check_extrema(image, factor, 2)


@pytest.mark.parametrize("layout", ["C", "F", "sliced", "reversed", "transposed", "read-only", "packed field"])
def test_fault_28_accelerated_names_on_any_layout(rng, layout):
    fast = tinybrain.accelerated
    for dtype in ("uint8", "uint16", "uint32", "float32"):
        image = LAYOUTS[layout](voxels(rng, dtype, (17, 16, 18)))
        few = LAYOUTS[layout](labels(rng, dtype, (17, 16, 18)))
        for n in (1, 2):
            pairs = [
                (fast.average_pooling_2x2(image, n), avg(image, (2, 2), n)),
                (fast.average_pooling_2x2(image, num_mips=n, sparse=True), avg(image, (2, 2), n, True)),
                (fast.average_pooling_2x2x2(channel=image, num_mips=n), avg(image, (2, 2, 2), n)),
                (fast.average_pooling_2x2x2(image, n, True), avg(image, (2, 2, 2), n, True)),
                (fast.mode_pooling_2x2(few, n), seg(few, (2, 2), False, n)),
                (fast.mode_pooling_2x2x2(few, n), seg(few, (2, 2, 2), False, n)),
                (fast.mode_pooling_2x2x2(img=few, num_mips=n, sparse=True), seg(few, (2, 2, 2), True, n)),
            ]
            for got, want in pairs:
                assert type(got) is list
                for mine, right in zip(got, want, strict=True):
                    np.testing.assert_array_equal(mine, right, strict=True)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("factor", [(3, 3, 1), (5, 1, 1), (7, 3), (6, 5), (3, 3, 3)])
def test_fault_29_exact_integer_means_of_other_factors(rng, dtype, factor):
    image = voxels(rng, dtype, (50, 47, 9))
    check_average(fortran(image), factor, 3)
    check_average(image, factor, 3, True)
    for value in range(1, 127, 9):  # a mean that is an integer comes out as that integer
        for mip in avg(np.full((50, 47, 9), value, dtype), factor, 3):
            assert (mip == value).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_fault_30_negative_zero_is_a_label(rng, dtype):
    image = voxels(rng, dtype, (16, 17, 9), 0.4)
    image[rng.random(image.shape) < 0.4] = -0.0
    for factor in ((2, 2), (2, 2, 2), (4, 4, 1), (2,)):
        check_segmentation(fortran(image), factor, 2, True)
        check_segmentation(fortran(image), factor, 2)
    cell = np.array([[0.0, 0.0], [0.0, -0.0]], dtype)
    assert np.signbit(seg(cell, (2, 2), sparse=True)[0].item())
    assert not np.signbit(seg(cell, (2, 2))[0].item())
