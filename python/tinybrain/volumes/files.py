"""Sources that are plain files: ``.npy``, memory-mapped, and TIFF, as one file of pages or a folder of slices.

Only what is asked for is in memory: maps are read a few MiB at a time, and what was read is given back to the system at
once, so that a map of a terabyte counts no more than its part under way. Pages of TIFF that are stored as they are in
memory are mapped too; others are decoded whole, one at a time.
"""

from __future__ import annotations

import itertools
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinybrain._arguments import Array
from tinybrain.volumes._extras import extra
from tinybrain.volumes.source import About, file_identity
from tinybrain.volumes.storage import Box, BuildError, Pipe, Shape

_TIFF = (".tif", ".tiff")
# What TIFF calls its axes: pages of unknown meaning are slices, samples are channels.
_TIFF_AXES = {"X": "x", "Y": "y", "Z": "z", "I": "z", "Q": "z", "S": "c", "C": "c", "T": "t"}


def is_file_source(path: Path) -> bool:
    """Whether this is an .npy file, a TIFF, or a folder of TIFFs."""
    return path.is_file() or bool(path.is_dir() and _slices(path))


def describe(path: Path) -> tuple[dict[str, Any], About]:
    """Return the spec of a file source, and what it says of itself."""
    if path.is_file() and path.suffix == ".npy":
        return {"npy": str(path), "name": str(path), "identity": file_identity([path])}, About()
    paths = _slices(path) if path.is_dir() else [path]
    if not paths or paths[0].suffix.lower() not in _TIFF:
        raise ValueError(f"source: {path} is no volume; accepted files are .npy, .tif and .tiff")
    spec = {"tiff": [str(p) for p in paths], "name": str(path), "identity": file_identity(paths)}
    return spec, About(axes=_Pages(spec).axes)


def open_file(spec: dict[str, Any]) -> Any:
    """Open a file source by its spec."""
    return _Mapped(spec) if "npy" in spec else _Pages(spec)


def _slices(folder: Path) -> list[Path]:
    return sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in _TIFF and p.is_file()),
        key=lambda p: [int(t) if t.isdigit() else t for t in _words(p.name)],
    )


def _words(name: str) -> list[str]:
    """Cut a name into digits and the rest, so that slice 10 comes after slice 9."""
    return ["".join(group) for _, group in itertools.groupby(name, str.isdigit)]


