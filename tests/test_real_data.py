"""Real tissue: crops against the oracle, whole volumes against invariants.  Skipped where the data is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import oracle
import tinybrain
from cases import check_average, check_extrema, check_segmentation

DATA = Path(__file__).parents[2] / "shared" / "data"
SPARSE = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])


def _volume(name: str) -> np.ndarray:
    path = DATA / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    with np.load(path) as file:
        return file[name]


@pytest.fixture(scope="module")
def em() -> np.ndarray:
    return _volume("em")


@pytest.fixture(scope="module")
def seg() -> np.ndarray:
    return _volume("seg")


@SPARSE
@pytest.mark.parametrize(
    ("factor", "num_mips"), [((2, 2, 1), 6), ((2, 2), 9), ((2, 2, 2), 4), ((2, 1, 1), 5), ((4, 4, 1), 3)]
)
def test_pyramids_of_tissue(em, factor, num_mips, sparse):
    check_average(em, factor, num_mips, sparse)


@SPARSE
@pytest.mark.parametrize("dtype", ["int16", "uint32", "uint64", "float32"])
def test_tissue_of_other_dtypes(em, dtype, sparse):
    crop = np.asfortranarray(em[100:233, 50:179, 3:20])
    check_average(crop.astype(dtype) * 3 - crop.astype(dtype).mean().astype(dtype), (2, 2, 1), 6, sparse)


@SPARSE
def test_odd_crops_of_tissue_in_place(em, sparse):
    for crop in (em[3:214, 7:300, 2:19], em[::-1, ::2, 5:9], em[100:331:3, :, 0], em[..., 4].T):
        check_average(crop, (2, 2), 5, sparse)
        check_extrema(crop, (2, 2), 2)


def test_extrema_of_tissue(em):
    for factor in ((2, 2, 1), (2, 2, 2), (3, 3, 1)):
        check_extrema(em, factor, 3)


@SPARSE
@pytest.mark.parametrize("factor", [(2, 2, 1), (2, 2, 2), (4, 4, 1), (1, 2, 2), (2, 1, 1), (3, 3, 3)])
def test_crops_of_a_segmentation(seg, factor, sparse):
    check_segmentation(np.asfortranarray(seg[200:345, 30:161, 90:129]), factor, 4, sparse)
    check_segmentation(seg[60:131, 211:300, 3:40], factor, 2, sparse)
    check_segmentation(np.ascontiguousarray(seg[300:401, 400:499, 7:18]), factor, 2, sparse)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "int64"])
def test_a_segmentation_of_other_dtypes(seg, dtype):
    crop = np.asfortranarray(seg[10:140, 333:470, 100:120]).astype(dtype)
    for factor in ((2, 2, 1), (2, 2, 2)):
        check_segmentation(crop, factor, 3)
        check_segmentation(crop, factor, 3, True)


@SPARSE
def test_a_whole_segmentation_holds_no_new_labels(seg, sparse):
    known = np.unique(seg[::1, ::1, :64])
    for factor in ((2, 2, 1), (2, 2, 2)):
        above = seg[..., :64]
        for mip in tinybrain.downsample_segmentation(above, factor, sparse, 3):
            assert np.isin(np.unique(mip), known).all()
            if sparse:  # an object may shrink to nothing only where there is nothing but background
                filled = oracle.extremum(above, factor, 1, np.maximum)[0] != 0
                np.testing.assert_array_equal(mip != 0, filled)
            above = mip


def test_slabs_of_a_segmentation_can_be_done_one_by_one(seg):
    whole = tinybrain.downsample_segmentation(seg[..., :64], (2, 2, 2), num_mips=2)
    for start in range(0, 64, 16):
        slab = tinybrain.downsample_segmentation(seg[..., start : start + 16], (2, 2, 2), num_mips=2)
        for k, mip in enumerate(slab, 1):
            np.testing.assert_array_equal(mip, whole[k - 1][..., start >> k : (start + 16) >> k])


def test_threads_do_not_change_a_pyramid_of_tissue(em, seg):
    one = tinybrain.downsample_with_averaging(em, (2, 2, 1), 5, parallel=1)
    one += tinybrain.downsample_segmentation(seg[..., :64], (2, 2, 2), num_mips=3, parallel=1)
    two = tinybrain.downsample_with_averaging(em, (2, 2, 1), 5, parallel=2)
    two += tinybrain.downsample_segmentation(seg[..., :64], (2, 2, 2), num_mips=3, parallel=2)
    for mine, right in zip(two, one, strict=True):
        np.testing.assert_array_equal(mine, right)
