"""Compare two records: which rows got slower, relative to what they were measured against in their own run.

    python benches/regression.py before.csv after.csv [--tolerance 0.1]

Times of two runs cannot be compared on a machine that others use; ratios taken within a run can.  A row with
a bar is compared by its figure, another by its part of the stream.  Exits with 1 if a row got slower by
more than the tolerance, or is gone; "noisy" says that the slower row's own spread is larger than its loss.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from record import read_csv, table


def speed(row: dict[str, str]) -> float | None:
    """Return what is compared: more is better."""
    figure = row["figure"] or row["ratio"]
    if not figure or float(figure) == 0:
        return None
    return 1 / float(figure) if row["figure"] and row["sense"] == "<=" else float(figure)


def main() -> None:
    """Compare and say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.1, help="loss that is still noise, default 0.1")
    options = parser.parse_args()
    (about, before), (about_after, after) = (read_csv(path) for path in (options.before, options.after))
    for key in ("processor", "compiler", "stream", "size"):
        if about.get(key) != about_after.get(key):
            print(f"the records differ in {key}: {about.get(key)} | {about_after.get(key)}")
    found = {row["id"]: row for row in after}
    slower, gone, compared = [], [], 0
    for row in before:
        old = speed(row)
        if row["id"] not in found:
            gone.append(row["id"])
        elif old is not None and (new := speed(found[row["id"]])) is not None:
            compared += 1
            loss = 1 - new / old
            if loss > options.tolerance:
                later = found[row["id"]]
                spread = 1 - float(later["minimum"]) / float(later["median"]) if float(later["median"] or 0) else 0
                slower.append([row["id"], f"{old:.3g}", f"{new:.3g}", f"{loss:.0%}", "noisy" if spread > loss else ""])
    if slower:
        print(table(["slower", "before", "after", "loss", ""], slower, markdown=False))
    for name in gone:
        print(f"gone: {name}")
    fresh = len(found) - len({row["id"] for row in before} & found.keys())
    result = f"{len(slower)} slower by more than {options.tolerance:.0%}"
    print(f"{compared} rows compared, {result}, {len(gone)} gone, {fresh} new")
    sys.exit(1 if slower or gone else 0)


if __name__ == "__main__":
    main()
