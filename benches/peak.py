"""Peak memory beyond input and outputs: a line of JSON per call.

The input is made once; every call is made in a child forked from the process that holds it, which has not
called the library on anything but 64 cubed voxels, so that no scratch memory is left over from another call.
Input and outputs have every page touched before the peak (VmHWM) is set back; what it grows by is what the
call took.  The system counts the pages of a thread in batches, so a figure can be some 100 KiB off.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinybrain

MEAN, MODE = tinybrain.downsample_with_averaging, tinybrain.downsample_segmentation
NEEDED = 8 << 30  # free memory that 4 GiB of input and its mips want


class Peak(NamedTuple):
    """What a call took, and what it may take, in KiB."""

    text: str
    sparse: bool
    threads: int
    taken: float
    least: float
    most: float
    allowed: int


def status(field: str) -> int:
    """Read a figure of this process, in KiB (not ru_maxrss, which is inherited)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def free() -> int:
    """Bytes of memory a process may still have; 0 where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def growth(function: Any, image: Any, factor: tuple[int, ...], options: dict[str, Any]) -> int:
    """Return by how many KiB the peak grows during a call."""
    shapes = [tuple(-(-n // f**k) for n, f in zip(image.shape, factor, strict=True)) for k in range(1, 6)]
    out = [np.full(shape, 1, np.uint8, order="F") for shape in shapes[: options["num_mips"]]]
    function(image[:64, :64, :64], factor, **options)  # the code is loaded
    before, code = status("VmRSS"), status("RssFile")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again here
    function(image, factor, out=out, **options)
    grown = status("VmHWM") - before - (status("RssFile") - code)  # pages of programs are nobody's arrays
    assert all((mip == 3).all() for mip in out)
    return grown


def in_child(*arguments: Any) -> int:
    """Return what `growth` says in a forked child."""
    says, tells = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(tells, str(growth(*arguments)).encode())
        finally:
            os._exit(0)
    os.close(tells)
    with os.fdopen(says) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return int(said)


def main() -> None:
    """Measure every case on a volume of as many MiB as the argument says."""
    mib = int(sys.argv[1])
    image = np.full((2048, 2048, mib // 4), 3, np.uint8, order="F")
    cases: list[tuple[Any, tuple[int, ...], int, bool]] = [
        *itertools.product((MEAN,), ((2, 2, 1), (2, 2, 2)), (1, 5), (False, True)),
        *itertools.product((MODE,), ((2, 2, 1), (2, 2, 2)), (1,), (False,)),
        (tinybrain.downsample_with_min_pooling, (2, 2, 2), 5, False),
    ]
    for (function, factor, mips, sparse), threads in itertools.product(cases, (1, 2)):
        options: dict[str, Any] = {"num_mips": mips, "parallel": threads}
        options |= {"sparse": True} if sparse else {}
        taken = [in_child(function, image, factor, options) for _ in range(3)]
        allowed = (1024 + 64 * threads) * (2 if sparse else 1)
        name = {MEAN: "mean", MODE: "mode"}.get(function, "min")
        text = f"{'sparse ' if sparse else ''}{name} {factor}".replace(", ", ",") + f", {mips} mip{'s'[: mips > 1]}"
        peak = Peak(text, sparse, threads, statistics.median(taken), min(taken), max(taken), allowed)
        print(json.dumps(peak._asdict()), flush=True)


if __name__ == "__main__":
    main()
