"""Key-value stores, boxes and bounded traffic: what every part of `tinybrain.volumes` needs of TensorStore.

A *box* is a pair of corners (start, stop) in voxels. Reading and writing go piece by piece through a `Pipe`, which lets
only so many bytes be under way: TensorStore holds encoded and decoded chunks of everything it was asked for at once, so
that bounding what is asked for is what bounds the memory.

Volumes are addressed by TensorStore's URLs of key-value stores (``file:///a/b/``, ``gs://bucket/a/``, ``memory://``),
and those of S3 as `s3` has them; a plain path is a local folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import numpy as np

from tinybrain._arguments import Array
from tinybrain.volumes import s3
from tinybrain.volumes._extras import extra

Shape: TypeAlias = "tuple[int, ...]"
Box: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...]]"


def _retries(times: int, first: str, longest: str) -> dict[str, Any]:
    retries = {"max_retries": times, "initial_delay": first, "max_delay": longest}
    return {f"{store}_request_retries": retries for store in ("http", "gcs", "s3")}


# A server that is not there should be told of in seconds; one that goes while a build is under way may come back, and
# is waited for some five minutes (a quarter of an hour is TensorStore's own patience).
PATIENCE = _retries(3, "200ms", "2s")
LONG_PATIENCE = _retries(12, "1s", "32s")

# While this file is in a volume, the volume is incomplete.
STATE = "tinybrain-build.json"


class BuildError(RuntimeError):
    """Something went wrong with a volume: a chunk that can't be read, a full disk, a source that changed."""


class Stopped(BuildError):
    """The run was told to stop."""


def context(threads: int) -> Any:
    """Return a TensorStore context that caches nothing and decodes on `threads` threads."""
    return extra("tensorstore").Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "data_copy_concurrency": {"limit": threads},
            "file_io_concurrency": {"limit": max(4, threads)},
            **LONG_PATIENCE,
        }
    )


class Heap:
    """The heap of this process, kept from growing beyond `limit` by what nobody uses, where the C library is glibc.

    By default every thread has a heap of its own, and a heap keeps what is freed in its midst: with chunks of some MiB
    that come and go on many threads, a process takes a multiple of what it holds. So there is one heap from now on,
    and it is trimmed while the process has more than three quarters of the limit.
    """

    EVERY = 0.02  # seconds between two looks; a trim takes about as long

    def __init__(self, limit: int) -> None:
        self.most, self.next = limit // 4 * 3, 0.0
        try:
            library = ctypes.CDLL(None)
            library.mallopt(-8, 1)  # M_ARENA_MAX
            self._trim: Any = library.malloc_trim
        except (AttributeError, OSError, TypeError):  # another C library, another system
            self._trim = None

    def trim(self) -> None:
        """Give back to the system what is free, if the process has much."""
        if self._trim is None or time.monotonic() < self.next:
            return
        with open("/proc/self/statm", "rb") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if resident > self.most:
            self._trim(0)
        self.next = time.monotonic() + self.EVERY


def kvstore_url(path: str | os.PathLike[str]) -> str:
    """Return the URL of a folder, ending in a slash: of a local path, or the URL itself."""
    text = os.fspath(path)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text):
        return s3.with_endpoint(text if text.endswith("/") else text + "/")
    return Path(os.path.abspath(os.path.expanduser(text)), "_").as_uri()[:-1]


def kvstore_spec(url: str) -> Any:
    """Return what TensorStore opens for a URL: itself, or a spec of S3."""
    return s3.spec(s3.with_endpoint(url)) or url


def local_path(url: str) -> Path | None:
    """Return the local folder of a URL, or None if it is elsewhere."""
    if not url.startswith("file://"):
        return None
    return Path(unquote(url[len("file://") :]))


@dataclass(frozen=True)
class Store:
    """An open key-value store and its URL, which TensorStore doesn't know of S3 with an endpoint."""

    url: str
    keys: Any


def open_kvstore(url: str, *, patient: bool = True) -> Store:
    """Open the key-value store at a URL, for long jobs or, not patient, for a first look."""
    ts = extra("tensorstore")
    try:
        context = ts.Context(LONG_PATIENCE if patient else PATIENCE)
        return Store(url, ts.KvStore.open(kvstore_spec(url), context=context).result())
    except ValueError as error:
        raise ValueError(f"path: {url} can't be opened: {one_line(error)}") from None


def read_key(store: Store, key: str) -> bytes | None:
    """Return what is stored under a key, or None."""
    try:
        found = store.keys.read(key).result()
    except ValueError as error:
        if "PERMISSION_DENIED" in str(error) and local_path(store.url) is None:
            return None  # object stores that hide their listing refuse what is not there
        raise BuildError(f"{store.url}{key} can't be read: {one_line(error)}") from None
    return bytes(found.value) if found.state == "value" else None


