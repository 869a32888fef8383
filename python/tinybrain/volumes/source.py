"""The source: whatever it is stored as, a volume with tinybrain's order of the axes, read box by box.

`open_source` finds out what a path is: an ``.npy`` file and TIFFs are read by `files`, everything else by TensorStore
(Zarr v2 and v3, N5, Neuroglancer Precomputed; of a multiscale volume the first array), locally and by URL. What the
source says of itself, its axes, voxel size, units and whether it is labels, is taken from its metadata; what it
doesn't say has defaults that the caller may overrule.

Chunks that aren't stored are the fill value in all these formats, and are read as such unless ``missing="error"``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinybrain._arguments import Array
from tinybrain.volumes._extras import extra
from tinybrain.volumes.storage import (
    PATIENCE,
    STATE,
    Box,
    BuildError,
    Pipe,
    Shape,
    compressed_file,
    extents,
    kvstore_spec,
    kvstore_url,
    local_path,
    one_line,
    open_kvstore,
    ordered,
    read_json,
    read_key,
    slices,
    tiles,
    trouble,
    within,
)
from tinybrain.volumes.target import AXES, NANOMETRES

_UNITS = {"nm": "nanometer", "um": "micrometer", "µm": "micrometer", "mm": "millimeter", "m": "meter", "A": "angstrom"}


@dataclass
class About:
    """What a source says of itself; axes in its own order."""

    axes: str | None = None
    voxel_size: dict[str, float] = field(default_factory=dict)  # nanometres
    translation: dict[str, float] = field(default_factory=dict)  # nanometres
    unit: str | None = None
    labels: bool | None = None


class Source:
    """A volume to be read.

    Attributes
    ----------
    shape, chunk : tuple of int
        Of the volume, and of what is read at once, along `axes`.
    dtype : numpy.dtype
        Of what `read` gives.
    axes : str
        Of "xyzct", in this order.
    order : tuple of int
        The axes as they lie in storage, slowest first.
    spec : dict
        From which `reopen` opens it elsewhere; JSON.
    about : About
        What it says of itself.
    name : str
        For messages.
    """

    def __init__(self, stored: Any, spec: dict[str, Any], about: About, axes: str) -> None:
        self.stored, self.about = stored, about
        self.axes = "".join(axis for axis in AXES if axis in axes)
        self.turn = tuple(axes.index(axis) for axis in self.axes)
        self.spec = {**spec, "axes": axes, "shape": list(stored.shape), "dtype": stored.dtype.name}
        self.shape: Shape = tuple(stored.shape[axis] for axis in self.turn)
        self.chunk: Shape = tuple(max(1, min(stored.chunk[axis], stored.shape[axis])) for axis in self.turn)
        self.order: Shape = tuple(self.turn.index(axis) for axis in stored.order)
        self.dtype: np.dtype[Any] = stored.dtype
        self.name: str = spec["name"]

    def buffer(self, box: Box) -> Array:
        """Return an array for a box, in the memory order of the source."""
        shape = extents(box)
        return ordered(np.empty([shape[axis] for axis in self.order], self.dtype), self.order)

    def read(self, box: Box, pipe: Pipe) -> Array:
        """Read a box, in the memory order of the source."""
        into = self.buffer(box)
        try:
            self.stored.read(box, into, self.turn, pipe)
            pipe.finish()
        except BuildError:
            pipe.abandon()
            raise
        return into

    def check(self, *, patient: bool = True) -> None:
        """Raise `BuildError` if the source isn't any more what it was."""
        now = self.stored.again(patient)
        was = (tuple(self.stored.shape), self.dtype)
        if now != was:
            raise BuildError(
                f"source: {self.name} was {was[1]} of shape {was[0]} and is now {now[1]} of shape {now[0]}; "
                "the destination is incomplete"
            )


