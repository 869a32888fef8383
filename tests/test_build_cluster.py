"""Builds on the workers of a dask scheduler: the same bytes, few tasks, and what is said when workers go."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

pytest.importorskip("tensorstore")
pytest.importorskip("ome_zarr_models")
pytest.importorskip("click")
dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from pyramids import assert_same, in_memory, read_zarr
from tinybrain.volumes import BuildError, build, tasks
from tinybrain.volumes.progress import Progress

OPTIONS: dict[str, Any] = {"num_mips": 2, "chunk": (16, 16, 8), "block": (16, 16, 8)}
ARGUMENTS = ["--mips", "2", "--chunk", "16,16,8", "--block", "16,16,8"]

# What a worker imports first: it goes with its third block.
DYING = """
import os
from tinybrain.volumes import tasks

run, ran = tasks.Runner.run, []

def runs(self, phase, index):
    ran.append(index)
    if len(ran) > 2:
        os._exit(1)
    return run(self, phase, index)

tasks.Runner.run = runs
"""


@contextlib.contextmanager
def cluster(tmp_path: Path, workers: int, *, processes: bool = False, preload: str = "") -> Iterator[Any]:
    (tmp_path / "preload.py").write_text(preload)
    settings = {
        "distributed.worker.preload": [str(tmp_path / "preload.py")] if preload else [],
        "distributed.scheduler.allowed-failures": 0,
        "distributed.admin.tick.limit": "1h",
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=processes,
            protocol="tcp://",
            dashboard_address=":0",
            worker_dashboard_address=None,
            local_directory=str(tmp_path / "workers"),
            silence_logs=50,
        ) as running,
    ):
        yield running


@pytest.fixture
def volume(rng: np.random.Generator, tmp_path: Path) -> np.ndarray:
    volume = rng.integers(0, 256, (300, 200, 24), dtype=np.uint8)
    np.save(tmp_path / "in.npy", volume)
    return volume


class Counted(Progress):
    """Count tasks as they are told."""

    def __init__(self) -> None:
        self.tasks = 0

    def step(self, nbytes: int, tasks: int = 1) -> None:
        self.tasks += tasks


def test_quick_blocks_share_tasks(volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    submit = distributed.Client.submit

    def counted(self: Any, function: Any, job: str, phase: int, first: int, last: int, **more: Any) -> Any:
        sent.append((first, last))
        return submit(self, function, job, phase, first, last, **more)

    monkeypatch.setattr(distributed.Client, "submit", counted)
    progress = Counted()
    with cluster(tmp_path, 1) as running:
        address = running.scheduler_address
        report = build(tmp_path / "in.npy", tmp_path / "out", scheduler=address, progress=progress, **OPTIONS)
    assert_same(read_zarr(tmp_path / "out", 3), in_memory(volume, "average", [(2, 2, 1)] * 2))
    assert progress.tasks == report.tasks == sum(last - first for first, last in sent)
    assert sent[0] == (0, 1)  # nobody knows yet how long they take
    assert max(last - first for first, last in sent) > 1


def test_what_a_shared_task_did_before_it_failed_is_not_done_again(
    volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[int, int]] = []
    run = tasks.Runner.run

    def failing(self: tasks.Runner, phase: int, index: int) -> int:
        if phase == 0 and index % 10 == 9:  # within the second task or so, and within every long one
            raise BuildError("the test ends it here")
        ran.append((phase, index))
        return run(self, phase, index)

    with cluster(tmp_path, 1) as running:
        more = {**OPTIONS, "scheduler": running.scheduler_address}
        with monkeypatch.context() as patch:
            patch.setattr(tasks.Runner, "run", failing)
            with pytest.raises(BuildError, match="the test ends it here"):
                build(tmp_path / "in.npy", tmp_path / "out", **more)
        report = build(tmp_path / "in.npy", tmp_path / "out", **more)
    assert report.resumed == len(set(ran)) == len(ran) > 0
    assert_same(read_zarr(tmp_path / "out", 3), in_memory(volume, "average", [(2, 2, 1)] * 2))


def started(tmp_path: Path, running: Any) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tinybrain", "build", str(tmp_path / "in.npy"), str(tmp_path / "out"), *ARGUMENTS]
    line += ["--quiet", "--scheduler", running.scheduler_address]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def line_of(failed: subprocess.Popen[str]) -> str:
    """Return the line on stderr of a command that must fail."""
    output, errors = failed.communicate(timeout=120)
    assert (failed.returncode, output) == (1, ""), errors
    (line,) = errors.splitlines()
    return line


def test_workers_that_die(volume: np.ndarray, tmp_path: Path) -> None:
    with cluster(tmp_path, 1, processes=True, preload=DYING) as running:
        line = line_of(started(tmp_path, running))
    assert line.startswith("tinybrain: scheduler: KilledWorker: ")
    build(tmp_path / "in.npy", tmp_path / "out", **OPTIONS)
    assert_same(read_zarr(tmp_path / "out", 3), in_memory(volume, "average", [(2, 2, 1)] * 2))


def test_a_scheduler_that_goes(volume: np.ndarray, tmp_path: Path) -> None:
    with cluster(tmp_path, 0) as running:
        waiting = started(tmp_path, running)
        deadline = time.monotonic() + 60
        while not running.scheduler.tasks and waiting.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert line_of(waiting).startswith("tinybrain: scheduler: ")
    assert (tmp_path / "out" / "tinybrain-build.json").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_are_not_waited_for_for_ever(
    workers: int, volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where there never were any, nor where those there were have left."""
    monkeypatch.setattr("tinybrain.volumes.cluster.SAID", 1.0)

    class Told(Progress):
        """Send the workers away after the first block."""

        said: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.said.append(text)

        def step(self, nbytes: int, tasks: int = 1) -> None:
            running.scale(0)

    with cluster(tmp_path, workers) as running, dask.config.set({"distributed.scheduler.no-workers-timeout": "3s"}):
        running.scheduler.allowed_failures = 10  # a worker that leaves is none that dies
        address = running.scheduler_address
        with pytest.raises(BuildError, match=rf"scheduler: {address} had no workers for 3 s; accepted are some, or"):
            build(tmp_path / "in.npy", tmp_path / "out", scheduler=address, progress=Told(), **OPTIONS)
    assert Told.said == [f"waiting for workers at {address}"]
    build(tmp_path / "in.npy", tmp_path / "out", **OPTIONS)
    assert_same(read_zarr(tmp_path / "out", 3), in_memory(volume, "average", [(2, 2, 1)] * 2))


def test_the_command_gives_up_on_a_cluster_without_workers(
    volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT", "1s")
    with cluster(tmp_path, 0) as running:
        assert " had no workers for 1 s" in line_of(started(tmp_path, running))


def test_no_scheduler(volume: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"scheduler: nonsense can't be reached"):
        build(tmp_path / "in.npy", tmp_path / "out", scheduler="nonsense", **OPTIONS)
