"""The options of a build, settled: from what the caller and the source say to source, target and plan.

Everything that can be wrong with an option is found here, before anything is written; errors name the option, what
came, and what is accepted.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinybrain._arguments import check_halving_sizes, checked_factor, factor_entries
from tinybrain.volumes import ome_zarr, precomputed
from tinybrain.volumes.plan import Plan, TooLittleMemory, make_plan
from tinybrain.volumes.progress import size_of
from tinybrain.volumes.recipe import METHODS, Recipe
from tinybrain.volumes.source import Source
from tinybrain.volumes.storage import Shape, kvstore_url
from tinybrain.volumes.target import FORMATS, NANOMETRES, Target, write_chunks

CHUNK_BYTES = 2 << 20  # of a chunk by default: few files, and still quick to fetch
BASE = 160 << 20  # bytes of the interpreter and the libraries (measured: 90 MiB), and what a heap holds besides
_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Options:
    """What the caller said; None is for what was left to tinybrain. `build` says what each is."""

    factor: Any = (2, 2, 1)
    num_mips: int | None = None
    method: str | None = None
    labels: bool = False
    sparse: bool = False
    exact: bool = False
    format: str = "ome-zarr"
    chunk: Sequence[int] | None = None
    shard: Sequence[int] | None = None
    compression: str | None = None
    voxel_size: Sequence[float] | None = None
    unit: str | None = None
    memory: int | str | None = None
    threads: int = 0
    add: bool = False
    stage_depth: int | None = None
    block: Sequence[int] | None = None


@dataclass(frozen=True)
class Room:
    """How the memory is shared out: bytes in all, of a task, of its traffic, and how many tasks run at once."""

    memory: int
    budget: int
    traffic: int
    at_once: int


def parse_size(text: int | str) -> int:
    """Return a size such as ``"1GiB"`` in bytes.

    Examples
    --------
    >>> parse_size("512MiB"), parse_size("2 GB"), parse_size(1000)
    (536870912, 2000000000, 1000)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    if match is None or match[2].upper() not in _SIZES:
        raise ValueError(f"memory: got {text!r}; accepted are sizes such as 512MiB, 1GiB or 2GB")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def default_memory() -> int:
    """Return a quarter of the memory of the machine, at most 4 GiB."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = 4 << 30
    return min(total // 4, 4 << 30)


def settle(source: Source, dst: Any, options: Options) -> Target:
    """Return the target that the options ask for, checked."""
    if options.format not in FORMATS:
        raise ValueError(f"format: got {options.format!r}; accepted are {', '.join(FORMATS)}")
    if 0 in source.shape:
        raise ValueError(f"source: {source.name} has shape {source.shape}, which holds no voxel")
    method, labels = _method(source, options)
    chunk = _chunk(source, options)
    shard = _entries("shard", options.shard, source.axes) if options.shard is not None else None
    if shard is not None and any(s % c for s, c in zip(shard, chunk, strict=True)):
        raise ValueError(
            f"shard: got {shard} for chunks of {chunk}; accepted are multiples of the chunk along every axis"
        )
    if shard is not None and options.format == "ome-zarr-0.4":
        raise ValueError("shard: OME-Zarr 0.4 has no shards; accepted formats are ome-zarr and precomputed")
    if options.format == "precomputed" and (source.dtype.name not in precomputed.DTYPES or "t" in source.axes):
        raise ValueError(
            f"format: got precomputed for {source.dtype} along {', '.join(source.axes)}; accepted are "
            f"{', '.join(precomputed.DTYPES)} along x, y, z, c"
        )
    factors = _factors(source, method, chunk, options)
    if options.format == "precomputed":
        _check_scales(source.axes, factors)
    recipe = Recipe(method, factors, source.dtype.name, options.sparse, options.exact)
    _check_sizes(recipe, source.shape)
    size, shift, unit = _geometry(source, options)
    return Target(
        url=kvstore_url(dst),
        format=options.format,
        axes=source.axes,
        shapes=tuple(recipe.shapes(source.shape)),
        recipe=recipe,
        chunk=chunk,
        shard=shard,
        codec=_codec(options, labels, source),
        voxel_size=size,
        translation=shift,
        unit=unit,
        labels=labels,
        name=kvstore_url(dst).rstrip("/").rpartition("/")[2],
        adds=options.add,
    )


def plan_for(source: Source, target: Target, options: Options) -> tuple[Plan, Room]:
    """Plan the build, two tasks at a time if the memory allows: one reads while the other is written."""
    chunks = write_chunks(target)
    block = _entries("block", options.block, source.axes) if options.block is not None else None
    if options.stage_depth is not None and options.stage_depth < 1:
        raise ValueError(f"stage_depth: got {options.stage_depth}; accepted are integers of at least 1")
    memory = _memory(options)

    def plan_in(memory: int, at_once: int, block: Shape | None = block) -> tuple[Plan, Room]:
        room = share(source, chunks, memory, at_once)
        plan = make_plan(
            target.recipe,
            source.shape,
            chunks=chunks,
            source_chunk=source.chunk,
            budget=room.budget,
            stage_depth=options.stage_depth,
            block=block,
        )
        return plan, room

    plans: list[tuple[Plan, Room]] = []
    for at_once in (2, 1):
        try:
            plans.append(plan_in(memory, at_once))
        except TooLittleMemory:
            continue
    if plans:
        return min(plans, key=lambda found: len(found[0].stages))
    least, why = memory, ""
    while True:  # more of it has larger pieces under way, and lets later stages say what they need
        try:
            plan_in(least, 1)
            break
        except TooLittleMemory as failure:
            room = share(source, chunks, least, 1)
            why = _why_traffic(source, chunks, room, failure.needed) or failure.why
            least = max(least + (1 << 20), BASE + failure.needed + 5 * room.traffic // 2)
    if block is not None:
        with contextlib.suppress(TooLittleMemory):
            blocks = plan_in(memory, 1, None)[0].stages[0].grid.block
            why += f"; a --block of {','.join(map(str, blocks))} would fit"
    raise ValueError(
        f"memory: got {size_of(memory)}; accepted is at least {-(-least >> 20)} MiB "
        f"({BASE >> 20} of them for the libraries), as {why}"
    )


def share(source: Source, chunks: Sequence[Shape | None], memory: int, at_once: int) -> Room:
    """Share out the memory limit among so many tasks."""
    piece = min(max(memory >> 6, 1 << 20), 16 << 20)
    itemsize = source.dtype.itemsize
    largest = _largest(source, chunks)
    # Two pieces under way, or a chunk if that is larger; TensorStore holds them as bytes and as voxels.
    traffic = max(2 * piece, math.prod(largest) * itemsize)
    return Room(memory, (memory - BASE) // at_once - 5 * traffic // 2, traffic, at_once)


def _largest(source: Source, chunks: Sequence[Shape | None]) -> Shape:
    return max([source.chunk, *(chunk for chunk in chunks if chunk is not None)], key=math.prod)


def _why_traffic(source: Source, chunks: Sequence[Shape | None], room: Room, needed: int) -> str | None:
    """Say which chunk it is that takes most of the memory, if it isn't the block."""
    chunk = _largest(source, chunks)
    nbytes = math.prod(chunk) * source.dtype.itemsize
    if nbytes < room.traffic or 5 * room.traffic // 2 < needed:
        return None
    voxels = f"{' x '.join(map(str, chunk))} voxels ({size_of(nbytes)})"
    if chunk == source.chunk:
        return f"a chunk of the source has {voxels} and is decoded whole; only a source in smaller chunks takes less"
    return f"a chunk (or shard) of the destination has {voxels} and is written at once; smaller ones take less"