class _Chunked:
    """An array that TensorStore reads."""

    def __init__(self, spec: dict[str, Any], context: Any) -> None:
        self.spec, self.context = spec, context
        ts = extra("tensorstore")
        opened = self._open()
        self.labels = opened.domain.labels
        self.units = opened.dimension_units
        self.origin = opened.domain.origin
        self.handle = opened[ts.d[:].label[[""] * opened.rank]][ts.d[:].translate_to[0]]
        if self.spec.get("drop_channel"):
            self.handle = self.handle[..., 0]
        layout = self.handle.chunk_layout
        self.shape: Shape = tuple(self.handle.shape)
        self.chunk = tuple(c or n for c, n in zip(layout.read_chunk.shape or self.shape, self.shape, strict=True))
        self.order = tuple(layout.inner_order or range(self.handle.rank))
        self.dtype: np.dtype[Any] = np.dtype(self.handle.dtype.numpy_dtype)

    def _open(self, patient: bool = True) -> Any:
        ts = extra("tensorstore")
        try:
            spec = dict(self.spec["tensorstore"])
            if isinstance(spec.get("kvstore"), str):
                spec["kvstore"] = kvstore_spec(spec["kvstore"])
            context = self.context if patient else ts.Context(PATIENCE)
            return ts.open(spec, context=context, open=True, read=True).result()
        except ValueError as error:
            raise BuildError(f"source: {self.spec['name']} can't be opened: {one_line(error)}") from None

    def again(self, patient: bool) -> tuple[Shape, np.dtype[Any]]:
        opened = self._open(patient)
        if self.spec.get("drop_channel"):
            opened = opened[..., 0]
        return tuple(opened.shape), np.dtype(opened.dtype.numpy_dtype)

    def read(self, box: Box, into: Array, turn: Shape, pipe: Pipe) -> None:
        handle = self.handle.transpose(list(turn))
        target = extra("tensorstore").array(into, copy=False, write=True)
        order = tuple(turn.index(axis) for axis in self.order)
        chunk = tuple(self.chunk[axis] for axis in turn)
        # Chunks are decoded whole, however little of them is wanted.
        for tile in tiles(box, chunk, pipe.piece // into.itemsize, order, whole=True):
            nbytes = int(np.prod(extents(_whole(tile, chunk)))) * into.itemsize
            pipe.make_room(nbytes)
            pipe.add(nbytes, target[within(tile, box[0])].write(handle[slices(tile)]))


def _whole(box: Box, chunk: Shape) -> Box:
    """Return the box of all chunks that a box touches."""
    start, stop = box
    return (
        tuple(a // c * c for a, c in zip(start, chunk, strict=True)),
        tuple(-(-b // c) * c for b, c in zip(stop, chunk, strict=True)),
    )


def open_source(path: Any, *, axes: str | None, missing: str, context: Any, may_be_incomplete: bool = False) -> Source:
    """Open a source.

    Parameters
    ----------
    path : path, URL, or TensorStore spec as a dict or as JSON
        Of an array, or of a multiscale volume, whose mip 0 is taken.
    axes : str, optional
        Names of its axes as they are stored, such as "zyx".
    missing : {"fill", "error"}
        What chunks are that aren't stored.
    context : tensorstore.Context
        For reading.
    may_be_incomplete : bool
        A build into it may be under way, which adds mips to it.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        If it is nothing that can be read, or has axes that don't fit.
    BuildError
        If it is a volume whose build hasn't ended.
    """
    text = path if isinstance(path, dict) else os.fspath(path)
    if isinstance(text, dict) or text.lstrip().startswith("{"):
        spec, about = _from_json(text)
    else:
        text = without_format(text)
        local = local_path(kvstore_url(text))
        if local is not None and not local.exists():
            raise FileNotFoundError(f"source: {text} does not exist")
        from tinybrain.volumes import files

        if local is not None and files.is_file_source(local):
            spec, about = files.describe(local)
        else:
            spec, about = _stored_at(kvstore_url(text), text, may_be_incomplete)
    if "tensorstore" in spec and missing == "error":
        spec["tensorstore"]["fill_missing_data_reads"] = False
    stored = _stored(spec, context)
    if isinstance(stored, _Chunked):
        _read_labels(stored, about)
    return Source(stored, spec, about, _axes_of(axes, about, stored, spec["name"]))


def without_format(text: str) -> str:
    """Return a path or URL without the format that Neuroglancer writes before it."""
    return re.sub(r"^(precomputed|zarr[23]?|n5)://", "", text)


def reopen(spec: dict[str, Any], context: Any) -> Source:
    """Open a source by its `Source.spec`, and check that it is what it was."""
    source = Source(_stored(spec, context), {k: v for k, v in spec.items()}, About(), spec["axes"])
    if source.spec["shape"] != spec["shape"] or source.spec["dtype"] != spec["dtype"]:
        raise BuildError(
            f"source: {source.name} was {spec['dtype']} of shape {tuple(spec['shape'])} and is now {source.dtype} of "
            f"shape {tuple(source.spec['shape'])}"
        )
    return source


def _stored(spec: dict[str, Any], context: Any) -> Any:
    if "tensorstore" in spec:
        return _Chunked(spec, context)
    from tinybrain.volumes import files

    return files.open_file(spec)


def _from_json(text: Any) -> tuple[dict[str, Any], About]:
    if not isinstance(text, dict):
        try:
            text = json.loads(text)
        except ValueError as error:
            raise ValueError(f"source: {text!r} is not JSON: {error}") from None
    if "driver" not in text:
        raise ValueError("source: a TensorStore spec needs a driver, such as zarr3")
    about = About()
    if text["driver"] == "neuroglancer_precomputed":
        kind = text.get("multiscale_metadata", {}).get("type")
        about.labels = None if kind is None else kind == "segmentation"
    return {"tensorstore": text, "name": f"{text['driver']} spec"}, about


def _stored_at(url: str, name: str, may_be_incomplete: bool) -> tuple[dict[str, Any], About]:
    """Find out by its metadata what is stored at a URL."""
    store = open_kvstore(url, patient=False)
    if not may_be_incomplete and read_key(store, STATE) is not None:
        raise BuildError(f"source: {name} is incomplete: its build is under way or was stopped; run it again to end it")

    def spec(driver: str, path: str = "", **more: Any) -> dict[str, Any]:
        return {"tensorstore": {"driver": driver, "kvstore": url + path, **more}, "name": name}

    if (info := read_json(store, "info")) is not None and "scales" in info:
        try:
            folder = local_path(url + info["scales"][0]["key"])
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"source: {name} has an info file without scales") from None
        if folder is not None and (chunk := compressed_file(folder)) is not None:
            raise ValueError(
                f"source: {name} has chunks in compressed files such as {chunk}, as CloudVolume writes them, which "
                "TensorStore doesn't find; accepted are plain ones: write them with compress=False"
            )
        about = About(labels=info.get("type") == "segmentation")
        found = spec("neuroglancer_precomputed", scale_index=0)
        return found | {"drop_channel": info.get("num_channels") == 1}, about
    if (node := read_json(store, "zarr.json")) is not None:
        if node.get("node_type") == "array":
            return spec("zarr3"), About()
        about, path = _multiscales(node.get("attributes", {}).get("ome", {}), name)
        return spec("zarr3", path), about
    if read_json(store, ".zarray") is not None:
        return spec("zarr"), About()
    if (attributes := read_json(store, ".zattrs")) is not None and "multiscales" in attributes:
        about, path = _multiscales(attributes, name)
        return spec("zarr", path), about
    if (attributes := read_json(store, "attributes.json")) is not None and "dimensions" in attributes:
        return spec("n5"), About()
    if (attributes := read_json(store, "s0/attributes.json")) is not None and "dimensions" in attributes:
        return spec("n5", "s0/"), About()
    if (why := trouble(store)) is not None:
        raise ValueError(f"source: {name} is no volume that may be read: {why}")
    raise ValueError(
        f"source: {name} is no volume; accepted are Zarr, OME-Zarr, N5, Neuroglancer Precomputed, .npy, "
        "and TIFF files and folders"
    )


def _multiscales(attributes: dict[str, Any], name: str) -> tuple[About, str]:
    """Read what OME-Zarr says of mip 0."""
    try:
        first = attributes["multiscales"][0]
        path = first["datasets"][0]["path"]
        steps = [
            *first["datasets"][0].get("coordinateTransformations", []),
            *first.get("coordinateTransformations", []),
        ]
        names = [axis if isinstance(axis, str) else axis["name"] for axis in first.get("axes", [])]
    except (KeyError, IndexError, TypeError):
        raise ValueError(
            f"source: {name} is a Zarr group without OME-Zarr multiscales; name one of its arrays"
        ) from None
    about = About(labels=True if "image-label" in attributes else None)
    if names:
        about.axes = "".join(_axis(n) or "?" for n in names)
        units = [None if isinstance(axis, str) else axis.get("unit") for axis in first["axes"]]
        about.unit = _finest([u for u, n in zip(units, about.axes, strict=True) if n in "xyz"])
        scale, shift = np.ones(len(names)), np.zeros(len(names))
        for step in steps:
            if step.get("type") == "scale":
                scale, shift = scale * step["scale"], shift * step["scale"]
            elif step.get("type") == "translation":
                shift = shift + step["translation"]
        for axis, unit, size, at in zip(about.axes, units, scale, shift, strict=True):
            in_nm = NANOMETRES.get(unit or "", 1.0) if axis in "xyz" else 1.0
            about.voxel_size[axis], about.translation[axis] = float(size) * in_nm, float(at) * in_nm
    return about, path.rstrip("/") + "/"


def _read_labels(stored: _Chunked, about: About) -> None:
    """Take axes, voxel sizes and offsets from what TensorStore knows of them, where the metadata said nothing."""
    names = [_axis(label) for label in stored.labels][: len(stored.shape)]
    if about.axes is None and all(names) and len(set(names)) == len(names):
        about.axes = "".join(str(name) for name in names)
    if about.voxel_size or about.axes is None:
        return
    names = [_UNITS.get(unit.base_unit, unit.base_unit) if unit is not None else None for unit in stored.units]
    about.unit = _finest(names)
    for axis, unit, name, origin in zip(about.axes, stored.units, names, stored.origin, strict=False):
        if axis in "xyz" and name in NANOMETRES:
            about.voxel_size[axis] = unit.multiplier * NANOMETRES[name]
            about.translation[axis] = origin * about.voxel_size[axis]


def _finest(units: Sequence[str | None]) -> str | None:
    """Return the smallest of the units that are known, or None."""
    known = [unit for unit in units if unit in NANOMETRES]
    return min(known, key=lambda unit: NANOMETRES[unit or ""], default=None)


def _axis(name: str) -> str | None:
    """Return tinybrain's name of an axis, or None."""
    name = name.lower()
    name = {"channel": "c", "channels": "c", "time": "t"}.get(name, name)
    return name if len(name) == 1 and name in AXES else None


def _axes_of(axes: str | None, about: About, stored: Any, name: str) -> str:
    """Names of the axes as stored: as given, as the source says, or x, y, z, c, t."""
    rank = len(stored.shape)
    axes = axes or about.axes
    if not 2 <= rank <= len(AXES):
        raise ValueError(f"source: {name} has shape {tuple(stored.shape)}; accepted are 2 to {len(AXES)} axes")
    axes = AXES[:rank] if axes is None else axes
    axes = axes.lower().replace(",", "")
    if len(axes) != rank or len(set(axes)) != rank or not set(axes) <= set(AXES) or not {"x", "y"} <= set(axes):
        raise ValueError(
            f"axes: got {axes!r} for {name} of shape {tuple(stored.shape)}; "
            "accepted is one of x, y, z, c, t for each axis, "
            "x and y among them, in the order they are stored"
        )
    return axes


def file_identity(paths: list[Path]) -> list[Any]:
    """Return what changes when files are written to: sizes and times, summed up for many."""
    stats = [os.stat(path) for path in paths]
    return [len(stats), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)]
