"""Multiscale volumes on disk for tests, written by hand after the formats' specifications.

Nothing here is `tinybrain build`: the arrays are written by TensorStore or zarr, the metadata are literals. So what
reads volumes is tested with what others write, too: OME-Zarr 0.4 with blosc, sharded 0.5, channels, labels, sharded
Precomputed segmentations, N5; and broken ones. Voxels have the order of axes that the file has.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import tinybrain

Array = npt.NDArray[Any]
BLOSC = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}


def image(shape: tuple[int, ...] = (40, 130, 150), dtype: str = "uint8") -> Array:
    """Return a bright disc on a dark, textured ground, axes z, y, x."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = x**2 + y**2 + 0.2 * z**2 < 0.45
    voxels = np.where(inside, 200 + 25 * np.sin(9 * x), 40 + 20 * np.cos(7 * y))
    top = np.iinfo(dtype).max // 255 if np.dtype(dtype).kind in "iu" else 1
    return (voxels * top).astype(dtype)


def labels(shape: tuple[int, ...] = (40, 130, 150), dtype: str = "uint64") -> Array:
    """Return a grid of large labels, some beyond 32 bits where they fit, on background; axes z, y, x."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    cells = (x // 25 + 7 * (y // 26) + 49 * (z // 20)).astype(np.uint64)
    cells = cells * np.uint64(1 if np.dtype(dtype).itemsize < 8 else 0x1_0000_0F1D) + np.uint64(1)
    return np.where((x % 25 < 2) | (y % 26 < 2), np.uint64(0), cells).astype(dtype)


def mips_of(voxels: Array, factor: Sequence[int] = (1, 2, 2), num_mips: int = 3, mode: bool = False) -> list[Array]:
    """Return mip 0 and those after it."""
    if mode:
        return [voxels, *tinybrain.downsample_segmentation(voxels, factor, num_mips=num_mips)]
    return [voxels, *tinybrain.downsample_with_averaging(voxels, factor, num_mips=num_mips)]


def ome_zarr(
    path: Path,
    mips: Sequence[Array],
    *,
    version: str = "0.5",
    factor: Sequence[int] = (1, 2, 2),
    scale: Sequence[float] = (40.0, 8.0, 8.0),
    axes: str = "zyx",
    unit: str = "nanometer",
    chunk: Sequence[int] = (16, 32, 32),
    shard: Sequence[int] | None = None,
    compressor: dict[str, Any] | None = None,
    is_labels: bool = False,
    method: str | None = "mean",
    channels: list[dict[str, Any]] | None = None,
    incomplete: bool = False,
    empty: bool = False,
) -> Path:
    """Write an OME-Zarr image or labels. Zarr v2 is written by zarr, v3 by TensorStore; with `empty`, no voxels."""
    kinds = {"t": "time", "c": "channel"}
    listed = [{"name": a, "type": kinds.get(a, "space")} | ({} if a in kinds else {"unit": unit}) for a in axes]
    datasets = []
    for k, voxels in enumerate(mips):
        steps = [f**k for f in factor]
        transforms = [
            {"type": "scale", "scale": [s * n for s, n in zip(scale, steps, strict=True)]},
            {"type": "translation", "translation": [s * (n - 1) / 2 for s, n in zip(scale, steps, strict=True)]},
        ]
        datasets.append({"path": f"{k}", "coordinateTransformations": transforms})
        if version == "0.4":
            _zarr2(path / f"{k}", voxels, chunk, compressor)
        else:
            _zarr3(path / f"{k}", voxels, chunk, shard, compressor, axes, empty)
    multiscale: dict[str, Any] = {"axes": listed, "datasets": datasets, "name": "volume"}
    if method is not None:
        multiscale |= {"type": method, "metadata": {"method": "tinybrain.downsample_with_averaging"}}
    about: dict[str, Any] = {"multiscales": [multiscale]}
    if is_labels:
        about["image-label"] = {"version": version}
    if channels is not None:
        about["omero"] = {"channels": channels}
    if version == "0.4":
        multiscale["version"] = "0.4"
        write_json(path / ".zgroup", {"zarr_format": 2})
        write_json(path / ".zattrs", about)
    else:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **about}}}
        write_json(path / "zarr.json", group)
    if incomplete:
        write_json(path / "tinybrain-build.json", {"state": "incomplete"})
    return path


def precomputed(
    path: Path,
    mips: Sequence[Array],
    *,
    kind: str = "image",
    factor: Sequence[int] = (2, 2, 1),
    resolution: Sequence[float] = (8, 8, 40),
    offset: Sequence[int] = (0, 0, 0),
    chunk: Sequence[int] = (32, 32, 16),
    sharded: bool = False,
    method: str | None = None,
) -> Path:
    """Write a Precomputed volume of mips with axes x, y, z[, channel]."""
    import tensorstore as ts

    for k, voxels in enumerate(mips):
        whole = voxels if voxels.ndim == 4 else voxels[..., None]
        steps = [f**k for f in factor]
        scale: dict[str, Any] = {
            "key": "_".join(str(int(r * n)) for r, n in zip(resolution, steps, strict=True)),
            "resolution": [r * n for r, n in zip(resolution, steps, strict=True)],
            "size": list(whole.shape[:3]),
            "voxel_offset": [o // n for o, n in zip(offset, steps, strict=True)],
            "chunk_size": list(chunk),
            "encoding": "raw" if kind == "image" else "compressed_segmentation",
        }
        if kind != "image":
            scale["compressed_segmentation_block_size"] = [8, 8, 8]
        if sharded:
            scale["sharding"] = {
                "@type": "neuroglancer_uint64_sharded_v1",
                "preshift_bits": 2,
                "minishard_bits": 1,
                "shard_bits": 2,
                "hash": "identity",
                "data_encoding": "gzip",
                "minishard_index_encoding": "gzip",
            }
        store = ts.open(
            {
                "driver": "neuroglancer_precomputed",
                "kvstore": _files(path),
                "multiscale_metadata": {
                    "type": kind,
                    "data_type": str(whole.dtype),
                    "num_channels": whole.shape[3],
                },
                "scale_metadata": scale,
            },
            create=True,
        ).result()
        store.write(whole).result()
    if method is not None:
        info = json.loads((path / "info").read_text())
        write_json(path / "info", info | {"tinybrain": {"type": method}})
    return path


def n5(path: Path, mips: Sequence[Array], factor: Sequence[int] = (2, 2, 1)) -> Path:
    """Write a multiscale N5 group of mips with axes x, y, z, as n5-viewer does."""
    import tensorstore as ts

    for k, voxels in enumerate(mips):
        metadata = {
            "dataType": str(voxels.dtype),
            "dimensions": list(voxels.shape),
            "blockSize": [32, 32, 16],
            "compression": {"type": "gzip", "level": 1},
        }
        spec = {"driver": "n5", "kvstore": _files(path / f"s{k}"), "metadata": metadata}
        ts.open(spec, create=True).result().write(voxels).result()
    scales = [[f**k for f in factor] for k in range(len(mips))]
    resolution = {"dimensions": [8.0, 8.0, 40.0], "unit": "nm"}
    write_json(path / "attributes.json", {"scales": scales, "pixelResolution": resolution})
    return path


def pack(directory: Path) -> None:
    """Compress the files of a mip as CloudVolume does."""
    for chunk in list(directory.iterdir()):
        chunk.with_name(chunk.name + ".gz").write_bytes(gzip.compress(chunk.read_bytes()))
        chunk.unlink()


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _files(path: Path) -> dict[str, Any]:
    return {"driver": "file", "path": f"{path}/", "file_io_sync": False}


def _zarr2(path: Path, voxels: Array, chunk: Sequence[int], compressor: dict[str, Any] | None) -> None:
    import numcodecs
    import zarr

    made = zarr.create_array(
        store=str(path),
        shape=voxels.shape,
        dtype=voxels.dtype,
        chunks=tuple(chunk),
        zarr_format=2,
        compressors=numcodecs.get_codec(dict(compressor or BLOSC)),
        chunk_key_encoding={"name": "v2", "separator": "/"},
        fill_value=0,
    )
    made[...] = voxels


def _zarr3(
    path: Path,
    voxels: Array,
    chunk: Sequence[int],
    shard: Sequence[int] | None,
    compressor: dict[str, Any] | None,
    axes: str,
    empty: bool,
) -> None:
    import tensorstore as ts

    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    codecs.append(compressor or {"name": "zstd", "configuration": {"level": 1}})
    if shard is not None:
        codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": list(chunk), "codecs": codecs}}]
    metadata = {
        "shape": list(voxels.shape),
        "data_type": str(voxels.dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shard or chunk)}},
        "codecs": codecs,
        "dimension_names": list(axes),
    }
    spec = {"driver": "zarr3", "kvstore": _files(path), "metadata": metadata}
    store = ts.open(spec, create=True).result()
    if not empty:
        store.write(voxels).result()


def petabyte(path: Path) -> Path:
    """Write the metadata of an OME-Zarr of 100,000 voxels along each axis, with 12 mips, and no voxels."""
    mips = [np.lib.stride_tricks.as_strided(np.zeros(1, "u1"), 3 * (100_000 >> k,), (0, 0, 0)) for k in range(12)]
    return ome_zarr(path, mips, factor=(2, 2, 2), scale=(8, 8, 8), chunk=(64, 64, 64), shard=(1024,) * 3, empty=True)
