"""The root of an existing volume: its files, and its arrays opened by TensorStore.

Metadata is read through TensorStore's key-value stores, so that local and remote volumes go the same way. What is
missing or broken is a ValueError of one line that names the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinybrain.volumes._extras import extra
from tinybrain.volumes.pyramid import Mip
from tinybrain.volumes.storage import PATIENCE, STATE, Store, kvstore_spec, one_line

Json = dict[str, Any]

ANSWER = 60  # seconds


def reason(error: Exception) -> str:
    """Return what an error of TensorStore says, in one line and without the specs and addresses at its end."""
    return f"no answer in {ANSWER} seconds" if isinstance(error, TimeoutError) else one_line(error)


class Unreadable(ValueError):
    """A file that may be there, but must not be read."""


@dataclass(frozen=True)
class Root:
    """The root of a volume: where its files are read from."""

    name: str  # as the user wrote it
    store: Store
    directory: Path | None

    def bytes_of(self, key: str) -> bytes | None:
        """Return the content of a file, or None if there is no such file."""
        try:
            found = self.store.keys.read(key).result(timeout=ANSWER)
        except Exception as error:  # TensorStore raises ValueError, OSError and more, by the kind of store
            kind = Unreadable if "PERMISSION_DENIED" in str(error) else ValueError
            raise kind(f"path: {self.at(key)} cannot be read: {reason(error)}") from None
        return None if found.state == "missing" else bytes(found.value)

    def json_of(self, key: str) -> Json | None:
        """Return the JSON object in a file, or None if there is no such file."""
        content = self.bytes_of(key)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"path: {self.at(key)} is broken: no JSON ({error})") from None
        if not isinstance(found, dict):
            raise ValueError(f"path: {self.at(key)} is broken: a JSON object is expected, not {type(found).__name__}")
        return found

    def at(self, key: str) -> str:
        """Return the name of a file in messages."""
        return f"{self.name.rstrip('/')}/{key}"

    def spec(self, key: str = "") -> Any:
        """Return the key-value store below a key, for a spec of TensorStore."""
        return kvstore_spec(self.store.url + (f"{quote(key)}/" if key else ""))


def state(root: Root) -> tuple[bool, Json]:
    """Return whether a volume is complete, and what its sidecar says."""
    try:
        sidecar = root.json_of(STATE)
    except Unreadable:  # object stores that hide their listing refuse what is not there
        sidecar = None
    return sidecar is None or sidecar.get("state") == "complete", sidecar or {}


_AXES = {"x": "space", "y": "space", "z": "space", "t": "time", "c": "channel", "c^": "channel", "channel": "channel"}


def kind_of_axis(name: str) -> str:
    """Return what an axis is of by its name, or an empty string."""
    return _AXES.get(name.lower(), "")


def no_pyramid(root: Root, format: str, is_array: bool, attributes: Json | None = None) -> str:
    """Say what a Zarr or N5 without mips is, and what to do about it."""
    if is_array:
        return f"path: {root.name} is a single {format} array without mips; `tinybrain build` makes a pyramid of it"
    inside = (attributes or {}).get("labels")
    hint = f": {', '.join(map(str, inside))}" if isinstance(inside, list) else ""
    return f"path: {root.name} is a {format} group without multiscales metadata; name the image in it{hint}"


def method_of(kind: Any, metadata: Any) -> str | None:
    """Return how the mips were made, from ``type`` or else ``metadata`` of a multiscale."""
    if isinstance(kind, str) and kind:
        return kind
    if isinstance(metadata, dict):
        for key in ("method", "description"):
            if isinstance(metadata.get(key), str) and metadata[key]:
                return str(metadata[key])
    return None


def opened(root: Root, specs: Sequence[Json], ndim: int | None) -> list[Any]:
    """Open all mips at once. Each begins at index 0 along every axis."""
    ts = extra("tensorstore")
    context = ts.Context(PATIENCE)
    opening = [ts.open(spec, open=True, read=True, context=context) for spec in specs]
    stores = []
    for k, future in enumerate(opening):
        try:
            store = future.result(timeout=ANSWER)
        except Exception as error:
            raise ValueError(f"path: {root.name} is broken: mip {k} cannot be opened: {reason(error)}") from None
        if ndim is None:
            ndim = len(store.shape)
        if len(store.shape) != ndim:
            raise ValueError(f"path: {root.name} is broken: mip {k} has {len(store.shape)} axes, not {ndim}")
        stores.append(store[ts.d[:].translate_to[0]] if ndim else store)
    return stores


def mip_of(
    root: Root,
    path: str,
    store: Any,
    scale: Sequence[float],
    translation: Sequence[float],
    precomputed: Json | None = None,
) -> Mip:
    """Describe one mip; `scale` and `translation` are as the volume says them, and checked here."""
    if not all(0 < s < math.inf for s in scale) or not all(math.isfinite(t) for t in translation):
        raise ValueError(
            f"path: {root.name} is broken: mip {path} has the scale {tuple(scale)} and the translation "
            f"{tuple(translation)}; accepted are positive and finite numbers"
        )
    layout = store.chunk_layout
    chunk = tuple(int(n or 0) for n in layout.read_chunk.shape)
    written = tuple(int(n or 0) for n in layout.write_chunk.shape)
    return Mip(
        path=path,
        store=store,
        scale=tuple(scale),
        translation=tuple(translation),
        chunk=chunk,
        shard=None if written == chunk else written,
        codecs=_codecs(store.codec.to_json() if store.codec else {}, precomputed),
        directory=None if root.directory is None else root.directory / path,
    )


def _codecs(spec: Json, precomputed: Json | None) -> tuple[str, ...]:
    """Return the names of what packs a chunk, without what only orders bytes or checks them."""
    if precomputed is not None:
        encoding = str(spec.get("encoding", "raw"))
        sharding = precomputed.get("sharding") or {}
        packed = sharding.get("data_encoding", "raw") if isinstance(sharding, dict) else "raw"
        return tuple(name for name in (encoding, packed) if name != "raw")
    found = spec.get("codecs", [])
    if found and found[0].get("name") == "sharding_indexed":
        found = found[0]["configuration"].get("codecs", [])
    names = [codec["name"] for codec in found]
    for key in ("compressor", "compression"):
        if isinstance(spec.get(key), dict):
            names.append(str(spec[key].get("id", spec[key].get("type"))))
    return tuple(name for name in names if name not in ("bytes", "crc32c", "transpose", "raw"))
