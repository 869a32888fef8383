"""An existing multiscale volume, opened for reading: what it holds, and a TensorStore handle per mip.

OME-Zarr 0.4 and 0.5 (images and labels), Neuroglancer Precomputed and multiscale N5 look alike from here on: mips with
the shape, the voxel size and the place of each, in the order of axes that the volume has on disk. `info`, `preview` and
`view` stand on this. Opening reads metadata alone, whatever the size of the volume, and nothing is ever written.

How each format says these things is in `layouts` and the readers it names.

Positions are those of voxel centres, as OME-Zarr has them: the centre of voxel i of a mip is at
``translation + i * scale``, in the unit of the axis. Neuroglancer Precomputed counts from corners of voxels; half a
voxel is put between the two, so that the first voxel of its mip 0 is at ``voxel_offset * resolution``.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from tinybrain.volumes.s3 import with_endpoint
from tinybrain.volumes.storage import compressed_file, kvstore_url

if TYPE_CHECKING:
    import tensorstore as ts

Kind = Literal["image", "labels"]

_SHORT_UNITS = {
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "millisecond": "ms",
    "second": "s",
    "minute": "min",
    "hour": "h",
}


@dataclass(frozen=True)
class Axis:
    """One axis of a volume.

    Attributes
    ----------
    name : str
        Such as ``"x"``.
    type : {"space", "time", "channel", ""}
        Empty where the volume does not say.
    unit : str
        In full, such as ``"nanometer"``; empty where there is none.
    """

    name: str
    type: str
    unit: str = ""

    @property
    def short_unit(self) -> str:
        """The unit as captions write it."""
        return _SHORT_UNITS.get(self.unit, self.unit)


@dataclass(frozen=True)
class Stored:
    """What a directory holds on disk.

    Attributes
    ----------
    nbytes, files : int
        Sums of what was counted.
    whole : bool
        False where counting stopped early, so that both are lower bounds.
    """

    nbytes: int
    files: int
    whole: bool


@dataclass(frozen=True)
class Mip:
    """One level of a multiscale volume.

    Attributes
    ----------
    path : str
        Of its array, relative to the volume.
    store : tensorstore.TensorStore
        Its voxels, read-only, from index 0 along every axis.
    scale, translation : tuple of float
        Size of a voxel and position of the first voxel's centre, per axis, in the axis' unit.
    chunk : tuple of int
        The smallest block that is read at once.
    shard : tuple of int or None
        The block that makes a file, where files hold many chunks. An entry of 0: all of the axis.
    codecs : tuple of str
        How chunks are packed, such as ``("zstd",)``; empty where they are raw.
    directory : pathlib.Path or None
        Where its files are, of a local volume.
    """

    path: str
    store: ts.TensorStore = field(repr=False)
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    codecs: tuple[str, ...]
    directory: Path | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return tuple(int(n) for n in self.store.shape)

    @property
    def dtype(self) -> str:
        """Name of the type of a voxel, such as ``"uint8"``."""
        return str(self.store.dtype.name)

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels as an array in memory."""
        size = int(self.store.dtype.numpy_dtype.itemsize)
        for n in self.shape:
            size *= n
        return size

    def on_disk(self, until: float | None = None) -> Stored | None:
        """Count the bytes of the files of this mip.

        Parameters
        ----------
        until : float, optional
            The value of `time.monotonic` at which counting stops. Without it, all files are counted.

        Returns
        -------
        Stored or None
            None where the volume is not on a local disk.
        """
        return None if self.directory is None else _counted(self.directory, until)

    def check_readable(self) -> None:
        """Raise `ValueError` if the chunks are files that are compressed as a whole.

        CloudVolume and igneous write such files on local disks. TensorStore does not find them and would read zeros.
        """
        if self.directory is None:
            return
        name = compressed_file(self.directory)
        if name is not None:
            raise ValueError(
                f"path: {self.directory} has chunks in compressed files such as {name}, as CloudVolume writes them; "
                "accepted are plain ones: write them with compress=False"
            )


