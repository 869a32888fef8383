"""What the ``info`` of a Neuroglancer Precomputed volume says of its mips."""

from __future__ import annotations

from tinybrain.volumes.pyramid import Axis, Pyramid
from tinybrain.volumes.root import Json, Root, method_of, mip_of, opened, state


def read_precomputed(root: Root, info: Json) -> Pyramid:
    """Open a volume whose ``info`` is given."""
    broken = f"path: {root.at('info')} is broken"
    scales = info.get("scales")
    if scales is None:
        raise ValueError(f"path: {root.name} is no volume: its info has no scales (type {info.get('@type')!r})")
    if not isinstance(scales, list) or not scales or not all(isinstance(scale, dict) for scale in scales):
        raise ValueError(f"{broken}: scales must be a list of JSON objects")
    spec = {"driver": "neuroglancer_precomputed", "kvstore": root.spec()}
    stores = opened(root, [{**spec, "scale_index": k} for k in range(len(scales))], 4)
    first = tuple(map(float, scales[0]["resolution"]))  # TensorStore has checked them all
    mips = []
    for scale, store in zip(scales, stores, strict=True):
        resolution = tuple(map(float, scale["resolution"]))
        offset = tuple(map(float, scale.get("voxel_offset", (0, 0, 0))))
        centre = tuple(o * r + (r - f) / 2 for o, r, f in zip(offset, resolution, first, strict=True))
        mips.append(mip_of(root, scale["key"], store, (*resolution, 1.0), (*centre, 0.0), scale))
    complete, sidecar = state(root)
    noted = info.get("tinybrain", sidecar)
    return Pyramid(
        path=root.name,
        format="Neuroglancer Precomputed",
        driver="neuroglancer_precomputed",
        axes=(*(Axis(name, "space", "nanometer") for name in "xyz"), Axis("channel", "channel")),
        mips=tuple(mips),
        kind="labels" if info.get("type") == "segmentation" else "image",
        method=method_of(noted.get("type"), noted.get("metadata", noted)) if isinstance(noted, dict) else None,
        complete=complete,
        url=root.store.url,
        root=root.directory,
    )
