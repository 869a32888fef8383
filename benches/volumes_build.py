"""The bench of volumes on disk: `tinybrain build` beside a copy by TensorStore, and beside what makes the same levels.

    python benches/volumes_build.py             # 4 GiB, some ten minutes, writes benches/record/volumes.{csv,md}
    python benches/volumes_build.py --quick     # a look: small volumes, one round, no record

Everything is measured in one run, with the input in the disk cache: a build and a copy take turns, each a process of
its own, timed from its start to its end, and what they wrote is deleted before the next. The copy writes the chunks and
codecs of the build's mip 0; the build writes that and its mips. Peers make the same levels of the same volume once, and
of a smaller one in turns with a build. Before anything counts, the mips are compared with the in-memory call. Needs the
extras ``volumes`` and ``dask``; peers come from the index into ``.venvs/volumes``.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from record import HERE, number, processor, table, verdict
from volumes import origin
from volumes_worker import CHUNK

import tinybrain

ROOT = Path(__file__).resolve().parents[1]
WORKER = str(ROOT / "benches" / "volumes_worker.py")
MIPS = 5
MB, MIB, GIB = 1e6, 1 << 20, 1 << 30
PEERS = ["ngff-zarr[dask-image,itkwasm,tensorstore]>=0.50", "ome-zarr>=0.18"]
PETABYTE = (131072, 131072, 65536)  # 2**50 voxels of uint8
COPY = "copy"
# What is made by which job of the worker; resize is not a mean, and compiling is done once on a machine.
BARRED = {"ngff-zarr, bin shrink": ("ngff-zarr",), "ome-zarr-py, local_mean": ("ome-zarr-py", "local_mean")}
OTHERS = {"ngff-zarr, first run": ("ngff-zarr",), "ome-zarr-py, resize": ("ome-zarr-py", "resize")}


@dataclass
class Line:
    """One measurement. The figure is what the bar is about; rates are those of the input, in MB/s."""

    id: str
    what: str
    figure: float | None = None
    bar: str = ""
    result: str = ""
    rate: float | None = None
    against: str = ""
    against_rate: float | None = None
    seconds: float | None = None
    fastest: float | None = None
    slowest: float | None = None
    rounds: int = 1
    peak_mib: float | None = None
    note: str = ""


@dataclass
class Run:
    """How one process went."""

    seconds: float
    peak: int  # bytes
    said: str


def run(*words: str, python: str = sys.executable, **env: str) -> Run:
    """Run a program from its start to its end."""
    os.sync()  # what is still to be written is not this program's
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        command = [python, "-W", "ignore", *words]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        out.seek(0)
        said = out.read()
    if status:
        raise SystemExit(f"{' '.join(words)} failed:\n{said}")
    return Run(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), said)


def job(*words: str, python: str = sys.executable) -> dict[str, Any]:
    """Run a job of volumes_worker.py, and return what it tells in its last line."""
    told: dict[str, Any] = json.loads(run(WORKER, *words, python=python).said.splitlines()[-1])
    return told


# --- Measuring --------------------------------------------------------------------------------------


@contextlib.contextmanager
def deleted(path: Path) -> Iterator[Path]:
    """Have a folder that is gone afterwards."""
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def build(src: Path, dst: Path, *more: str) -> Run:
    """Build a pyramid by the command."""
    words = ("build", str(src), str(dst), "--axes", "zyx", "--factor", "2,2,1", "--mips", str(MIPS), *more)
    return run("-m", "tinybrain", *words)


def line(key: str, what: str, runs: list[Run], size: int, **more: Any) -> Line:
    """Sum up the runs of a program."""
    seconds = [each.seconds for each in runs]
    middle = statistics.median(seconds)
    spread = {"seconds": middle, "fastest": min(seconds), "slowest": max(seconds), "rounds": len(runs)}
    return Line(key, what, rate=size / middle / MB, **spread, peak_mib=max(each.peak for each in runs) / MIB, **more)


def compared(of: Line, against: Line) -> Line:
    """Set the figure of a line: its rate over another's."""
    assert of.rate is not None
    assert against.rate is not None
    of.figure, of.against, of.against_rate = of.rate / against.rate, against.id, against.rate
    return of


