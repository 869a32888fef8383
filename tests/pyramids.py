"""For tests of `tinybrain.volumes`: the pyramid of a volume in memory, and a built volume read by others.

What is built is compared with `in_memory`, whose functions have tests and an oracle of their own. OME-Zarr is read by
zarr-python, which is none of the libraries that wrote it, and precomputed by TensorStore.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

import tinybrain

FUNCTIONS = {
    "average": tinybrain.downsample_with_averaging,
    "mode": tinybrain.downsample_segmentation,
    "min": tinybrain.downsample_with_min_pooling,
    "max": tinybrain.downsample_with_max_pooling,
    "stride": tinybrain.downsample_with_striding,
}


def in_memory(
    volume: np.ndarray, method: str, factors: Sequence[tuple[int, ...]], *, sparse: bool = False, exact: bool = False
) -> list[np.ndarray]:
    """Return mip 0 and the others: a call per run of equal factors; with `exact`, a call per mip on mip 0."""
    switches = {"sparse": sparse, "exact": exact} if method in ("average", "mode") else {}
    mips = [volume]
    if exact:
        for mip in range(1, len(factors) + 1):
            cell = tuple(int(np.prod(entries)) for entries in zip(*factors[:mip], strict=True))
            mips += FUNCTIONS[method](volume, cell, num_mips=1, **switches)
        return mips
    for factor, run in groupby(factors):
        mips += FUNCTIONS[method](mips[-1], factor, num_mips=len(list(run)), **switches)
    return mips


def read_zarr(path: Path, mips: int) -> list[np.ndarray]:
    """Read an OME-Zarr volume by zarr-python, with the axes as tinybrain has them: x first."""
    import zarr

    return [np.asarray(zarr.open_array(path / str(mip), mode="r")[...]).T for mip in range(mips)]


def read_precomputed(path: Path, mips: int) -> list[np.ndarray]:
    """Read a precomputed volume by TensorStore, without the axis of a single channel."""
    import tensorstore as ts

    read = []
    for mip in range(mips):
        spec = {"driver": "neuroglancer_precomputed", "kvstore": path.as_uri() + "/", "scale_index": mip}
        voxels = ts.open(spec).result().read().result()
        read.append(voxels[..., 0] if voxels.shape[3] == 1 else voxels)
    return read


def assert_same(built: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Bit for bit; float64 to its last bits, as its sums may be added up in another order."""
    assert [mip.shape for mip in built] == [mip.shape for mip in expected]
    for mip, (one, other) in enumerate(zip(built, expected, strict=True)):
        assert one.dtype == other.dtype
        if one.dtype in (np.float64, np.complex128) and mip:
            np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13 * np.abs(expected[0]).max())
        else:
            np.testing.assert_array_equal(one, other, err_msg=f"mip {mip}")


def save_zarr3(path: Path, volume: np.ndarray, chunk: tuple[int, ...], **more: Any) -> None:
    """Write an array as Zarr v3 without compression, by TensorStore."""
    import tensorstore as ts

    metadata = {
        "shape": volume.shape,
        "data_type": volume.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        **more,
    }
    spec = {"driver": "zarr3", "kvstore": path.as_uri() + "/", "metadata": metadata}
    ts.open(spec, create=True).result().write(volume).result()


def tree(path: Path) -> dict[str, bytes]:
    """Return every file of a folder, by its name."""
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
