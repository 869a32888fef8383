"""How OME-Zarr, Neuroglancer Precomputed and N5 say what a multiscale volume holds.

`read` finds the format from the files at the root and hands over to the reader of that format. Metadata is read through
TensorStore's key-value stores, so that local and remote volumes go the same way; OME-Zarr's is checked by the models of
ome-zarr-models, the arrays' by TensorStore, which opens every mip. What is missing or broken is a ValueError of one line
that names the file.

Limits: of an OME-Zarr with several ``multiscales`` the first is taken, and of N5 groups those whose mips are s0, s1, ...
"""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybrain.volumes.pyramid import SIDECAR, Axis, Kind, Mip, Pyramid

Json = dict[str, Any]

_KINDS_OF_AXES = {"t": "time", "c": "channel", "channel": "channel", "c^": "channel", "x": "space", "y": "space", "z": "space"}


# A server that is not there should be told of in seconds: TensorStore's own patience is made for long jobs.
_RETRIES = {"max_retries": 3, "initial_delay": "200ms", "max_delay": "2s"}
_PATIENCE = {f"{store}_request_retries": _RETRIES for store in ("http", "gcs", "s3")}
_ANSWER = 60  # seconds


def need(extra: str = "volumes") -> Any:
    """Return TensorStore, or raise an ImportError that names the extra."""
    try:
        import tensorstore
    except ImportError as error:
        raise ImportError(f'{error.name} is not installed: pip install "tinybrain[{extra}]"', name=error.name) from None
    return tensorstore


def reason(error: Exception) -> str:
    """Return what an error of TensorStore says, in one line and without the specs and addresses at its end."""
    if isinstance(error, TimeoutError):
        return f"no answer in {_ANSWER} seconds"
    text = str(error).split(" [")[0].splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"^[A-Z_]+: ", "", text)


class Unreadable(ValueError):
    """A file that may be there, but must not be read."""


@dataclass(frozen=True)
class Root:
    """The root of a volume: where its files are read from."""

    name: str  # as the user wrote it
    kvstore: Any
    directory: Path | None

    def bytes_of(self, key: str) -> bytes | None:
        """Return the content of a file, or None if there is no such file."""
        try:
            found = self.kvstore.read(key).result(timeout=_ANSWER)
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

    def spec(self, key: str = "") -> Json:
        """Return the JSON of the key-value store below a key, for a spec of TensorStore."""
        spec: Json = self.kvstore.spec().to_json()
        if key:
            spec["path"] = f"{spec.get('path', '')}{key}/"
        return spec


def read(name: str, kvstore: Json, directory: Path | None) -> Pyramid:
    """Open the multiscale volume at a key-value store, given as TensorStore's JSON or as {"url": URL}."""
    ts = need()
    try:
        opened = ts.KvStore.open(kvstore.get("url", kvstore), context=ts.Context(_PATIENCE)).result(timeout=_ANSWER)
    except Exception as error:
        raise ValueError(f"path: {name} cannot be opened: {reason(error)}") from None
    root = Root(name, opened, directory)
    refused: list[Unreadable] = []
    group, attributes, info, of_n5 = (
        _probed(root, key, refused) for key in ("zarr.json", ".zattrs", "info", "attributes.json")
    )
    if group is not None:
        inside = group.get("attributes")
        if isinstance(inside, dict) and "ome" in inside:
            return _ome_zarr(root, "zarr.json", inside["ome"], "0.5")
    if attributes is not None and "multiscales" in attributes:
        return _ome_zarr(root, ".zattrs", attributes, "0.4")
    if info is not None:
        return _precomputed(root, info)
    if of_n5 is not None:
        return _n5(root, of_n5)
    if group is not None:
        raise ValueError(_no_pyramid(root, "Zarr", group.get("node_type") == "array"))
    for key, is_array in ((".zarray", True), (".zgroup", False)):
        if _probed(root, key, refused) is not None:
            raise ValueError(_no_pyramid(root, "Zarr", is_array, attributes))
    if refused:
        raise refused[0]
    missing = "there is no zarr.json, .zattrs, info or attributes.json in it"
    if directory is None:
        raise FileNotFoundError(f"path: there is no volume at {name}: {missing}")
    raise ValueError(f"path: {name} is no multiscale volume: {missing}")


