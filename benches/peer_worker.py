"""A worker of `peers.py`: an interpreter with one set of libraries, told by lines of JSON what to do."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bars import Call
from peer_engines import Bound, bind, route_threads, versions
from volumes import Array, Shape, Volume, make

HELD = 2  # volumes kept for the next rows


def call_of(words: dict[str, Any]) -> Call:
    """Read a call that came as JSON."""
    volume = Volume(**{**words["volume"], "shape": tuple(words["volume"]["shape"])})
    return Call(**{**words, "volume": volume, "factor": tuple(words["factor"])})


def agrees_with_oracle(call: Call, array: Array, mips: list[Array]) -> str:
    """Compare the first and the last whole cells of every mip with the brute force of the tests."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import oracle

    cell = tuple(f**call.mips for f in call.factor)
    cells = tuple(min(n // c, -(-16 // c)) for n, c in zip(array.shape, cell, strict=True))
    for last in (False, True):
        first: Shape = tuple((n // c - m) * c * last for n, c, m in zip(array.shape, cell, cells, strict=True))
        box = tuple(slice(a, a + m * c) for a, m, c in zip(first, cells, cell, strict=True))
        if call.exact:
            wanted_of = oracle.exact_average if call.op == "avg" else oracle.exact_mode
            wanted = wanted_of(array[box], call.factor, call.mips, call.sparse)
        elif call.op == "avg":
            wanted = oracle.average(array[box], call.factor, call.mips, call.sparse)
        elif call.op == "seg":
            wanted = oracle.segmentation(array[box], call.factor, call.mips, call.sparse)
        else:
            wanted = oracle.extremum(array[box], call.factor, call.mips, np.minimum if call.op == "min" else np.maximum)
        for k, (mip, right) in enumerate(zip(mips, wanted, strict=True), 1):
            part = mip[tuple(slice(a // f**k, a // f**k + n) for a, f, n in zip(first, call.factor, right.shape))]  # noqa: B905
            slack = {"float32": 1e-6, "float64": 1e-13}.get(str(array.dtype), 0.0) if call.op == "avg" else 0.0
            if not (np.allclose(part, right, rtol=slack, atol=0) if slack else np.array_equal(part, right)):
                return f"mip {k} is not what the oracle says"
    return "ok"


class Worker:
    """Calls ready to be made, and the volumes they are made on."""

    def __init__(self) -> None:
        self.slots: dict[int, tuple[Call, Array, Bound]] = {}
        self.volumes: dict[Volume, tuple[Array, Array]] = {}

    def prepare(self, slot: int, call: Call) -> str:
        """Make a call ready."""
        if call.volume not in self.volumes:
            used = {held.volume for held, _, _ in self.slots.values()}
            for old in [v for v in self.volumes if v not in used][: max(0, len(self.volumes) - HELD + 1)]:
                del self.volumes[old]
            self.volumes[call.volume] = make(call.volume)
        array, whole = self.volumes[call.volume]
        self.slots[slot] = (call, array, bind(call, array, whole))
        return "ok"

    def time(self, slot: int, calls: int) -> float:
        """Seconds per call; what a call returns is dropped outside the clock, so fresh arrays are fresh."""
        run: Callable[[], Any] = self.slots[slot][2][0]
        clock = time.perf_counter
        if calls > 1:  # warm, and too short to be timed one by one
            run()
            start = clock()
            for _ in range(calls):
                run()
            return (clock() - start) / calls
        start = clock()
        made = run()
        spent = clock() - start
        del made
        return spent

    def answer(self, do: str, words: dict[str, Any]) -> Any:
        """Do what is asked for."""
        if do == "prepare":
            return self.prepare(words["slot"], call_of(words["call"]))
        if do == "time":
            return self.time(words["slot"], words["calls"])
        if do == "drop":
            self.slots.clear()
            return "ok"
        if do == "save":
            _, _, (run, result) = self.slots[words["slot"]]
            np.savez(words["path"], *[np.asarray(mip) for mip in result(run())])
            return "ok"
        if do == "oracle":
            call, array, (run, result) = self.slots[words["slot"]]
            return agrees_with_oracle(call, array, result(run()))
        if do == "threads":
            return route_threads(*self.slots[words["slot"]][:2])
        assert do == "versions"
        return {"python": platform.python_version(), **versions(words["library"])}

    def work(self) -> None:
        """Answer until there are no more lines."""
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever a library prints must not end up among the answers
        for line in sys.stdin:
            words = json.loads(line)
            try:
                answer = {"is": self.answer(words.pop("do"), words)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"[:300]}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    Worker().work()
