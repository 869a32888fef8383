"""The volumes of the bench: the same in every process that asks for one, whichever library it has.

Axes are (x, y, z) in Fortran order.  ``image`` and ``labels`` are real volumes where there are any and the
tissue of demo.py otherwise, repeated until they are large enough; ``tissue`` is generated everywhere.
"""

from __future__ import annotations

import functools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"  # real volumes, where there are any
REAL = {"image": "em", "half empty image": "em", "labels": "seg"}


@dataclass(frozen=True)
class Volume:
    """What is in a volume, and how it lies in memory."""

    source: str  # image, half empty image, labels, tissue image, tissue labels, random labels
    dtype: str
    shape: Shape  # as the call sees it
    layout: str = "F"  # F, C, or "1 of n": a channel of n interleaved ones, in C order

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels, without those of other channels."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @property
    def text(self) -> str:
        """The volume in a table."""
        order = {"F": "F order", "C": "C order"}.get(self.layout, f"channel {self.layout}")
        return f"{self.source}, {self.dtype}, {' x '.join(map(str, self.shape))}, {order}"


def tissue_file() -> Path:
    """File of the generated base volumes, made by whoever asks first."""
    from demo import tissue

    path = Path(os.environ.get("TINYBRAIN_BENCH_DIR") or tempfile.gettempdir()) / "tinybrain-bench-tissue.npz"
    if not path.exists():
        image, labels = tissue((512, 512, 32))
        part = path.with_suffix(".part.npz")
        np.savez(part, image=image, labels=labels)
        part.replace(path)
    return path


@functools.cache
def base(source: str) -> Array:
    """Load a base volume, (x, y, z)."""
    name = REAL.get(source, "")
    if name and (DATA / f"{name}.npz").exists():
        loaded = np.load(DATA / f"{name}.npz")
        return np.array(loaded[loaded.files[0]][:, :, :64], order="K")
    return np.asarray(np.load(tissue_file())["labels" if "labels" in source else "image"])


def origin(source: str) -> str:
    """Where the voxels of a source come from."""
    if source in REAL:
        return f"{REAL[source]}.npz" if (DATA / f"{REAL[source]}.npz").exists() else "generated tissue"
    return {"tissue image": "generated tissue", "tissue labels": "generated tissue"}.get(source, "generated")


def repeated(small: Array, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """Fill a volume with copies of a small one; the first slice of it, if the volume is flat."""
    whole: Array = np.empty(shape, dtype, order="F")
    made: Array = whole.reshape((*shape, 1, 1)[:3], order="F")
    sx, sy, sz = small.shape
    small = small.astype(dtype)  # labels of narrow types wrap: other labels, the same borders but for a few
    for z in range(0, made.shape[2], sz):
        for y in range(0, made.shape[1], sy):
            for x in range(0, made.shape[0], sx):
                part = made[x : x + sx, y : y + sy, z : z + sz]
                part[...] = small[: part.shape[0], : part.shape[1], : part.shape[2]]
    return whole


def filled(source: str, dtype: np.dtype[Any], shape: Shape) -> Array:
    """Make the voxels in Fortran order, (x, y, z)."""
    if source == "random labels":  # 0 .. 255 in every type: few enough to meet in a cell now and then
        return np.random.default_rng(0).integers(0, 256, shape[::-1], np.uint8).astype(dtype).T
    small = base(source)
    if "labels" not in source:
        if source.startswith("half empty"):
            small = np.where(small > np.median(small), small, 0).astype(np.uint8)
        if dtype.kind == "i":
            small = small // 2
        if dtype.kind == "f":
            small = small.astype(dtype) / dtype.type(7)
        else:  # the whole range of the type
            small = small.astype(np.uint64) * np.uint64(int.from_bytes(b"\1" * dtype.itemsize, "little"))
    return repeated(small, shape, dtype)


def make(volume: Volume) -> tuple[Array, Array]:
    """Make the array of a call, and the contiguous array that it is, or is a view of."""
    dtype = np.dtype(volume.dtype)
    if volume.layout == "F":
        array = filled(volume.source, dtype, volume.shape)
        return array, array
    if volume.layout == "C":
        array = filled(volume.source, dtype, volume.shape[::-1]).T  # the same memory, axes reversed
        assert array.flags.c_contiguous
        return array, array
    channels = int(volume.layout.split()[-1])
    array = filled(volume.source, dtype, volume.shape[::-1]).T
    whole = np.empty((*array.shape, channels), dtype)
    whole[...] = array[..., None]
    return whole[..., 0], whole
