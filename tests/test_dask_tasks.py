"""dask arrays: which tasks there are, that each block is read and computed once, and that every scheduler runs them."""

from __future__ import annotations

import collections
import functools
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from dask.callbacks import Callback

import isolated
import tinybrain as tb
import tinybrain._native as native
from cases import patches, same_bits, voxels

FUNCTIONS: dict[str, Callable[..., list[Any]]] = {
    "averaging": tb.downsample_with_averaging,
    "segmentation": tb.downsample_segmentation,
    "min": tb.downsample_with_min_pooling,
    "max": tb.downsample_with_max_pooling,
    "striding": tb.downsample_with_striding,
}
every = pytest.mark.parametrize("method", FUNCTIONS)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


# --- tasks ------------------------------------------------------------------------------------------


class Source:
    """An array that counts how often each of its parts is read."""

    def __init__(self, voxels: np.ndarray) -> None:
        self.voxels, self.shape, self.dtype, self.ndim = voxels, voxels.shape, voxels.dtype, voxels.ndim
        self.reads: collections.Counter[str] = collections.Counter()
        self.lock = threading.Lock()

    def __getitem__(self, part: Any) -> np.ndarray:
        if self.voxels[part].size:  # dask looks at the type of nothing
            with self.lock:
                self.reads[str(part)] += 1
        return self.voxels[part]


class Tasks(Callback):
    """Count the tasks that a local scheduler runs."""

    def __init__(self) -> None:
        self.keys: list[Any] = []

    def _pretask(self, key: Any, *_: Any) -> None:
        self.keys.append(key)


@every
@pytest.mark.parametrize("chunks", [(32, 16, 2), (30, 20, 2)], ids=["aligned", "not aligned"])
@pytest.mark.parametrize("how", ["compute", "store", "persist", "threads"])
def test_every_block_is_read_once_for_all_mips_and_computed_once(monkeypatch, rng, method, chunks, how):
    from tinybrain import _call

    runs, run = [], _call.Call.run
    monkeypatch.setattr(_call.Call, "run", lambda call: (runs.append(call), run(call))[1])
    source = Source(voxels(rng, "uint16", (100, 70, 5)))
    mips = FUNCTIONS[method](da.from_array(source, chunks=chunks, name=False), (2, 2, 1), num_mips=4)
    assert not source.reads
    runs.clear()
    want = FUNCTIONS[method](source.voxels, (2, 2, 1), num_mips=4)
    runs.clear()
    if how == "store":
        got = [np.empty(mip.shape, mip.dtype) for mip in mips]
        da.store(mips, got)
    elif how == "persist":
        got = [mip.compute() for mip in dask.persist(*mips)]
    else:
        got = dask.compute(*mips, scheduler="threads" if how == "threads" else None)
    for mine, right in zip(got, want, strict=True):
        same_bits(np.asarray(mine), right)
    blocks = da.zeros(source.shape, chunks=chunks).npartitions
    assert list(source.reads.values()) == [1] * blocks
    assert len(runs) == mips[0].npartitions


@every
def test_a_block_costs_one_task_and_one_more_for_every_mip(method):
    image = da.from_array(Source(np.zeros((256, 256), np.uint8)), chunks=(16, 16))  # 256 blocks
    mips = FUNCTIONS[method](image, (2, 2), num_mips=4)
    with Tasks() as tasks:
        dask.persist(*mips)
    assert len(tasks.keys) == 256 * (1 + 4)
    with Tasks() as tasks:
        da.store(mips, [np.empty(mip.shape, mip.dtype) for mip in mips])
    assert len(tasks.keys) <= 256 * (1 + 2 * 4) + 2 * 4  # dask may store in tasks of their own, and waits in a few
    with Tasks() as tasks:
        mips[3].persist()
    assert len(tasks.keys) == 256


@every
def test_a_mip_of_a_block_holds_no_memory_but_its_own(method):
    mips = FUNCTIONS[method](da.zeros((64, 64), chunks=(32, 32), dtype=np.uint8), (2, 2), num_mips=3)
    for mip in dask.compute(*(mip.blocks[0, 0] for mip in mips)):
        assert mip.base is None
        assert mip.flags.owndata
        assert mip.flags.writeable


@every
def test_blocks_in_fortran_order_give_mips_in_fortran_order(method):
    source = Source(np.zeros((64, 64, 4), np.uint8, order="F"))
    (mip,) = FUNCTIONS[method](da.from_array(source, chunks=(32, 32, 4)), (2, 2, 1))
    is_fortran = mip.map_blocks(lambda b: np.full((1, 1, 1), b.flags.f_contiguous), chunks=(1, 1, 1), dtype=bool)
    assert is_fortran.compute().tolist() == [[[True], [True]], [[True], [True]]]


