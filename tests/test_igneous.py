"""igneous, the program that calls tinybrain most, on real volumes and in forked workers.

Optional: runs where igneous-pipeline is installed beside tinybrain, in this interpreter or in the
one that the environment's TINYBRAIN_IGNEOUS_PYTHON names. What igneous has written, mip by mip and
task by task, must be what a direct call gives for the block of that task.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import isolated

NAMED = os.environ.get("TINYBRAIN_IGNEOUS_PYTHON")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def python() -> str:
    """Return an interpreter that has igneous and tinybrain."""
    if not NAMED:
        for module in ("igneous", "cloudvolume"):
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"{module} is not installed, and TINYBRAIN_IGNEOUS_PYTHON names no interpreter")
        return sys.executable
    code, _, err = isolated.finish("import igneous, cloudvolume, tinybrain", python=NAMED)
    assert code == 0, f"TINYBRAIN_IGNEOUS_PYTHON={NAMED}: {err}"
    return NAMED


def pyramids(directory: str, data: str, jobs: list[tuple[Any, ...]], how: str) -> None:
    """Let igneous make a pyramid for every job, and compare each with direct calls.

    A job is (task, kind of volume, factor, sparse, the method named to igneous, the method expected).
    """
    import multiprocessing
    import os

    import igneous.task_creation as creation
    import numpy as np
    from cloudvolume import CloudVolume
    from igneous.types import DownsampleMethods
    from taskqueue import LocalTaskQueue

    import tinybrain as tb

    assert tb.__version__.startswith("2."), tb.__version__
    rng = np.random.default_rng(0)
    size = (300, 262, 30)  # odd numbers of blocks, and odd extents in the upper mips

    def volume(kind: str) -> np.ndarray:
        path = os.path.join(data, f"{kind}.npz")
        if os.path.exists(path):
            crop = np.load(path)[kind][tuple(map(slice, size))]
        else:
            coarse = rng.integers(0, 255 if kind == "em" else 2**31, [-(-n // 6) for n in size])
            crop = coarse.repeat(6, 0).repeat(6, 1).repeat(6, 2)[tuple(map(slice, size))]
            crop = np.where(rng.random(size) < 0.2, np.roll(crop, 7, 0), crop)
        crop = np.asfortranarray(crop, np.uint8 if kind == "em" else np.uint64)
        crop[rng.random(size) < 0.2] = 0  # background, for the sparse forms
        return crop

    volumes = {"em": volume("em"), "seg": volume("seg")}
    direct = {
        "average": lambda a, f, n, s: tb.downsample_with_averaging(a, f, num_mips=n, sparse=s),
        "mode": lambda a, f, n, s: tb.downsample_segmentation(a, f, num_mips=n, sparse=s),
        "min": lambda a, f, n, s: tb.downsample_with_min_pooling(a, f, num_mips=n),
        "max": lambda a, f, n, s: tb.downsample_with_max_pooling(a, f, num_mips=n),
        "striding": lambda a, f, n, s: tb.downsample_with_striding(a, f, num_mips=n),
    }
    # Threads have run in this process before it forks.
    large = np.asfortranarray(np.resize(volumes["em"], (1024, 1024, 32)))
    tb.downsample_with_averaging(large, (2, 2, 1), parallel=2)
    tb.downsample_segmentation(large, (2, 2, 1), parallel=2)

    for number, (task, kind, factor, sparse, method, expected) in enumerate(jobs):
        image = volumes[kind]
        path = f"file://{directory}/{number}"
        CloudVolume.from_numpy(
            image,
            vol_path=path,
            resolution=(4, 4, 40),
            voxel_offset=(0, 0, 0),
            chunk_size=(32, 32, 6),
            layer_type={"em": "image", "seg": "segmentation"}[kind],
            max_mip=0,
            compress=False,
        )
        options: dict[str, Any] = {"factor": factor, "sparse": sparse, "compress": False}
        named = getattr(DownsampleMethods, method)
        if task == "downsample":
            target, levels = path, 2
            options |= {"num_mips": levels, "method": named, "memory_target": 4_000_000 * image.itemsize}
            tasks = creation.create_downsampling_tasks(path, **options)
        else:
            target, levels = path + "-copy", 2
            options |= {"downsample_method": named, "shape": (128, 128, 24), "chunk_size": (32, 32, 6)}
            tasks = creation.create_transfer_tasks(path, target, **options)
        tasks = list(tasks)
        if how == "queue":
            LocalTaskQueue(parallel=2, progress=False).insert_all(tasks)
        else:
            with multiprocessing.get_context("fork").Pool(2) as pool:
                for done in [pool.apply_async(task) for task in tasks]:
                    done.get(timeout=60)

        mips = [CloudVolume(target, mip=mip, progress=False)[:] for mip in range(levels + 1)]
        assert np.array_equal(mips[0][..., 0], image)
        for made in tasks:
            low = np.array(made.keywords["offset"])
            high = np.minimum(low + made.keywords["shape"], image.shape)
            block = image[tuple(map(slice, low, high))][..., np.newaxis]
            for level, mip in enumerate(direct[expected](block, factor, levels, sparse), 1):
                steps = np.array(factor) ** level
                found = mips[level][tuple(map(slice, low // steps, -(-high // steps)))]
                assert found.dtype == mip.dtype
                assert np.array_equal(found, mip), (task, kind, factor, sparse, method, level, tuple(low))
        print(task, kind, len(tasks))


FACTORS = [(2, 2, 1), (2, 2, 2)]
METHODS = {
    "average": "AVERAGE_POOLING",
    "mode": "MODE_POOLING",
    "min": "MIN_POOLING",
    "max": "MAX_POOLING",
    "striding": "STRIDING",
}


def check(python: str, directory: Path, jobs: list[tuple[Any, ...]], how: str = "queue") -> None:
    flags = ("-W", "ignore")
    out, _ = isolated.run(pyramids, str(directory), str(DATA), jobs, how, python=python, flags=flags, timeout=280)
    made = [line.split() for line in out.splitlines() if line.startswith(("downsample ", "transfer "))]
    assert [line[:2] for line in made] == [list(job[:2]) for job in jobs]
    assert all(int(line[2]) > 1 for line in made), "each volume should take several tasks"


def test_downsampling_tasks(python: str, tmp_path: Path) -> None:
    jobs = [
        ("downsample", kind, factor, sparse, "AUTO", {"em": "average", "seg": "mode"}[kind])
        for kind in ("em", "seg")
        for factor in FACTORS
        for sparse in (False, True)
    ]
    check(python, tmp_path, jobs)


def readme(directory: str, lines: str) -> None:
    """Run the job that the README shows, and compare its mips with direct calls."""
    import numpy as np
    from cloudvolume import CloudVolume

    import tinybrain as tb

    image = np.asfortranarray(np.random.default_rng(0).integers(0, 256, (530, 515, 30), dtype=np.uint8))
    path = f"file://{directory}/em"
    options = {"resolution": (4, 4, 40), "chunk_size": (64, 64, 16), "layer_type": "image", "max_mip": 0}
    CloudVolume.from_numpy(image, vol_path=path, **options)
    exec(lines.replace("file:///data/em", path), {"__name__": "readme"})
    # Blocks of igneous' default size: the volume is split along z only, which the factor does not pool.
    mips = tb.downsample_with_averaging(image, (2, 2, 1), num_mips=3)
    for level, mip in enumerate(mips, 1):
        assert np.array_equal(CloudVolume(path, mip=level, progress=False)[:][..., 0], mip), level
    print("compared", len(mips))


def test_the_job_of_the_readme(python: str, tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(from igneous[^`]*)```", text)
    assert sum(map(bool, lines.splitlines())) == 3
    out, _ = isolated.run(readme, str(tmp_path), lines, python=python, flags=("-W", "ignore"), timeout=280)
    assert "compared 3" in out


def test_downsampling_tasks_ignore_the_method(python: str, tmp_path: Path) -> None:
    jobs = [("downsample", "em", (2, 2, 1), False, METHODS[name], "average") for name in METHODS]
    check(python, tmp_path, jobs)


def test_transfer_tasks_use_the_method(python: str, tmp_path: Path) -> None:
    jobs = [
        ("transfer", kind, factor, sparse, METHODS[name], name)
        for kind, name in [
            ("em", "average"),
            ("em", "min"),
            ("em", "max"),
            ("em", "striding"),
            ("seg", "mode"),
        ]
        for factor in FACTORS
        for sparse in ((False, True) if name in ("average", "mode") else (False,))
    ]
    check(python, tmp_path, jobs)


def test_tasks_in_a_pool_of_forked_processes(python: str, tmp_path: Path) -> None:
    jobs = [
        ("downsample", "em", (2, 2, 1), False, "AUTO", "average"),
        ("downsample", "seg", (2, 2, 2), True, "AUTO", "mode"),
        ("transfer", "em", (2, 2, 2), False, "MIN_POOLING", "min"),
    ]
    check(python, tmp_path, jobs, "pool")
