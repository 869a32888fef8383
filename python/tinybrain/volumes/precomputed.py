"""Neuroglancer Precomputed: arrays and ``info`` by TensorStore, and the method as one more key of ``info``.

Such a volume has the axes x, y, z and channel, voxel sizes in nanometres and voxel offsets that are whole numbers:
where the offset of mip 0 doesn't divide by the factor, that of a mip is rounded down, and the mip is off by less than
one of its voxels.
"""

from __future__ import annotations

from typing import Any

from tinybrain.volumes._extras import extra
from tinybrain.volumes.storage import BuildError, Store, read_json, write_json
from tinybrain.volumes.target import NANOMETRES, Target

ENCODINGS = {"raw": range(0), "compressed_segmentation": range(0), "jpeg": range(101), "png": range(10)}  # and levels
PACKED = {"compressed_segmentation": ("uint32", "uint64"), "jpeg": ("uint8",), "png": ("uint8", "uint16")}
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")


def view(handle: Any, axes: str) -> Any:
    """Return an array of the volume with the given axes only, and its first voxel at 0."""
    ts = extra("tensorstore")
    handle = handle[ts.d[:].translate_to[0]]
    for axis, name in reversed(list(enumerate("xyzc"))):
        if name not in axes:
            handle = handle[(slice(None),) * axis + (0,)]
    return handle


def array_spec(target: Target, mip: int) -> dict[str, Any]:
    """Return the TensorStore spec of a scale, without its key-value store."""
    encoding, level = target.codec
    shape = _xyz(target, target.shapes[mip], 1)
    chunk = _xyz(target, target.chunk, 1)
    channels = _channels(target)
    scale: dict[str, Any] = {
        "key": key(target, mip),
        "size": shape,
        "resolution": resolution(target, mip),
        "voxel_offset": offset(target, mip),
        "encoding": encoding,
    }
    if encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    if encoding in ("jpeg", "png") and level is not None:
        scale[f"{encoding}_quality" if encoding == "jpeg" else "png_level"] = level
    spec: dict[str, Any] = {
        "driver": "neuroglancer_precomputed",
        "multiscale_metadata": {
            "type": "segmentation" if target.labels else "image",
            "data_type": target.recipe.dtype,
            "num_channels": channels,
        },
        "scale_metadata": scale,
    }
    if target.shard is None:
        # Readers take the whole extent where it is smaller than a chunk.
        scale["chunk_size"] = [min(c, max(n, 1)) for c, n in zip(chunk, shape, strict=True)]
    else:
        # Shards are runs along a space-filling curve: TensorStore makes those that come nearest to the shape.
        layout = {
            "read_chunk": {"shape": [*chunk, channels]},
            "write_chunk": {"shape_soft_constraint": [*_xyz(target, target.shard, 1), channels]},
        }
        spec["schema"] = {"chunk_layout": layout}
    return spec


def write_metadata(target: Target, store: Store) -> None:
    """Add the method to ``info``, beside what TensorStore wrote; it keeps keys that it doesn't know."""
    info = read_json(store, "info")
    if info is None:
        raise BuildError(f"{store.url}info is missing")
    write_json(store, "info", {**info, "tinybrain": {"type": target.recipe.name, **target.method_note()}})


def key(target: Target, mip: int) -> str:
    """Return the name of a scale, which is also its folder: its voxel size."""
    return "_".join(f"{size:.10g}" for size in resolution(target, mip))


def resolution(target: Target, mip: int) -> list[float]:
    """Voxel size of a mip along x, y and z in nanometres."""
    return [size * NANOMETRES[target.unit] for size in _xyz(target, target.scale(mip), 1.0)]


def offset(target: Target, mip: int) -> list[int]:
    """Voxel offset of a mip along x, y and z."""
    start = _xyz(target, target.translation, 0.0)
    size = _xyz(target, target.voxel_size, 1.0)
    factor = _xyz(target, target.recipe.scale(0, mip) if mip else (1,) * len(target.axes), 1)
    return [round(s / v) // f for s, v, f in zip(start, size, factor, strict=True)]


def _channels(target: Target) -> int:
    return target.shapes[0][target.axes.index("c")] if "c" in target.axes else 1


def _xyz(target: Target, values: Any, missing: Any) -> list[Any]:
    return [values[target.axes.index(axis)] if axis in target.axes else missing for axis in "xyz"]