def room_for(plan: Plan, source: Source, target: Target, options: Options) -> Room:
    """Share out the memory for a plan that another run made."""
    chunks = write_chunks(target)
    for at_once in (2, 1):
        room = share(source, chunks, _memory(options), at_once)
        if plan.task_bytes <= room.budget:
            return room
    needed = BASE + plan.task_bytes + 5 * room.traffic // 2
    raise ValueError(
        f"memory: got {size_of(_memory(options))}; accepted is at least {size_of(needed)} "
        "to resume what was begun with more"
    )


def _memory(options: Options) -> int:
    return default_memory() if options.memory is None else parse_size(options.memory)


def _method(source: Source, options: Options) -> tuple[str, bool]:
    """Return the method, and whether these are labels: as asked for, or as the source says; never by dtypes alone."""
    method, labels = options.method, options.labels or bool(source.about.labels)
    kind, itemsize = source.dtype.kind, source.dtype.itemsize
    if kind not in "biufc" or itemsize > (16 if kind == "c" else 8):
        raise ValueError(
            f"source: {source.name} has dtype {source.dtype}; accepted are bool, and integers, floats and complex of "
            "up to 64 bits a part"
        )
    if method is not None and method not in METHODS:
        raise ValueError(f"method: got {method!r}; accepted are {', '.join(METHODS)}")
    if (
        method is None
        and not labels
        and source.about.labels is None
        and (kind == "b" or (kind in "iu" and itemsize > 2))
    ):
        raise ValueError(
            f"method: {source.name} has dtype {source.dtype}, which may be an image or labels; "
            "accepted are --labels, or "
            f"--method with one of {', '.join(METHODS)}"
        )
    labels = labels or method == "mode"
    method = method or ("mode" if labels else "average")
    if labels and method == "average":
        raise ValueError("method: got average for labels; accepted are mode, min, max and stride")
    for name in ("sparse", "exact"):
        if getattr(options, name) and method not in ("average", "mode"):
            raise ValueError(f"{name}: got {name} with method {method}; accepted are average and mode")
    if options.exact and method == "mode" and kind not in "biu":
        raise ValueError(f"exact: exact modes need integers, and {source.name} has dtype {source.dtype}")
    if kind == "c" and method in ("min", "max"):
        raise ValueError(f"method: got {method} for {source.dtype}, which has no order")
    return method, labels