def judged(of: Line, against: Line, sense: str, threshold: float) -> Line:
    """Set the figure of a line, its bar, and whether it passes."""
    figure = compared(of, against).figure
    assert figure is not None
    of.bar, of.result = f"{sense} {threshold:g} x", verdict(figure, sense, threshold)
    return of


def beside_copies(src: Path, size: int, rounds: int) -> list[Line]:
    """Build and copy by turns, compressed as builds are by default and not at all."""
    lines = []
    for codec, options in (("default codecs", ()), ("no compression", ("--compression", "none"))):
        name = f"{size / GIB:.2g} GiB, {codec}"
        builds, copies = [], []
        with deleted(src.with_name("like.ome.zarr")) as like:
            said = build(src, like, "--verbose", *options).said
            checked = job("check", str(src), str(like), str(MIPS))["said"]
            stored = sum(path.stat().st_size for path in (like / "0").rglob("*") if path.is_file())
            for turn in range(rounds):
                for who in ("build", COPY) if turn % 2 else (COPY, "build"):
                    with deleted(src.with_name("made.zarr")) as made:
                        if who == "build":
                            builds.append(build(src, made, "--quiet", *options))
                        else:
                            copies.append(run(WORKER, COPY, str(src), str(like / "0"), str(made)))
        copied = line(f"{COPY}: {name}", "TensorStore copies it", copies, size)
        note = f"mips {checked}; mip 0 takes {stored / size:.2f} of the input's bytes"
        made_line = line(f"build: {name}", f"tinybrain build, (2,2,1), {MIPS} mips", builds, size, note=note)
        lines += [copied, judged(made_line, copied, ">=", 0.5)]
    return [*lines, *passes(said)]


def passes(said: str) -> list[Line]:
    """Read what --verbose tells: how often the source is read, and in how many stages."""
    stages = re.search(r"(\d+) mips in (\d+) stage", said)
    reads = re.search(r"the source, read ([\d.]+) times", said)
    if not stages or not reads:
        raise SystemExit(f"--verbose doesn't tell stages and reads:\n{said}")
    depth = [last - first + 1 for first, last in _ranges(said)]
    most = math.ceil(MIPS / max(depth))
    read, count = float(reads[1]), int(stages[2])
    return [
        Line("stages", "stages of the build", count, f"<= {most}", verdict(count, "<=", most)),
        Line("reads", "reads of every chunk of the source", read, "<= 1", verdict(read, "<=", 1.0)),
    ]


def within_memory(src: Path, size: int) -> list[Line]:
    """Build within a tenth of the volume, but no less than what a build needs, and tell the peak over the limit."""
    limit, lines = max(400 * MIB, size // 10 // MIB * MIB), []
    for shard in (0, 256):
        with deleted(src.with_name("made.zarr")) as made:
            took = job("limited", str(src), str(made), str(MIPS), str(limit), str(shard))["peak"]
        name = f"{size / GIB:.2g} GiB, {f'shards of {shard} x {shard} x {shard}' if shard else 'no shards'}"
        of = Line(f"memory: {name}", f"peak of a build, over a limit of {limit / MIB:.0f} MiB", took / limit, "<= 1")
        of.result, of.peak_mib = verdict(took / limit, "<=", 1), took / MIB
        lines.append(of)
    return lines


def _ranges(said: str) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in re.findall(r"^mips (\d+)-(\d+) from", said, re.MULTILINE)]


