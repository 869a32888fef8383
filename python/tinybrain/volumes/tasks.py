"""One task of a plan: a block of a stage read, reduced and written, or chunks of a mip assembled.

A `Job` is all that a process needs to run any task of a build, as JSON; `runner` keeps the volumes of the last job
open. A task returns when everything it wrote is committed, and may be run again: it writes the same.
"""

from __future__ import annotations

import functools
import json
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinybrain._arguments import Array
from tinybrain.volumes import carry, source, target
from tinybrain.volumes._extras import extra
from tinybrain.volumes.journal import piece_key
from tinybrain.volumes.plan import Assembly, Plan, Stage
from tinybrain.volumes.recipe import Part
from tinybrain.volumes.storage import (
    Box,
    BuildError,
    Heap,
    Pipe,
    Stopped,
    context,
    extents,
    inner,
    laid_out,
    one_line,
    open_kvstore,
    ordered,
    slices,
    stored_order,
    tiles,
    waited_for,
    within,
)
from tinybrain.volumes.target import Target

_NUMBERS = ("threads", "memory", "traffic", "at_once")


@dataclass(frozen=True)
class Job:
    """A build: where from, where to, and how.

    `memory` is how many bytes one process may take, `traffic` how many of one task may be read or written at a time,
    `at_once` how many tasks one process runs.
    """

    source: dict[str, Any]
    target: Target
    plan: Plan
    threads: int
    memory: int
    traffic: int
    at_once: int

    def to_json(self) -> str:
        """Return the job as text."""
        fields = {"source": self.source, "target": self.target.to_json(), "plan": self.plan.to_json()}
        return json.dumps(fields | {name: getattr(self, name) for name in _NUMBERS})

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Make a job of what `to_json` returned."""
        fields = json.loads(text)
        to = Target.from_json(fields["target"])
        plan = Plan.from_json(to.recipe, fields["plan"])
        return cls(fields["source"], to, plan, **{name: fields[name] for name in _NUMBERS})


class Runner:
    """Runs the tasks of a job in this process; `stop` makes those under way give up soon."""

    def __init__(self, job: Job) -> None:
        self.job, self.plan, self.recipe = job, job.plan, job.plan.recipe
        self.stop = threading.Event()
        self.heap = Heap(job.memory)
        self.context = context(job.threads or len_of_cores())
        self.source = source.reopen(job.source, self.context)
        self.shapes = self.recipe.shapes(self.plan.shape)
        self.store = open_kvstore(job.target.url)
        self.places = threading.BoundedSemaphore(job.at_once)
        self._mips: dict[int, Any] = {}
        self._lock = threading.Lock()

    def mip(self, mip: int) -> Any:
        """Return the destination's array of a mip."""
        with self._lock:
            if mip not in self._mips:
                self._mips[mip] = target.open_mip(self.job.target, mip, self.context, self._breathe)
            return self._mips[mip]

    def run(self, phase: int, index: int) -> int:
        """Run a task, and return how many bytes it read."""
        with self.places:
            what = self.plan.phases[phase]
            try:
                return self._assemble(what, index) if isinstance(what, Assembly) else self._block(what, index)
            except MemoryError as error:
                raise BuildError(f"memory: {error or 'there is none left'}") from None

    # --- A block of a stage ---

    def _block(self, stage: Stage, index: int) -> int:
        recipe, box = self.recipe, stage.grid.box(index)
        state: carry.State
        if stage.first == 0:
            state = {"rendered": self.source.read(box, self._pipe(f"source: {self.source.name}, {_words(box)}"))}
        else:
            state = self._gather(self.plan.stages.index(stage) - 1, stage.first, recipe.state(stage.first) or (), box)
        nbytes = sum(array.nbytes for array in state.values())
        pipe = self._pipe(f"destination: {self.job.target.url}, {_words(box)}")
        try:
            if stage.first == 0 and not self.job.target.adds:
                self._write(0, box, state["rendered"], pipe)
            mips, after = carry.advance(
                recipe,
                state,
                stage.first,
                stage.last,
                box[0],
                self.shapes,
                threads=self.job.threads,
                carries=stage.carries,
            )
            for k, direct, mip in zip(range(stage.first + 1, stage.last + 1), stage.direct, mips, strict=True):
                if direct:
                    self._write(k, stage.piece(recipe, box, k), mip, pipe)
            entries = stage.packed(recipe)
            if entries:
                arrays = [
                    after[p.name] if k == stage.last and p.name in after else mips[k - stage.first - 1]
                    for k, p in entries
                ]
                packed = b"".join(stored_order(array, self.source.order).tobytes() for array in arrays)
                pipe.make_room(len(packed))
                number = self.plan.stages.index(stage)
                pipe.add(len(packed), self.store.keys.write(piece_key(number, index), packed))
            pipe.finish()
        except BaseException:
            pipe.abandon()
            raise
        return nbytes

    # --- Chunks of a mip, from the pieces of a stage ---

    def _assemble(self, assembly: Assembly, index: int) -> int:
        mip, box = assembly.task(index)
        part = Part("rendered", self.recipe.dtype)
        voxels = self._gather(assembly.stage, mip, [part], box)["rendered"]
        pipe = self._pipe(f"destination: {self.job.target.url}, {_words(box)} of mip {mip}")
        try:
            self._write(mip, box, voxels, pipe)
            pipe.finish()
        except BaseException:
            pipe.abandon()
            raise
        return voxels.nbytes

    def _gather(self, number: int, mip: int, parts: Sequence[Part], box: Box) -> carry.State:
        """Put together a box of some parts of a mip from the pieces of a stage."""
        stage, recipe = self.plan.stages[number], self.recipe
        state = carry.empty_state(extents(box), parts, self.source.order)
        scale = recipe.scale(stage.first, mip)
        before: Box = (
            tuple(a * f for a, f in zip(box[0], scale, strict=True)),
            tuple(min(b * f, n) for b, f, n in zip(box[1], scale, stage.grid.shape, strict=True)),
        )
        # Pieces come whole, with those of the other mips: as many at a time as may be under way.
        block_box = stage.grid.box(0)
        nbytes = sum(
            math.prod(extents(stage.piece(recipe, block_box, k))) * p.itemsize for k, p in stage.packed(recipe)
        )
        most = max(1, min(16, self.job.traffic // max(1, nbytes)))
        waiting: deque[tuple[int, Any]] = deque()
        for block in stage.grid.touching(before):
            while len(waiting) >= most:
                self._place(stage, mip, parts, box, state, waiting.popleft())
            waiting.append((block, self.store.keys.read(piece_key(number, block))))
        while waiting:
            self._place(stage, mip, parts, box, state, waiting.popleft())
        return state

    def _place(
        self, stage: Stage, mip: int, parts: Sequence[Part], box: Box, state: carry.State, piece: tuple[int, Any]
    ) -> None:
        block, future = piece
        try:
            found = waited_for(future, self._breathe)
        except ValueError as error:
            raise BuildError(f"destination: pieces of block {block} can't be read: {one_line(error)}") from None
        packed = bytes(found.value)
        block_box = stage.grid.box(block)
        at = 0
        for k, part in stage.packed(self.recipe):
            whole = stage.piece(self.recipe, block_box, k)
            size = math.prod(extents(whole)) * part.itemsize
            if k == mip and part in parts:
                lead, order = carry.lead(part), self.source.order
                both = (
                    tuple(max(a, b) for a, b in zip(whole[0], box[0], strict=True)),
                    tuple(min(a, b) for a, b in zip(whole[1], box[1], strict=True)),
                )
                if len(packed) < at + size:
                    raise BuildError(
                        f"destination: the pieces of block {block} are missing; start again with overwrite"
                    )
                array = np.frombuffer(packed, part.dtype, size // np.dtype(part.dtype).itemsize, at)
                array = ordered(array.reshape(*lead, *(extents(whole)[axis] for axis in order)), order)
                state[part.name][inner(within(both, box[0]))] = array[inner(within(both, whole[0]))]
            at += size

    def _write(self, mip: int, box: Box, voxels: Array, pipe: Pipe) -> None:
        """Write a box of whole chunks, piece by piece."""
        handle = self.mip(mip)
        chunk = tuple(handle.chunk_layout.write_chunk.shape)
        sharded = handle.chunk_layout.write_chunk.shape != handle.chunk_layout.read_chunk.shape
        order = [axis for axis in handle.chunk_layout.inner_order if axis < len(chunk)]
        for tile in tiles(box, chunk, pipe.piece // voxels.itemsize, order):
            nbytes = math.prod(extents(tile)) * voxels.itemsize
            pipe.make_room(nbytes)
            some = laid_out(voxels[within(tile, box[0])], order)
            if sharded:  # else every chunk would be added to its shard on its own
                transaction = extra("tensorstore").Transaction()
                try:
                    handle.with_transaction(transaction)[slices(tile)].write(some).copy.result()
                except ValueError as error:
                    raise BuildError(f"{pipe.doing}: {one_line(error)}") from None
                pipe.add(nbytes, transaction.commit_async())
            else:
                future = handle[slices(tile)].write(some).commit
                future.force()
                pipe.add(nbytes, future)

    def _pipe(self, doing: str) -> Pipe:
        return Pipe(self.job.traffic, self._breathe, doing)

    def _breathe(self) -> None:
        if self.stop.is_set():
            raise Stopped("stopped")
        self.heap.trim()


def _words(box: Box) -> str:
    return "block at " + ", ".join(f"{a}-{b}" for a, b in zip(*box, strict=True))


def len_of_cores() -> int:
    """Return how many cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.lru_cache(maxsize=1)
def runner(job: str) -> Runner:
    """Return the runner of a job in this process."""
    return Runner(Job.from_json(job))


class Done(NamedTuple):
    """What `run_tasks` did: tasks `first` to `last` - 1; and the error that ended it before it was through."""

    first: int
    last: int
    nbytes: int
    seconds: float
    error: BuildError | None


def run_tasks(job: str, phase: int, first: int, last: int) -> Done:
    """Run tasks `first` to `last` - 1 of a phase on a worker, up to one that fails."""
    began, read, index = time.monotonic(), 0, first
    error: BuildError | None = None
    try:
        run = runner(job)
        while index < last:
            read += run.run(phase, index)
            index += 1
    except BuildError as failed:
        error = failed
    return Done(first, index, read, time.monotonic() - began, error)