def list_keys(store: Store) -> list[str]:
    """Return all keys."""
    try:
        return [key.decode() for key in store.keys.list().result()]
    except ValueError as error:
        raise BuildError(f"{store.url} can't be listed: {one_line(error)}") from None


def trouble(store: Store) -> str | None:
    """Return why a store that seems to hold no volume may hold one: it isn't there, or may not be read."""
    try:
        for key in ("zarr.json", ".zarray", ".zattrs", "info", "attributes.json"):
            store.keys.read(key).result()
        store.keys.list(extra("tensorstore").KvStore.KeyRange(STATE, STATE + "\0")).result()
    except ValueError as error:
        return one_line(error)
    except NotImplementedError:  # HTTP has no listing
        pass
    return None


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """Return the JSON object under a key, or None if there is none."""
    text = read_key(store, key)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BuildError(f"{store.url}{key} is not JSON: {error}") from None
    return value if isinstance(value, dict) else None


def write_key(store: Store, key: str, value: bytes, seconds: float | None = None) -> None:
    """Store a value, whole and durably, or not at all; for so many seconds, if given."""
    try:
        store.keys.write(key, value).result(timeout=seconds)
    except (ValueError, TimeoutError) as error:
        raise BuildError(f"{store.url}{key} can't be written: {one_line(error)}") from None


def write_json(store: Store, key: str, value: dict[str, Any]) -> None:
    """Store a JSON object."""
    write_key(store, key, json.dumps(value, indent=2).encode())


def delete_prefix(store: Store, prefix: str) -> None:
    """Delete everything whose key starts with `prefix`, and the folders that this empties."""
    ts = extra("tensorstore")
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""
    try:
        store.keys.delete_range(ts.KvStore.KeyRange(prefix, end)).result()
    except ValueError as error:
        raise BuildError(f"{store.url}{prefix} can't be deleted: {one_line(error)}") from None
    folder = local_path(store.url + prefix)
    if folder is not None and folder.is_dir():
        for path, _, _ in os.walk(folder, topdown=False):
            if not os.listdir(path):
                os.rmdir(path)


def one_line(error: BaseException) -> str:
    """Return the words of an error without the details that TensorStore appends in brackets."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    # A layout is tried out in memory; control characters are none of a message's; a slash may come as an escaped zero.
    text = re.sub(r"memory://probe/\S*", "the destination", re.sub(r"[\x00-\x1f\x7f]+", " ", text))
    text = text.replace(r"\x00", "/")
    text = re.sub(r"\s*\[[\w -]+=['\"].*", "", text)
    text = re.sub(r"PERMISSION_DENIED: (Unknown)?", "permission denied: ", text).removesuffix(": ")
    return re.sub(r"^[A-Z_]+: ", "", text)


def compressed_file(folder: Path) -> str | None:
    """Return the name of a chunk that is compressed as a whole file, as CloudVolume and igneous write them, or None.

    TensorStore doesn't find such chunks, and would read zeros.
    """
    try:
        with os.scandir(folder) as entries:
            name = next((entry.name for entry in entries), "")
    except OSError:
        return None
    return name if name.endswith((".gz", ".br", ".zst", ".xz", ".bz2")) else None


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Keep a local folder for this process and its children; the lock ends with the process, however that ends.

    Processes on other hosts, and other users, are not kept out, nor is anybody where there is no `fcntl`.
    """
    folder = local_path(url)
    try:
        import fcntl
    except ImportError:
        folder = None
    if folder is None:
        yield
        return
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"tinybrain-{os.getuid()}-{name}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BuildError(f"destination: another build is at work in {folder}") from None
        # The file stays: who removed it would part those who wait from those who come.
        yield