def _entries(name: str, values: Sequence[int], axes: str) -> Shape:
    """One integer of at least 1 per axis; those of channel and time may be left out, and are 1."""
    entries, least = tuple(values), sum(axis in "xyz" for axis in axes)
    if not least <= len(entries) <= len(axes) or any(int(entry) != entry or entry < 1 for entry in entries):
        raise ValueError(f"{name}: got {entries}; accepted are integers of at least 1, along {', '.join(axes)}")
    return tuple(int(entry) for entry in entries) + (1,) * (len(axes) - len(entries))


def _chunk(source: Source, options: Options) -> Shape:
    """As asked for, or near cubes of about 2 MiB of one channel and time."""
    if options.chunk is not None:
        return _entries("chunk", options.chunk, source.axes)
    if options.add:
        return source.chunk
    chunk = [1] * len(source.axes)
    if options.format == "precomputed" and "c" in source.axes:
        chunk[source.axes.index("c")] = source.shape[source.axes.index("c")]
    while True:
        space = [a for a, axis in enumerate(source.axes) if axis in "xyz" and chunk[a] < source.shape[a]]
        if not space or 2 * math.prod(chunk) * source.dtype.itemsize > CHUNK_BYTES:
            return tuple(chunk)
        chunk[min(space, key=lambda a: chunk[a])] *= 2


