"""A contact sheet of a multiscale volume: one slice of every mip, side by side, in a PNG.

What is read does not grow with the volume. A mip whose slice is small is drawn whole; of a larger one, a window of
fixed size around the middle is drawn voxel by pixel, with a map that shows where it lies. All mips show the slice at
the same position. Contrast comes from percentiles of all panels and is the same in all, so that brightness can be
compared; labels have Neuroglancer's colours (`colours`). The drawing itself is in `sheet`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybrain.volumes.colours import Channel, blended, channel_colours, contrast, label_colours
from tinybrain.volumes.pyramid import Kind, Mip, Pyramid, open_pyramid

Array = npt.NDArray[Any]
Box = tuple[slice, ...]

SIZE = 320  # pixels of a side of a panel
_MOST_DECODED = 256 << 20  # bytes of chunks read for one panel; single chunks above that are read nevertheless


@dataclass(frozen=True)
class Plane:
    """Which slice of a pyramid is drawn.

    Attributes
    ----------
    rows, columns : int
        Numbers of the axes drawn downwards and to the right.
    normal : int or None
        Number of the axis of space that is sliced; None in flat volumes.
    index : int
        Of the slice along `normal`, in voxels of mip 0.
    others : dict
        Index along every axis that is not of space, but for channels.
    """

    rows: int
    columns: int
    normal: int | None
    index: int
    others: dict[int, int]


@dataclass(frozen=True)
class Panel:
    """What is drawn of one mip.

    Attributes
    ----------
    pixels : numpy.ndarray
        Red, green and blue, uint8, of shape (rows, columns, 3); a pixel per voxel.
    aspect : float
        Height of a voxel over its width.
    crop : (float, float, float, float) or None
        Left, top, right and bottom of the part that is shown as fractions of the slice; None if all of it is.
    width : float
        Of a voxel, in `unit`.
    unit : str
        Short, such as ``"nm"``; empty where there is none.
    caption : tuple of str
        Lines to write under it.
    is_labels : bool
        Colours of labels are not mixed when a panel is drawn smaller.
    """

    pixels: npt.NDArray[np.uint8]
    aspect: float
    crop: tuple[float, float, float, float] | None
    width: float
    unit: str
    caption: tuple[str, ...]
    is_labels: bool = False


def preview(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    axis: str | None = None,
    slice: int | None = None,
    kind: Kind | None = None,
    channel: int | None = None,
    time: int = 0,
    size: int = SIZE,
) -> Path:
    """Draw one slice of every mip side by side.

    Parameters
    ----------
    path : str or path
        A multiscale volume, as `open_pyramid` takes it.
    out : str or path
        The picture to write; ``.png``, or another ending that Pillow knows. It is replaced if it exists.
    axis : str, optional
        Name of the axis that is sliced, such as ``"x"``. Default: z.
    slice : int, optional
        Index of the slice along `axis`, in voxels of mip 0. Default: the middle.
    kind : {"image", "labels"}, optional
        How voxels are drawn. Default: what the volume says it is.
    channel : int, optional
        The one channel to draw, in grey. Default: up to six of them, in colours.
    time : int, optional
        Index along an axis of time, and along others that are neither of space nor of channels.
    size : int, optional
        Pixels of a side of a panel, 64 to 2048.

    Returns
    -------
    pathlib.Path
        `out`.

    Raises
    ------
    FileNotFoundError, ValueError
        `path` is no multiscale volume, its voxels cannot be read, an argument is out of range, or `out` cannot be
        written.
    ImportError
        The extra is not installed: ``pip install "tinybrain[volumes]"``.
    """
    from tinybrain.volumes import sheet

    target = sheet.checked_target(out)
    if not 64 <= size <= 2048:
        raise ValueError(f"size: got {size}; accepted are 64 to 2048 pixels")
    pyramid = open_pyramid(path)
    shown = kind or pyramid.kind
    plane = chosen_plane(pyramid, axis, slice, time)
    panels, channels = _panels(pyramid, plane, shown, channel, size)
    names = [(c.name or f"channel {c.index}", c.colour) for c in channels] if len(channels) > 1 else []
    sheet.draw(
        target, panels, title=_title(pyramid), subtitle=_subtitle(pyramid, plane, shown), legend=names, size=size
    )
    return target


def chosen_plane(pyramid: Pyramid, axis: str | None, index: int | None, time: int) -> Plane:
    """Find the axes of the slice, and check where it is."""
    space = pyramid.xyz
    if len(space) not in (2, 3):
        raise ValueError(f"path: {pyramid.path} has {len(space)} axes of space; accepted are 2 and 3")
    shape = pyramid.mips[0].shape
    if 0 in shape:
        raise ValueError(f"path: {pyramid.path} has no voxels: its shape is {shape}")
    others = {k: time for k, a in enumerate(pyramid.axes) if a.type != "space" and k != pyramid.channel_axis}
    for k in others:
        if not 0 <= time < shape[k]:
            raise ValueError(f"time: got {time}; accepted are 0 to {shape[k] - 1} along {pyramid.axes[k].name}")
    if len(space) == 2:
        if axis is not None or index is not None:
            raise ValueError(f"{'axis' if axis else 'slice'}: {pyramid.path} is flat; there is nothing to slice")
        return Plane(space[1], space[0], None, 0, others)
    names = [pyramid.axes[k].name for k in space]
    if axis is not None and axis not in names:
        raise ValueError(f"axis: got {axis!r}; accepted are {', '.join(names)}")
    sliced = 2 if axis is None else names.index(axis)
    # To the right and down: x and y, x and z, z and y, as in Neuroglancer's panels.
    right, down = {2: (0, 1), 1: (0, 2), 0: (2, 1)}[sliced]
    extent = shape[space[sliced]]
    if index is None:
        index = extent // 2
    if not 0 <= index < extent:
        raise ValueError(f"slice: got {index}; accepted are 0 to {extent - 1} along {names[sliced]}")
    return Plane(space[down], space[right], space[sliced], index, others)


# --- What is read ---------------------------------------------------------------------------------


def _panels(
    pyramid: Pyramid, plane: Plane, kind: Kind, channel: int | None, size: int
) -> tuple[list[Panel], Sequence[Channel]]:
    """Read the slices of all mips, and colour them."""
    channels = _chosen_channels(pyramid, kind, channel)
    boxes = [_box(mip, plane, _middle(pyramid, plane), size) for mip in pyramid.mips]
    planes = _read(pyramid, plane, boxes, channels)
    if kind == "image":
        channels = _with_contrast(pyramid, planes, channels)
    panels = []
    for k, (mip, box, parts) in enumerate(zip(pyramid.mips, boxes, planes, strict=True)):
        panels.append(
            Panel(
                pixels=label_colours(parts[0]) if kind == "labels" else blended(parts, channels),
                aspect=_aspect(mip, plane),
                crop=_crop(mip, plane, box),
                width=mip.scale[plane.columns],
                unit=pyramid.axes[plane.columns].short_unit,
                caption=_caption(pyramid, k, box, plane),
                is_labels=kind == "labels",
            )
        )
    return panels, channels


def _read(
    pyramid: Pyramid, plane: Plane, boxes: Sequence[dict[int, slice]], channels: Sequence[Channel]
) -> list[list[Array]]:
    """Read a part of a slice of every mip and channel, all at once."""
    for mip in pyramid.mips:
        mip.check_readable()
    reading = [
        [mip.store[_index(pyramid, mip, plane, box, c.index)].read() for c in channels]
        for mip, box in zip(pyramid.mips, boxes, strict=True)
    ]
    return [[_rows_first(_result(future, k), plane) for future in futures] for k, futures in enumerate(reading)]


def drawn_channels(pyramid: Pyramid) -> Sequence[Channel]:
    """Return the channels of an image that are drawn, with the colours and the contrast that its preview has."""
    plane = chosen_plane(pyramid, None, None, 0)
    channels = _chosen_channels(pyramid, "image", None)
    boxes = [_box(mip, plane, _middle(pyramid, plane), SIZE) for mip in pyramid.mips]
    return _with_contrast(pyramid, _read(pyramid, plane, boxes, channels), channels)


def _chosen_channels(pyramid: Pyramid, kind: Kind, channel: int | None) -> Sequence[Channel]:
    dtype = pyramid.mips[0].dtype
    if kind == "labels" and np.dtype(pyramid.mips[0].store.dtype.numpy_dtype).kind not in "iub":
        raise ValueError(f"kind: labels of dtype {dtype} have no colours; accepted are integers and bool")
    if kind == "image" and dtype in ("complex64", "complex128", "string", "ustring", "byte", "char", "json"):
        raise ValueError(f"path: {pyramid.path} has voxels of dtype {dtype}; accepted are integers, floats and bool")
    axis = pyramid.channel_axis
    count = 1 if axis is None else pyramid.mips[0].shape[axis]
    if channel is not None:
        if not 0 <= channel < count:
            raise ValueError(f"channel: got {channel}; accepted are 0 to {count - 1}")
        return [replace(channel_colours(1, (), dtype)[0], index=channel)]
    return channel_colours(1 if kind == "labels" else count, pyramid.channels, dtype)


def _middle(pyramid: Pyramid, plane: Plane) -> dict[int, float]:
    """Position that every panel has in its middle, per axis."""
    first = pyramid.mips[0]
    return {k: first.translation[k] + first.scale[k] * (first.shape[k] - 1) / 2 for k in (plane.rows, plane.columns)}


def _aspect(mip: Mip, plane: Plane) -> float:
    return mip.scale[plane.rows] / mip.scale[plane.columns]


def _box(mip: Mip, plane: Plane, middle: dict[int, float], size: int) -> dict[int, slice]:
    """Choose the part of a slice that is read, per axis: all of it, or a window around the middle."""
    whole = {k: slice(0, mip.shape[k]) for k in (plane.rows, plane.columns)}
    aspect = _aspect(mip, plane)
    tall, wide = max(aspect, 1.0), max(1 / aspect, 1.0)  # pixels of a voxel
    large = mip.shape[plane.rows] * tall > 2 * size or mip.shape[plane.columns] * wide > 2 * size
    if not large and _decoded(mip, whole) <= _MOST_DECODED:
        return whole
    while True:
        box = {}
        for k, pixels in ((plane.rows, tall), (plane.columns, wide)):
            n = min(mip.shape[k], max(1, math.ceil(size / pixels)))
            at = round((middle[k] - mip.translation[k]) / mip.scale[k] - (n - 1) / 2)
            start = min(max(at, 0), mip.shape[k] - n)
            box[k] = slice(start, start + n)
        if _decoded(mip, box) <= _MOST_DECODED or size <= 64:
            return box
        size //= 2


def _decoded(mip: Mip, box: dict[int, slice]) -> int:
    """Bytes of the chunks that a slice of this part lies in."""
    nbytes = mip.store.dtype.numpy_dtype.itemsize
    for k, chunk in enumerate(mip.chunk):
        nbytes *= chunk
        if k in box:
            nbytes *= -(-box[k].stop // chunk) - box[k].start // chunk
    return int(nbytes)


def _slice_of(pyramid: Pyramid, mip: Mip, plane: Plane) -> int:
    """Index of the slice in a mip: the voxel that the slice of mip 0 goes through."""
    if plane.normal is None:
        return 0
    k, first = plane.normal, pyramid.mips[0]
    position = first.translation[k] + first.scale[k] * plane.index
    return min(max(math.floor((position - mip.translation[k]) / mip.scale[k] + 0.5), 0), mip.shape[k] - 1)


def _index(pyramid: Pyramid, mip: Mip, plane: Plane, box: dict[int, slice], channel: int) -> Box:
    """Index of the part of a slice, for TensorStore."""
    found: list[Any] = [0] * len(mip.shape)
    for k, index in plane.others.items():
        found[k] = min(index, mip.shape[k] - 1)
    if pyramid.channel_axis is not None:
        found[pyramid.channel_axis] = min(channel, mip.shape[pyramid.channel_axis] - 1)
    if plane.normal is not None:
        found[plane.normal] = _slice_of(pyramid, mip, plane)
    for k, part in box.items():
        found[k] = part
    return tuple(found)


def _result(future: Any, mip: int) -> Array:
    from tinybrain.volumes.root import reason

    try:
        return np.asarray(future.result())
    except Exception as error:
        raise ValueError(f"path: mip {mip} cannot be read: {reason(error)}") from None


def _rows_first(part: Array, plane: Plane) -> Array:
    return part if plane.rows < plane.columns else part.T


def _with_contrast(
    pyramid: Pyramid, planes: Sequence[Sequence[Array]], channels: Sequence[Channel]
) -> Sequence[Channel]:
    """Give each channel the range that all its panels lie in. Pictures of red, green and blue have one range."""
    if pyramid.mips[0].dtype == "bool":
        return [replace(c, low=0.0, high=1.0) for c in channels]
    ranges = [[contrast(part) for part in parts] for parts in zip(*planes, strict=True)]
    if len(channels) == 3 and pyramid.mips[0].dtype == "uint8" and not pyramid.channels:
        ranges = [[one for several in ranges for one in several]] * 3
    return [
        replace(c, low=min(low for low, _ in of), high=max(high for _, high in of))
        for c, of in zip(channels, ranges, strict=True)
    ]


# --- What is written beside it --------------------------------------------------------------------


def _crop(mip: Mip, plane: Plane, box: dict[int, slice]) -> tuple[float, float, float, float] | None:
    rows, columns = box[plane.rows], box[plane.columns]
    high, wide = mip.shape[plane.rows], mip.shape[plane.columns]
    if (rows.stop - rows.start, columns.stop - columns.start) == (high, wide):
        return None
    return (columns.start / wide, rows.start / high, columns.stop / wide, rows.stop / high)


def _caption(pyramid: Pyramid, number: int, box: dict[int, slice], plane: Plane) -> tuple[str, ...]:
    mip = pyramid.mips[number]
    space = pyramid.xyz
    lines = [f"mip {number}", " x ".join(f"{mip.shape[k]:,}" for k in space), _voxel_size(pyramid, mip)]
    if _crop(mip, plane, box) is not None:
        parts = (f"{pyramid.axes[k].name} {box[k].start:,} - {box[k].stop - 1:,}" for k in (plane.columns, plane.rows))
        lines.append("window: " + ", ".join(parts))
    return tuple(lines)


def _voxel_size(pyramid: Pyramid, mip: Mip) -> str:
    """Write the size of a voxel, the unit once if all axes have the same."""
    units = [pyramid.axes[k].short_unit for k in pyramid.xyz]
    sizes = [f"{mip.scale[k]:.4g}" for k in pyramid.xyz]
    if len(set(units)) == 1:
        return " x ".join(sizes) + (f" {units[0]}" if units[0] else "")
    return " x ".join(f"{size} {unit}".rstrip() for size, unit in zip(sizes, units, strict=True))


def _title(pyramid: Pyramid) -> str:
    return os.path.basename(os.path.abspath(pyramid.path)) if pyramid.root else pyramid.path


def _subtitle(pyramid: Pyramid, plane: Plane, kind: Kind) -> str:
    words = [pyramid.format, f"{kind} of {pyramid.mips[0].dtype}"]
    if pyramid.method:
        words.append(pyramid.method)
    if plane.normal is not None:
        words.append(f"slice {pyramid.axes[plane.normal].name} = {plane.index:,}")
    if not pyramid.complete:
        words.append("INCOMPLETE")
    return "  ·  ".join(words)
