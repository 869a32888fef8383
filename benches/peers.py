"""The bench of whole calls: tinybrain 2.0 against the memory, against 1.7.0, and beside its peers.

Every library runs in a process of its own (`peer_worker.py`), in an environment of its own where names
collide; environments are made here, under ``.venvs``.  A row is: results checked, everything called once to
warm up, then rounds in which all contenders of the row and the plain read take turns; medians, minima and
maxima.  What is in a row was measured in one run within a few seconds; nothing else should be compared.
Prints every bar with its figure and pass, short or beyond.  A full run writes ``benches/record``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from agree import judge
from bars import BARS, NEW, OLD, Call, Row, Sizes, all_rows, peer_cases
from chart import draw
from compare_1_7 import peer_python
from peak import NEEDED, free
from peer_engines import MODULES, PACKAGES, STREAM
from record import (
    DETAIL,
    HERE,
    SUMMARY,
    Line,
    bare_line,
    detail_row,
    facts,
    number,
    peer_table,
    summary_rows,
    table,
    verdict,
    write_csv,
    write_markdown,
)
from volumes import Array, make, origin

ROOT = Path(__file__).resolve().parents[1]
Times = dict[str, list[float]]


class Refused(Exception):
    """A worker could not do what it was asked for."""


class Worker:
    """A worker process, seen from here."""

    def __init__(self, python: str) -> None:
        silent = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(ROOT / "benches" / "peer_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **silent},
        )

    def ask(self, do: str, **words: Any) -> Any:
        """Send a command, wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **words}) + "\n")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Refused(f"the process ended, status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["is"]


# --- Environments ---------------------------------------------------------------------------------


def peers_python() -> str:
    """Make the environment that the peers share, unless it is there."""
    found = ROOT / ".venvs" / "peers" / "bin" / "python"
    if not found.exists():
        print(f"Making {found.parents[1].relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", found.parents[1]], check=True)
    return str(found)


class Libraries:
    """The libraries that could be had, each in its process, and those that could not."""

    def __init__(self, install: bool) -> None:
        self.workers: dict[str, Worker] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.skipped: list[str] = []
        for library in PACKAGES:
            try:
                self.start(library, install)
            except (Refused, OSError, subprocess.SubprocessError) as error:
                self.workers.pop(library, None)
                why = error if isinstance(error, Refused) else "cannot be installed here"
                self.skipped.append(f"{library}: {why}")
                print(f"skipped: {self.skipped[-1]}", flush=True)
        if NEW not in self.workers:
            sys.exit("tinybrain 2.0 is not installed here: make build")

    def start(self, library: str, install: bool) -> None:
        """Start the worker of a library, and install the library if it is missing."""
        if library == NEW:
            python = sys.executable
        elif library == OLD:
            python = peer_python(sys.executable)
        else:
            python = peers_python()
        there = subprocess.run([python, "-c", f"import {MODULES[library]}"], capture_output=True).returncode == 0
        if not there and install and library not in (NEW, OLD):
            print(f"Installing {', '.join(PACKAGES[library])}", flush=True)
            wanted = [f"numpy=={np.__version__}", *PACKAGES[library]]
            words = [python, "-m", "pip", "install", "--quiet", "--prefer-binary", *wanted]
            there = subprocess.run(words, timeout=300).returncode == 0
        if not there:
            raise Refused("cannot be installed here" if install else "is not installed")
        self.workers[library] = Worker(python)
        self.versions[library] = self.workers[library].ask("versions", library=library)


# --- Measuring ------------------------------------------------------------------------------------


