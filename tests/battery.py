"""A set of calls whose results must be the same bits on every backend: python battery.py file.npz

Run by test_properties.py in a process of its own for each backend: it is chosen once per process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

import tinybrain
from cases import LAYOUTS, labels, voxels

DTYPES = [
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
]
PLACES = ["C", "F", "sliced", "window of F", "reversed", "one interleaved channel", "interleaved channels"]
CALLS = [
    ((2, 2), (133, 70, 3)),
    ((2, 2), (1029, 5, 3)),
    ((2, 2, 2), (67, 35, 9)),
    ((1, 2, 2), (101, 9, 10)),
    ((2, 1, 2), (70, 5, 9)),
    ((2,), (515, 3, 3)),
    ((1, 2), (3, 515, 3)),
    ((4, 4, 1), (67, 66, 3)),
    ((3, 3, 3), (70, 36, 11)),
    ((2, 2, 2, 2), (37, 9, 5, 3)),
]


mean = tinybrain.downsample_with_averaging
mode = tinybrain.downsample_segmentation


def results() -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield the name of every call and its mips."""
    for dtype in DTYPES:
        for place in PLACES:
            for factor, shape in CALLS:
                rng = np.random.default_rng(7)
                image = LAYOUTS[place](voxels(rng, dtype, shape))
                if dtype.startswith("float"):
                    image = image.copy(order="K")
                    image[rng.random(shape) < 0.005] = np.nan
                    image[rng.random(shape) < 0.05] = -0.0
                name = f"{dtype} {place} {factor}"
                for sparse in (False, True):
                    mips = 1 if shape[1] < 8 or shape[0] < 8 else 3
                    yield (
                        f"mean {name} {sparse}",
                        mean(image, factor, mips, sparse),
                    )
                    few = LAYOUTS[place](labels(rng, dtype, shape))
                    yield f"mode {name} {sparse}", mode(few, factor, sparse, 2)
                # The sign of a zero and the payload of NaN are free here, but not between backends.
                yield f"min {name}", tinybrain.downsample_with_min_pooling(image, factor, 2)
                yield f"max {name}", tinybrain.downsample_with_max_pooling(image, factor, 2)


def save(path: str) -> None:
    """Write the bits of every mip."""
    arrays = {}
    for name, mips in results():
        for k, mip in enumerate(mips, 1):
            arrays[f"{name} mip {k}"] = np.frombuffer(mip.tobytes("A"), np.uint8)
    arrays["backend"] = np.array(tinybrain._native.backend())
    np.savez(path, **arrays)


if __name__ == "__main__":
    import tinybrain._native

    save(sys.argv[1])