class Pipe:
    """Reads or writes under way, at most `limit` bytes of them (one at least); the oldest is waited for first.

    `piece` is how many bytes to ask for at once, so that two are under way; `breathe` is called before each.
    """

    def __init__(self, limit: int, breathe: Callable[[], None], doing: str) -> None:
        self.limit, self.breathe, self.doing = limit, breathe, doing
        self.piece = max(1, limit // 2)
        self._waiting: deque[tuple[int, Any]] = deque()
        self._bytes = 0

    def make_room(self, nbytes: int) -> None:
        """Wait until `nbytes` more fit."""
        while self._waiting and self._bytes + nbytes > self.limit:
            self._wait()
        self.breathe()

    def add(self, nbytes: int, future: Any) -> None:
        """Remember something that is under way."""
        self._waiting.append((nbytes, future))
        self._bytes += nbytes

    def finish(self) -> None:
        """Wait for everything."""
        while self._waiting:
            self._wait()

    def abandon(self) -> None:
        """Wait for everything, whatever becomes of it: buffers may be used again after this; or stop."""
        while self._waiting:
            try:
                self._wait()
            except BuildError:
                continue

    def _wait(self) -> None:
        nbytes, future = self._waiting.popleft()
        self._bytes -= nbytes
        try:
            waited_for(future, self.breathe)
        except (ValueError, OSError) as error:
            raise BuildError(f"{self.doing}: {one_line(error)}") from None


def waited_for(future: Any, breathe: Callable[[], None]) -> Any:
    """Return the result of a future, however long it takes; `breathe` is called every second."""
    while True:
        try:
            return future.result(timeout=1)
        except TimeoutError:
            breathe()


def slices(box: Box) -> tuple[slice, ...]:
    """Return the box as slices."""
    return tuple(slice(start, stop) for start, stop in zip(*box, strict=True))


def within(box: Box, origin: Shape) -> tuple[slice, ...]:
    """Return the box as slices of an array that begins at `origin`."""
    return tuple(slice(a - o, b - o) for a, b, o in zip(*box, origin, strict=True))


def inner(index: tuple[Any, ...]) -> Any:
    """Return an index of the last axes of an array, whatever comes before them."""
    return (Ellipsis, *index)


def ordered(stored: Array, order: Sequence[int]) -> Array:
    """Return an array whose last axes lie in memory as `order` has them, with these axes in tinybrain's order."""
    lead = stored.ndim - len(order)
    turned: Array = stored.transpose([*range(lead), *(lead + order.index(axis) for axis in range(len(order)))])
    return turned


def stored_order(array: Array, order: Sequence[int]) -> Array:
    """Return the view of an array with its last axes as `order` has them: the opposite of `ordered`."""
    lead = array.ndim - len(order)
    turned: Array = array.transpose([*range(lead), *(lead + axis for axis in order)])
    return turned


def laid_out(array: Array, order: Sequence[int]) -> Array:
    """Return an array whose fastest axis is the last one of `order`: itself, or a copy.

    Copying from one fastest axis to another touches a line of the cache per voxel; in tiles as narrow as such a line
    along both it takes a seventh of the time that numpy and TensorStore take.
    """
    large = [axis for axis in order if array.shape[axis] > 1]
    if not large or (fastest := min(large, key=lambda axis: abs(array.strides[axis]))) == large[-1]:
        return array
    turned = ordered(np.empty([array.shape[axis] for axis in order], array.dtype), order)
    tile = [slice(None)] * array.ndim
    for a in range(0, array.shape[fastest], 16):
        for b in range(0, array.shape[large[-1]], 16):
            tile[fastest], tile[large[-1]] = slice(a, a + 16), slice(b, b + 16)
            turned[tuple(tile)] = array[tuple(tile)]
    return turned


def extents(box: Box) -> Shape:
    """Return the shape of a box."""
    return tuple(stop - start for start, stop in zip(*box, strict=True))


def tiles(box: Box, chunk: Sequence[int], most: int, order: Sequence[int], *, whole: bool = False) -> Iterator[Box]:
    """Cut a box into pieces of whole chunks.

    Parameters
    ----------
    box : Box
        What to cut.
    chunk : sequence of int
        Shape of the chunks, whose grid starts at 0. Pieces end on it, or where the box ends.
    most : int
        Voxels of a piece at most, or one chunk.
    order : sequence of int
        Axes from the slowest to the fastest in memory: pieces grow along the fastest first.
    whole : bool
        Whether all voxels of chunks count that a piece has a part of.
    """
    piece = list(chunk)
    shape = extents(box)
    for axis in reversed(order):
        others = 1
        for other, extent in enumerate(piece):
            others *= 1 if other == axis else extent if whole else min(extent, shape[other])
        times = max(1, min(most // max(1, others * piece[axis]), -(-shape[axis] // piece[axis]) + 1))
        piece[axis] *= times
        if piece[axis] < shape[axis]:
            break
    ranges = []
    for start, stop, step in zip(*box, piece, strict=True):
        cuts = [start, *range((start // step + 1) * step, stop, step), stop]
        ranges.append(list(itertools.pairwise(cuts)))
    for corner in itertools.product(*(ranges[axis] for axis in order)):
        pairs = [(0, 0)] * len(order)
        for axis, pair in zip(order, corner, strict=True):
            pairs[axis] = pair
        yield tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