def names_of_tasks() -> None:
    import dask.array as da

    import tinybrain as tb

    x = da.arange(4096, chunks=1000).reshape(64, 64)
    calls = [
        tb.downsample_with_averaging(x, (2, 2), num_mips=2),
        tb.downsample_with_averaging(x, [2.0, 2.0], num_mips=2),
        tb.downsample_with_averaging(x, (2, 2), num_mips=2, sparse=True),
        tb.downsample_with_averaging(x + 1, (2, 2), num_mips=2),
        tb.downsample_segmentation(x, (2, 2), num_mips=2),
        tb.downsample_with_max_pooling(x, (2, 2), num_mips=2),
        tb.downsample_with_max_pooling(x, (4, 2), num_mips=2),
    ]
    print([mip.name for mips in calls for mip in mips])


def test_names_depend_on_the_arguments_and_on_nothing_else():
    first, second = (isolated.run(names_of_tasks, env={"PYTHONHASHSEED": seed})[0] for seed in "12")
    assert first == second
    names = first.strip("[]\n").split(", ")
    assert names[:2] == names[2:4]  # the same factor, written in another way
    assert len(set(names)) == len(names) - 2
    assert all("tinybrain-" in name for name in names)


@pytest.mark.parametrize(("parallel", "threads"), [(0, 1), (1, 1), (3, 3)])
def test_parallel_is_the_number_of_threads_in_a_task(monkeypatch, parallel, threads):
    given: list[int] = []
    averaging = native.averaging

    def spy(img: Any, factor: Any, sparse: Any, out: Any, parallel: int, **named: Any) -> None:
        given.append(parallel)
        averaging(img, factor, sparse, out, parallel, **named)

    monkeypatch.setattr(native, "averaging", spy)
    image = da.zeros((64, 64), chunks=32, dtype=np.uint8)
    dask.compute(*tb.downsample_with_averaging(image, (2, 2), 2, parallel=parallel))
    assert given == [threads] * 4


# --- schedulers -------------------------------------------------------------------------------------


def watched_blocks(image: np.ndarray, chunks: Any, folder: Path) -> Any:
    """Return a dask array that leaves a file in the folder for every block that is made, in whatever process."""

    # A function inside a function goes to other processes as code: they need not find this file.
    def made(block: np.ndarray, block_id: Any = None) -> np.ndarray:
        (folder / f"{'.'.join(map(str, block_id))} {uuid.uuid4()}").touch()
        return block

    return da.from_array(image, chunks=chunks).map_blocks(
        made, dtype=image.dtype, meta=np.empty((0, 0, 0), image.dtype)
    )


def blocks_made(folder: Path) -> list[str]:
    return sorted(path.name.split()[0] for path in folder.iterdir())


def calls() -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        "mean": ("averaging", {"num_mips": 5}),
        "sparse mean": ("averaging", {"num_mips": 5, "sparse": True}),
        "mode": ("segmentation", {"num_mips": 3}),
        "minimum": ("min", {"num_mips": 3}),
        "maximum": ("max", {"num_mips": 3}),
        "first": ("striding", {"num_mips": 3}),
    }


def check_on(compute: Callable[..., Sequence[np.ndarray]], rng: np.random.Generator, folder: Path) -> None:
    image = patches(rng, "uint8", (101, 70, 6))
    for name, (method, named) in calls().items():
        made = folder / name
        made.mkdir()
        mips = FUNCTIONS[method](watched_blocks(image, (32, 25, 3), made), (2, 2, 1), **named)
        assert not blocks_made(made)
        for mine, right in zip(compute(*mips), FUNCTIONS[method](image, (2, 2, 1), **named), strict=True):
            same_bits(mine, right)
        assert blocks_made(made) == sorted(f"{x}.{y}.{z}" for x in range(4) for y in range(3) for z in range(2))


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_schedulers_of_one_process(rng, tmp_path, scheduler):
    check_on(functools.partial(dask.compute, scheduler=scheduler), rng, tmp_path)


def test_scheduler_of_processes(rng, tmp_path):
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        check_on(functools.partial(dask.compute, scheduler="processes", pool=pool), rng, tmp_path)


def test_a_cluster_of_two_worker_processes(rng, tmp_path):
    distributed = pytest.importorskip("distributed")
    settings_of_test = {"distributed.worker.preload": [], "distributed.admin.tick.limit": "1h"}
    with (
        dask.config.set(settings_of_test),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            worker_dashboard_address=None,
            local_directory=str(tmp_path / "workers"),
            silence_logs=40,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        folder = tmp_path / "blocks"
        folder.mkdir()

        def compute(*mips: Any) -> Sequence[np.ndarray]:
            return client.gather(client.compute(list(mips)))

        check_on(compute, rng, folder)
        # Workers share the blocks out among themselves.
        image = da.zeros((256, 256), chunks=(16, 16), dtype=np.uint8)
        mips = client.persist(tb.downsample_with_averaging(image, (2, 2), 2))
        distributed.wait(mips)
        assert all(client.has_what().values())