def _probed(root: Root, key: str, refused: list[Unreadable]) -> Json | None:
    """Return the JSON object in a file. Object stores that hide their listing refuse what is not there: go on."""
    try:
        return root.json_of(key)
    except Unreadable as error:
        refused.append(error)
        return None


def _no_pyramid(root: Root, format: str, is_array: bool, attributes: Json | None = None) -> str:
    if is_array:
        return f"path: {root.name} is a single {format} array without mips; `tinybrain build` makes a pyramid of it"
    inside = (attributes or {}).get("labels")
    hint = f": {', '.join(map(str, inside))}" if isinstance(inside, list) else ""
    return f"path: {root.name} is a {format} group without multiscales metadata; name the image in it{hint}"


def _state(root: Root) -> tuple[bool, Json]:
    """Whether a volume is complete, and what its sidecar says."""
    sidecar = root.json_of(SIDECAR)
    return sidecar is None or sidecar.get("state") == "complete", sidecar or {}


# --- OME-Zarr -------------------------------------------------------------------------------------


def _ome_zarr(root: Root, key: str, attributes: Any, version: str) -> Pyramid:
    multiscale = _multiscale(root, key, attributes, version)
    axes = tuple(
        Axis(str(a.name), a.type or "", a.unit if isinstance(a.unit, str) else "") for a in multiscale.axes
    )
    whole = _affine(root, key, multiscale.coordinateTransformations or (), len(axes))
    placed = []
    for dataset in multiscale.datasets:
        if dataset.path.startswith("/") or ".." in dataset.path.split("/"):
            raise ValueError(f"path: {root.at(key)} is broken: the mip {dataset.path!r} is outside of the volume")
        scale, translation = _affine(root, key, dataset.coordinateTransformations, len(axes))
        placed.append(
            (
                dataset.path,
                tuple(a * b for a, b in zip(scale, whole[0], strict=True)),
                tuple(t * a + b for t, a, b in zip(translation, whole[0], whole[1], strict=True)),
            )
        )
    driver = {"0.4": "zarr", "0.5": "zarr3"}[version]
    stores = _opened(root, [{"driver": driver, "kvstore": root.spec(path)} for path, _, _ in placed], len(axes))
    mips = tuple(
        _mip(root, path, store, scale, translation)
        for (path, scale, translation), store in zip(placed, stores, strict=True)
    )
    complete, _ = _state(root)
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    return Pyramid(
        path=root.name,
        format=f"OME-Zarr {version}",
        driver=driver,
        axes=axes,
        mips=mips,
        kind=_kind_of_ome_zarr(root, attributes),
        method=_method(multiscale.type, multiscale.metadata),
        complete=complete,
        channels=tuple(c for c in channels if isinstance(c, dict)) if isinstance(channels, list) else (),
        url=root.kvstore.url,
        root=root.directory,
    )


def _multiscale(root: Root, key: str, attributes: Any, version: str) -> Any:
    """Return the first entry of ``multiscales``, checked by ome-zarr-models."""
    from pydantic import ValidationError

    try:
        from ome_zarr_models.v04.multiscales import Multiscale as V04
        from ome_zarr_models.v05.multiscales import Multiscale as V05
    except ImportError as error:
        raise ImportError(f'{error.name} is not installed: pip install "tinybrain[volumes]"', name=error.name) from None
    broken = f"path: {root.at(key)} is broken"
    if not isinstance(attributes, dict):
        raise ValueError(f"{broken}: ome is no JSON object")
    multiscales = attributes.get("multiscales")
    if multiscales is None:
        what = next((w for w in ("labels", "plate", "well", "bioformats2raw.layout") if w in attributes), "a group")
        inside = attributes.get("labels")
        hint = f": {', '.join(map(str, inside))}" if isinstance(inside, list) else ""
        raise ValueError(f"path: {root.name} is no image, but an OME-Zarr of {what}; name the image in it{hint}")
    if not isinstance(multiscales, list) or not multiscales or not isinstance(multiscales[0], dict):
        raise ValueError(f"{broken}: multiscales must be a list with an entry")
    first = multiscales[0]
    named = attributes.get("version") if version == "0.5" else first.get("version", version)
    if named != version:
        raise ValueError(f"path: {root.name} is OME-Zarr {named}; accepted are 0.4 (Zarr v2) and 0.5 (Zarr v3)")
    try:
        with warnings.catch_warnings():  # of transformations in the wrong order, which the model puts right
            warnings.simplefilter("ignore")
            return (V05 if version == "0.5" else V04).model_validate(first)
    except ValidationError as error:
        worst = error.errors()[0]
        where = ".".join(map(str, ("multiscales", 0, *worst["loc"])))
        raise ValueError(f"{broken}: {where}: {worst['msg'].removeprefix('Value error, ')}") from None