def peers_python(install: bool) -> str | None:
    """Make the environment of the peers, unless it is there."""
    home = ROOT / ".venvs" / "volumes"
    found = home / "bin" / "python"
    words = [str(found), "-c", "import ngff_zarr, ome_zarr.writer"]
    if found.exists() and subprocess.run(words, capture_output=True).returncode == 0:
        return str(found)
    if not install:
        return None
    print(f"Installing {', '.join(PEERS)} in {home.relative_to(ROOT)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    done = subprocess.run([found, "-m", "pip", "install", "--quiet", "--prefer-binary", *PEERS])
    return str(found) if done.returncode == 0 else None


def beside_peers(src: Path, size: int, rounds: int, calls: dict[str, tuple[str, ...]], python: str) -> list[Line]:
    """Time a build and the peers by turns, all of them from the start of a process to its end."""
    name = f"{size / MIB:.0f} MiB"
    builds: list[Run] = []
    runs: dict[str, list[Run]] = {key: [] for key in calls}
    notes: dict[str, str] = {}
    for _ in range(rounds):
        with deleted(src.with_name("made.zarr")) as made:
            builds.append(build(src, made, "--quiet"))
        for key, (who, *more) in calls.items():
            with deleted(src.with_name("made.zarr")) as made, tempfile.TemporaryDirectory() as fresh:
                # Compiled WebAssembly is kept there from one process to the next.
                env = {"XDG_CACHE_HOME": fresh} if "first" in key else {}
                runs[key].append(run(WORKER, who, str(src), str(made), str(MIPS), *more, python=python, **env))
                notes.setdefault(key, job("off-by", str(src), str(made), str(MIPS))["said"])
    mine = line(f"build beside peers: {name}", f"tinybrain build, (2,2,1), {MIPS} mips", builds, size)
    lines = [mine]
    for key in calls:
        theirs = line(f"{key}: {name}", "the same levels by a peer", runs[key], size, note=notes[key])
        against = Line(f"build against {key}: {name}", mine.what, rate=mine.rate, seconds=mine.seconds)
        lines += [theirs, judged(against, theirs, ">=", 5) if key in BARRED else compared(against, theirs)]
    return lines


def planning() -> list[Line]:
    """Plan a petabyte in a million blocks, and in the blocks that a build would choose."""
    words = ",".join(map(str, PETABYTE))
    told = job("plan", words, "1024,1024,1024", str(MIPS))
    what = f"1 PiB planned in {told['blocks']} blocks, {told['tasks']} tasks"
    peak = told["peak"] / MIB
    note = f"of which the imports took {told['before'] / MIB:.0f} MiB"
    return [
        Line("plan: seconds", what, told["seconds"], "<= 60", verdict(told["seconds"], "<=", 60), peak_mib=peak),
        Line("plan: memory, MiB", what, peak, "<= 1024", verdict(peak, "<=", 1024), peak_mib=peak, note=note),
    ]


def schedulers(tasks: int) -> list[Line]:
    """Ask how many tasks a second the scheduler of dask gets done, whatever they do."""
    told = job("scheduler", str(tasks), "2")
    what = f"{tasks} empty tasks, 2 worker processes on this machine"
    return [
        Line("scheduler: one by one, tasks/s", what, told["one_by_one"], note="a task is sent when one is done"),
        Line("scheduler: at once, tasks/s", what, told["at_once"], note="all tasks are sent first"),
    ]


def graphs(blocks: int) -> list[Line]:
    """Ask how large the graph of the mips of a dask array is, which a build doesn't make."""
    told = job("graph", str(blocks), str(MIPS))
    what = f"{MIPS} mips of a dask array of {told['blocks']} blocks"
    count = told["blocks"]
    return [
        Line("graph: tasks a block", what, told["tasks"] / count, note="all of them are sent to the scheduler"),
        Line("graph: KiB a block", what, told["bytes"] / 1024 / count, note="in the process that calls compute"),
        Line("graph: blocks/s", what, count / told["seconds"]),
    ]


# --- The record -------------------------------------------------------------------------------------


def versions(python: str | None) -> dict[str, str]:
    """Versions of what was measured; `python` is that of the peers."""
    ask = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    names = {sys.executable: ["tensorstore", "numpy", "distributed"]}
    names |= {python: ["ngff-zarr", "ome-zarr"]} if python else {}
    found: dict[str, str] = {}
    for interpreter, packages in names.items():
        found |= json.loads(subprocess.run([interpreter, "-c", ask, *packages], capture_output=True, check=True).stdout)
    return found


def facts(folder: Path, found: dict[str, str], load: float, full: bool) -> dict[str, str]:
    """What a reader has to know to compare records."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{processor()}, {cores} cores for this process",
        "system": f"{platform.system()} {platform.release()}",
        "load": f"{load:.1f} processes wanted to run in the minute before",
        "folder": f"{folder}, {shutil.disk_usage(folder).free / GIB:.0f} GiB free; the input is in the disk cache",
        "tinybrain": f"{tinybrain.__version__}, backend {tinybrain._native.backend()}",
        "versions": ", ".join(f"{name} {v}" for name, v in sorted(found.items()))
        + f"; Python {platform.python_version()}",
        "input": f"uint8, chunks of {CHUNK} x {CHUNK} x {CHUNK}, uncompressed; {origin('image')}, rolled, with noise",
        "size": "full" if full else "SMALL RUN: the bars are about 4 GiB",
    }


def rows(lines: list[Line]) -> list[list[str]]:
    """Lines as rows of a table."""
    made = []
    for each in lines:
        spread = f" ({number(each.fastest)} - {number(each.slowest)})" if each.fastest else ""
        against = f"{each.against}, {number(each.against_rate)} MB/s" if each.against else ""
        cells = [each.id, each.what, number(each.rate), number(each.seconds) + spread, number(each.peak_mib), against]
        made.append([*cells, number(each.figure), each.bar, each.result, each.note])
    return made


HEADS = ["id", "what", "MB/s", "s: median (min - max)", "peak MiB", "against", "figure", "bar", "result", "note"]


def write(lines: list[Line], about: dict[str, str]) -> None:
    """Write volumes.csv and volumes.md."""
    names = [field.name for field in fields(Line)]
    with (HERE / "volumes.csv").open("w", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in about.items())
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for each in lines:
            values = [getattr(each, name) for name in names]
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else "" if v is None else v for v in values])
    told = "\n".join(f"- {key}: {value}" for key, value in about.items())
    bars = [[each.id, each.what, number(each.figure), each.bar, each.result] for each in lines if each.bar]
    parts = [
        "# Record of the bench of volumes",
        told,
        "## Bars",
        table(["id", "what", "figure", "bar", "result"], bars, True),
    ]
    parts += ["## Every row", table(HEADS, rows(lines), True)]
    (HERE / "volumes.md").write_text("\n\n".join(parts) + "\n")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=float, default=4.0, help="GiB of the volume that is built and copied")
    parser.add_argument("--peer-size", type=float, default=480.0, help="MiB of the volume for all peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the volumes are made [the system's temporary folder]")
    parser.add_argument("--no-install", action="store_true", help="leave out the peers if they aren't installed")
    parser.add_argument("--quick", action="store_true", help="small volumes, one round, no record")
    asked = parser.parse_args()
    if asked.quick:
        asked.size, asked.peer_size, asked.rounds = 0.25, 32.0, 1
    load = os.getloadavg()[0]
    python = peers_python(not asked.no_install)
    if python is None:
        print("skipped: ngff-zarr and ome-zarr-py are not installed", flush=True)
    with tempfile.TemporaryDirectory(prefix="tinybrain-bench-", dir=asked.folder) as name:
        src = Path(name) / "source.zarr"
        lines = planning() + schedulers(2000 if asked.quick else 10000) + graphs(16384)
        with deleted(src):
            size = job("source", str(src), str(int(asked.size * GIB)))["size"]
            lines += beside_copies(src, size, asked.rounds)
            lines += within_memory(src, size)
            lines += beside_peers(src, size, 1, BARRED, python) if python else []
        with deleted(src):
            size = job("source", str(src), str(int(asked.peer_size * MIB)))["size"]
            lines += beside_peers(src, size, asked.rounds, BARRED | OTHERS, python) if python else []
        about = facts(Path(name).parent, versions(python), load, asked.size >= 4)
    print("\n".join(f"{key}: {value}" for key, value in about.items()))
    print(table(HEADS, rows(lines), False))
    if not asked.quick:
        write(lines, about)


if __name__ == "__main__":
    main()
