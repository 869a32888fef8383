"""Which format a volume has: found from the files at its root, then read by that format's reader.

The readers are `ome_zarr_layout`, `precomputed_layout` and `n5_layout`; what they share is in `root`.
"""

from __future__ import annotations

from pathlib import Path

from tinybrain.volumes.n5_layout import read_n5
from tinybrain.volumes.ome_zarr_layout import read_ome_zarr
from tinybrain.volumes.precomputed_layout import read_precomputed
from tinybrain.volumes.pyramid import Pyramid
from tinybrain.volumes.root import Json, Root, Unreadable, no_pyramid, state
from tinybrain.volumes.storage import open_kvstore, trouble


def read(name: str, url: str, directory: Path | None) -> Pyramid:
    """Open the multiscale volume at a URL, which ends in a slash; `directory` is that of a local one."""
    root = Root(name, open_kvstore(url, patient=False), directory)
    refused: list[Unreadable] = []
    group = _probed(root, "zarr.json", refused)
    inside = group.get("attributes") if group else None
    if isinstance(inside, dict) and "ome" in inside:
        return read_ome_zarr(root, "zarr.json", inside["ome"], "0.5")
    attributes = _probed(root, ".zattrs", refused)
    if attributes is not None and "multiscales" in attributes:
        return read_ome_zarr(root, ".zattrs", attributes, "0.4")
    if (info := _probed(root, "info", refused)) is not None:
        return read_precomputed(root, info)
    if (of_n5 := _probed(root, "attributes.json", refused)) is not None:
        return read_n5(root, of_n5)
    raise _none_of_these(root, group, attributes, refused)


def _none_of_these(
    root: Root, group: Json | None, attributes: Json | None, refused: list[Unreadable]
) -> ValueError | FileNotFoundError:
    """Say what is there instead of a multiscale volume."""
    if not state(root)[0]:
        return ValueError(f"path: {root.name} is incomplete: its build is under way or was stopped before it began")
    if group is not None:
        return ValueError(no_pyramid(root, "Zarr", group.get("node_type") == "array"))
    for key, is_array in ((".zarray", True), (".zgroup", False)):
        if _probed(root, key, refused) is not None:
            return ValueError(no_pyramid(root, "Zarr", is_array, attributes))
    if refused:
        return refused[0]
    missing = "there is no zarr.json, .zattrs, info or attributes.json in it"
    if root.directory is None:
        return FileNotFoundError(f"path: there is no volume at {root.name}: {trouble(root.store) or missing}")
    return ValueError(f"path: {root.name} is no multiscale volume: {missing}")


def _probed(root: Root, key: str, refused: list[Unreadable]) -> Json | None:
    """Return the JSON object in a file. Object stores that hide their listing refuse what is not there: go on."""
    try:
        return root.json_of(key)
    except Unreadable as error:
        refused.append(error)
        return None
