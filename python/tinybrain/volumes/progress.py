"""How far a build is: a bar with rate and time left on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tinybrain.volumes._extras import extra


def size_of(nbytes: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if nbytes < 1024 or unit == "TiB":
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    raise AssertionError("unreachable")


def counted(number: int, what: str) -> str:
    """Return so many of something in words."""
    return f"{number:,} {what}{'s' * (number != 1)}"


class Progress:
    """Nothing is shown; the others are like this."""

    def note(self, text: str) -> None:
        """Say something."""

    def start(self, what: str, tasks: int, done: int, nbytes: float) -> None:
        """Begin a phase: of so many tasks, some of them done, that read about `nbytes` in all."""

    def step(self, nbytes: int, tasks: int = 1) -> None:
        """Tell that tasks are done, which read so much."""

    def close(self) -> None:
        """End, whatever happened."""


class Lines(Progress):
    """A line at the beginning of a phase, every few seconds, and at its end."""

    EVERY = 5.0

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.what, self.tasks, self.done, self.nbytes = "", 0, 0, 0
        self.began = self.last = time.monotonic()

    def note(self, text: str) -> None:
        """Say something."""
        print(text, file=self.stream, flush=True)

    def start(self, what: str, tasks: int, done: int, nbytes: float) -> None:
        """Begin a phase."""
        self.what, self.tasks, self.done, self.nbytes = what, tasks, done, 0
        self.began = self.last = time.monotonic()
        already = f", {done} done before" if done else ""
        self.note(f"{what}: {counted(tasks, 'task')}, {size_of(nbytes)} to read{already}")

    def step(self, nbytes: int, tasks: int = 1) -> None:
        """Tell that tasks are done, which read so much."""
        self.done += tasks
        self.nbytes += nbytes
        now = time.monotonic()
        if now - self.last >= self.EVERY or self.done == self.tasks:
            self.last = now
            rate = self.nbytes / max(now - self.began, 1e-9)
            self.note(f"{self.what}: {self.done} of {self.tasks}, {size_of(rate)}/s")


class Bar(Progress):
    """A bar of rich with the rate and the time left."""

    def __init__(self) -> None:
        progress, console = extra("rich.progress"), extra("rich.console")
        self.bar: Any = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            console=console.Console(stderr=True),
        )
        self.task: Any = None
        self.share = 0.0
        self.nbytes = 0
        self.began = time.monotonic()

    def note(self, text: str) -> None:
        """Say something, above the bar."""
        self.bar.console.print(text, highlight=False, markup=False)

    def start(self, what: str, tasks: int, done: int, nbytes: float) -> None:
        """Begin a phase."""
        self.bar.start()
        self.task = self.bar.add_task(what, total=tasks, completed=done, rate="")
        self.nbytes, self.began = 0, time.monotonic()

    def step(self, nbytes: int, tasks: int = 1) -> None:
        """Tell that tasks are done, which read so much."""
        self.nbytes += nbytes
        rate = self.nbytes / max(time.monotonic() - self.began, 1e-9)
        self.bar.update(self.task, advance=tasks, rate=f"{size_of(rate)}/s")

    def close(self) -> None:
        """End, whatever happened."""
        self.bar.stop()
