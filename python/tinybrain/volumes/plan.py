"""The plan of a build: pure arithmetic over shapes and bytes; nothing here reads a voxel.

A *stage* reads its input once, block by block, and makes all its mips from each block. The first stage reads the
source; where one block can't hold all mips within the memory limit, the next stage goes on from the state of the last
mip of the one before (`tinybrain.volumes.recipe`). Blocks are multiples of the stage's factor along every axis, or
end where the volume ends, so that no cell belongs to two of them.

No chunk of the destination is ever written by two tasks. Mip 0 of a block is whole chunks. A further mip is written
straight away if its piece of the block is whole chunks too; if it isn't, it goes into a file of pieces of that block,
and an *assembly* after the stage makes whole chunks of them: a small part of the volume, as these are the small mips.

Blocks have no objects: block i is computed from i, so a plan of a petabyte takes as much room as that of a thumbnail.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybrain.volumes.progress import size_of
from tinybrain.volumes.recipe import Part, Recipe
from tinybrain.volumes.storage import Box, Shape

LARGE = 256 << 20  # bytes of a task beyond which nothing gets faster
SCRATCH = 16 << 20  # bytes that sums of a block take while they are made, piece by piece (`carry`)


class TooLittleMemory(ValueError):
    """No block fits; `needed` is what the smallest one takes, in bytes."""

    def __init__(self, needed: int, why: str) -> None:
        super().__init__(why)
        self.needed, self.why = needed, why


@dataclass(frozen=True)
class Grid:
    """Boxes of one shape that cover a volume, numbered along axis 0 first; the last ones are cut off."""

    shape: Shape
    block: Shape

    @property
    def counts(self) -> Shape:
        """Boxes along each axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    @property
    def count(self) -> int:
        """Boxes in all."""
        return math.prod(self.counts)

    def box(self, index: int) -> Box:
        """Return box number `index`."""
        start, stop = [], []
        for n, b, count in zip(self.shape, self.block, self.counts, strict=True):
            index, at = divmod(index, count)
            start.append(at * b)
            stop.append(min(at * b + b, n))
        return tuple(start), tuple(stop)

    def touching(self, box: Box) -> Iterator[int]:
        """Numbers of the boxes that share voxels with `box`."""
        numbers = [0]
        stride = 1
        for start, stop, b, count in zip(*box, self.block, self.counts, strict=True):
            along = range(start // b, -(-stop // b))
            numbers = [number + stride * at for at in along for number in numbers]
            stride *= count
        return iter(numbers)


@dataclass(frozen=True)
class Stage:
    """Mips `first` + 1 to `last` from one read of mip `first`, or of its state.

    `direct` says of each of them whether its pieces are whole chunks; `carries` whether a stage follows.
    """

    first: int
    last: int
    grid: Grid
    direct: tuple[bool, ...]
    carries: bool

    def piece(self, recipe: Recipe, box: Box, mip: int) -> Box:
        """Return what the block `box` (voxels of mip `first`) is in voxels of a later mip."""
        if mip == self.first:
            return box
        scale = recipe.scale(self.first, mip)
        start = tuple(a // f for a, f in zip(box[0], scale, strict=True))
        return start, tuple(-(-b // f) for b, f in zip(box[1], scale, strict=True))

    def packed(self, recipe: Recipe) -> list[tuple[int, Part]]:
        """Return what goes into the file of pieces of a block, in this order: (mip, part)."""
        entries = [
            (mip, Part("rendered", recipe.dtype))
            for mip, direct in zip(range(self.first + 1, self.last + 1), self.direct, strict=True)
            if not direct
        ]
        if self.carries:
            entries += [(self.last, p) for p in recipe.state(self.last) or () if (self.last, p) not in entries]
        return entries


@dataclass(frozen=True)
class Assembly:
    """Whole chunks of the mips that stage number `stage` left in pieces: tasks of `grids`, one after another."""

    stage: int
    mips: tuple[int, ...]
    grids: tuple[Grid, ...]

    def task(self, index: int) -> tuple[int, Box]:
        """Return (mip, box) of task number `index`."""
        for mip, grid in zip(self.mips, self.grids, strict=True):
            if index < grid.count:
                return mip, grid.box(index)
            index -= grid.count
        raise IndexError(index)


Phase = Stage | Assembly


@dataclass(frozen=True)
class Plan:
    """Phases that follow one another; tasks within a phase are independent.

    `task_bytes` is what the largest task holds; `source_reads` how often the chunks of the source are read on average.
    """

    recipe: Recipe
    shape: Shape
    stages: tuple[Stage, ...]
    assemblies: tuple[Assembly, ...]
    task_bytes: int
    source_reads: float

    @property
    def phases(self) -> list[Phase]:
        """Every stage, followed by its assembly if it has one."""
        after = {assembly.stage: assembly for assembly in self.assemblies}
        phases: list[Phase] = []
        for number, stage in enumerate(self.stages):
            phases.append(stage)
            if number in after:
                phases.append(after[number])
        return phases

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""
        return {
            "shape": self.shape,
            "task_bytes": self.task_bytes,
            "source_reads": self.source_reads,
            "stages": [
                {"mips": [s.first, s.last], "shape": s.grid.shape, "block": s.grid.block, "direct": s.direct}
                for s in self.stages
            ],
            "assemblies": [
                {
                    "stage": a.stage,
                    "mips": a.mips,
                    "shapes": [g.shape for g in a.grids],
                    "blocks": [g.block for g in a.grids],
                }
                for a in self.assemblies
            ],
        }

    @classmethod
    def from_json(cls, recipe: Recipe, value: dict[str, Any]) -> Plan:
        """Make a plan of what `to_json` returned."""
        stages = []
        for s in value["stages"]:
            first, last = s["mips"]
            grid = Grid(tuple(s["shape"]), tuple(s["block"]))
            stages.append(Stage(first, last, grid, tuple(s["direct"]), last < recipe.num_mips))
        assemblies = [
            Assembly(
                a["stage"],
                tuple(a["mips"]),
                tuple(Grid(tuple(n), tuple(b)) for n, b in zip(a["shapes"], a["blocks"], strict=True)),
            )
            for a in value["assemblies"]
        ]
        return cls(
            recipe, tuple(value["shape"]), tuple(stages), tuple(assemblies), value["task_bytes"], value["source_reads"]
        )


def task_count(phase: Phase) -> int:
    """Return how many tasks a phase has."""
    return phase.grid.count if isinstance(phase, Stage) else sum(grid.count for grid in phase.grids)


def make_plan(
    recipe: Recipe,
    shape: Shape,
    *,
    chunks: Sequence[Shape | None],
    source_chunk: Shape,
    budget: int,
    stage_depth: int | None = None,
    block: Shape | None = None,
) -> Plan:
    """Plan a build.

    Parameters
    ----------
    recipe : Recipe
        The pyramid.
    shape : tuple of int
        Of mip 0.
    chunks : sequence of tuple of int
        What the destination writes at once (a chunk, or a shard) at each mip; None for mip 0 if it is there already.
    source_chunk : tuple of int
        What the source reads at once.
    budget : int
        Bytes that one task may hold.
    stage_depth : int, optional
        Mips of a stage at most.
    block : tuple of int, optional
        Shape of the blocks, rounded up to what they must be; by default as the memory allows.

    Raises
    ------
    TooLittleMemory
        If that block, or else the smallest one, takes more than `budget`.
    """
    shapes = recipe.shapes(shape)
    stages: list[Stage] = []
    assemblies: list[Assembly] = []
    most = 0
    first = 0
    while True:
        stage = _stage(recipe, shapes, first, chunks, source_chunk, budget, stage_depth, block)
        number = len(stages)
        stages.append(stage)
        most = max(most, task_bytes(recipe, stage.first, stage.last, stage.grid.block))
        mips = [k for k, direct in zip(range(first + 1, stage.last + 1), stage.direct, strict=True) if not direct]
        if mips:
            grids = tuple(_assembly_grid(recipe, shapes[k], chunks[k] or shapes[k]) for k in mips)
            assemblies.append(Assembly(number, tuple(mips), grids))
            held = max(2 * math.prod(grid.block) for grid in grids) * np.dtype(recipe.dtype).itemsize
            if held > budget:
                voxels = max(math.prod(grid.block) for grid in grids)
                raise TooLittleMemory(held, f"a chunk of the destination has {voxels} voxels; smaller ones take less")
            most = max(most, held)
        first = stage.last
        if first == recipe.num_mips:
            break
    reads = _reads(shape, source_chunk, stages[0].grid.block)
    return Plan(recipe, shape, tuple(stages), tuple(assemblies), most, reads)


def task_bytes(recipe: Recipe, first: int, last: int, block: Shape) -> int:
    """Return the bytes that the arrays of a block take while its mips are made."""
    itemsize = np.dtype(recipe.dtype).itemsize
    voxels = [math.prod(extents) for extents in _pieces(recipe, first, last, block)]
    parts = recipe.state(first) or ()
    total = voxels[0] * sum(part.itemsize for part in parts) + sum(voxels[1:]) * itemsize
    if parts[0].name != "rendered" and last > first:
        # Sums folded once, the fold under way, and what rendering them takes.
        total += voxels[1] * (2 * sum(part.itemsize for part in parts) + 24)
    if last < recipe.num_mips and not recipe.restarts(last):
        total += SCRATCH + 2 * voxels[-1] * sum(part.itemsize for part in recipe.state(last) or ())
    return total


def _pieces(recipe: Recipe, first: int, last: int, block: Shape) -> list[Shape]:
    """Shapes of the block at every mip of a stage."""
    return Recipe(recipe.method, recipe.factors[first:last], recipe.dtype).shapes(block)


def _stage(
    recipe: Recipe,
    shapes: list[Shape],
    first: int,
    chunks: Sequence[Shape | None],
    source_chunk: Shape,
    budget: int,
    stage_depth: int | None,
    block: Shape | None,
) -> Stage:
    """Return the deepest stage from mip `first` on that fits; better one that ends in a mip that is the state."""
    deepest = min(recipe.num_mips, first + (stage_depth or recipe.num_mips))
    lasts = [last for last in range(deepest, first, -1) if last == recipe.num_mips or recipe.state(last) is not None]
    if recipe.num_mips == 0:
        lasts = [0]
    if not lasts:
        raise ValueError(
            f"stage_depth: got {stage_depth}, but exact modes of all mips are made from one read; accepted is at least "
            f"{recipe.num_mips}, or none"
        )
    fitting: list[tuple[int, Shape]] = []
    needed, least = 0, shapes[first]
    for last in lasts:
        least = unit = _unit(recipe, shapes, first, last, chunks)
        if block is not None:
            least = _clipped(tuple(-(-b // u) * u for b, u in zip(block, unit, strict=True)), shapes[first])
        needed = task_bytes(recipe, first, last, least)
        if needed <= budget:
            fitting.append((last, least))
            if last == recipe.num_mips or recipe.restarts(last):
                break
    if not fitting:
        words = f"block has {' x '.join(map(str, least))} voxels"
        why = f"the smallest {words}"
        if block is not None:
            why = f"the --{words} and takes {size_of(needed)}"
        elif recipe.exact and recipe.method == "mode":
            why += ", as exact modes need whole cells of the last mip; fewer mips take less"
        elif first == 0 and chunks[0] is not None and least != _unit(recipe, shapes, first, lasts[-1], [None]):
            why += ", whole chunks (or shards) of the destination; smaller ones take less"
        raise TooLittleMemory(needed, why)
    # The deepest comes first in `fitting`; a shallower one that restarts from a mip needs no sums.
    last, least = fitting[-1] if recipe.restarts(fitting[-1][0]) else fitting[0]
    source = source_chunk if first == 0 else (1,) * len(least)
    block = _block(recipe, shapes, first, last, least, chunks, source, budget) if block is None else least
    pieces = _pieces(recipe, first, last, block)[1:]
    direct = tuple(
        _whole_chunks(piece, chunks[k] or piece, shapes[k], block, shapes[first])
        for k, piece in zip(range(first + 1, last + 1), pieces, strict=True)
    )
    return Stage(first, last, Grid(shapes[first], block), direct, last < recipe.num_mips)


def _unit(recipe: Recipe, shapes: list[Shape], first: int, last: int, chunks: Sequence[Shape | None]) -> Shape:
    """Return the smallest block: whole cells of the last mip, and whole chunks of mip 0 where that is written."""
    unit = recipe.scale(first, last) if last > first else (1,) * len(shapes[0])
    if first == 0 and chunks[0] is not None:
        unit = tuple(math.lcm(u, c) for u, c in zip(unit, _clipped(chunks[0], shapes[0]), strict=True))
    return _clipped(unit, shapes[first])


def _clipped(block: Shape, shape: Shape) -> Shape:
    return tuple(min(b, n) for b, n in zip(block, shape, strict=True))


def _block(
    recipe: Recipe,
    shapes: list[Shape],
    first: int,
    last: int,
    unit: Shape,
    chunks: Sequence[Shape | None],
    source_chunk: Shape,
    budget: int,
) -> Shape:
    """Return the block of a stage: whole units, and whole chunks of source and mips as far as the memory allows."""
    shape = shapes[first]
    whole = task_bytes(recipe, first, last, shape)
    # At least eight blocks, so that some are read while others are written; but none smaller than 4 MiB for that.
    most = max(min(whole // 8, LARGE), 4 << 20, task_bytes(recipe, first, last, unit))
    most = min(budget, most)

    def fits(block: Shape, limit: int) -> bool:
        return task_bytes(recipe, first, last, _clipped(block, shape)) <= limit

    def joined(a: Shape, b: Shape) -> Shape:
        return tuple(n if math.lcm(u, w) >= n else math.lcm(u, w) for u, w, n in zip(a, b, shape, strict=True))

    for axis, chunk in enumerate(source_chunk):  # a chunk of the source in two blocks is read twice
        wish = joined(unit, tuple(chunk if a == axis else 1 for a in range(len(unit))))
        unit = wish if fits(wish, budget) else unit
    for mip in range(first + 1, last + 1):
        scale = recipe.scale(first, mip)
        chunk_of = chunks[mip] or shapes[mip]
        wish = joined(unit, tuple(c * f for c, f in zip(_clipped(chunk_of, shapes[mip]), scale, strict=True)))
        if not fits(wish, most):
            break
        unit = wish
    # Cubes have the least surface; growing stops where a block of some 64 MiB is as fast as a larger one.
    target = min(most, max(64 << 20, task_bytes(recipe, first, last, unit)))
    block = unit
    while True:
        axes = [a for a, n in enumerate(shape) if block[a] < n]
        for axis in sorted(axes, key=lambda a: block[a]):
            larger = tuple(2 * b if a == axis else b for a, b in enumerate(block))
            if fits(larger, target):
                block = _clipped(larger, shape)
                break
        else:
            return block


def _whole_chunks(piece: Shape, chunk: Shape, mip_shape: Shape, block: Shape, shape: Shape) -> bool:
    return all(
        b >= n or p % min(c, m) == 0 for p, c, m, b, n in zip(piece, chunk, mip_shape, block, shape, strict=True)
    )


def _assembly_grid(recipe: Recipe, shape: Shape, chunk: Shape) -> Grid:
    """Whole chunks for one task: as many as make some 8 MiB."""
    block = _clipped(chunk, shape)
    itemsize = np.dtype(recipe.dtype).itemsize
    for axis, n in enumerate(shape):
        while block[axis] < n and 2 * math.prod(block) * itemsize <= 8 << 20:
            block = _clipped(tuple(2 * b if a == axis else b for a, b in enumerate(block)), shape)
    return Grid(shape, block)


def _reads(shape: Shape, chunk: Shape, block: Shape) -> float:
    """How often the chunks of the source are read on average, blocks being read on their own."""
    times = 1.0
    for n, c, b in zip(shape, chunk, block, strict=True):
        chunks = -(-n // c)
        # A boundary between two blocks that is none between two chunks costs one chunk more.
        step = math.lcm(b, c)
        cut = -(-n // b) - 1 - (-(-n // step) - 1)
        times *= (chunks + cut) / chunks
    return times
