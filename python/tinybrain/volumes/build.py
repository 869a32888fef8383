"""Building a multiscale volume: a plan run task by task, here or on a dask cluster, and resumed where it ended.

The order of the acts is what makes a killed run harmless. ``tinybrain-build.json`` says that the volume is incomplete
before anything else is written; a task is marked as done after all its chunks are committed, and it writes whole
chunks that no other task writes; the mark of the volume is removed last. Whatever is there after a kill is found by
the next run, which does the tasks that aren't marked.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybrain._arguments import Array
from tinybrain.volumes import journal, precomputed, target, tasks
from tinybrain.volumes.cluster import Cluster, Threads, connected
from tinybrain.volumes.journal import Journal
from tinybrain.volumes.options import Options, Room, plan_for, room_for, settle
from tinybrain.volumes.plan import Assembly, Phase, Plan, Stage, task_count
from tinybrain.volumes.progress import Progress, counted, size_of
from tinybrain.volumes.source import Source, open_source, without_format
from tinybrain.volumes.storage import (
    STATE,
    BuildError,
    Store,
    context,
    kvstore_url,
    local_path,
    locked,
    open_kvstore,
    read_json,
    read_key,
)
from tinybrain.volumes.target import Target
from tinybrain.volumes.tasks import Job

CHECK = 10.0  # seconds between looks at whether the source is still what it was
LAST_WORDS = 3.0  # seconds that a build which fails takes to write down what is done


@dataclass(frozen=True)
class Report:
    """What a build did.

    Attributes
    ----------
    path : str
        URL of the volume.
    shapes : tuple of tuple of int
        Of all mips, mip 0 first, along `axes`.
    axes : str
        Names of the axes.
    method : str
        In words, as the metadata has it.
    stages : int
        How often the volume was gone through; the source is read in the first one only.
    tasks, resumed : int
        Tasks in all, and those of them that an earlier run had done.
    bytes_read : int
        From the source and from what was carried, by this run.
    seconds : float
        Of this run.
    """

    path: str
    shapes: tuple[tuple[int, ...], ...]
    axes: str
    method: str
    stages: int
    tasks: int
    resumed: int
    bytes_read: int
    seconds: float


def build(
    src: str | os.PathLike[str] | dict[str, Any],
    dst: str | os.PathLike[str],
    *,
    factor: Sequence[int] | Sequence[Sequence[int]] = (2, 2, 1),
    num_mips: int | None = None,
    method: str | None = None,
    labels: bool = False,
    sparse: bool = False,
    exact: bool = False,
    format: str = "ome-zarr",
    chunk: Sequence[int] | None = None,
    shard: Sequence[int] | None = None,
    compression: str | None = None,
    axes: str | None = None,
    voxel_size: Sequence[float] | None = None,
    unit: str | None = None,
    memory: int | str | None = None,
    threads: int = 0,
    scheduler: str | None = None,
    add: bool = False,
    overwrite: bool = False,
    missing: str = "fill",
    stage_depth: int | None = None,
    block: Sequence[int] | None = None,
    progress: Progress | None = None,
    verbose: bool = False,
) -> Report:
    """Make a multiscale volume of a volume that may be larger than memory.

    The mips are those of the functions in memory, called on the whole volume: the same bits, whatever chunks, blocks
    and memory limit. A run that was killed is resumed by the same call.

    Parameters
    ----------
    src : path, URL, or TensorStore spec
        Zarr v2 or v3, OME-Zarr (its mip 0), N5, Neuroglancer Precomputed, ``.npy``, a TIFF file or a folder of TIFFs.
        The first four are also read from ``s3://``, ``gs://`` and ``http://`` URLs. Credentials of S3 are found
        as by Amazon's tools; ``AWS_ENDPOINT_URL`` or ``s3+http://host:9000/bucket/path`` names another server.
    dst : path or URL
        The folder to make; ``s3://`` and ``gs://`` URLs as of `src`.
    factor : sequence of int, or one per mip
        Voxels along x, y, z (then channel and time) that make one voxel of the next mip. Where the factors of mips
        differ, each run of equal ones is one call on the mip before (with `exact`: on mip 0).
    num_mips : int, optional
        Mips below mip 0; by default until the volume fits in one chunk.
    method : {"average", "mode", "min", "max", "stride"}, optional
        By default average for images and mode for labels. 32- and 64-bit integers and bool may be either: there it
        must be said, unless the source says that it is labels.
    labels : bool
        The volume holds labels.
    sparse, exact : bool
        As in `tinybrain.downsample_with_averaging` and `tinybrain.downsample_segmentation`.
    format : {"ome-zarr", "ome-zarr-0.4", "precomputed"}
        OME-Zarr 0.5 (Zarr v3), OME-Zarr 0.4 (Zarr v2), or Neuroglancer Precomputed.
    chunk, shard : sequence of int, optional
        Voxels along x, y, z (channel, time). By default chunks of about 2 MiB, and no shards.
    compression : str, optional
        ``blosc`` (of zstd, the default), ``zstd``, ``gzip`` or ``none`` for OME-Zarr; ``raw``,
        ``compressed_segmentation``, ``jpeg`` or ``png`` for precomputed; a level may follow a colon, as in
        ``"zstd:5"``.
    axes : str, optional
        Names of the axes of the source as they are stored, such as ``"zyx"``, of x, y, z, c and t. By default as the
        source says, or x, y, z, c, t.
    voxel_size : sequence of float, optional
        Along x, y, z, in `unit`. By default as the source says, or 1.
    unit : {"nanometer", "micrometer", "millimeter", "meter", "angstrom"}, optional
        By default as the source says, or nanometer.
    memory : int or str, optional
        Bytes that the process may take, libraries included, such as ``"1GiB"``; with `scheduler`, each worker
        process. By default a quarter of the machine's memory, at most 4 GiB.
    threads : int
        For reading, writing and reducing; 0 means all cores.
    scheduler : str, optional
        Address of a dask scheduler (``tcp://host:8786``) whose workers run the tasks; they must reach `src` and `dst`.
        Without workers it is given up after 5 minutes, or dask's setting ``distributed.scheduler.no-workers-timeout``.
    add : bool
        `dst` is a precomputed volume with one scale, the volume `src`; the mips are added to it.
    overwrite : bool
        Delete the volume that `dst` holds.
    missing : {"fill", "error"}
        What a chunk is that the source doesn't hold: fill value, as the formats have it, or an error.
    stage_depth : int, optional
        Mips made from one read at most; by default as many as the memory allows.
    block : sequence of int, optional
        Voxels of a block, rounded up as needed; by default as the memory allows.
    progress : Progress, optional
        Who is told how far it is; by default nobody.
    verbose : bool
        Tell `progress` the plan, and what was read.

    Returns
    -------
    Report
        What was made.

    Raises
    ------
    ValueError, TypeError
        For options that don't fit; nothing has been written.
    FileNotFoundError, FileExistsError
        For a source that isn't there, a destination that is.
    BuildError
        For chunks that can't be read, disks that are full, a source that changes. The destination says that it is
        incomplete.
    ImportError
        Without the extra ``tinybrain[volumes]``.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from tinybrain.volumes import build
    >>> folder = tempfile.mkdtemp()
    >>> np.save(f"{folder}/image.npy", np.zeros((300, 200, 10), np.uint8))
    >>> report = build(f"{folder}/image.npy", f"{folder}/image.ome.zarr", num_mips=2, voxel_size=(4, 4, 40))
    >>> report.shapes
    ((300, 200, 10), (150, 100, 10), (75, 50, 10))
    """
    began = time.monotonic()
    if missing not in ("fill", "error"):
        raise ValueError(f"missing: got {missing!r}; accepted are fill and error")
    if threads < 0:
        raise ValueError(f"threads: got {threads}; accepted are integers of at least 0")
    options = Options(
        factor, num_mips, method, labels, sparse, exact, "precomputed" if add else format, chunk, shard, compression,
        voxel_size, unit, memory, threads, add, stage_depth, block,
    )  # fmt: skip
    progress = progress or Progress()
    _check_apart(src, dst, add)
    tensorstore = context(threads or tasks.len_of_cores())
    source = open_source(src, axes=axes, missing=missing, context=tensorstore, may_be_incomplete=add)
    to = settle(source, dst, options)
    read_key(open_kvstore(to.url, patient=False), STATE)  # says so if nobody answers
    with locked(to.url), connected(scheduler) as client:
        records = Journal(open_kvstore(to.url))
        plan, room, resumes = _begin(records, source, to, options, overwrite, tensorstore)
        job = Job(source.spec, to, plan, threads, room.memory, room.traffic, room.at_once)
        resumed = records.done_in_all(plan) if resumes else 0
        if verbose:
            _describe(job, source, resumed, progress)
        try:
            read = _run(job, records, source, client, scheduler, progress)
        finally:
            progress.close()
        records.finish()
    total = sum(task_count(phase) for phase in plan.phases)
    seconds = time.monotonic() - began
    report = Report(to.url, to.shapes, to.axes, to.recipe.name, len(plan.stages), total, resumed, read, seconds)
    if verbose:
        progress.note(f"{size_of(read)} read in {seconds:.1f} s ({size_of(read / max(seconds, 1e-9))}/s)")
    return report


def _check_apart(src: Any, dst: Any, add: bool) -> None:
    """Refuse a destination within the source, or the other way round."""
    to = kvstore_url(dst)
    if to.startswith(("http:", "https:")):
        raise ValueError(f"destination: {to} can only be read; accepted are folders, s3:// and gs:// URLs")
    folder = local_path(to)
    if folder is not None and folder.is_file():
        raise FileExistsError(f"destination: {folder} is a file")
    if isinstance(src, dict) or os.fspath(src).lstrip().startswith("{"):
        return
    a, b = (_resolved(url) for url in (kvstore_url(without_format(os.fspath(src))), to))
    if (a == b and not add) or (a != b and (a.startswith(b) or b.startswith(a))):
        raise ValueError(f"destination: {b} and the source {a} lie within each other; accepted are separate folders")


def _resolved(url: str) -> str:
    """Return a URL, of a local path without links, which ends in a slash."""
    folder = local_path(url)
    return url if folder is None else os.path.join(folder.resolve(), "")


def _begin(
    records: Journal, source: Source, to: Target, options: Options, overwrite: bool, tensorstore: Any
) -> tuple[Plan, Room, bool]:
    """Make the destination, or find what another run left of it; return the plan and whether it is resumed."""
    store = records.store
    fingerprint = _fingerprint(source, to)
    found = records.read()
    if found is not None and found.get("fingerprint") == fingerprint and not overwrite:
        plan = Plan.from_json(to.recipe, found["plan"])
        room = room_for(plan, source, to, options)
        target.create(to, tensorstore)
        return plan, room, True
    plan, room = plan_for(source, to, options)
    if to.adds:
        _check_addable(store, source, to, found, tensorstore)
    elif not journal.is_empty(store):
        if not overwrite:
            raise FileExistsError(_why_not(store, found, fingerprint))
        journal.clear(store)
    stages = json.loads(json.dumps(plan.to_json()))
    records.begin({"fingerprint": fingerprint, "plan": stages})
    target.create(to, tensorstore)
    return plan, room, False


def _fingerprint(source: Source, to: Target) -> dict[str, Any]:
    """Return what decides about the bytes of the volume."""
    import tinybrain

    fields = {"source": source.spec, "target": {k: v for k, v in to.to_json().items() if k != "url"}}
    made: dict[str, Any] = json.loads(json.dumps({**fields, "version": tinybrain.__version__}))
    return made


def _why_not(store: Store, found: dict[str, Any] | None, fingerprint: dict[str, Any]) -> str:
    if found is None:
        return (
            f"destination: {store.url} is not empty; accepted are a new path, or --overwrite to delete the volume there"
        )
    was = found.get("fingerprint", {})
    differing = [
        f"{part}.{name}"
        for part in ("source", "target")
        for name in {**was.get(part, {}), **fingerprint[part]}
        if was.get(part, {}).get(name) != fingerprint[part].get(name)
    ]
    return (
        f"destination: {store.url} is the incomplete volume of another build "
        f"({', '.join(differing) or 'version'} differ); "
        "accepted are its own options, to resume it, or --overwrite"
    )


def _check_addable(store: Store, source: Source, to: Target, found: dict[str, Any] | None, tensorstore: Any) -> None:
    """Refuse to add mips to what isn't the source, or has them."""
    info = read_json(store, "info")
    if info is None or not info.get("scales"):
        raise ValueError(f"add: {store.url} is no precomputed volume")
    if found is not None:
        raise FileExistsError(_why_not(store, found, _fingerprint(source, to)))
    first = open_source(store.url, axes=None, missing="fill", context=tensorstore, may_be_incomplete=True)
    if (first.shape, first.dtype, first.axes) != (source.shape, source.dtype, source.axes):
        raise ValueError(
            f"add: {store.url} is {first.dtype} of shape {first.shape}, "
            f"the source {source.dtype} of shape {source.shape}; "
            "accepted is a volume that has the source as mip 0"
        )
    there = {scale.get("key") for scale in info["scales"]}
    clash = [key for mip in range(1, len(to.shapes)) if (key := precomputed.key(to, mip)) in there]
    if clash:
        raise FileExistsError(f"add: {store.url} has the scales {', '.join(clash)} already")


def _describe(job: Job, source: Source, resumed: int, progress: Progress) -> None:
    """Tell the plan, a line per stage."""
    plan = job.plan
    progress.note(f"{source.name}: {source.dtype} {' x '.join(map(str, source.shape))} along {', '.join(source.axes)}")
    progress.note(
        f"{plan.recipe.name}, {counted(plan.recipe.num_mips, 'mip')} in {counted(len(plan.stages), 'stage')}; "
        f"{counted(job.at_once, 'block')} at once, {size_of(plan.task_bytes)} each"
    )
    for stage in plan.stages:
        reads = (
            f"the source, read {plan.source_reads:.2f} times" if stage.first == 0 else f"the state of mip {stage.first}"
        )
        progress.note(
            f"{_phase_name(stage)} from {reads}: {counted(stage.grid.count, 'block')} of "
            + " x ".join(map(str, stage.grid.block))
        )
    if resumed:
        progress.note(f"done before: {counted(resumed, 'task')}")


def _phase_name(phase: Phase) -> str:
    if isinstance(phase, Assembly):
        return f"chunks of mip{'s' * (len(phase.mips) > 1)} {', '.join(map(str, phase.mips))}"
    return f"mips {phase.first + 1}-{phase.last}" if phase.last > phase.first + 1 else f"mip {phase.last}"


def _bytes_of(phase: Phase, job: Job) -> float:
    """About how much a phase reads."""
    itemsize = np.dtype(job.plan.recipe.dtype).itemsize
    if isinstance(phase, Stage):
        parts = job.plan.recipe.state(phase.first) or ()
        return float(np.prod([float(n) for n in phase.grid.shape])) * sum(part.itemsize for part in parts)
    return sum(float(np.prod([float(n) for n in grid.shape])) for grid in phase.grids) * itemsize


def _run(job: Job, records: Journal, source: Source, client: Any, scheduler: str | None, progress: Progress) -> int:
    """Run all phases, on a cluster if there is a client of one; return the bytes read."""
    read = 0
    crew: Any = Threads(job) if client is None else Cluster(job, client, str(scheduler), progress.note)
    try:
        for number, phase in enumerate(job.plan.phases):
            read += _run_phase(job, records, source, crew, number, phase, progress)
            if isinstance(phase, Stage):
                source.check()
                at = job.plan.stages.index(phase)
                if at > 0:
                    records.drop_pieces(at - 1)
    except BuildError:
        source.check(patient=False)  # says so if this is why
        raise
    finally:
        crew.close()
    return read


def _run_phase(
    job: Job, records: Journal, source: Source, crew: Any, number: int, phase: Phase, progress: Progress
) -> int:
    count = task_count(phase)
    done = records.done(number, count)
    before = int(done.sum())
    if before == count:
        return 0
    progress.start(_phase_name(phase), count, before, _bytes_of(phase, job))
    read, looked = 0, time.monotonic()
    pen = _Pen(records, number, done)
    try:
        for first, last, nbytes in crew.run(number, _open(done)):
            done[first:last] = True
            read += nbytes
            pen.write()
            progress.step(nbytes, last - first)
            if time.monotonic() - looked > CHECK:
                source.check()
                looked = time.monotonic()
    except BaseException:
        with contextlib.suppress(BuildError):  # if that is where it fails, what is done is done again
            records.write_done(number, done, LAST_WORDS)
        raise
    records.write_done(number, done)
    return read


def _open(done: Array) -> Iterator[int]:
    """Tasks that aren't done, without a list of them."""
    for start in range(0, len(done), 1 << 16):
        yield from (np.flatnonzero(~done[start : start + (1 << 16)]) + start).tolist()


class _Pen:
    """Writes down what is done, at once unless writing would take more than a twentieth of the time."""

    def __init__(self, records: Journal, phase: int, done: Array) -> None:
        self.records, self.phase, self.done = records, phase, done
        self.next = 0.0

    def write(self) -> None:
        began = time.monotonic()
        if began >= self.next:
            self.records.write_done(self.phase, self.done)
            ended = time.monotonic()
            self.next = ended + 20 * (ended - began)
