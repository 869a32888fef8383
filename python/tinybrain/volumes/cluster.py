"""Who runs the tasks: threads of this process, or the workers of a dask scheduler."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from tinybrain.volumes import tasks
from tinybrain.volumes._extras import extra
from tinybrain.volumes.storage import BuildError, one_line
from tinybrain.volumes.tasks import Job

RATE = 100  # tasks a second that a scheduler is asked for at most: about half of what one handles
SAID = 10.0  # seconds without workers after which it is said that they are waited for
PATIENCE = "5 minutes"  # without workers, where dask's own setting says nothing
SETTING = "distributed.scheduler.no-workers-timeout"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Have a client of a dask scheduler; or None, where there is no address."""
    if address is None:
        yield None
        return
    distributed = extra("distributed", "dask")
    try:
        client = distributed.Client(address, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        raise BuildError(f"scheduler: {address} can't be reached: {one_line(error)}") from None
    with contextlib.closing(client):
        yield client


class Threads:
    """Runs tasks on threads of this process."""

    def __init__(self, job: Job) -> None:
        self.runner = tasks.Runner(job)
        self.pool = ThreadPoolExecutor(job.at_once, thread_name_prefix="tinybrain-build")
        self.at_once = job.at_once
        self.failure: BaseException | None = None  # the first one

    def run(self, phase: int, indices: Iterator[int]) -> Iterator[tuple[int, int, int]]:
        """Run tasks, and yield as `Cluster.run` does."""
        running: dict[Future[int], int] = {}
        while True:
            while self.failure is None and len(running) <= self.at_once and (index := next(indices, None)) is not None:
                running[self.pool.submit(self._task, phase, index)] = index
            if not running:
                break
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                index = running.pop(future)
                # After a failure, those under way are waited for: what they have written is written down.
                if future.exception() is None:
                    yield index, index + 1, future.result()
        if self.failure is not None:
            raise self.failure

    def _task(self, phase: int, index: int) -> int:
        if self.failure is not None:  # no other begins
            raise self.failure
        try:
            return self.runner.run(phase, index)
        except BaseException as error:
            self.failure = self.failure or error
            raise

    def close(self) -> None:
        """Make the tasks under way give up, and wait for that."""
        self.runner.stop.set()
        self.pool.shutdown(wait=True, cancel_futures=True)


class Cluster:
    """Runs tasks on the workers of a dask scheduler, a few per thread of theirs at a time.

    Where blocks are quick, a task of dask is several of them, one after another. A scheduler without workers is told
    of by `note`, and given up after as long as dask's own setting allows, or 5 minutes.
    """

    def __init__(self, job: Job, client: Any, address: str, note: Callable[[str], None]) -> None:
        dask = extra("dask", "dask")
        self.patience = float(dask.utils.parse_timedelta(dask.config.get(SETTING, None) or PATIENCE))
        self.job, self.client, self.address, self.note = job.to_json(), client, address, note
        self.as_completed: Callable[..., Any] = extra("distributed", "dask").as_completed

    def run(self, phase: int, indices: Iterator[int]) -> Iterator[tuple[int, int, int]]:
        """Run tasks, and yield (first, last + 1, bytes read) of those that are done; raise `BuildError` at the end."""
        try:
            yield from self._run(phase, indices)
        except BuildError:
            raise
        except Exception as error:  # whatever dask raises when workers or the scheduler go
            raise BuildError(f"scheduler: {type(error).__name__}: {one_line(error)}") from None

    def _run(self, phase: int, indices: Iterator[int]) -> Iterator[tuple[int, int, int]]:
        threads = sum(self.client.nthreads().values()) or 1
        # Long enough that the scheduler keeps up with all threads, and worth being sent.
        target = max(1.0, threads / RATE)
        blocks, seconds = 0, 0.0
        parts = runs(indices, lambda: max(1, int(target * blocks / seconds)) if seconds else 1)

        def submit() -> list[Any]:
            return [
                self.client.submit(tasks.run_tasks, self.job, phase, first, last, pure=False)
                for first, last in [next(parts, (0, 0))]
                if first < last
            ]

        first_ones = [future for _ in range(2 * threads + 1) for future in submit()]
        # With results: to ask for one that a worker took with it would wait for ever if that was the last one.
        running = self.as_completed(first_ones, with_results=True, raise_errors=False)
        failure: BaseException | None = None
        while self._wait(running, failed=failure is not None):
            future, result = next(running)
            if isinstance(result, tasks.Done):
                blocks, seconds = blocks + result.last - result.first, seconds + result.seconds
                error = result.error
                if result.first < result.last:
                    yield result.first, result.last, result.nbytes
            else:  # an exception, or its type, itself and where it was
                error = result[1] if isinstance(result, tuple) else result
            failure = failure or error
            future.release()
            if failure is None:
                for more in submit():
                    running.add(more)
        if failure is not None:
            raise failure

    def _wait(self, running: Any, failed: bool) -> bool:
        """Wait for a task to end; say whether there is one. After a failure, nobody waits for workers that are gone."""
        looked = workers = time.monotonic()  # when somebody looked, and when there were workers at last
        said = False
        while not running.has_ready():
            if running.is_empty():
                return False
            if self.client.status == "closed":
                raise BuildError(f"scheduler: {self.address} is gone")
            now = time.monotonic()
            if now - looked > 1:
                looked = now
                if self.client.nthreads():
                    workers, said = now, False
                elif failed:
                    return False
                elif now - workers > self.patience:
                    raise BuildError(
                        f"scheduler: {self.address} had no workers for {self.patience:.0f} s; accepted are some, or "
                        f"a longer {SETTING} in dask's configuration"
                    )
                elif now - workers > SAID and not said:
                    self.note(f"waiting for workers at {self.address}")
                    said = True
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Do nothing: the client is closed by who connected it."""


def runs(indices: Iterator[int], most: Callable[[], int]) -> Iterator[tuple[int, int]]:
    """Put numbers that follow one another together, at most so many, as (first, last + 1).

    Examples
    --------
    >>> list(runs(iter([0, 1, 2, 5, 6, 9]), lambda: 2))
    [(0, 2), (2, 3), (5, 7), (9, 10)]
    """
    index = next(indices, None)
    while index is not None:
        first = last = index
        size = most()
        while index == last and last - first < size:
            last += 1
            index = next(indices, None)
        yield first, last