class Bench:
    """Rows, measured."""

    def __init__(self, libraries: Libraries, quick: bool, directory: Path) -> None:
        self.workers, self.directory = libraries.workers, directory
        self.most, self.budget = (5, 0.6) if quick else (15, 2.0)
        self.wrong: list[str] = []

    def prepare(self, calls: dict[str, Call]) -> None:
        """Make calls ready, each in the process of its library."""
        for call in calls.values():
            if call.library not in self.workers:
                raise Refused(f"no {call.library}")
        for worker in {call.library for call in calls.values()}:
            self.workers[worker].ask("drop")
        for slot, call in enumerate(calls.values()):
            self.workers[call.library].ask("prepare", slot=slot, call=asdict(call))

    def turns(self, calls: dict[str, Call]) -> Times:
        """Time calls that are ready by turns: A B C, C B A, ..."""
        slots = [(name, self.workers[call.library], slot) for slot, (name, call) in enumerate(calls.items())]
        repeats, once = {}, 0.0
        for name, worker, slot in slots:
            worker.ask("time", slot=slot, calls=1)
            first = worker.ask("time", slot=slot, calls=1)
            repeats[name] = max(1, round(0.003 / first)) if first < 0.001 else 1
            once += first * (repeats[name] + (repeats[name] > 1))
        rounds = min(self.most, max(3, int(self.budget / once)))
        times: Times = {name: [] for name in calls}
        for turn in range(rounds):
            for name, worker, slot in slots if turn % 2 else slots[::-1]:
                times[name].append(worker.ask("time", slot=slot, calls=repeats[name]))
        return times

    def check(self, name: str, calls: dict[str, Call]) -> dict[str, str]:
        """Compare results before anything is timed: ours with the oracle, others under their own rules."""
        said: dict[str, str] = {}
        ours: list[Array] = []
        array: Array = np.empty(0)
        others = [call for call in calls.values() if call.library != NEW]
        path = str(self.directory / "mips.npz")
        for slot, (key, call) in enumerate(calls.items()):
            if call.op in ("stream", "pass", "add"):
                continue
            worker = self.workers[call.library]
            if call.library == NEW:
                said[key] = worker.ask("oracle", slot=slot)
                said[key] = "checked" if said[key] == "ok" else f"WRONG: {said[key]}"
            if others and (call.library != NEW or not ours):
                worker.ask("save", slot=slot, path=path)
                mips = list(np.load(path).values())
                if call.library == NEW:
                    ours, array = mips, make(call.volume)[0]
                else:
                    said[key] = judge(call, array, mips, ours)
                    if call.library not in (NEW, OLD) and call.op == "avg" and not call.sparse:
                        mine = judge(replace(call, library=NEW), array, ours, ours)
                        self.wrong += [f"{name}: {NEW}: {mine}"] if mine.startswith("WRONG") else []
        self.wrong += [f"{name}: {key}: {what}" for key, what in said.items() if what.startswith("WRONG")]
        return said

    def line(self, case: str, call: Call, times: Times, key: str, stream: str, checked: str) -> Line:
        """Lay down what the times of a call say."""
        ms = [t * 1e3 for t in times[key]]
        rate = call.volume.nbytes / statistics.median(times[key]) / 1e9
        read = self.bytes_read(call) / statistics.median(times[stream]) / 1e9
        return Line(
            id="",
            case=case,
            bar="",
            figure=None,
            verdict="",
            library=call.library,
            call=call.text + (", given arrays" if call.out and call.library not in (OLD, "Pillow") else ""),
            volume=f"{call.volume.text} ({origin(call.volume.source)})",
            megabytes=call.volume.nbytes / 1e6,
            threads=call.parallel,
            rounds=len(ms),
            minimum=min(ms),
            median=statistics.median(ms),
            maximum=max(ms),
            rate=rate,
            stream=read,
            ratio=rate / read,
            checked=checked,
        )

    def bytes_read(self, call: Call) -> int:
        """Bytes that the plain read of a volume reads: all channels of interleaved ones."""
        layout = call.volume.layout
        return call.volume.nbytes * (int(layout.split()[-1]) if " of " in layout else 1)

    def row(self, row: Row) -> Line:
        """Measure a row of the bars."""
        assert row.bar is not None
        call = row.call
        calls = {"call": call, "stream": stream_of(call)}
        if row.bar.sense == ">=":
            calls["pass"] = replace(stream_of(call), op="pass", factor=call.factor, mips=call.mips)
        if row.against is not None:
            calls["against"] = row.against
        self.prepare(calls)
        said = self.check(row.id, calls)
        times = self.turns(calls)
        line = self.line(row.bar.case, call, times, "call", "stream", said["call"])
        if said.get("against", "checked") != "checked":
            line.checked += f"; {row.against.library if row.against else ''}: {said['against']}"
        line.id, line.bar, line.bars_key = row.id, row.bar.demand, row.bar.key
        line.sense, line.threshold, line.note = row.bar.sense, row.bar.threshold, row.note
        assert line.stream is not None
        beside = line.stream
        if row.against is not None:
            other = statistics.median(times["against"])
            line.against_median = other * 1e3
            line.against = row.against.library if row.against.library != NEW else row.against.text
            beside = row.against.volume.nbytes / other / 1e9
        # Rates, or times the other way round.
        line.figure = line.rate / beside if row.bar.sense == ">=" else beside / line.rate
        if "pass" in times:
            line.limit = call.volume.nbytes / statistics.median(times["pass"]) / 1e9 / beside
        right = "WRONG" not in line.checked
        line.verdict = verdict(line.figure, row.bar.sense, row.bar.threshold, line.limit) if right else "wrong"
        return line

    def peers(self, title: str, call: Call, names: tuple[str, ...]) -> list[Line]:
        """Measure a case with every library that has it; each process times its own plain read."""
        fresh = replace(call, out=False)
        wanted = {NEW: call, f"{NEW}, fresh arrays": fresh, OLD: replace(fresh, library=OLD)}
        wanted |= {name: replace(call, library=name) for name in names}
        wanted = {name: each for name, each in wanted.items() if each.library in self.workers}
        reads = {f"read by {each.library}": stream_of(each) for each in wanted.values()}
        self.prepare(calls := wanted | reads)
        said = self.check(f"peers: {title}", calls)
        times = self.turns(calls)
        lines = []
        for name, each in wanted.items():
            line = self.line(title, each, times, name, f"read by {each.library}", said[name])
            line.id, line.library = f"peers: {title}: {name}", name
            lines.append(line)
        return lines


def stream_of(call: Call) -> Call:
    """Return the plain read of a call's input, by as many threads."""
    return Call("stream", call.volume, parallel=max(call.parallel, 1), library=call.library)


