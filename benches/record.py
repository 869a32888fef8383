"""The record of a run: facts about the machine, the CSV, the Markdown table."""

from __future__ import annotations

import contextlib
import csv
import datetime
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bars import NEW, Bar

HERE = Path(__file__).resolve().parent / "record"


@dataclass
class Line:
    """One line of the record; times are in milliseconds, rates in GB/s of input."""

    id: str
    case: str
    bar: str
    figure: float | None  # what the bar is about: a ratio, or a part of what is allowed
    verdict: str  # pass, short, beyond, or nothing where there is no bar
    library: str
    call: str
    volume: str
    megabytes: float
    threads: int
    rounds: int
    minimum: float
    median: float
    maximum: float
    rate: float
    stream: float | None
    ratio: float | None  # rate over stream
    checked: str
    note: str = ""
    sense: str = ""
    threshold: float | None = None
    against: str = ""
    against_median: float | None = None
    limit: float | None = None  # the figure that a plain loop has, which reads and writes as many bytes
    bars_key: str = field(default="", repr=False)


def verdict(figure: float, sense: str, threshold: float, limit: float | None = None) -> str:
    """Pass or short; beyond, if a loop that only reads and writes as many bytes would be short, too."""
    if figure >= threshold if sense == ">=" else figure <= threshold:
        return "pass"
    return "beyond" if limit is not None and limit < threshold else "short"


def bare_line(bar: Bar, name: str, figure: float | None, result: str, note: str, **more: Any) -> Line:
    """Make a line about something other than time."""
    zero = 0.0
    values = (f"{bar.key}: {name}", bar.case, bar.demand, figure, result, NEW, name, "", more.pop("megabytes", zero))
    line = Line(
        *values, more.pop("threads", 1), 0, zero, zero, zero, zero, None, None, "", note, bar.sense, bar.threshold
    )
    line.bars_key = bar.key
    return line


def command(*words: str) -> str:
    """First line that a program says."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError, IndexError):
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return "not found"


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def facts(versions: dict[str, dict[str, str]], stream: str, quick: bool) -> dict[str, str]:
    """What a reader has to know to compare records."""
    pythons = sorted({found["python"] for found in versions.values()})
    packages = {
        name: v for found in versions.values() for name, v in found.items() if name not in ("python", "tinybrain")
    }
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    import tinybrain

    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{processor()}, {cores} cores for this process",
        "system": f"{platform.system()} {platform.release()}, huge pages: "
        + (pages.read_text().strip() if pages.exists() else "unknown"),
        "compiler": command("rustc", "--version"),
        "tinybrain": f"{tinybrain.__version__}, backend {tinybrain._native.backend()}",
        "versions": ", ".join(f"{name} {v}" for name, v in sorted(packages.items())) + f"; Python {', '.join(pythons)}",
        "stream": stream,
        "size": "QUICK RUN: small arrays, few rounds; the bars need the full size" if quick else "full",
    }


def number(value: float | None, digits: int = 3) -> str:
    """Write a number to some digits."""
    if value is None:
        return ""
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def write_csv(path: Path, lines: list[Line], about: dict[str, str]) -> None:
    """Write every line; facts come first, as comments."""
    names = [name for name in Line.__dataclass_fields__ if name != "bars_key"]
    with path.open("w", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in about.items())
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for line in lines:
            values = [getattr(line, name) for name in names]
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else "" if v is None else v for v in values])


def read_csv(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Read facts and lines back."""
    text = path.read_text().splitlines()
    about = dict(line[2:].split(": ", 1) for line in text if line.startswith("# "))
    return about, list(csv.DictReader(line for line in text if not line.startswith("# ")))


def table(heads: list[str], rows: list[list[str]], markdown: bool) -> str:
    """Lay out a table, as Markdown or in aligned columns."""
    if markdown:
        lines = [heads, ["---"] * len(heads), *[[cell.replace("|", "\\|") for cell in row] for row in rows]]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    return "\n".join(
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in [heads, *rows]
    )


def summary_rows(lines: list[Line]) -> list[list[str]]:
    """One row per bar: how many of its rows pass, and the worst and the best of their figures."""
    rows = []
    for key in dict.fromkeys(line.bars_key for line in lines if line.bars_key):
        group = [line for line in lines if line.bars_key == key]
        measured = [line.figure for line in group if line.figure is not None]
        if not measured:
            rows.append([key, group[0].case, group[0].bar, "", "", "0", group[0].verdict])
            continue
        low, high = min(measured), max(measured)
        worst, best = (low, high) if group[0].sense == ">=" else (high, low)
        counts = {word: sum(line.verdict == word for line in group) for word in ("short", "beyond", "wrong", "skipped")}
        verdict = ", ".join(f"{word} ({n} of {len(group)})" for word, n in counts.items() if n) or "pass"
        rows.append([key, group[0].case, group[0].bar, number(worst), number(best), str(len(group)), verdict])
    return rows


SUMMARY = ["bar", "case", "demand", "worst", "best", "rows", "result"]
DETAIL = [
    "id",
    "GB/s",
    "stream",
    "of stream",
    "ms: median (min - max)",
    "against",
    "figure",
    "limit",
    "bar",
    "result",
    "checked",
]


def detail_row(line: Line) -> list[str]:
    """One line as a row of the long table."""
    spread = f"{number(line.median)} ({number(line.minimum)} - {number(line.maximum)})" if line.median else ""
    against = f"{line.against} {number(line.against_median)}" if line.against else ""
    bar = f"{line.sense} {line.threshold:g}" if line.threshold is not None else ""
    cells = [line.id, number(line.rate or None), number(line.stream), number(line.ratio, 2), spread, against]
    cells += [number(line.figure), number(line.limit), bar, line.verdict]
    return [*cells, "; ".join(filter(None, (line.checked, line.note)))]


def write_markdown(path: Path, lines: list[Line], about: dict[str, str], skipped: list[str]) -> None:
    """Write the tables: bars, peers, every row."""
    peers = [line for line in lines if not line.bars_key]
    parts = ["# Record of the bench", "\n".join(f"- {key}: {value}" for key, value in about.items())]
    parts += ["\n".join(f"- skipped: {line}" for line in skipped)] if skipped else []
    parts += ["## Bars", table(SUMMARY, summary_rows(lines), True)]
    if peers:
        parts += ["## Peers, one thread", table(*peer_table(peers), True)]
    parts += ["## Every row", table(DETAIL, [detail_row(line) for line in lines], True)]
    path.write_text("\n\n".join(parts) + "\n")


def peer_table(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    """Rates of the peers: a row per case, a column per library."""
    libraries = list(dict.fromkeys(line.library for line in lines))
    rows = []
    for case in dict.fromkeys(line.case for line in lines):
        found = {line.library: line for line in lines if line.case == case}
        rates = [number(found[name].rate) if name in found else "" for name in libraries]
        rows.append([case, *rates, number(next(iter(found.values())).stream)])
    return ["GB/s of input", *libraries, "stream"], rows


if __name__ == "__main__":  # the heading of kernels.txt
    print(f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, {command('rustc', '--version')}")