def _affine(root: Root, key: str, transforms: Any, ndim: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and translation of a row of transformations."""
    scale, translation = (1.0,) * ndim, (0.0,) * ndim
    for transform in transforms:
        values = getattr(transform, transform.type, None)
        if transform.type == "scale" and values is not None:
            scale = tuple(map(float, values))
        elif transform.type == "translation" and values is not None:
            translation = tuple(map(float, values))
        elif transform.type != "identity":
            raise ValueError(f"path: {root.at(key)}: a {transform.type} stored in an array is not supported")
    return scale, translation


def _kind_of_ome_zarr(root: Root, attributes: Json) -> Kind:
    """Labels say so themselves, or the group around them does."""
    if "image-label" in attributes:
        return "labels"
    spec = root.spec()
    parts = str(spec.get("path", "")).rstrip("/").split("/")
    if len(parts) < 2 or parts[-2] != "labels":
        return "image"
    with contextlib.suppress(Exception):  # whatever is wrong with the group around it is not this volume's
        parent = Root(root.name + "/..", need().KvStore.open({**spec, "path": "/".join(parts[:-1]) + "/"}).result(), None)
        for key in ("zarr.json", ".zattrs"):
            around = parent.json_of(key) or {}
            if key == "zarr.json":
                around = around.get("attributes", {}).get("ome", {})
            if parts[-1] in around.get("labels", ()):
                return "labels"
    return "image"


def _method(kind: Any, metadata: Any) -> str | None:
    """Return how the mips were made, from ``type`` or else ``metadata`` of a multiscale."""
    if isinstance(kind, str) and kind:
        return kind
    if isinstance(metadata, dict):
        for key in ("method", "description"):
            if isinstance(metadata.get(key), str) and metadata[key]:
                return str(metadata[key])
    return None


# --- Neuroglancer Precomputed ---------------------------------------------------------------------


def _precomputed(root: Root, info: Json) -> Pyramid:
    broken = f"path: {root.at('info')} is broken"
    scales = info.get("scales")
    if scales is None:
        raise ValueError(f"path: {root.name} is no volume: its info has no scales (type {info.get('@type')!r})")
    if not isinstance(scales, list) or not scales or not all(isinstance(scale, dict) for scale in scales):
        raise ValueError(f"{broken}: scales must be a list of JSON objects")
    spec = {"driver": "neuroglancer_precomputed", "kvstore": root.spec()}
    stores = _opened(root, [{**spec, "scale_index": k} for k in range(len(scales))], 4)
    first = tuple(map(float, scales[0]["resolution"]))  # TensorStore has checked them all
    mips = []
    for scale, store in zip(scales, stores, strict=True):
        resolution = tuple(map(float, scale["resolution"]))
        offset = tuple(map(float, scale.get("voxel_offset", (0, 0, 0))))
        centre = tuple(o * r + (r - f) / 2 for o, r, f in zip(offset, resolution, first, strict=True))
        mips.append(_mip(root, scale["key"], store, (*resolution, 1.0), (*centre, 0.0), scale))
    complete, sidecar = _state(root)
    noted = info.get("tinybrain", sidecar)
    return Pyramid(
        path=root.name,
        format="Neuroglancer Precomputed",
        driver="neuroglancer_precomputed",
        axes=(*(Axis(name, "space", "nanometer") for name in "xyz"), Axis("channel", "channel")),
        mips=tuple(mips),
        kind="labels" if info.get("type") == "segmentation" else "image",
        method=_method(noted.get("type"), noted.get("metadata", noted)) if isinstance(noted, dict) else None,
        complete=complete,
        url=root.kvstore.url,
        root=root.directory,
    )


# --- N5 -------------------------------------------------------------------------------------------


def _n5(root: Root, attributes: Json) -> Pyramid:
    if "dimensions" in attributes:
        raise ValueError(_no_pyramid(root, "N5", is_array=True))
    each = []
    while (found := root.json_of(f"s{len(each)}/attributes.json")) is not None:
        each.append(found)
    if not each:
        raise ValueError(f"path: {root.name} is an N5 group without mips s0, s1, ...; name the multiscale group in it")
    stores = _opened(root, [{"driver": "n5", "kvstore": root.spec(f"s{k}")} for k in range(len(each))], None)
    ndim = len(stores[0].shape)
    around = attributes | {k: v for k, v in each[0].items() if k not in attributes}
    size, unit = around.get("pixelResolution", around.get("resolution")), around.get("units", "")
    if isinstance(size, dict):  # as n5-viewer writes it
        size, unit = size.get("dimensions"), size.get("unit", "")
    size = _numbers(root, "resolution", size, ndim) or (1.0,) * ndim
    units = unit if isinstance(unit, list) else [unit] * ndim
    labels = [str(name) for name in around.get("axes", ())] or list("xyzct"[:ndim])
    names = labels if len(labels) == ndim else [f"d{k}" for k in range(ndim)]
    steps = attributes.get("scales", attributes.get("downsamplingFactors"))
    mips = []
    for k, (own, store) in enumerate(zip(each, stores, strict=True)):
        step = own.get("downsamplingFactors", steps[k] if isinstance(steps, list) and k < len(steps) else None)
        factor = _numbers(root, f"s{k}: downsamplingFactors", step, ndim) or (1.0,) * ndim
        scale = tuple(s * f for s, f in zip(size, factor, strict=True))
        shift = tuple(s * (f - 1) / 2 for s, f in zip(size, factor, strict=True))
        mips.append(_mip(root, f"s{k}", store, scale, shift))
    complete, _ = _state(root)
    kinds = [_KINDS_OF_AXES.get(name, "space") for name in names]
    return Pyramid(
        path=root.name,
        format="N5",
        driver="n5",
        axes=tuple(
            Axis(name, kind, _unit(unit) if kind == "space" else "")
            for name, kind, unit in zip(names, kinds, units, strict=False)
        ),
        mips=tuple(mips),
        kind="image",
        method=None,
        complete=complete,
        url=root.kvstore.url,
        root=root.directory,
    )


def _numbers(root: Root, name: str, values: Any, ndim: int) -> tuple[float, ...] | None:
    """Return one positive number per axis, or None where nothing is said."""
    if values is None:
        return None
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        found = ()
    if len(found) != ndim or not all(value > 0 for value in found):
        raise ValueError(f"path: {root.at('attributes.json')} is broken: {name} must be {ndim} positive numbers")
    return found


def _unit(unit: Any) -> str:
    short = {"nm": "nanometer", "um": "micrometer", "µm": "micrometer", "μm": "micrometer", "mm": "millimeter"}
    return short.get(unit, unit) if isinstance(unit, str) and unit not in ("", "pixel", "px") else ""


# --- Arrays ---------------------------------------------------------------------------------------


def _opened(root: Root, specs: Sequence[Json], ndim: int | None) -> list[Any]:
    """Open all mips at once. Each begins at index 0 along every axis."""
    ts = need()
    context = ts.Context(_PATIENCE)
    opening = [ts.open(spec, open=True, read=True, context=context) for spec in specs]
    stores = []
    for k, future in enumerate(opening):
        try:
            store = future.result(timeout=_ANSWER)
        except Exception as error:
            raise ValueError(f"path: {root.name} is broken: mip {k} cannot be opened: {reason(error)}") from None
        if ndim is None:
            ndim = len(store.shape)
        if len(store.shape) != ndim:
            raise ValueError(f"path: {root.name} is broken: mip {k} has {len(store.shape)} axes, not {ndim}")
        stores.append(store[ts.d[:].translate_to[0]] if ndim else store)
    return stores


def _mip(
    root: Root,
    path: str,
    store: Any,
    scale: Sequence[float],
    translation: Sequence[float],
    precomputed: Json | None = None,
) -> Mip:
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
