"""OME-Zarr 0.5 (Zarr v3, with or without shards) and 0.4 (Zarr v2): arrays by TensorStore, metadata by ome-zarr-models.

Arrays are stored in C order with the axes t, c, z, y, x: tinybrain's order reversed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybrain.volumes._extras import extra
from tinybrain.volumes.storage import Shape, Store, write_json
from tinybrain.volumes.target import Target

CODECS = {"blosc": range(10), "zstd": range(23), "gzip": range(10), "none": range(0)}  # and their levels
_TYPES = {"x": "space", "y": "space", "z": "space", "c": "channel", "t": "time"}


def view(handle: Any, axes: str) -> Any:
    """Return an array of the volume with tinybrain's order of the axes."""
    return handle.transpose(list(range(handle.rank))[::-1])


def array_spec(target: Target, mip: int) -> dict[str, Any]:
    """Return the TensorStore spec of a mip's array, without its key-value store."""
    shape = target.shapes[mip]
    if target.format == "ome-zarr-0.4":
        return {"driver": "zarr", "path": f"{mip}/", "metadata": _metadata_v2(target, shape)}
    return {"driver": "zarr3", "path": f"{mip}/", "metadata": _metadata_v3(target, shape)}


def _metadata_v3(target: Target, shape: Shape) -> dict[str, Any]:
    name, level = target.codec
    dtype = np.dtype(target.recipe.dtype)
    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    if dtype.itemsize == 1:
        codecs = [{"name": "bytes"}]
    if name == "blosc":
        # Bytes of one significance side by side: what neighbouring voxels share is then found as repeats.
        shuffle = "shuffle" if dtype.itemsize > 1 else "noshuffle"
        settings = {"cname": "zstd", "clevel": 3 if level is None else level, "shuffle": shuffle, "blocksize": 0}
        codecs.append({"name": "blosc", "configuration": {**settings, "typesize": dtype.itemsize}})
    elif name == "zstd":
        codecs.append({"name": "zstd", "configuration": {"level": 3 if level is None else level}})
    elif name == "gzip":
        codecs.append({"name": "gzip", "configuration": {"level": 5 if level is None else level}})
    grid = target.chunk
    if target.shard is not None:
        grid = target.shard
        settings = {
            "chunk_shape": target.chunk[::-1],
            "codecs": codecs,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "index_location": "end",
        }
        codecs = [{"name": "sharding_indexed", "configuration": settings}]
    return {
        "shape": shape[::-1],
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid[::-1]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": codecs,
        "dimension_names": list(target.axes[::-1]),
        "fill_value": _zero(dtype),
    }


def _metadata_v2(target: Target, shape: Shape) -> dict[str, Any]:
    name, level = target.codec
    dtype = np.dtype(target.recipe.dtype)
    compressor: dict[str, Any] | None = None
    if name == "blosc":
        shuffle = int(dtype.itemsize > 1)
        compressor = {"id": "blosc", "cname": "zstd", "clevel": 3 if level is None else level, "shuffle": shuffle}
    elif name == "zstd":
        compressor = {"id": "zstd", "level": 3 if level is None else level}
    elif name == "gzip":
        compressor = {"id": "gzip", "level": 5 if level is None else level}
    return {
        "shape": shape[::-1],
        "dtype": dtype.newbyteorder("<").str,
        "chunks": target.chunk[::-1],
        "dimension_separator": "/",
        "order": "C",
        "compressor": compressor,
        "fill_value": _zero(dtype),
        "filters": None,
    }


def _zero(dtype: np.dtype[Any]) -> Any:
    return False if dtype.kind == "b" else [0.0, 0.0] if dtype.kind == "c" else 0.0 if dtype.kind == "f" else 0


def write_metadata(target: Target, store: Store) -> None:
    """Write the metadata of the group."""
    attributes = multiscales(target)
    if target.format == "ome-zarr-0.4":
        write_json(store, ".zgroup", {"zarr_format": 2})
        write_json(store, ".zattrs", attributes)
    else:
        write_json(store, "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": {"ome": attributes}})


def multiscales(target: Target) -> dict[str, Any]:
    """Return the attributes of the group, made and checked by ome-zarr-models."""
    version = "v04" if target.format == "ome-zarr-0.4" else "v05"
    number = {"v04": "0.4", "v05": "0.5"}[version]
    models = {
        name: extra(f"ome_zarr_models.{version}.{name}")
        for name in ("axes", "multiscales", "image", "image_label", "image_label_types")
    }
    axes = []
    for axis in target.axes[::-1]:
        unit = {"unit": target.unit} if _TYPES[axis] == "space" else {}
        axes.append(models["axes"].Axis(name=axis, type=_TYPES[axis], **unit))
    datasets = tuple(
        models["multiscales"].Dataset.build(
            path=str(mip), scale=target.scale(mip)[::-1], translation=target.shift(mip)[::-1]
        )
        for mip in range(len(target.shapes))
    )
    fields = {"axes": tuple(axes), "datasets": datasets, "name": target.name, "type": target.recipe.name}
    if version == "v04":
        fields["version"] = number
    multiscale = models["multiscales"].Multiscale(metadata=target.method_note(), **fields)
    group: dict[str, Any] = {"multiscales": [multiscale]}
    if version == "v05":
        group["version"] = number
    if target.labels:
        label = models["image_label_types"].Label(version=number)
        attributes = models["image_label"].ImageLabelAttrs(**group, **{"image-label": label})
    else:
        attributes = models["image"].ImageAttrs(**group)
    written: dict[str, Any] = attributes.model_dump(mode="json", by_alias=True, exclude_none=True)
    return written
