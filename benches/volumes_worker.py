"""What `volumes_build.py` measures in processes of its own: one job a process, its result as a line of JSON.

    python benches/volumes_worker.py copy SRC LIKE DST        TensorStore copies SRC to an array stored as LIKE is
    python benches/volumes_worker.py ngff-zarr SRC DST MIPS   and so on: see the functions below

The imports stand where they are needed: a job is timed from the start of its process, and not all have all libraries.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Result = dict[str, Any]
CHUNK = 128


def peak() -> int:
    """Most bytes of memory that this process had at once."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike ru_maxrss, this doesn't begin with what the process that started it had
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- Volumes ----------------------------------------------------------------------------------------


def opened(path: str | Path, **more: Any) -> Any:
    """Open an array with TensorStore, or make it."""
    import tensorstore as ts

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, **more}
    return ts.open(spec, create=bool(more)).result()


def source(path: str, size: str) -> Result:
    """Write the input of some `size` bytes: uncompressed uint8 in chunks of 128**3, and leave it in the disk cache.

    It is tissue that is repeated. A slice is taken at random, rolled, and has a bit of noise, so that no chunk is
    cheaper to compress because it has been there before.
    """
    import numpy as np
    from volumes import base

    side = 4096 if int(size) >= 1 << 30 else 2048 if int(size) >= 1 << 28 else 512
    shape = (max(CHUNK, int(size) // side**2 // CHUNK * CHUNK), side, side)
    grid = {"name": "regular", "configuration": {"chunk_shape": [CHUNK] * 3}}
    metadata = {"shape": shape, "data_type": "uint8", "chunk_grid": grid, "codecs": [{"name": "bytes"}]}
    volume = opened(path, metadata={**metadata, "dimension_names": ["z", "y", "x"]})
    tissue, rng = base("image").T, np.random.default_rng(0)
    wide = np.tile(tissue, (1, -(-side // tissue.shape[1]), -(-side // tissue.shape[2])))[:, :side, :side]
    for z in range(0, shape[0], CHUNK):
        slab = np.empty((CHUNK, side, side), np.uint8)
        for at in range(CHUNK):
            rolled = np.roll(wide[int(rng.integers(len(wide)))], rng.integers(0, side, 2), (0, 1))
            slab[at] = rolled ^ rng.integers(0, 2, (side, side), np.uint8)
        volume[z : z + CHUNK].write(slab).result()
    for file in Path(path).rglob("*"):
        if file.is_file():
            file.read_bytes()
    return {"size": math.prod(shape)}


def limited(src: str, dst: str, mips: str, size: str, shard: str) -> Result:
    """Build within a memory limit, with shards of `shard` voxels along each axis or (0) none, and tell the peak."""
    from tinybrain.volumes import build

    layout: dict[str, Any] = {"chunk": (64, 64, 64), "shard": (int(shard),) * 3} if int(shard) else {}
    build(src, dst, axes="zyx", factor=(2, 2, 1), num_mips=int(mips), memory=int(size), **layout)
    return {"peak": peak()}


def check(src: str, dst: str, mips: str) -> Result:
    """Compare the mips of a build with the in-memory call, on the first and the last slices: z isn't pooled."""
    import numpy as np

    import tinybrain

    volume = opened(src)
    for part in (slice(0, 4), slice(volume.shape[0] - 4, volume.shape[0])):
        wanted = tinybrain.downsample_with_averaging(volume[part].read().result(), (1, 2, 2), num_mips=int(mips))
        for mip, want in enumerate(wanted, 1):
            if not np.array_equal(opened(Path(dst) / str(mip))[part].read().result(), want):
                raise SystemExit(f"WRONG: mip {mip} of the build isn't what the in-memory call returns")
    return {"said": "checked"}


def off_by(src: str, dst: str, mips: str) -> Result:
    """Tell how far the levels of a peer are from ours at most."""
    import numpy as np

    import tinybrain

    levels = json.loads((Path(dst) / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]["datasets"]
    mine = tinybrain.downsample_with_averaging(opened(src)[:4].read().result(), (1, 2, 2), num_mips=int(mips))
    most = 0
    for level, want in zip(levels[1:], mine, strict=True):
        got = opened(Path(dst) / level["path"])[:4].read().result()
        if got.shape != want.shape:
            raise SystemExit(f"{level['path']} has shape {got.shape}, not {want.shape}")
        most = max(most, int(np.abs(got.astype(int) - want).max()))
    return {"said": f"levels differ from ours by {most} at most"}


# --- What is timed ----------------------------------------------------------------------------------


def copy(src: str, like: str, dst: str) -> Result:
    """Copy with TensorStore alone to the chunks and codecs of the array `like`."""
    metadata = json.loads((Path(like) / "zarr.json").read_text())
    kept = ("shape", "chunk_grid", "chunk_key_encoding", "codecs", "data_type", "fill_value")
    opened(dst, metadata={name: metadata[name] for name in kept}).write(opened(src)).result()
    return {}


def factors(mips: str) -> list[dict[str, int]]:
    """The factors from mip 0 to every mip, as ngff-zarr and ome-zarr-py take them."""
    return [{"z": 1, "y": 2**k, "x": 2**k} for k in range(1, int(mips) + 1)]


def on_all_cores() -> Any:
    """Have dask use as many threads as there are cores for this process."""
    import dask

    return dask.config.set(scheduler="threads", num_workers=len(os.sched_getaffinity(0)))


def ngff_zarr(src: str, dst: str, mips: str) -> Result:
    """Levels of ngff-zarr by bin shrink, ITK compiled to WebAssembly."""
    import dask.array
    import ngff_zarr as nz

    with on_all_cores():
        base = nz.to_ngff_image(dask.array.from_zarr(src), dims=("z", "y", "x"))
        levels = nz.to_multiscales(base, factors(mips), method=nz.Methods.ITKWASM_BIN_SHRINK, cache=False)
        nz.to_ngff_zarr(dst, levels, version="0.5")
    return {}


def ome_zarr_py(src: str, dst: str, mips: str, method: str) -> Result:
    """Levels of ome-zarr-py: `local_mean`, which are means, or `resize`, its default."""
    import dask.array
    from ome_zarr.scale import Methods
    from ome_zarr.writer import write_image

    with on_all_cores():
        write_image(dask.array.from_zarr(src), dst, factors(mips), method=Methods(method), axes=["z", "y", "x"])
    return {}


def plan(extents: str, block: str, mips: str) -> Result:
    """Plan a build of a volume without data, and go through its tasks as a run does, with nothing done in them.

    The driver works out the box of every task and marks it as done. That a worker runs the task in between takes the
    driver time, which is for `scheduler` to say, but no memory that grows.
    """
    import numpy as np

    from tinybrain.volumes.plan import Assembly, make_plan, task_count
    from tinybrain.volumes.recipe import Recipe

    before, began = peak(), time.perf_counter()
    shape, count = tuple(int(n) for n in extents.split(",")), int(mips)
    recipe = Recipe("average", ((2, 2, 1),) * count, "uint8", False, False)
    chunk, shard = (CHUNK,) * 3, (4 * CHUNK,) * 3
    wanted = tuple(int(n) for n in block.split(",")) if block else None
    made = make_plan(recipe, shape, chunks=[shard] * (count + 1), source_chunk=chunk, budget=2 << 30, block=wanted)
    planned = time.perf_counter() - began
    tasks = 0
    for phase in made.phases:
        done = np.zeros(task_count(phase), bool)
        for index in range(len(done)):
            if isinstance(phase, Assembly):
                phase.task(index)
            else:
                phase.grid.box(index)
            done[index] = True
        tasks += len(done)
    told = {"planned": planned, "tasks": tasks, "blocks": sum(stage.grid.count for stage in made.stages)}
    blocks = [stage.grid.block for stage in made.stages]
    return {"seconds": time.perf_counter() - began, "peak": peak(), "before": before, "stages": blocks, **told}


def scheduler(tasks: str, workers: str) -> Result:
    """Let a local dask scheduler run tasks that do nothing, as many under way as a build would have."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=int(workers), threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(int(workers))
        wanted = iter(range(int(tasks)))

        def submit(count: int) -> list[Any]:
            return [client.submit(abs, index, pure=False) for index in itertools.islice(wanted, count)]

        began = time.perf_counter()
        running = distributed.as_completed(submit(2 * int(workers) + 1), with_results=True)
        done = 0
        for future, _ in running:
            done += 1
            future.release()
            for more in submit(1):
                running.add(more)
        one_by_one = done / (time.perf_counter() - began)
        began = time.perf_counter()
        client.gather(client.map(abs, range(int(tasks)), pure=False))
        at_once = int(tasks) / (time.perf_counter() - began)
    return {"one_by_one": one_by_one, "at_once": at_once}


def graph(blocks: str, mips: str) -> Result:
    """Make the graph that a scheduler would be sent for the mips of a dask array."""
    import dask.array
    from dask.base import collections_to_expr

    import tinybrain

    side = round(int(blocks) ** (1 / 2))
    image = dask.array.zeros((64 * side, 64 * side), chunks=64, dtype="u1")
    before, began = peak(), time.perf_counter()
    lazy = tinybrain.downsample_with_averaging(image, (2, 2), int(mips))
    tasks = collections_to_expr(lazy).optimize().__dask_graph__()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "bytes": peak() - before, "tasks": len(tasks), "blocks": image.npartitions}


JOBS: dict[str, Callable[..., Result]] = {
    "source": source,
    "limited": limited,
    "check": check,
    "off-by": off_by,
    "copy": copy,
    "ngff-zarr": ngff_zarr,
    "ome-zarr-py": ome_zarr_py,
    "plan": plan,
    "scheduler": scheduler,
    "graph": graph,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    print(json.dumps(JOBS[arguments.job](*arguments.words)))
