"""Properties: random calls against the oracle, invariants, threads, backends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracle
import tinybrain
import tinybrain._native
from cases import (
    AVERAGED,
    INTS,
    LABELLED,
    LAYOUTS,
    ORDERED,
    check_average,
    check_extrema,
    check_segmentation,
    labels,
    patches,
    refused,
    same_bits,
    voxels,
)

random_calls = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
EXTENTS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33])
FACTORS = st.sampled_from([1, 1, 2, 2, 2, 2, 3, 4, 5])
SHAPES = st.lists(EXTENTS, min_size=0, max_size=5).filter(lambda shape: np.prod(shape, initial=1) < 6000)
CALL = {
    "shape": SHAPES,
    "factor": st.lists(FACTORS, min_size=5, max_size=5),
    "halving": st.booleans(),
    "num_mips": st.integers(1, 6),
    "sparse": st.booleans(),
    "layout": st.sampled_from(sorted(LAYOUTS)),
    "parallel": st.integers(0, 3),
    "seed": st.integers(0, 2**32 - 1),
}
SPARSE = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])


def _fit(factor: list[int], shape: list[int], halving: bool) -> list[int]:
    return [min(f, 2) if halving else f for f in factor[: len(shape)]]


@random_calls
@given(dtype=st.sampled_from(AVERAGED), **CALL)
def test_random_averages(dtype, shape, factor, halving, num_mips, sparse, layout, parallel, seed):
    image = LAYOUTS[layout](voxels(np.random.default_rng(seed), dtype, shape))
    factor = _fit(factor, shape, halving)
    if oracle.too_small(shape, factor, num_mips):
        call = tinybrain.downsample_with_averaging
        refused(lambda: call(image, factor, num_mips, sparse, parallel=parallel), ValueError)
    else:
        check_average(image, factor, num_mips, sparse, parallel=parallel)


@random_calls
@given(dtype=st.sampled_from(LABELLED), **CALL)
def test_random_segmentations(dtype, shape, factor, halving, num_mips, sparse, layout, parallel, seed):
    image = LAYOUTS[layout](labels(np.random.default_rng(seed), dtype, shape, 2 + seed % 5))
    check_segmentation(image, _fit(factor, shape, halving), num_mips, sparse, parallel=parallel)


@random_calls
@given(dtype=st.sampled_from(ORDERED), **CALL)
def test_random_extrema(dtype, shape, factor, halving, num_mips, sparse, layout, parallel, seed):
    image = LAYOUTS[layout](voxels(np.random.default_rng(seed), dtype, shape, 0.3 * sparse))
    check_extrema(image, _fit(factor, shape, halving), num_mips, parallel=parallel)


# --------------------------------------------------------------------------------------------- invariants


@SPARSE
@pytest.mark.parametrize("factor", [(2, 2, 1), (2, 1, 1), (2, 2, 2), (3, 2, 1), (4, 4, 1), (1, 2, 2)])
def test_transposing_image_and_factor_transposes_the_averages(rng, factor, sparse):
    for dtype in ("uint8", "int16", "uint32", "int64"):
        image = np.asfortranarray(voxels(rng, dtype, (35, 18, 21)))
        plain = tinybrain.downsample_with_averaging(image, factor, 3, sparse)
        for axes in ((2, 1, 0), (1, 2, 0), (0, 2, 1)):
            turned = [factor[axis] for axis in axes]
            got = tinybrain.downsample_with_averaging(image.transpose(axes), turned, 3, sparse)
            for mine, right in zip(got, plain, strict=True):
                np.testing.assert_array_equal(mine, right.transpose(axes))


@pytest.mark.parametrize("factor", [(2, 2, 1), (2, 2, 2), (3, 2, 1)])
def test_transposing_image_and_factor_transposes_the_extrema(rng, factor):
    image = voxels(rng, "float32", (35, 18, 21))
    for function in (tinybrain.downsample_with_min_pooling, tinybrain.downsample_with_max_pooling):
        turned = function(image.transpose(1, 2, 0), [factor[1], factor[2], factor[0]], 3)
        for mine, right in zip(turned, function(image, factor, 3), strict=True):
            np.testing.assert_array_equal(mine, right.transpose(1, 2, 0))


@SPARSE
@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 2), (4, 4, 1), (3, 3, 3), (2, 4, 1), (1, 2)])
@pytest.mark.parametrize("order", "FC")
def test_channels_are_independent(rng, factor, order, sparse):
    for dtype in ("uint8", "uint16", "uint32", "float32"):
        image = np.array(voxels(rng, dtype, (19, 18, 17, 4)), order=order)
        means = tinybrain.downsample_with_averaging(image, factor, 2, sparse)
        modes = tinybrain.downsample_segmentation(image, factor, sparse, 2)
        tops = tinybrain.downsample_with_max_pooling(image, factor, 2)
        for c in range(4):
            channel = image[..., c]
            for mips, alone in (
                (means, tinybrain.downsample_with_averaging(channel, factor, 2, sparse)),
                (modes, tinybrain.downsample_segmentation(channel, factor, sparse, 2)),
                (tops, tinybrain.downsample_with_max_pooling(channel, factor, 2)),
            ):
                for mine, right in zip(mips, alone, strict=True):
                    np.testing.assert_array_equal(mine[..., c], right)


@SPARSE
@pytest.mark.parametrize("factor", [(2, 2), (2, 2, 2), (1, 2, 2), (2,), (3, 3), (4, 4, 4), (2, 2, 2, 2)])
def test_a_mip_does_not_depend_on_how_many_follow(rng, factor, sparse):
    for dtype in ("uint8", "int16", "uint32", "uint64", "float32", "bool"):
        image = np.asfortranarray(voxels(rng, dtype, (71, 34, 33, 2)))
        longest = tinybrain.downsample_with_averaging(image, factor, 5, sparse)
        for n in range(1, 5):
            for mine, right in zip(
                tinybrain.downsample_with_averaging(image, factor, n, sparse), longest, strict=False
            ):
                same_bits(mine, right)
        longest = tinybrain.downsample_segmentation(image, factor, sparse, 4)
        for n in range(1, 4):
            for mine, right in zip(tinybrain.downsample_segmentation(image, factor, sparse, n), longest, strict=False):
                same_bits(mine, right)


@SPARSE
def test_memory_order_does_not_change_integers(rng, sparse):
    for dtype in INTS:
        image = voxels(rng, dtype, (37, 34, 33))
        for factor in ((2, 2), (2, 2, 2), (1, 2, 2), (3, 2)):
            first = tinybrain.downsample_with_averaging(image, factor, 3, sparse)
            for layout in ("F", "transposed", "sliced", "reversed"):
                again = tinybrain.downsample_with_averaging(LAYOUTS[layout](image), factor, 3, sparse)
                for mine, right in zip(again, first, strict=True):
                    np.testing.assert_array_equal(mine, right)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32"])
def test_a_mean_lies_between_minimum_and_maximum(rng, dtype):
    image = np.asfortranarray(voxels(rng, dtype, (50, 41, 18)))
    for factor in ((2, 2), (2, 2, 2), (3, 1, 2)):
        mean = tinybrain.downsample_with_averaging(image, factor)[0]
        assert (tinybrain.downsample_with_min_pooling(image, factor)[0] <= mean).all()
        assert (mean <= tinybrain.downsample_with_max_pooling(image, factor)[0]).all()


def test_without_zeros_sparse_is_dense(rng):
    image = np.asfortranarray(rng.integers(1, 5, (70, 67, 66)).astype(np.uint8))
    for factor in ((2, 2), (2, 2, 2), (3, 3), (2,)):
        for function in (tinybrain.downsample_with_averaging, tinybrain.downsample_segmentation):
            for mine, right in zip(
                function(image, factor, num_mips=6, sparse=True),
                function(image, factor, num_mips=6),
                strict=True,
            ):
                np.testing.assert_array_equal(mine, right)


# -------------------------------------------------------------------------------------- threads, backends


@SPARSE
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "float32", "float64"])
@pytest.mark.parametrize("order", "FC")
def test_every_number_of_threads_gives_the_same_bits(rng, dtype, order, sparse):
    for shape, factor in (
        ((300, 257, 5), (2, 2)),
        ((67, 66, 65), (2, 2, 2)),
        ((70001,), (2,)),
        ((90, 91, 20), (3, 3, 3)),
        ((5, 6, 2000), (2, 2, 2)),
        ((130, 129, 9), (4, 4, 1)),
    ):
        mips = 2
        image = np.array(patches(rng, dtype, shape), order=order)
        means = tinybrain.downsample_with_averaging(image, factor, mips, sparse, parallel=1)
        modes = tinybrain.downsample_segmentation(image, factor, sparse, mips, parallel=1)
        tops = tinybrain.downsample_with_max_pooling(image, factor, mips, parallel=1)
        for parallel in (0, 2, 3, 7, 64):
            for one, many in (
                (means, tinybrain.downsample_with_averaging(image, factor, mips, sparse, parallel=parallel)),
                (modes, tinybrain.downsample_segmentation(image, factor, sparse, mips, parallel=parallel)),
                (tops, tinybrain.downsample_with_max_pooling(image, factor, mips, parallel=parallel)),
            ):
                for mine, right in zip(many, one, strict=True):
                    same_bits(mine, right)


def test_two_calls_with_equal_arguments_give_equal_bits(rng):
    image = voxels(rng, "float32", (301, 200, 9))
    image[rng.random(image.shape) < 0.001] = np.nan
    for factor in ((2, 2), (2, 2, 2), (3, 3)):
        first = tinybrain.downsample_with_averaging(image, factor, 3)
        for mine, right in zip(tinybrain.downsample_with_averaging(image, factor, 3), first, strict=True):
            same_bits(mine, right)


def _environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TINYBRAIN_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path[1:]), **more}


def test_every_backend_gives_the_same_bits(tmp_path):
    script = str(Path(__file__).with_name("battery.py"))
    saved = {}
    for backend in tinybrain._native.backends():
        path = str(tmp_path / f"{backend}.npz")
        subprocess.run(
            [sys.executable, script, path], env=_environment(TINYBRAIN_SIMD=backend), check=True, timeout=300
        )
        with np.load(path) as arrays:
            saved[backend] = {name: arrays[name] for name in arrays.files}
        assert saved[backend].pop("backend").item() == backend
    assert "scalar" in saved
    for backend, mips in saved.items():
        assert mips.keys() == saved["scalar"].keys()
        for name, right in saved["scalar"].items():
            assert np.array_equal(mips[name], right), f"{backend} differs from scalar: {name}"


def test_calls_from_several_threads_at_once(rng):
    image = np.asfortranarray(patches(rng, "uint8", (200, 201, 12)))
    before = image.copy()
    wants = {
        tinybrain.downsample_with_averaging: oracle.average(image, (2, 2), 3),
        tinybrain.downsample_segmentation: oracle.segmentation(image, (2, 2), 3),
    }
    wrong = []

    def work() -> None:
        for function, want in wants.items():
            for _ in range(20):
                got = function(image, (2, 2), num_mips=3)
                if not all(np.array_equal(mine, right) for mine, right in zip(got, want, strict=True)):
                    wrong.append(function)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    np.testing.assert_array_equal(image, before)
