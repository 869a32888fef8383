"""What a petabyte would take on 1,000 workers: the table of docs/petabyte.md, made from benches/record/volumes.csv.

    python benches/petabyte.py          # rewrites what stands between the two marks in docs/petabyte.md

Nothing is measured here. What is no measurement is an assumption, has a name below, and is a row of the table.
"""

from __future__ import annotations

import math

from record import HERE, number, read_csv, table

PAGE = HERE.parents[1] / "docs" / "petabyte.md"
MARKS = "<!-- made by benches/petabyte.py -->", "<!-- end -->"

VOXELS = 2**50  # bytes of uint8
MIPS, FACTOR = 5, 4  # of (2,2,1): a mip has a quarter of the voxels of the one before
BLOCK = 2**30  # bytes of mip 0 in a task: 1024 x 1024 x 1024
CHUNK = 2**21  # bytes of a chunk of the source: 128 x 128 x 128
SHARD = 2**27  # bytes of a shard before compression: 512 x 512 x 512; those of mip 1 are written at once
WORKERS, CORES = 1000, 2  # the cores of a worker are those of the machine of the record
STORES = (25e9, 100e9, 400e9)  # bytes a second that an object store gives and takes in all
GETS, PUTS = 5500, 3500  # requests a second that Amazon S3 promises for a prefix
LATENCY = 0.1  # seconds until the first byte of an answer
FAILURES = 1e-3  # of a worker in an hour


def measured() -> dict[str, dict[str, str]]:
    """Rows of the record by their ids."""
    return {row["id"]: row for row in read_csv(HERE / "volumes.csv")[1]}


def value(rows: dict[str, dict[str, str]], start: str, column: str = "figure") -> float:
    """The figure, or another column, of the row whose id starts so."""
    return float(next(row for key, row in rows.items() if key.startswith(start) and row[column])[column])


def hours(seconds: float) -> str:
    """Seconds in hours, or minutes where these are few."""
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


def lines(rows: dict[str, dict[str, str]]) -> list[list[str]]:
    """The table: what, how much, where it comes from."""
    build = next(key for key in rows if key.startswith("build: ") and "default codecs" in key)
    rate = float(rows[build]["rate"]) * 1e6
    plan = next(row["what"] for key, row in rows.items() if key == "plan: seconds")
    blocks, tasks = (int(word) for word in plan.replace(",", "").split() if word.isdigit() and len(word) > 4)
    stored = float(rows[build]["note"].rsplit("takes ", 1)[1].split()[0])
    more = sum(FACTOR**-k for k in range(1, MIPS + 1))
    pieces = VOXELS * sum(FACTOR**-k for k in range(2, MIPS + 1))  # of mips whose shards hold several blocks
    pull, push = VOXELS + pieces, VOXELS * (1 + more) * stored + pieces
    work = VOXELS / rate / WORKERS
    each = BLOCK / rate
    sent = value(rows, "scheduler: one by one")
    chunks = VOXELS / CHUNK
    made = [
        ["blocks of 1 GiB, tasks", f"{blocks:,}, {tasks:,}", "record, *plan*"],
        ["planning: time, memory of the driver", _plan(rows), "record, *plan*"],
        ["one worker of 2 cores", f"{rate / 1e6:.0f} MB/s, {each:.1f} s a block", f"record, *{build}*"],
        ["**1,000 workers, storage never waited for**", f"**{hours(work)}**", "2**50 bytes by 1,000 times that rate"],
        ["**core-hours**", f"**{work * WORKERS * CORES / 3600:,.0f}**", "that time, 2,000 cores"],
        [
            "read, written",
            f"{pull / 1e15:.2f} PB, {push / 1e15:.2f} PB",
            "mip 0 and mips at the compression of the record",
        ],
        ["bandwidth for that time, both ways", f"{(pull + push) / work / 1e9:,.0f} GB/s", "sum by time"],
        ["the same for a worker", f"{(pull + push) / work / WORKERS * 8 / 1e9:.1f} Gbit/s", "a thousandth"],
    ]
    for store in STORES:
        took = max(work, (pull + push) / store)
        cost = took * WORKERS * CORES / 3600
        made.append([f"with a store of {store / 1e9:.0f} GB/s", f"{hours(took)}, {cost:,.0f} core-hours", "assumed"])
    puts = VOXELS / SHARD * (1 + more) + blocks
    asked = chunks / GETS, puts / PUTS
    at_once = (chunks + puts) / work * LATENCY / WORKERS
    lost = FAILURES * WORKERS * work / 3600
    needs = tasks / sent
    made += [
        ["requests", f"{chunks:,.0f} GET, {puts:,.0f} PUT", "chunks of 2 MiB; shards of 128 MiB, and pieces"],
        ["the same in one prefix of S3", f"{hours(asked[0])} and {hours(asked[1])}", f"{GETS:,} GET/s, {PUTS:,} PUT/s"],
        ["prefixes for the time above", f"{math.ceil(max(asked) / work)}", "the larger by that time"],
        ["requests under way in a worker", f"{at_once:.0f}", f"{LATENCY * 1000:.0f} ms each, assumed"],
        ["tasks/s that the workers ask for", f"{tasks / work:,.0f}", "tasks by time"],
        ["tasks/s of a dask scheduler", f"{sent:,.0f}", "record, *scheduler: one by one*"],
        ["**all tasks through one scheduler**", f"**{hours(needs)}**", "tasks by that rate"],
        ["block for the scheduler not to be the limit", _block(tasks, work, sent), "1 GiB, doubled until it keeps up"],
        ["workers lost, blocks done again", f"{lost:.1f}, {2 * lost:.1f}", f"{FAILURES:g} an hour and worker, 2 each"],
        ["the mips as dask arrays instead", _graph(rows, blocks), "record, *graph*"],
    ]
    return made


def _plan(rows: dict[str, dict[str, str]]) -> str:
    return f"{number(value(rows, 'plan: seconds'))} s, {value(rows, 'plan: memory'):.0f} MiB"


def _block(tasks: float, work: float, sent: float) -> str:
    gib = 1
    while tasks / gib / work > sent:
        gib *= 2
    return f"{gib} GiB"


def _graph(rows: dict[str, dict[str, str]], blocks: int) -> str:
    """Memory and tasks of the graph of dask arrays with as many blocks."""
    memory = value(rows, "graph: KiB a block") * blocks / 2**20
    return f"{blocks * value(rows, 'graph: tasks a block'):,.0f} tasks, {memory:.0f} GiB in the client"


def main() -> None:
    """Rewrite the table."""
    text = PAGE.read_text()
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    about, _ = read_csv(HERE / "volumes.csv")
    source = f"Record of {about['date']}: {about['processor']}; tinybrain {about['tinybrain']}; load: {about['load']}."
    made = table(["what", "how much", "from"], lines(measured()), True)
    PAGE.write_text(f"{before}{MARKS[0]}\n{source}\n\n{made}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