class _Mapped:
    """An array in a file, as it would be in memory."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name = spec["name"]
        self.path = spec["npy"]
        stored = self._map()
        if stored.dtype.kind not in "biufc":
            raise ValueError(f"source: {self.name} has dtype {stored.dtype}; accepted are numbers")
        self.shape: Shape = stored.shape
        self.dtype = stored.dtype.newbyteorder("=")
        rank = stored.ndim
        fortran = stored.flags.f_contiguous and not stored.flags.c_contiguous
        self.order = tuple(range(rank)[::-1] if fortran else range(rank))
        # Whole rows: pieces of rows would be read page by page, and their pages twice.
        self.chunk = tuple(n if axis == self.order[-1] else 1 for axis, n in enumerate(self.shape))

    def _map(self) -> np.memmap[Any, Any]:
        try:
            return np.lib.format.open_memmap(self.path, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise BuildError(f"source: {self.name} can't be read as .npy: {error}") from None

    def again(self) -> tuple[Shape, np.dtype[Any]]:
        stored = self._map()
        return stored.shape, stored.dtype.newbyteorder("=")

    def read(self, box: Box, into: Array, turn: Shape, pipe: Pipe) -> None:
        copy_mapped(self._map(), box, into, turn, pipe, self.path, self.name)


def copy_mapped(
    stored: np.memmap[Any, Any], box: Box, into: Array, turn: Shape, pipe: Pipe, path: str, name: str
) -> None:
    """Copy a box of a map, a few MiB at a time, giving back the pages after each."""
    raw: mmap.mmap = stored._mmap  # type: ignore[attr-defined]
    view = np.asarray(stored).transpose(turn)
    axis = int(np.argmax([abs(stride) for stride in view.strides]))
    # How much of the file a slice along the slowest axis lies across.
    step = max(1, pipe.piece // max(1, abs(view.strides[axis])))
    needed = stored.offset + stored.nbytes  # reading a map past the end of its file would kill the process
    for start in range(box[0][axis], box[1][axis], step):
        pipe.make_room(0)
        if os.path.getsize(path) < needed:
            raise BuildError(f"source: {name} was cut off: {os.path.getsize(path)} bytes of {needed} are left")
        stop = min(start + step, box[1][axis])
        part = tuple(
            slice(start, stop) if a == axis else slice(lo, hi) for a, (lo, hi) in enumerate(zip(*box, strict=True))
        )
        to = tuple(slice(s.start - o, s.stop - o) for s, o in zip(part, box[0], strict=True))
        into[to] = view[part]
        raw.madvise(mmap.MADV_DONTNEED)


class _Pages:
    """Pages of TIFF: axes as the file says, or z, y, x of a folder of slices."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name, self.paths = spec["name"], spec["tiff"]
        self.axes, self.page_axes, self.shape, self.dtype, self.offset = self._look()
        self.lead = self.shape[: len(self.shape) - len(self.page_axes)]
        self.page = self.shape[len(self.lead) :]
        self.order = tuple(range(len(self.shape)))
        self.chunk = (1,) * len(self.lead) + self.page
        if self.offset is not None:
            self.chunk = (1,) * (len(self.shape) - 1) + self.shape[-1:]

    def _look(self) -> tuple[str, str, Shape, np.dtype[Any], int | None]:
        tifffile = extra("tifffile")
        try:
            with tifffile.TiffFile(self.paths[0]) as tiff:
                series, page = tiff.series[0], tiff.pages[0]
                many = len(self.paths) > 1
                shape, axes = (page.shape, page.axes) if many else (series.shape, series.axes)
                dtype = np.dtype(series.dtype)
                contiguous = not many and series.dataoffset is not None
                offset = series.dataoffset if contiguous else None
                byteorder = tiff.byteorder
        except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
            raise BuildError(f"source: {self.paths[0]} can't be read as TIFF: {error}") from None
        if dtype.kind not in "biufc":
            raise ValueError(f"source: {self.name} has dtype {dtype}; accepted are numbers")
        self.stored_dtype = dtype.newbyteorder(byteorder)
        axes = ("I" if many else "") + axes
        shape = ((len(self.paths),) if many else ()) + tuple(shape)
        names = "".join(_TIFF_AXES.get(axis, "?") for axis in axes)
        if "?" in names or len(set(names)) != len(names):
            names = {2: "yx", 3: "zyx", 4: "tzyx"}.get(len(shape), "xyzct"[: len(shape)])
        return names, page.axes, shape, dtype.newbyteorder("="), offset

    def again(self) -> tuple[Shape, np.dtype[Any]]:
        missing = next((p for p in self.paths if not os.path.exists(p)), None)
        if missing is not None:
            raise BuildError(f"source: {missing} is gone")
        _, _, shape, dtype, _ = self._look()
        return shape, dtype

    def read(self, box: Box, into: Array, turn: Shape, pipe: Pipe) -> None:
        if self.offset is not None:
            stored = np.memmap(self.paths[0], self.stored_dtype, "r", self.offset, self.shape)
            copy_mapped(stored, box, into, turn, pipe, self.paths[0], self.name)
            return
        # The box and the array along the axes as they are stored.
        back = [turn.index(axis) for axis in range(len(turn))]
        start, stop = ([corner[axis] for axis in back] for corner in box)
        stored_into = into.transpose(back)
        ranges = [range(a, b) for a, b in zip(start[: len(self.lead)], stop[: len(self.lead)], strict=True)]
        part = tuple(slice(a, b) for a, b in zip(start[len(self.lead) :], stop[len(self.lead) :], strict=True))
        for at in itertools.product(*ranges):
            pipe.make_room(0)
            number = int(np.ravel_multi_index(at, self.lead)) if at else 0
            to = tuple(a - o for a, o in zip(at, start, strict=False))
            stored_into[to] = self._page(number)[part]

    def _page(self, number: int) -> Array:
        tifffile = extra("tifffile")
        path = self.paths[number] if len(self.paths) > 1 else self.paths[0]
        try:
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages[0] if len(self.paths) > 1 else tiff.series[0].pages[number]
                array: Array = np.asarray(page.asarray())
        except FileNotFoundError:
            raise BuildError(f"source: {path} is gone") from None
        except Exception as error:  # whatever a broken page makes of its decoder
            raise BuildError(f"source: page {number} of {path} can't be read: {error}") from None
        if array.shape != self.page or array.dtype.newbyteorder("=") != self.dtype:
            raise BuildError(
                f"source: page {number} of {path} is {array.dtype} of shape {array.shape}, "
                f"and the first one {self.dtype} of "
                f"shape {self.page}"
            )
        return array
