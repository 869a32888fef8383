"""What all tests share: the directory on the import path, and a fixed seed per test."""

from __future__ import annotations

import signal
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # oracle, cases, battery: plain modules next to the tests

# Ignored where a shell runs the tests in the background, and so by their processes, some of which are to be stopped.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Return a generator seeded by the name of the test, so that every run sees the same voxels."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


def pytest_report_header() -> str:
    """Name the backend under test, for the suite runs once per backend."""
    import tinybrain._native as native

    return f"tinybrain backend: {native.backend()} of {native.backends()}"
