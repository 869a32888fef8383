"""Results and speed beside tinybrain 1.7.0, the last release before this one.

The peer comes from PyPI into an environment of its own (``.venvs/tinybrain-1.7.0``) and is only ever
called.  Two worker processes, one per library, read the same .npy files:

1. the same call in both, in a forked child each, so that a crash is a result like any other; the bits are
   compared, and every difference has to be explained by a fault of 1.7.0 or a deliberate change below;
2. the same call timed in both by turns, on one thread, the median of each and their ratio.

Exits with 1 if a difference is not explained, or if 2.0 raises where it should not.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from compare_cases import FAULTS, Array, Case, fault_cases, grid_of_cases, voxels
from demo import tissue

ROOT = Path(__file__).resolve().parents[1]
PEER = "1.7.0"


# --- The workers, seen from here ------------------------------------------------------------------


class Worker:
    """A worker process, seen from the parent."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(ROOT / "benches" / "compare_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send a command and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"the worker {self.process.args!r} ended unasked, status {self.process.wait()}")
        return json.loads(answer)


# --- Comparing bits -------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """How a call came out in both, and why."""

    case: Case
    result: str
    share: float = 0.0  # of all voxels of all mips
    largest: float = 0.0
    why: str = ""
    explained: bool = True


def bits_of(array: Array) -> Array:
    """Bits of the voxels."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def difference(case: Case, old: list[Array], new: list[Array], top: float) -> tuple[str, float, float]:
    """Compare two lists of mips: result, share of voxels that differ, largest difference."""
    if [a.shape for a in old] != [a.shape for a in new]:
        return "differs in shape", 1.0, float("nan")
    if [a.dtype.newbyteorder("=") for a in old] != [a.dtype for a in new]:
        return "differs in dtype", 1.0, float("nan")
    unequal, total, largest = 0, 0, 0.0
    for a, b in zip(old, new, strict=True):
        a = a.astype(b.dtype, copy=False)
        where = bits_of(a) != bits_of(b)
        unequal, total = unequal + int(where.sum()), total + where.size
        if where.any():
            x, y = a.reshape(where.shape)[where].astype(float), b.reshape(where.shape)[where].astype(float)
            with np.errstate(invalid="ignore"):
                gaps = np.where(x == y, 0, np.abs(x - y))
            largest = max(largest, float(np.nan_to_num(gaps, nan=np.inf).max()))
    if unequal == 0:
        return "same", 0.0, 0.0
    slack = {"float32": 1e-6, "float64": 1e-13}.get(case.dtype, 0.0)
    if case.op == "avg" and largest <= slack * top:
        return "last bits", unequal / total, largest
    return "differs", unequal / total, largest


def explanation(case: Case, result: str) -> str:
    """List the faults and changes that can touch this call."""
    known = [key for key, fault in FAULTS.items() if fault.touches(case) and result.startswith(fault.shows)]
    return "A" if result == "last bits" else ",".join(known)


class Arena:
    """Both workers, and a directory for the voxels they share."""

    def __init__(self, old: Worker, new: Worker, directory: Path) -> None:
        self.old, self.new, self.directory = old, new, directory
        self.inputs: dict[tuple[object, ...], Path] = {}

    def input(self, case: Case) -> Path:
        """Write the input of a case, once."""
        key = (case.data, case.dtype, case.shape, case.op == "seg")
        if key not in self.inputs:
            self.inputs[key] = self.directory / f"{len(self.inputs)}.npy"
            np.save(self.inputs[key], voxels(case))
        return self.inputs[key]

    def compare(self, case: Case, path: Path | None = None) -> Outcome:
        """Make a call in both libraries, and judge the difference."""
        path = path or self.input(case)
        mips: list[list[Array]] = []
        said: list[str] = []
        for worker, name in ((self.old, "old.npz"), (self.new, "new.npz")):
            out = self.directory / name
            said.append(worker.ask("run", case=asdict(case), path=str(path), out=str(out)))
            mips.append(list(np.load(out).values()) if said[-1] == "ok" else [])
        if said[1] != "ok":
            refused = all(word.startswith("raises") for word in said)
            return Outcome(case, "both raise" if refused else f"2.0 {said[1][:80]}", explained=refused)
        if said[0] != "ok":
            result, share, largest = f"1.7 {said[0].split(':')[0]}", 1.0, float("nan")
            if "crashes" in said[0]:
                result = f"1.7 {said[0]}"
        else:
            top = 0.0
            if case.kind == "f":
                top = float(np.abs(np.load(path, mmap_mode="r"), dtype=float).max(initial=0))
            result, share, largest = difference(case, mips[0], mips[1], top)
        if result == "same":
            return Outcome(case, result)
        why = explanation(case, result)
        return Outcome(case, result, share, largest, why, bool(why))


def merged(outcomes: list[Outcome]) -> list[dict[str, str]]:
    """One row per call and result, with the types and layouts it stands for."""
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.case.call, outcome.result, outcome.why), []).append(outcome)
    rows = []
    for (call, result, why), group in groups.items():
        dtypes = dict.fromkeys(o.case.dtype + (" small" if o.case.data == "small" else "") for o in group)
        share, largest = max(o.share for o in group), max(o.largest for o in group)
        number = "" if group[0].case.op == "seg" or np.isnan(largest) else f"{largest:.3g}"
        rows.append(
            {
                "call": call,
                "voxels": ", ".join(dtypes),
                "layout": " ".join(dict.fromkeys(o.case.layout for o in group)),
                "result": result,
                "share": f"{share:.2%}" if result in ("differs", "last bits") else "",
                "largest": number if result in ("differs", "last bits") else "",
                "why": why if group[0].explained else (why + " UNEXPLAINED").strip(),
            }
        )
    return rows


# --- Speed ----------------------------------------------------------------------------------------


def speed_inputs(quick: bool) -> dict[str, Array]:
    """Volumes to time with: generated tissue, at least 64 MB of each type, and chunks of 64 cubed."""
    image, labels = tissue((256, 256, 64) if quick else (512, 512, 64))
    many = np.concatenate([image] * (1 if quick else 4), axis=2)  # 67 MB
    rng = np.random.default_rng(0)
    return {
        "uint8": many,
        "uint8 half empty": np.where(many > np.median(image), many, 0).astype(np.uint8),
        "uint16": many[..., : many.shape[2] // 2].astype(np.uint16) * 257,
        "float32": many[..., : many.shape[2] // 4].astype(np.float32) / 7,
        "uint64": labels,
        "uint64 random": rng.integers(0, 4, labels.shape, np.uint64),
        "uint32": np.concatenate([labels] * 2, axis=2).astype(np.uint32),
        "uint8 64 cubed": np.asfortranarray(image[:64, :64, :64]),
        "uint64 64 cubed": np.asfortranarray(labels[:64, :64, :64]),
    }


SPEED: list[tuple[str, str, tuple[int, ...], int, bool, str]] = [
    ("avg", "uint8", (2, 2, 1), 1, False, "F"),
    ("avg", "uint8", (2, 2, 1), 5, False, "F"),
    ("avg", "uint8", (2, 2, 1), 1, False, "C"),
    ("avg", "uint8", (2, 2, 1), 5, False, "C"),
    ("avg", "uint8 half empty", (2, 2, 1), 1, True, "F"),
    ("avg", "uint8 half empty", (2, 2, 1), 4, True, "F"),
    ("avg", "uint8", (2, 2, 2), 1, False, "F"),
    ("avg", "uint8", (2, 2, 2), 4, False, "F"),
    ("avg", "uint8", (2, 2, 2), 4, False, "C"),
    ("avg", "uint8 half empty", (2, 2, 2), 1, True, "F"),
    ("avg", "uint8", (1, 2, 2), 1, False, "F"),
    ("avg", "uint8", (4, 4, 1), 1, False, "F"),
    ("avg", "uint8", (3, 3, 3), 1, False, "F"),
    ("avg", "uint16", (2, 2, 1), 1, False, "F"),
    ("avg", "uint16", (2, 2, 1), 4, False, "F"),
    ("avg", "uint16", (2, 2, 2), 1, False, "F"),
    ("avg", "float32", (2, 2, 1), 1, False, "F"),
    ("avg", "float32", (2, 2, 1), 4, False, "F"),
    ("avg", "float32", (2, 2, 2), 4, False, "F"),
    ("seg", "uint64", (2, 2, 1), 1, False, "F"),
    ("seg", "uint64", (2, 2, 1), 5, False, "F"),
    ("seg", "uint64", (2, 2, 1), 1, True, "F"),
    ("seg", "uint64", (2, 2, 1), 1, False, "C"),
    ("seg", "uint64", (4, 4, 1), 1, False, "F"),
    ("seg", "uint64", (2, 2, 2), 1, False, "F"),
    ("seg", "uint64", (2, 2, 2), 4, False, "F"),
    ("seg", "uint64", (2, 2, 2), 1, True, "F"),
    ("seg", "uint64 random", (2, 2, 1), 1, False, "F"),
    ("seg", "uint64 random", (2, 2, 2), 1, False, "F"),
    ("seg", "uint32", (2, 2, 1), 1, False, "F"),
    ("seg", "uint32", (2, 2, 2), 1, False, "F"),
    ("seg", "uint8", (2, 2, 1), 1, False, "F"),
    ("min", "uint8", (2, 2, 1), 1, False, "F"),
    ("max", "uint8", (2, 2, 2), 1, False, "F"),
    ("avg", "uint8 64 cubed", (2, 2, 1), 1, False, "F"),
    ("avg", "uint8 64 cubed", (2, 2, 2), 4, False, "F"),
    ("seg", "uint64 64 cubed", (2, 2, 1), 1, False, "F"),
    ("seg", "uint64 64 cubed", (2, 2, 2), 1, False, "F"),
]


def speed_rows(arena: Arena, quick: bool, repeats: int) -> Iterator[tuple[dict[str, str], Outcome]]:
    """Compare and time each row of SPEED; the two interpreters take turns within every row."""
    inputs = speed_inputs(quick)
    for name, array in inputs.items():
        np.save(arena.directory / f"{name}.npy", array)
    for op, name, factor, num_mips, sparse, layout in SPEED:
        array, path = inputs[name], arena.directory / f"{name}.npy"
        case = Case(op, factor, array.shape, str(array.dtype), num_mips, sparse, layout)
        outcome = arena.compare(case, path)
        row = {"call": case.call, "voxels": name, "layout": layout, "MB": f"{array.nbytes / 1e6:.3g}"}
        row |= {"result": outcome.result, "why": outcome.why if outcome.explained else "UNEXPLAINED"}
        if outcome.result in ("same", "differs", "last bits"):
            times: list[list[float]] = [[], []]
            calls = max(1, int(3e6 / array.nbytes))
            workers: list[tuple[Worker, dict[str, int]]] = [(arena.old, {}), (arena.new, {"parallel": 1})]
            for worker, more in workers:
                worker.ask("prepare", case=asdict(case), path=str(path), more=more)
                worker.ask("time", calls=calls)
            for turn in range(repeats):
                for which in (0, 1) if turn % 2 else (1, 0):
                    times[which].append(workers[which][0].ask("time", calls=calls))
            old, new = (statistics.median(t) for t in times)
            row |= {"1.7 ms": f"{old * 1e3:.3g}", "2.0 ms": f"{new * 1e3:.3g}"}
            row |= {"2.0 GB/s": f"{array.nbytes / new / 1e9:.1f}", "ratio": f"{old / new:.2f}"}
            row["flag"] = "2.0 IS SLOWER" if new > old else ""
        yield row, outcome


# --- Showing and recording ------------------------------------------------------------------------


def as_text(rows: list[dict[str, str]], markdown: bool = False) -> str:
    """Lay a table out in aligned columns, as text or as Markdown."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    cells = [heads, *[[row.get(head, "") for head in heads] for row in rows]]
    if markdown:
        cells.insert(1, ["---"] * len(heads))
        return "\n".join("| " + " | ".join(line) + " |" for line in cells)
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def cpu_model() -> str:
    """Name of the processor, as far as the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def peer_python(python: str) -> str:
    """Make the environment of tinybrain 1.7.0 unless it is there; return its interpreter."""
    home = ROOT / ".venvs" / f"tinybrain-{PEER}"
    found = home / "bin" / "python"
    if subprocess.run([found, "-c", "import tinybrain"], capture_output=True).returncode if found.exists() else True:
        print(f"Installing tinybrain {PEER} in {home.relative_to(ROOT)}", flush=True)
        subprocess.run([python, "-m", "venv", home], check=True)
        wanted = [f"tinybrain=={PEER}", f"numpy=={np.__version__}"]
        subprocess.run([found, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return str(found)


def main() -> None:
    """Compare, time, show and record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer types, smaller volumes")
    parser.add_argument("--no-speed", action="store_true", help="compare the results only")
    parser.add_argument("--repeats", type=int, default=9, help="timings behind each median, default 9")
    parser.add_argument("--markdown", type=Path, help="write the record to this file")
    parser.add_argument("--csv", type=Path, help="write both tables to this file")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter for 1.7.0, default this one")
    options = parser.parse_args()

    old, new = Worker(peer_python(options.peer_python)), Worker(sys.executable)
    versions = [worker.ask("versions") for worker in (old, new)]
    if versions[0]["tinybrain"] != PEER:
        sys.exit(f"the peer is tinybrain {versions[0]['tinybrain']}, not {PEER}")
    heading = [f"{datetime.date.today()}, {cpu_model()}"]
    heading += [f"tinybrain {v['tinybrain']}: Python {v['python']}, numpy {v['numpy']}" for v in versions]
    print("\n".join(heading), flush=True)

    speed: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="tinybrain-") as directory:
        arena = Arena(old, new, Path(directory))
        cases = [*grid_of_cases(options.quick), *fault_cases()]
        print(f"\nComparing {len(cases)} calls", flush=True)
        outcomes = [arena.compare(case) for case in cases]
        results = merged(outcomes)
        print(f"\n{as_text(results)}\n", flush=True)
        if not options.no_speed:
            for row, outcome in speed_rows(arena, options.quick, options.repeats):
                speed.append(row)
                outcomes.append(outcome)
            print(f"Speed, one thread, medians of {options.repeats} by turns\n\n{as_text(speed)}\n")

    used = {key for outcome in outcomes for key in outcome.why.split(",")}
    legend = [f"{key}: {fault.text}" for key, fault in FAULTS.items() if key in used]
    unexplained = [outcome for outcome in outcomes if not outcome.explained]
    slower = sum("SLOWER" in row.get("flag", "") for row in speed)
    same = sum(outcome.result == "same" for outcome in outcomes)
    summary = (
        f"{len(outcomes)} calls: {same} same, {len(outcomes) - same - len(unexplained)} explained,"
        f" {len(unexplained)} unexplained; {slower} of {len(speed)} timed rows slower than 1.7.0"
    )
    print(
        "Faults of 1.7.0, and changes made on purpose (letters), that the tables name\n\n"
        + "\n".join(legend)
        + f"\n\n{summary}"
    )

    for outcome in unexplained:
        print(f"UNEXPLAINED {outcome.result}: {outcome.case}")

    if options.markdown:
        parts = ["# Beside tinybrain 1.7.0", "\n".join(f"- {line}" for line in heading), summary]
        parts += ["## Results", as_text(results, markdown=True)]
        parts += ["## Speed, one thread", as_text(speed, markdown=True)] if speed else []
        parts += ["## Why", "\n".join(f"- {line}" for line in legend)]
        options.markdown.write_text("\n\n".join(parts) + "\n")
    if options.csv:
        rows = [{"table": "results", **row} for row in results] + [{"table": "speed", **row} for row in speed]
        with options.csv.open("w", newline="") as file:
            file.writelines(f"# {line}\n" for line in heading)
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