def _factors(source: Source, method: str, chunk: Shape, options: Options) -> tuple[Shape, ...]:
    """One factor per mip."""
    rank = len(source.axes)
    given = list(options.factor)
    if given and not isinstance(given[0], (int, float, np.integer, np.floating)):
        factors = [checked_factor(factor_entries(entry), rank) for entry in given]
        if options.num_mips is not None and len(factors) not in (1, options.num_mips):
            raise ValueError(
                f"num_mips: got {options.num_mips} and {len(factors)} factors; accepted is one factor per mip"
            )
        if len(factors) > 1 or (options.num_mips is None and len(given) > 1):
            return tuple(factors)
        factor = factors[0]
    else:
        factor = checked_factor(factor_entries(given), rank)
    if options.num_mips is not None:
        if not 0 <= options.num_mips <= 64:
            raise ValueError(f"num_mips: got {options.num_mips}; accepted are integers from 0 to 64")
        return (factor,) * options.num_mips
    count, shape = 0, source.shape
    while any(f > 1 and n > c for n, f, c in zip(shape, factor, chunk, strict=True)):
        shape = tuple(-(-n // f) for n, f in zip(shape, factor, strict=True))
        count += 1
    if method == "average" and not options.exact and max(factor) == 2 and 2 <= sum(f > 1 for f in factor) <= 3:
        # More than these are refused, as they are in memory.
        count = min(count, *(n.bit_length() - 1 for n, f in zip(source.shape, factor, strict=True) if f > 1))
    return (factor,) * count


def _check_scales(axes: str, factors: Sequence[Shape]) -> None:
    """Refuse mips that precomputed has no name for: it knows scales by their voxel sizes."""
    for mip, factor in enumerate(factors, 1):
        if all(f == 1 for f, axis in zip(factor, axes, strict=True) if axis in "xyz"):
            raise ValueError(
                f"factor: got {','.join(map(str, factor))} for mip {mip}, which makes nothing new: its voxels "
                "are as large as those of the mip before, and precomputed tells scales apart by that; accepted are "
                "factors with an entry above 1 along x, y or z"
            )


def _check_sizes(recipe: Recipe, shape: Shape) -> None:
    """Refuse what the functions in memory refuse, of the volume as a whole."""
    if recipe.method != "average" or recipe.exact:
        return
    shapes = recipe.shapes(shape)
    for run in recipe.runs:
        try:
            check_halving_sizes(shapes[run.first], run.factor, run.last - run.first)
        except ValueError as error:
            raise ValueError(str(error).replace("img:", "num_mips: the volume's")) from None


def _geometry(source: Source, options: Options) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Voxel size and translation of mip 0 along each axis, and their unit."""
    unit = options.unit or source.about.unit or "nanometer"
    if unit not in NANOMETRES:
        raise ValueError(f"unit: got {unit!r}; accepted are {', '.join(NANOMETRES)}")
    sizes = dict(source.about.voxel_size)
    if options.voxel_size is not None:
        space = [axis for axis in source.axes if axis in "xyz"]
        given = [float(value) for value in options.voxel_size]
        if len(given) != len(space) or not all(math.isfinite(value) and value > 0 for value in given):
            raise ValueError(
                f"voxel_size: got {tuple(given)}; accepted are {len(space)} sizes above 0, along {', '.join(space)}"
            )
        sizes |= {axis: value * NANOMETRES[unit] for axis, value in zip(space, given, strict=True)}

    def in_unit(axis: str, value: float) -> float:
        return float(f"{value / NANOMETRES[unit]:.12g}") if axis in "xyz" else value

    default = {axis: NANOMETRES[unit] for axis in "xyz"}
    size = tuple(in_unit(axis, sizes.get(axis, default.get(axis, 1.0))) for axis in source.axes)
    shift = tuple(in_unit(axis, source.about.translation.get(axis, 0.0)) for axis in source.axes)
    return size, shift, unit


def _codec(options: Options, labels: bool, source: Source) -> tuple[str, int | None]:
    """Compression and level: ``name`` or ``name:level``."""
    fits = precomputed.ENCODINGS if options.format == "precomputed" else ome_zarr.CODECS
    text = options.compression
    if text is None:
        if options.format != "precomputed":
            return "blosc", None
        packs = labels and source.dtype.name in ("uint32", "uint64")
        return ("compressed_segmentation" if packs else "raw"), None
    name, _, level = text.partition(":")
    name = "raw" if name == "none" and options.format == "precomputed" else name
    if name not in fits:
        raise ValueError(
            f"compression: got {text!r}; accepted for {options.format} are {', '.join(fits)}, "
            "with a level after a colon"
        )
    levels = fits[name]
    if level and not (level.isdecimal() and int(level) in levels):
        accepted = f"are levels from 0 to {levels[-1]}" if levels else "is no level"
        raise ValueError(f"compression: got {text!r}; accepted for {name} {accepted}")
    if source.dtype.name not in precomputed.PACKED.get(name, (source.dtype.name,)):
        raise ValueError(
            f"compression: got {name} for {source.dtype}; accepted are {' and '.join(precomputed.PACKED[name])}"
        )
    return name, int(level) if level else None
