"""Sources that are plain files: ``.npy``, and TIFF, as one file of pages or a folder of slices.

Only what is asked for is in memory. Voxels that lie in a file as they would in memory are read in runs, a MiB at a
time, and not mapped: a map of a file that is cut off meanwhile kills the process. Pages of TIFF that are stored
otherwise are decoded whole, one at a time.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinybrain._arguments import Array
from tinybrain.volumes._extras import extra
from tinybrain.volumes.source import About, file_identity
from tinybrain.volumes.storage import Box, BuildError, Pipe, Shape, extents, one_line

_RUN = 1 << 20  # bytes of a read at most: what was read is still in the cache when it is copied
_GAP = 8 << 10  # bytes between two rows that are read rather than left out: a call takes as long
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
    return _Npy(spec) if "npy" in spec else _Pages(spec)


def _slices(folder: Path) -> list[Path]:
    return sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in _TIFF and p.is_file()),
        key=lambda p: [int(t) if t.isdigit() else t for t in _words(p.name)],
    )


def _words(name: str) -> list[str]:
    """Cut a name into digits and the rest, so that slice 10 comes after slice 9."""
    return ["".join(group) for _, group in itertools.groupby(name, str.isdigit)]


@dataclass(frozen=True)
class _Flat:
    """Voxels that lie in a file as they would in memory: `shape` is that of the file, slowest axis first."""

    path: str
    name: str
    offset: int
    dtype: np.dtype[Any]
    shape: Shape

    def read(self, box: Box, into: Array, pipe: Pipe) -> None:
        """Read a box into an array with the axes of the file."""
        start, extent = box[0], extents(box)
        rank, itemsize = len(extent), self.dtype.itemsize
        strides = [itemsize * math.prod(self.shape[axis + 1 :]) for axis in range(rank)]
        # How many bytes of the file the box lies across, from its first voxel to its last, in each of its axes and
        # those after it.
        spans = [itemsize + sum((n - 1) * s for n, s in zip(extent[a:], strides[a:], strict=True)) for a in range(rank)]
        spans.append(itemsize)
        # Rows are read together, with what lies between them, as far as that is no more work than another call.
        most, axis = min(pipe.piece, _RUN), rank - 1
        while axis > 0 and spans[axis] <= most and strides[axis - 1] - spans[axis] <= _GAP:
            axis -= 1
        rows = 1 + max(0, most - spans[axis + 1]) // strides[axis]
        scratch = bytearray(min(spans[axis], (rows - 1) * strides[axis] + spans[axis + 1]))
        begin = self.offset + _dot(start, strides)
        with self._open() as file:
            for at in np.ndindex(*extent[:axis]):
                for row in range(0, extent[axis], rows):
                    pipe.make_room(0)
                    shape = (min(rows, extent[axis] - row), *extent[axis + 1 :])
                    piece = memoryview(scratch)[: (shape[0] - 1) * strides[axis] + spans[axis + 1]]
                    self._fill(file, begin + _dot((*at, row), strides), piece)
                    to = (*at, slice(row, row + shape[0]))
                    into[to] = np.ndarray(shape, self.dtype, piece, strides=strides[axis:])

    def _open(self) -> io.FileIO:
        try:
            return open(self.path, "rb", buffering=0)
        except OSError as error:
            raise BuildError(f"source: {self.name} can't be read: {error.strerror}") from None

    def _fill(self, file: io.FileIO, offset: int, into: memoryview) -> None:
        try:
            file.seek(offset)
            while into:
                got = file.readinto(into)
                if not got:
                    raise BuildError(self.cut_off() or f"source: {self.name} changed while it was read")
                into = into[got:]
        except OSError as error:
            raise BuildError(f"source: {self.name} can't be read: {error.strerror}") from None

    def cut_off(self) -> str | None:
        """Say so if the file is shorter than its voxels."""
        left, needed = os.path.getsize(self.path), self.offset + self.dtype.itemsize * math.prod(self.shape)
        return f"source: {self.name} was cut off: {left} bytes of {needed} are left" if left < needed else None


def _dot(index: Shape, strides: list[int]) -> int:
    return sum(i * stride for i, stride in zip(index, strides, strict=False))


class _Npy:
    """An array in an ``.npy`` file."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name, self.path = spec["name"], spec["npy"]
        stored = self._look()
        if stored.dtype.kind not in "biufc":
            raise ValueError(f"source: {self.name} has dtype {stored.dtype}; accepted are numbers")
        self.shape: Shape = stored.shape
        self.dtype = stored.dtype.newbyteorder("=")
        rank = stored.ndim
        fortran = stored.flags.f_contiguous and not stored.flags.c_contiguous
        self.order = tuple(range(rank)[::-1] if fortran else range(rank))
        in_file = tuple(self.shape[axis] for axis in self.order)
        self.flat = _Flat(self.path, self.name, stored.offset, stored.dtype, in_file)
        # Whole rows: pieces of rows take a call each.
        self.chunk = tuple(n if axis == self.order[-1] else 1 for axis, n in enumerate(self.shape))

    def _look(self) -> np.memmap[Any, Any]:
        """Return a map of which no voxel may be read: numpy's way to read the header."""
        try:
            return np.lib.format.open_memmap(self.path, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise BuildError(f"source: {self.name} can't be read as .npy: {one_line(error)}") from None

    def again(self, patient: bool) -> tuple[Shape, np.dtype[Any]]:
        if os.path.exists(self.path) and (words := self.flat.cut_off()) is not None:
            raise BuildError(words)
        stored = self._look()
        return stored.shape, stored.dtype.newbyteorder("=")

    def read(self, box: Box, into: Array, turn: Shape, pipe: Pipe) -> None:
        _read_flat(self.flat, box, into, [turn.index(axis) for axis in self.order], pipe)


def _read_flat(flat: _Flat, box: Box, into: Array, order: list[int], pipe: Pipe) -> None:
    """Read a box, whose axes lie in the file in this order, slowest first."""
    start, stop = (tuple(corner[axis] for axis in order) for corner in box)
    flat.read((start, stop), into.transpose(order), pipe)


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

    def again(self, patient: bool) -> tuple[Shape, np.dtype[Any]]:
        missing = next((p for p in self.paths if not os.path.exists(p)), None)
        if missing is not None:
            raise BuildError(f"source: {missing} is gone")
        _, _, shape, dtype, _ = self._look()
        return shape, dtype

    def read(self, box: Box, into: Array, turn: Shape, pipe: Pipe) -> None:
        if self.offset is not None:
            flat = _Flat(self.paths[0], self.name, self.offset, self.stored_dtype, self.shape)
            _read_flat(flat, box, into, [turn.index(axis) for axis in self.order], pipe)
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