@dataclass(frozen=True)
class Pyramid:
    """A multiscale volume.

    Attributes
    ----------
    path : str
        As it was given.
    format : str
        Such as ``"OME-Zarr 0.5"``.
    driver : {"zarr", "zarr3", "neuroglancer_precomputed", "n5"}
        TensorStore's name for the format.
    axes : tuple of Axis
        In the order of the arrays.
    mips : tuple of Mip
        The largest first.
    kind : {"image", "labels"}
    method : str or None
        How a mip was made from the one before, in the words of the volume; None where it does not say.
    complete : bool
        False while `tinybrain build` is not done with it.
    channels : tuple of dict
        What an OME-Zarr says of its channels (``label``, ``color``, ``window``, ...), if anything.
    url : str
        Of its root.
    root : pathlib.Path or None
        Its directory, of a local volume.
    """

    path: str
    format: str
    driver: str
    axes: tuple[Axis, ...]
    mips: tuple[Mip, ...]
    kind: Kind
    method: str | None
    complete: bool
    channels: tuple[dict[str, Any], ...] = ()
    url: str = ""
    root: Path | None = None

    @property
    def channel_axis(self) -> int | None:
        """The number of the axis of channels, or None."""
        return next((k for k, axis in enumerate(self.axes) if axis.type == "channel"), None)

    @property
    def xyz(self) -> tuple[int, ...]:
        """The numbers of the axes of space, x first, then y, then z.

        By their names where these are of x, y and z; else the last axis of an OME-Zarr is x, and the first one of other
        formats.
        """
        space = [k for k, axis in enumerate(self.axes) if axis.type == "space"]
        if all(self.axes[k].name in ("x", "y", "z") for k in space):
            return tuple(sorted(space, key=lambda k: self.axes[k].name))
        return tuple(reversed(space) if self.driver.startswith("zarr") else space)


def open_pyramid(path: str | os.PathLike[str]) -> Pyramid:
    """Open a multiscale volume for reading.

    Parameters
    ----------
    path : str or path
        The directory of an OME-Zarr image or labels (0.4, 0.5), of a Neuroglancer Precomputed volume or of a
        multiscale N5 group; or its URL, such as ``"gs://bucket/volume"``, ``"s3://..."``, ``"https://..."``,
        with or without Neuroglancer's format around it (``"precomputed://gs://..."``, ``"gs://...|zarr3:"``).

    Returns
    -------
    Pyramid

    Raises
    ------
    FileNotFoundError
        There is nothing at `path`.
    ValueError
        What is there is no multiscale volume, or its metadata is broken. The message says what is wrong.
    ImportError
        The extra is not installed: ``pip install "tinybrain[volumes]"``.

    Examples
    --------
    >>> import tempfile
    >>> open_pyramid(tempfile.gettempdir() + "/no such volume")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: path: there is nothing at .../no such volume
    """
    from tinybrain.volumes import layouts

    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"path: got {path!r}; accepted is a str or a path")
    text = os.fspath(path)
    if not text:
        raise ValueError("path: got an empty string; accepted is the directory or URL of a multiscale volume")
    url = location(text)
    if url is not None and not (url.startswith("file://") and "|" not in url):
        return layouts.read(text, with_endpoint(url), None)
    root = Path(text if url is None else unquote(url.removeprefix("file://")))
    try:
        there = root.exists()
    except OSError as error:
        raise ValueError(f"path: {text} cannot be opened: {error.strerror}") from None
    if not there:
        raise FileNotFoundError(f"path: there is nothing at {text}")
    if not root.is_dir():
        raise ValueError(f"path: {text} is a file; accepted is the directory of a multiscale volume")
    return layouts.read(text, kvstore_url(os.path.abspath(root)), root)


def location(text: str) -> str | None:
    """Return the URL of the directory that `text` names, or None for a local path.

    Neuroglancer's ways of naming the format too are taken off: the format is found from what is there.
    """
    text = re.sub(r"^(?:zarr[23]?|n5|precomputed)://(?=[a-z0-9+.-]+://)", "", text)
    if not re.match(r"^[A-Za-z][A-Za-z0-9+.-]+://", text):
        return None
    text = re.sub(r"\|(?:zarr[23]?|n5|neuroglancer-precomputed):/*$", "", text)
    return text if text.endswith(("/", ":")) else text + "/"


def _counted(directory: Path, until: float | None) -> Stored:
    """Count the files below a directory. What goes away or may not be looked into meanwhile counts nothing."""
    nbytes = files = 0
    for size in _sizes(directory):
        nbytes += size
        files += 1
        if until is not None and files % 256 == 0 and time.monotonic() > until:
            return Stored(nbytes, files, whole=False)
    return Stored(nbytes, files, whole=True)


def _sizes(directory: Path) -> Iterator[int]:
    pending: list[str | Path] = [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                        continue
                    with contextlib.suppress(OSError):
                        yield entry.stat().st_size
        except OSError:
            continue
