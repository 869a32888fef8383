"""Draws preview.png for the README: contact sheets of two pyramids built from the demo's generated tissue.

    .venv/bin/python docs/preview.py

Needs ``tinybrain[volumes]``. The volumes are made in a temporary directory.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "benches"))

from demo import tissue  # noqa: E402

from tinybrain import volumes  # noqa: E402

SHAPE = (1536, 1024, 32)
PANEL = 250  # pixels of a side


def sheets(directory: Path) -> list[Image.Image]:
    """Build both volumes and draw their contact sheets."""
    drawn = []
    for name, voxels in zip(("tissue", "labels"), tissue(SHAPE), strict=True):
        np.save(directory / f"{name}.npy", voxels)
        built, sheet = directory / f"{name}.ome.zarr", directory / f"{name}.png"
        volumes.build(
            directory / f"{name}.npy",
            built,
            num_mips=3,
            labels=name == "labels",
            voxel_size=(8, 8, 40),
            unit="nanometer",
        )
        volumes.preview(built, sheet, size=PANEL)
        drawn.append(Image.open(sheet).copy())
    return drawn


def main() -> None:
    """Write preview.png beside this file: the sheets below each other, in 256 colours."""
    with tempfile.TemporaryDirectory() as directory:
        drawn = sheets(Path(directory))
    both = Image.new("RGB", (max(d.width for d in drawn), sum(d.height for d in drawn)))
    for k, sheet in enumerate(drawn):
        both.paste(sheet, (0, sum(d.height for d in drawn[:k])))
    # The sheets have far more colours than that, but next to none that the eye misses.
    both.quantize(256, dither=Image.Dither.NONE).save(HERE / "preview.png", optimize=True)


if __name__ == "__main__":
    main()
