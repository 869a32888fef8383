"""Builds that cannot be: options, dtypes, shapes and memory limits that do not fit, before anything is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorstore")
pytest.importorskip("ome_zarr_models")
pytest.importorskip("click")

from pyramids import save_zarr3
from tinybrain.volumes import BuildError, build


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "tiff"}, "format: got 'tiff'; accepted are ome-zarr"),
        ({"method": "median"}, "method: got 'median'; accepted are average"),
        ({"factor": (0, 2)}, "factor: entry 0 is 0"),
        ({"factor": (2, 2, 2, 2)}, "pools more axes"),
        ({"num_mips": -1}, "num_mips: got -1"),
        ({"num_mips": 8}, "num_mips: the volume's axis 0 has extent 150"),
        ({"factor": [(2, 2, 1), (2, 1, 1)], "num_mips": 3}, "num_mips: got 3 and 2 factors"),
        ({"chunk": (0, 8, 8)}, "chunk: got"),
        ({"shard": (20, 16, 8)}, "shard: got .* multiples of the chunk"),
        ({"shard": (16, 16, 8), "format": "ome-zarr-0.4"}, "shard: OME-Zarr 0.4 has no shards"),
        ({"compression": "jpeg"}, "compression: got 'jpeg'; accepted for ome-zarr"),
        ({"compression": "zstd:23"}, "compression: got 'zstd:23'; accepted for zstd are levels from 0 to 22"),
        ({"compression": "gzip:x"}, "compression: got 'gzip:x'; accepted for gzip are levels from 0 to 9"),
        ({"compression": "none:1"}, "compression: got 'none:1'; accepted for none is no level"),
        ({"axes": "xxz"}, "axes: got 'xxz'"),
        ({"axes": "xy"}, "axes: got 'xy'"),
        ({"voxel_size": (4, 4)}, "voxel_size: got"),
        ({"voxel_size": (4, 4, 0)}, "voxel_size: got"),
        ({"format": "precomputed"}, "format: got precomputed for int64"),
        ({"unit": "mile"}, "unit: got 'mile'"),
        ({"memory": "much"}, "memory: got 'much'"),
        ({"memory": "10MiB"}, "memory: got 10.0 MiB; accepted is at least"),
        ({"memory": 1, "num_mips": 0}, "memory: got 1 B; accepted is at least"),
        ({"scheduler": "nonsense"}, "scheduler: nonsense can't be reached"),
        ({"method": "min", "sparse": True}, "sparse: got sparse with method min"),
        ({"labels": True, "method": "average"}, "method: got average for labels"),
        ({"missing": "maybe"}, "missing: got 'maybe'"),
        ({"stage_depth": 0}, "stage_depth: got 0"),
        ({"chunk": (64,)}, r"chunk: got \(64,\); accepted are integers of at least 1, along x, y, z"),
        ({"method": "mode", "exact": True}, "stage_depth: got 3, but exact modes of all mips .* at least 5"),
        ({"threads": -1}, "threads: got -1"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else None,
)
def test_wrong_options_write_nothing(options: dict, words: str, tmp_path: Path) -> None:
    save_zarr3(tmp_path / "in.zarr", np.zeros((150, 90, 24), np.int64), (32, 32, 8))
    options = {"num_mips": 5, "chunk": (16, 16, 8), "stage_depth": 3, "method": "average", **options}
    if "scheduler" in options:
        pytest.importorskip("distributed")
    with pytest.raises((ValueError, BuildError), match=words):
        build(tmp_path / "in.zarr", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dtype", "options", "words"),
    [
        ("longdouble", {}, "source: .* has dtype float128; accepted are bool, and integers"),
        ("uint16", {"format": "precomputed", "compression": "jpeg"}, "compression: got jpeg for uint16; accepted"),
        (
            "uint8",
            {"format": "precomputed", "compression": "compressed_segmentation"},
            "accepted are uint32 and uint64",
        ),
        ("uint8", {"format": "precomputed", "compression": "jpeg:101"}, "accepted for jpeg are levels from 0 to 100"),
    ],
)
def test_dtypes_that_do_not_fit_write_nothing(dtype: str, options: dict, words: str, tmp_path: Path) -> None:
    if np.dtype(dtype).name in ("float64", "float96"):
        pytest.skip("no such dtype on this machine")
    np.save(tmp_path / "in.npy", np.zeros((16, 16, 8), dtype))
    with pytest.raises(ValueError, match=words):
        build(tmp_path / "in.npy", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", [(), (9,), (2,) * 6], ids=len)
def test_sources_of_too_few_or_too_many_axes(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"source: .* has shape \(.*; accepted are 2 to 5 axes"):
        build(tmp_path / "in.npy", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bild"], "No such command 'bild'."),
        (["build", "in"], "Missing argument 'DST'."),
        (["build", "in", "out", "--factor", "2,2,x"], "'2,2,x' is no list of numbers such as 2,2,1"),
        (["build", "in", "out", "--method", "median"], "'median' is not one of 'average', "),
    ],
)
def test_a_command_line_that_cannot_be_understood_is_answered_in_one_line(arguments: list[str], words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tinybrain", *arguments], capture_output=True, text=True, timeout=60)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("tinybrain: ")
    assert words in line
    assert line.endswith(" --help)")


@pytest.mark.parametrize(
    ("shape", "chunk", "options", "words"),
    [
        ((1024, 1024, 64), (1024, 1024, 64), {}, r"a chunk of the source has 1024 x 1024 x 64 voxels \(64.0 MiB\)"),
        ((1024, 1024, 64), (64,) * 3, {"chunk": (1024, 1024, 64)}, r"smallest block .* smaller ones take less"),
        (
            (1024, 1024, 64),
            (64,) * 3,
            {"shard": (512, 512, 64)},
            r"smallest block .* \(or shards\) of the destination; smaller ones take less",
        ),
        (
            (1024, 1024, 64),
            (64,) * 3,
            {"num_mips": 6, "factor": (4, 4, 1), "method": "mode", "exact": True},
            "exact modes need whole cells of the last mip; fewer mips take less",
        ),
        (
            (1024, 1024, 64),
            (64,) * 3,
            {"block": (500, 512, 64)},
            r"the --block has 512 x 512 x 64 voxels and takes [\d.]+ MiB; a --block of [\d,]+ would fit",
        ),
    ],
    ids=["source", "chunk", "shard", "exact", "block"],
)
def test_too_little_memory_says_what_takes_it(
    shape: tuple[int, ...], chunk: tuple[int, ...], options: dict, words: str, tmp_path: Path
) -> None:
    # Chunks that aren't compressed need not be read whole.
    codecs = [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1}}]
    save_zarr3(tmp_path / "in.zarr", np.zeros(shape, np.uint8), chunk, codecs=codecs)
    options = {"num_mips": 2, "chunk": (64, 64, 64), **options}
    least = r"memory: got 190.0 MiB; accepted is at least \d+ MiB \(160 of them for the libraries\), as "
    with pytest.raises(ValueError, match=rf"{least}.*{words}") as caught:
        build(tmp_path / "in.zarr", tmp_path / "out", memory="190MiB", **options)
    assert not (tmp_path / "out").exists()
    # What is said to be enough is.
    enough = str(caught.value).partition("at least ")[2].partition(" MiB")[0]
    build(tmp_path / "in.zarr", tmp_path / "out", memory=f"{enough}MiB", **options)
    if "block" in options:
        options["block"] = tuple(map(int, str(caught.value).partition("a --block of ")[2].split()[0].split(",")))
        build(tmp_path / "in.zarr", tmp_path / "out", memory="190MiB", overwrite=True, **options)


@pytest.mark.parametrize("factor", [(1, 1, 1), [(2, 2, 1), (1, 1, 1)]], ids=str)
def test_precomputed_has_no_two_scales_of_a_size(factor: object, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((64, 64, 8), np.uint8))
    mips = 2 if factor == (1, 1, 1) else None
    with pytest.raises(ValueError, match=r"factor: got 1,1,1 for mip \d, which makes nothing new"):
        build(tmp_path / "in.npy", tmp_path / "out", format="precomputed", factor=factor, num_mips=mips)
    assert not (tmp_path / "out").exists()