def threads_line(bench: Bench) -> Line:
    """Ask how many threads a small call uses."""
    call = next(row.call for row in all_rows(Sizes(False)) if row.bar and row.bar.key == "small")
    bench.prepare({"call": call})
    threads = bench.workers[NEW].ask("threads", slot=0)
    return bare_line(BARS["small-threads"], "threads of the call, by explain()", threads, verdict(threads, "<=", 1), "")


def peak_lines(quick: bool) -> list[Line]:
    """Measure peak memory in a process of its own."""
    mib = 256 if quick else 4096
    if free() < (NEEDED if not quick else 2 << 30):
        note = f"{free() >> 20} MiB of memory are free, too few for {mib} MiB of input"
        return [bare_line(BARS[key], "skipped", None, "skipped", note) for key in ("peak-dense", "peak-sparse")]
    program = [sys.executable, str(ROOT / "benches" / "peak.py"), str(mib)]
    done = subprocess.run(program, capture_output=True, text=True)
    if done.returncode:
        return [bare_line(BARS["peak-dense"], "skipped", None, "skipped", done.stderr[-300:].replace("\n", " "))]
    lines = []
    for peak in map(json.loads, done.stdout.splitlines()):
        key = "peak-sparse" if peak["sparse"] else "peak-dense"
        figure = peak["taken"] / peak["allowed"]
        note = f"{peak['taken']:.0f} KiB ({peak['least']} - {peak['most']}) of {peak['allowed']} allowed, {mib} MiB in"
        name = f"{peak['text']}, {peak['threads']} thread{'s'[: peak['threads'] > 1]}"
        more = {"threads": peak["threads"], "megabytes": mib * 1.048576}
        lines.append(bare_line(BARS[key], name, figure, verdict(figure, "<=", 1), note, **more))
    return lines


# --- The run --------------------------------------------------------------------------------------


def run(bench: Bench, sizes: Sizes, words: list[str], skipped: list[str]) -> list[Line]:
    """Measure everything whose name holds all the words, and print it as it comes."""
    lines: list[Line] = []

    def chosen(name: str) -> bool:
        return all(word in name for word in words)

    def show(found: list[Line]) -> None:
        for line in found:
            reading = line.verdict if line.figure is None else f"{line.figure:9.3g} {line.verdict}"
            speed = f"{line.rate:7.2f} GB/s {number(line.ratio, 2):>6} of stream" if line.rate else " " * 29
            print(f"{line.id:88} {speed} {reading}", flush=True)
        lines.extend(found)

    for row in all_rows(sizes):
        if chosen(row.id):
            assert row.bar is not None
            try:
                show([bench.row(row)])
            except Refused as error:
                show([bare_line(row.bar, row.id.split(": ", 1)[1], None, "skipped", str(error))])
    if chosen("small-threads"):
        show([threads_line(bench)])
    if chosen("peak"):
        show(peak_lines(sizes.quick))
    for title, call, names in peer_cases(sizes):
        if chosen(f"peers: {title}"):
            try:
                show(bench.peers(title, call, names))
            except Refused as error:
                skipped.append(f"{title}: {error}")
                print(f"skipped: {skipped[-1]}", flush=True)
    return lines


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small arrays, few rounds: a look, not a verdict")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rows whose ids hold all the words")
    parser.add_argument("--record", type=Path, help="directory of the record; default: benches/record, for full runs")
    parser.add_argument("--no-install", action="store_true", help="skip the peers that are not installed")
    options = parser.parse_args()

    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tinybrain-bench-") as directory:
        os.environ["TINYBRAIN_BENCH_DIR"] = directory
        libraries = Libraries(not options.no_install)
        bench = Bench(libraries, options.quick, Path(directory))
        about = facts(libraries.versions, STREAM, options.quick)
        print("\n".join(f"{key}: {value}" for key, value in about.items()) + "\n", flush=True)
        skipped = libraries.skipped
        lines = run(bench, Sizes(options.quick), options.only, skipped)

    print("\n" + table(DETAIL, [detail_row(line) for line in lines], markdown=False))
    peers = [line for line in lines if not line.bars_key]
    if peers:
        print("\n" + table(*peer_table(peers), markdown=False))
    print("\n" + table(SUMMARY, summary_rows(lines), markdown=False))
    barred = [line for line in lines if line.bars_key]
    passed = sum(line.verdict == "pass" for line in barred)
    print(f"\n{passed} of {len(barred)} rows with a bar pass, in {time.monotonic() - start:.0f} s")
    for problem in bench.wrong:
        print(f"WRONG RESULT {problem}")
    if options.quick:
        print("Quick: the arrays fit the caches and the rounds are few. The bars need the full size.")
    record = options.record or (HERE if not (options.quick or options.only) else None)
    if record is not None:
        record.mkdir(parents=True, exist_ok=True)
        write_csv(record / "bench.csv", lines, about)
        write_markdown(record / "bench.md", lines, about, skipped)
        if peers:
            draw(peers, about, record / "bench")
        print(f"Written: {record}")
    sys.exit(1 if bench.wrong else 0)


if __name__ == "__main__":
    main()
