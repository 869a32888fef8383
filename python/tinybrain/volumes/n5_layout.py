"""What a multiscale N5 group says of its mips, as n5-viewer and others write it.

Limits: groups whose mips are s0, s1, ... without gaps.
"""

from __future__ import annotations

from typing import Any

from tinybrain.volumes.pyramid import Axis, Pyramid
from tinybrain.volumes.root import Json, Root, kind_of_axis, mip_of, no_pyramid, opened, state


def read_n5(root: Root, attributes: Json) -> Pyramid:
    """Open a group whose ``attributes.json`` is given."""
    if "dimensions" in attributes:
        raise ValueError(no_pyramid(root, "N5", is_array=True))
    each: list[Json] = []
    while (found := root.json_of(f"s{len(each)}/attributes.json")) is not None:
        each.append(found)
    if not each:
        raise ValueError(f"path: {root.name} is an N5 group without mips s0, s1, ...; name the multiscale group in it")
    stores = opened(root, [{"driver": "n5", "kvstore": root.spec(f"s{k}")} for k in range(len(each))], None)
    ndim = len(stores[0].shape)
    around = {**each[0], **attributes}
    size: Any
    unit: Any
    size, unit = around.get("pixelResolution", around.get("resolution")), around.get("units", "")
    if isinstance(size, dict):  # as n5-viewer writes it
        size, unit = size.get("dimensions"), size.get("unit", "")
    size = _numbers(root, "resolution", size, ndim) or (1.0,) * ndim
    units = unit if isinstance(unit, list) else [unit] * ndim
    given = around.get("axes")
    names = [str(name) for name in given] if isinstance(given, list) else list("xyzct"[:ndim])
    if len(names) != ndim:
        names = [f"d{k}" for k in range(ndim)]
    steps = attributes.get("scales", attributes.get("downsamplingFactors"))
    mips = []
    for k, (own, store) in enumerate(zip(each, stores, strict=True)):
        step = own.get("downsamplingFactors", steps[k] if isinstance(steps, list) and k < len(steps) else None)
        factor = _numbers(root, f"s{k}: downsamplingFactors", step, ndim) or (1.0,) * ndim
        scale = tuple(s * f for s, f in zip(size, factor, strict=True))
        shift = tuple(s * (f - 1) / 2 for s, f in zip(size, factor, strict=True))
        mips.append(mip_of(root, f"s{k}", store, scale, shift))
    complete, _ = state(root)
    kinds = [kind_of_axis(name) or "space" for name in names]
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
        url=root.store.url,
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
