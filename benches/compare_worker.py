"""The worker of `compare_1_7.py`: run by the interpreter of either library, it makes calls and times them."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import tinybrain  # whichever this interpreter has
import tinybrain.accelerated
import tinybrain.downsample

Array = npt.NDArray[Any]

FUNCTIONS = {
    "avg": "downsample_with_averaging",
    "seg": "downsample_segmentation",
    "min": "downsample_with_min_pooling",
    "max": "downsample_with_max_pooling",
    "stride": "downsample_with_striding",
    "pool2x2": "accelerated.average_pooling_2x2",
}


def packed(voxels: Array) -> Array:
    """Return the same voxels as a field that starts at an odd address."""
    records = np.zeros(voxels.shape, np.dtype([("flag", "u1"), ("value", voxels.dtype)]))
    records["value"] = voxels
    return records["value"]


def read_only(voxels: Array) -> Array:
    """Return the same voxels, locked."""
    voxels.flags.writeable = False
    return voxels


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "F": np.asfortranarray,
    "C": np.ascontiguousarray,
    "channel": lambda a: np.stack([a, a], axis=-1)[..., 0],
    "reversed": lambda a: np.asfortranarray(a[::-1])[::-1],
    "read-only": lambda a: read_only(np.asfortranarray(a)),
    "big-endian": lambda a: np.asfortranarray(a.astype(a.dtype.newbyteorder(">"))),
    "packed": packed,
}


def load(path: str, layout: str) -> Array:
    """Read a volume into memory of our own."""
    return LAYOUTS[layout](np.array(np.load(path, mmap_mode="r"), subok=False))


def bound_call(case: dict[str, Any], array: Array, **more: Any) -> Callable[[], list[Array]]:
    """Return the call of a case, ready to be made."""
    name = FUNCTIONS[case["op"]]
    function: Any = getattr(tinybrain, name, None) or getattr(tinybrain.downsample, name, None)
    if case["op"] == "pool2x2":
        return lambda: tinybrain.accelerated.average_pooling_2x2(array, case["num_mips"], case["sparse"])
    keywords = {"num_mips": case["num_mips"], **more}
    if case["op"] in ("avg", "seg"):
        keywords["sparse"] = case["sparse"]
    return lambda: function(array, tuple(case["factor"]), **keywords)


def isolated(case: dict[str, Any], path: str, out: str) -> str:
    """Make a call in a child process and save its mips; say how it ended."""
    says, tells = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a crash would print its memory map
            signal.alarm(120)
            try:
                array = load(path, case["layout"])
                mips = bound_call(case, array)()
                np.savez(out, *[np.asarray(mip) for mip in mips])
                os.write(tells, b"ok")
            except Exception as error:
                os.write(tells, f"raises {type(error).__name__}: {error}".encode()[:400])
        os._exit(0)
    os.close(tells)
    with os.fdopen(says, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"crashes: {signal.Signals(os.WTERMSIG(status)).name}"
    return said or "crashes"


def timed(call: Callable[[], list[Array]], calls: int) -> float:
    """Seconds per call.  The mips of a call are dropped outside the clock, so every call allocates afresh."""
    spent = 0.0
    for _ in range(calls):
        start = time.perf_counter()
        mips = call()
        spent += time.perf_counter() - start
        del mips
    return spent / calls


def work() -> None:
    """Answer commands, a line of JSON each, until there are none."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    call: Callable[[], list[Array]] = list
    array, held = np.empty(0), ("", "")
    for line in sys.stdin:
        command = json.loads(line)
        answer: Any = "ok"
        if command["do"] == "versions":
            import importlib.metadata

            names = ("tinybrain", "numpy")
            answer = {
                "python": platform.python_version(),
                **{n: importlib.metadata.version(n) for n in names},
            }
        elif command["do"] == "run":
            answer = isolated(command["case"], command["path"], command["out"])
        elif command["do"] == "prepare":
            if held != (command["path"], command["case"]["layout"]):
                held = (command["path"], command["case"]["layout"])
                array = load(*held)
            call = bound_call(command["case"], array, **command["more"])
        elif command["do"] == "time":
            answer = timed(call, command["calls"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    work()
