"""The memory limit of a build: the peak of the process, libraries included, on volumes larger than the limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ts = pytest.importorskip("tensorstore")
pytest.importorskip("ome_zarr_models")
pytest.importorskip("click")

MIB = 1 << 20


def save(path: Path, shape: tuple[int, ...], chunk: tuple[int, ...], slices: int) -> None:
    """Save an uncompressed volume of noise, of which only the first slices are stored."""
    spec = {"driver": "zarr3", "kvstore": f"file://{path}/"}
    layout = ts.ChunkLayout(chunk_shape=chunk)
    store = ts.open(spec, create=True, dtype="uint8", shape=shape, chunk_layout=layout).result()
    noise = np.random.default_rng(0).integers(0, 256, (*shape[:2], min(64, slices)), np.uint8)
    for z in range(0, slices, noise.shape[2]):
        store[:, :, z : z + noise.shape[2]].write(noise).result()


# The counts of a child that wait() has begin with what its parent had; /proc has those of the program alone.
PROGRAM = """
import sys
from pathlib import Path
from tinybrain.cli import main

main(sys.argv[1:], standalone_mode=False)
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""


def peak(*arguments: object) -> int:
    """Return the most memory that a build had, in bytes."""
    line = [sys.executable, "-c", PROGRAM, "build", *map(str, arguments), "--quiet"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count other things")
@pytest.mark.parametrize(
    ("shape", "chunk", "slices", "limit", "options"),
    [
        # Ten times the limit, most of it not stored.
        ((2048, 2048, 640), (64, 64, 64), 64, 256, ()),
        # Shards, for which small pieces and large ones come and go by turns.
        ((1024, 1024, 256), (64, 64, 64), 256, 320, ("--shard", "256,256,256", "--chunk", "64,64,64")),
        # Chunks that are whole slices, or whole rows: whatever a block needs of them, they are decoded whole.
        ((1024, 1024, 512), (1024, 1024, 1), 512, 256, ()),
        ((1024, 1024, 512), (1024, 1, 512), 512, 256, ()),
    ],
    ids=["ten times the limit", "shards", "slices", "rows"],
)
def test_the_memory_limit_holds(
    shape: tuple[int, ...], chunk: tuple[int, ...], slices: int, limit: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    save(tmp_path / "in.zarr", shape, chunk, slices)
    took = peak(tmp_path / "in.zarr", tmp_path / "out", "--memory", f"{limit}MiB", "--mips", 5, *options)
    assert took <= limit * MIB, f"{took / MIB:.0f} MiB of {limit}"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count other things")
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_memory_limit_holds_for_npy(order: str, tmp_path: Path) -> None:
    """Of an array that lies in the file in either order: 512 MiB, and twice as much as the process may take."""
    np.lib.format.open_memmap(tmp_path / "in.npy", "w+", np.uint8, (1024, 1024, 512), fortran_order=order == "F")
    took = peak(tmp_path / "in.npy", tmp_path / "out", "--memory", "256MiB", "--mips", 5)
    assert took <= 256 * MIB, f"{took / MIB:.0f} MiB of 256"
