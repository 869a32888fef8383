"""Run a function of a test in an interpreter of its own.

A crash, a hang or a signal then ends that interpreter and fails one test, not the suite, and
memory is measured in a process that has done nothing else.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def source(function: Callable[..., object], *arguments: Any) -> str:
    """Return a program that calls the function; whatever it needs, it has to import itself."""
    body = textwrap.dedent(inspect.getsource(function))
    values = ", ".join(repr(argument) for argument in arguments)
    return f"from __future__ import annotations\n{body}\n\n{function.__name__}({values})\n"


def finish(
    program: str,
    *,
    python: str = sys.executable,
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> tuple[int | None, str, str]:
    """Return (exit code, stdout, stderr); the code of a program that did not end in time is None.

    The output goes to files and the program has a process group of its own: children that it
    leaves behind can neither hold a pipe open nor survive the time limit.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [python, *flags, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        code: int | None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


def run(function: Callable[..., object], *arguments: Any, **options: Any) -> tuple[str, str]:
    """Call the function in a fresh interpreter and return what it wrote, (stdout, stderr)."""
    code, out, err = finish(source(function, *arguments), **options)
    ended = "did not end in time" if code is None else f"ended with {code}"
    assert code == 0, f"{function.__name__}{arguments} {ended}\n{out[-2000:]}\n{err[-4000:]}"
    return out, err
