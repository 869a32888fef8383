"""The destination: a multiscale volume to be made, as a record that workers can be sent, and its arrays.

Inside `tinybrain.volumes` the axes of a volume are always those of `AXES` that it has, in this order: x first, as in
tinybrain's factors. How a format stores them is its own matter (`ome_zarr`, `precomputed`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinybrain.volumes._extras import extra
from tinybrain.volumes.recipe import FUNCTIONS, Recipe
from tinybrain.volumes.storage import BuildError, Shape, kvstore_spec, one_line, open_kvstore, waited_for

AXES = "xyzct"
FORMATS = ("ome-zarr", "ome-zarr-0.4", "precomputed")
NANOMETRES = {"nanometer": 1.0, "micrometer": 1e3, "millimeter": 1e6, "meter": 1e9, "angstrom": 0.1}


@dataclass(frozen=True)
class Target:
    """A volume to be made.

    Attributes
    ----------
    url : str
        Of its folder, with a slash at the end.
    format : str
        One of `FORMATS`.
    axes : str
        The axes it has, of "xyzct".
    shapes : tuple of tuple of int
        Of all mips, mip 0 first.
    chunk, shard : tuple of int
        What readers read and what is written at once; `shard` is None without sharding.
    codec : tuple of (str, int or None)
        Compression and its level.
    voxel_size, translation : tuple of float
        Of mip 0 along each axis, in `unit` where it is a direction in space.
    labels : bool
        Labels, not an image.
    adds : bool
        Mip 0 is there already; the others are added to it.
    """

    url: str
    format: str
    axes: str
    shapes: tuple[Shape, ...]
    recipe: Recipe
    chunk: Shape
    shard: Shape | None
    codec: tuple[str, int | None]
    voxel_size: tuple[float, ...]
    translation: tuple[float, ...]
    unit: str
    labels: bool
    name: str
    adds: bool = False

    def scale(self, mip: int) -> tuple[float, ...]:
        """Size of a voxel of a mip along each axis."""
        factor = self.recipe.scale(0, mip) if mip else (1,) * len(self.axes)
        return tuple(size * f for size, f in zip(self.voxel_size, factor, strict=True))

    def shift(self, mip: int) -> tuple[float, ...]:
        """Position of the centre of a mip's first voxel: half a cell on from the mip before, unless striding."""
        shift = list(self.translation)
        for k, factor in enumerate(self.recipe.factors[:mip]):
            if not strides(self.recipe, factor):
                shift = [s + 0.5 * (f - 1) * size for s, f, size in zip(shift, factor, self.scale(k), strict=True)]
        return tuple(shift)

    def method_note(self) -> dict[str, Any]:
        """Return what the metadata says of how the mips were made."""
        import tinybrain

        recipe = self.recipe
        kwargs: dict[str, Any] = {"factor": [list(f) for f in recipe.factors], "num_mips": recipe.num_mips}
        if recipe.method in ("average", "mode"):
            kwargs |= {"sparse": recipe.sparse, "exact": recipe.exact}
        return {
            "description": f"Each mip is the {recipe.name} of the cells of the one before"
            + (", made of the voxels of mip 0" if recipe.exact else "")
            + "; factors are along "
            + ", ".join(self.axes),
            "method": f"tinybrain.{FUNCTIONS[recipe.method]}",
            "version": tinybrain.__version__,
            "args": [],
            "kwargs": kwargs,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Target:
        """Make a record of what `to_json` returned, before or after JSON made lists of its tuples."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        recipe = dict(value["recipe"])
        recipe["factors"] = tuple(tuple(f) for f in recipe["factors"])
        fields |= {"recipe": Recipe(**recipe), "shapes": tuple(tuple(s) for s in value["shapes"])}
        return cls(**fields)


def strides(recipe: Recipe, factor: Shape) -> bool:
    """Whether a mip has the first voxel of each cell: striding, and modes by factors that aren't powers of two."""
    return recipe.method == "stride" or (
        recipe.method == "mode" and not recipe.exact and any(f & (f - 1) for f in factor)
    )


def _format(target: Target) -> Any:
    from tinybrain.volumes import ome_zarr, precomputed

    return precomputed if target.format == "precomputed" else ome_zarr


def create(target: Target, context: Any) -> None:
    """Write the metadata of the volume and of its arrays; what is there already must be the same."""
    module = _format(target)
    for mip in range(target.adds, len(target.shapes)):
        _open(module.array_spec(target, mip), target.url, context, create=True, open=True)
    module.write_metadata(target, open_kvstore(target.url))


def open_mip(target: Target, mip: int, context: Any, breathe: Callable[[], None]) -> Any:
    """Open the array of a mip, with tinybrain's order of the axes and the first voxel at 0."""
    module = _format(target)
    handle = _open(module.array_spec(target, mip), target.url, context, breathe, open=True)
    return module.view(handle, target.axes)


def write_chunks(target: Target) -> list[Shape | None]:
    """Return the shape of what is written at once at each mip (None: nothing), of arrays made in memory."""
    module = _format(target)
    context = extra("tensorstore").Context()
    shapes: list[Shape | None] = [None] * target.adds
    for mip in range(target.adds, len(target.shapes)):
        handle = _open(module.array_spec(target, mip), "memory://probe/", context, create=True)
        layout = module.view(handle, target.axes).chunk_layout
        shapes.append(tuple(layout.write_chunk.shape))
    return shapes


def _open(spec: dict[str, Any], url: str, context: Any, breathe: Callable[[], None] = lambda: None, **how: bool) -> Any:
    path = spec.pop("path", "")
    spec["kvstore"] = kvstore_spec(url + path)
    try:
        return waited_for(extra("tensorstore").open(spec, context=context, **how), breathe)
    except ValueError as error:
        raise BuildError(f"{url}{path} can't be made or opened: {one_line(error)}") from None
