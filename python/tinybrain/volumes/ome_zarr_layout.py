"""What an OME-Zarr of version 0.4 or 0.5 says of its mips, checked by the models of ome-zarr-models.

Limits: of several ``multiscales`` the first is taken; transformations that are stored in arrays are not read.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any
from urllib.parse import unquote

from tinybrain.volumes._extras import extra
from tinybrain.volumes.pyramid import Axis, Kind, Pyramid
from tinybrain.volumes.root import Json, Root, kind_of_axis, method_of, mip_of, opened, state
from tinybrain.volumes.storage import open_kvstore


def read_ome_zarr(root: Root, key: str, attributes: Any, version: str) -> Pyramid:
    """Open an OME-Zarr whose attributes are in the file `key`."""
    multiscale = _multiscale(root, key, attributes, version)
    axes = tuple(
        Axis(str(a.name), a.type or kind_of_axis(str(a.name)), a.unit if isinstance(a.unit, str) else "")
        for a in multiscale.axes
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
    stores = opened(root, [{"driver": driver, "kvstore": root.spec(path)} for path, _, _ in placed], len(axes))
    mips = tuple(
        mip_of(root, path, store, scale, translation)
        for (path, scale, translation), store in zip(placed, stores, strict=True)
    )
    complete, _ = state(root)
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    return Pyramid(
        path=root.name,
        format=f"OME-Zarr {version}",
        driver=driver,
        axes=axes,
        mips=mips,
        kind=_kind(root, attributes),
        method=method_of(multiscale.type, multiscale.metadata),
        complete=complete,
        channels=tuple(c for c in channels if isinstance(c, dict)) if isinstance(channels, list) else (),
        url=root.store.url,
        root=root.directory,
    )


def _multiscale(root: Root, key: str, attributes: Any, version: str) -> Any:
    """Return the first entry of ``multiscales``, checked by ome-zarr-models."""
    model = extra(f"ome_zarr_models.v{version.replace('.', '')}.multiscales").Multiscale
    invalid = extra("pydantic").ValidationError
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
            return model.model_validate(first)
    except invalid as error:
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


def _kind(root: Root, attributes: Json) -> Kind:
    """Labels say so themselves, or the group around them does."""
    if "image-label" in attributes:
        return "labels"
    above, _, name = root.store.url.rstrip("/").rpartition("/")
    if not above.endswith("/labels"):
        return "image"
    with contextlib.suppress(Exception):  # whatever is wrong with the group around it is not this volume's
        parent = Root(root.name + "/..", open_kvstore(above + "/", patient=False), None)
        for key in ("zarr.json", ".zattrs"):
            around = parent.json_of(key) or {}
            if key == "zarr.json":
                around = around.get("attributes", {}).get("ome", {})
            if unquote(name) in around.get("labels", ()):
                return "labels"
    return "image"
