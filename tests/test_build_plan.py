"""Plans: every voxel in one block, no chunk written twice, memory kept; and a petabyte planned at no cost."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tensorstore")

from tinybrain.volumes.plan import Grid, Plan, TooLittleMemory, make_plan, task_bytes
from tinybrain.volumes.recipe import Recipe
from tinybrain.volumes.storage import extents, laid_out, tiles

HALVES, CUBES = (2, 2, 1), (2, 2, 2)
MANY = [
    (Recipe("average", (HALVES,) * 5, "uint8"), (3000, 2100, 70), (64, 64, 64)),
    (Recipe("average", (CUBES,) * 6, "uint8"), (1500, 700, 340), (128, 64, 32)),
    (Recipe("average", (CUBES,) * 6, "uint16", sparse=True), (1500, 700, 340), (100, 100, 7)),
    (Recipe("average", ((3, 3, 2),) * 4, "float32"), (999, 700, 340), (64, 64, 64)),
    (Recipe("mode", (HALVES, CUBES, CUBES), "uint64", exact=True), (999, 700, 340), (64, 64, 64)),
    (Recipe("average", (HALVES, HALVES, CUBES, CUBES), "int64", exact=True), (999, 700, 340), (64, 64, 64)),
]


def plan_of(recipe: Recipe, shape: tuple[int, ...], chunk: tuple[int, ...], budget: int, **more: object) -> Plan:
    chunks = [chunk] * (recipe.num_mips + 1)
    return make_plan(recipe, shape, chunks=chunks, source_chunk=(64, 64, 64), budget=budget, **more)


@pytest.mark.parametrize("budget", [12 << 20, 100 << 20, 1 << 30], ids=["12MiB", "100MiB", "1GiB"])
@pytest.mark.parametrize(("recipe", "shape", "chunk"), MANY, ids=lambda v: v.name if isinstance(v, Recipe) else None)
def test_a_plan_is_sound(recipe: Recipe, shape: tuple[int, ...], chunk: tuple[int, ...], budget: int) -> None:
    try:
        plan = plan_of(recipe, shape, chunk, budget)
    except TooLittleMemory as error:
        needed = error.needed
    else:
        needed = 0
    if needed:
        assert needed > budget
        return
    assert plan.task_bytes <= budget
    shapes = recipe.shapes(shape)
    # Stages follow one another, and each ends in something that can be carried.
    assert [stage.first for stage in plan.stages] == [0, *(stage.last for stage in plan.stages[:-1])]
    assert plan.stages[-1].last == recipe.num_mips
    assert all(recipe.state(stage.last) for stage in plan.stages[:-1])
    written: dict[int, list[Grid]] = {mip: [] for mip in range(1, len(shapes))}
    for stage in plan.stages:
        assert stage.grid.shape == shapes[stage.first]
        scale = recipe.scale(stage.first, stage.last)
        for b, n, f in zip(stage.grid.block, stage.grid.shape, scale, strict=True):
            assert b == n or b % f == 0
        for mip, direct in zip(range(stage.first + 1, stage.last + 1), stage.direct, strict=True):
            if direct:
                piece = tuple(-(-b // f) for b, f in zip(stage.grid.block, recipe.scale(stage.first, mip), strict=True))
                written[mip].append(Grid(shapes[mip], piece))
    for assembly in plan.assemblies:
        for mip, grid in zip(assembly.mips, assembly.grids, strict=True):
            written[mip].append(grid)
    # Each mip is written by one phase, in boxes that end where chunks end.
    for mip, grids in written.items():
        (grid,) = grids
        assert grid.shape == shapes[mip]
        for b, c, n in zip(grid.block, chunk, shapes[mip], strict=True):
            assert b % c == 0 or b >= n
    for b, c, n in zip(plan.stages[0].grid.block, chunk, shape, strict=True):
        assert b % c == 0 or b == n


@pytest.mark.parametrize("shape", [(7, 5, 3), (8, 8, 8), (1, 9, 2)])
@pytest.mark.parametrize("block", [(2, 3, 1), (4, 4, 4), (10, 10, 10)])
def test_boxes_cover_a_volume_once(shape: tuple[int, ...], block: tuple[int, ...]) -> None:
    grid = Grid(shape, block)
    seen = np.zeros(shape, int)
    for index in range(grid.count):
        start, stop = grid.box(index)
        seen[tuple(map(slice, start, stop))] += 1
    assert (seen == 1).all()
    for box in (((0, 0, 0), shape), ((0, 1, 1), (1, 2, 2)), ((0, 2, 0), (1, 5, 1))):
        touching = {
            i for i in range(grid.count) if all(a < d and c < b for a, b, c, d in zip(*box, *grid.box(i), strict=True))
        }
        assert sorted(grid.touching(box)) == sorted(touching)


def test_pieces_are_whole_chunks_and_cover_a_box_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        start = rng.integers(0, 20, 3)
        stop = start + rng.integers(1, 30, 3)
        chunk = rng.integers(1, 12, 3).tolist()
        most = int(rng.integers(1, 4000))
        box = (tuple(start.tolist()), tuple(stop.tolist()))
        seen = np.zeros((60, 60, 60), int)
        for piece in tiles(box, chunk, most, rng.permutation(3).tolist()):
            seen[tuple(map(slice, *piece))] += 1
            assert all(a == s or a % c == 0 for a, s, c in zip(piece[0], start, chunk, strict=True))
            assert all(b == e or b % c == 0 for b, e, c in zip(piece[1], stop, chunk, strict=True))
            assert math.prod(extents(piece)) <= max(most, math.prod(chunk))
        inside = tuple(map(slice, *box))
        assert (seen[inside] == 1).all()
        assert seen.sum() == seen[inside].size


@pytest.mark.parametrize("shape", [(33, 20, 47), (1, 50, 3), (40, 1, 1), (1, 1, 1), (17, 16, 2, 3)])
def test_arrays_are_turned_to_the_order_in_which_they_are_stored(shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.uint16).reshape(shape)
    for order in itertools.permutations(range(len(shape))):
        for given in (array, array.copy("F"), np.repeat(array, 2, 0)[::2]):
            turned = laid_out(given, order)
            np.testing.assert_array_equal(turned, array)
            large = [axis for axis in order if shape[axis] > 1]
            assert not large or turned.strides[large[-1]] == min(turned.strides[axis] for axis in large)


@pytest.mark.parametrize(
    ("recipe", "ends"),
    [
        # Deep enough for 11 mips, but not for 12: the stage ends where the truncation restarts from a mip.
        (Recipe("average", (HALVES,) * 16, "uint8"), [8, 16]),
        (Recipe("average", (CUBES,) * 12, "uint8"), [8, 12]),
        (Recipe("average", (CUBES,) * 12, "uint16"), [5, 12]),
        (Recipe("mode", (CUBES,) * 12, "uint8"), [8, 12]),
        (Recipe("average", (CUBES,) * 12, "int32"), [8, 12]),
        (Recipe("average", (HALVES,) * 6, "uint8"), [6]),
    ],
    ids=lambda v: v.name if isinstance(v, Recipe) else None,
)
def test_stages_end_where_no_sums_need_be_carried(recipe: Recipe, ends: list[int]) -> None:
    plan = plan_of(recipe, (1 << 20, 1 << 20, 1 << 16), (64, 64, 64), 130 << 20)
    assert [stage.last for stage in plan.stages] == ends


def test_too_little_memory_says_what_the_smallest_block_takes() -> None:
    recipe = Recipe("average", (HALVES,) * 3, "uint8")
    with pytest.raises(TooLittleMemory, match="smallest block has 64 x 64 x 64 voxels") as caught:
        plan_of(recipe, (1000, 1000, 1000), (64, 64, 64), 1000)
    assert caught.value.needed == task_bytes(recipe, 0, 1, (64, 64, 64))
    plan_of(recipe, (1000, 1000, 1000), (64, 64, 64), caught.value.needed, stage_depth=1)


def test_a_plan_survives_json() -> None:
    import json

    for recipe, shape, chunk in MANY[:4]:
        plan = plan_of(recipe, shape, chunk, 100 << 20)
        assert Plan.from_json(recipe, json.loads(json.dumps(plan.to_json()))) == plan


def test_source_reads_count_chunks_that_lie_in_several_blocks() -> None:
    recipe = Recipe("average", (HALVES,), "uint8")
    chunks = [(16, 16, 16)] * 2
    for block, source in itertools.product([(16, 16, 16), (32, 48, 16)], [(16, 16, 16), (20, 30, 7), (50, 11, 64)]):
        plan = make_plan(
            recipe, (200, 170, 64), chunks=chunks, source_chunk=source, budget=1 << 30, block=block, stage_depth=None
        )
        grid = Grid((200, 170, 64), source)
        touched = sum(len(list(grid.touching(plan.stages[0].grid.box(i)))) for i in range(plan.stages[0].grid.count))
        assert plan.source_reads == pytest.approx(touched / grid.count)


PETABYTE = """
from pathlib import Path
from tinybrain.volumes.plan import Assembly, make_plan, task_count
from tinybrain.volumes.recipe import Recipe
recipe = Recipe("average", ((2, 2, 1),) * 4 + ((2, 2, 2),) * 6, "uint8")
shape = (1 << 18, 1 << 18, 14_901)  # 1 PB
plan = make_plan(
    recipe, shape, chunks=[(64, 64, 64)] * 11, source_chunk=(64, 64, 64), budget=2 << 30, block=(1024, 1024, 960)
)
blocks = voxels = 0
for phase in plan.phases:
    for index in range(task_count(phase)):
        box = phase.task(index)[1] if isinstance(phase, Assembly) else phase.grid.box(index)
        blocks += 1
        voxels += (box[1][0] - box[0][0]) * (box[1][1] - box[0][1]) * (box[1][2] - box[0][2])
# Not ru_maxrss, which a process inherits from the one that started it.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(blocks, voxels, int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
def test_a_million_blocks_are_planned_in_little_memory() -> None:
    """No timing: what it takes is bounded by what is held, and nothing is held per block."""
    run = subprocess.run([sys.executable, "-c", PETABYTE], capture_output=True, text=True, check=True)
    blocks, voxels, mib = map(int, run.stdout.split())
    assert blocks >= 1_000_000
    assert voxels >= (1 << 36) * 14_901
    assert mib < 300
