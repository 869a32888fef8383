"""`tinybrain.volumes.build` against the functions in memory on the whole volume, in one stage and in several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorstore")
pytest.importorskip("ome_zarr_models")

from pyramids import assert_same, in_memory, read_precomputed, read_zarr, save_zarr3
from tinybrain.volumes import build


def voxels(rng: np.random.Generator, dtype: str, shape: tuple[int, ...], flat: bool = False) -> np.ndarray:
    """Whole range of the dtype or a few labels, half of it background, so that sparse ones differ."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.2
    if kind in "iu":
        limits = np.iinfo(dtype)
        values = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
        if flat:
            values = rng.integers(0, 4, shape).astype(dtype)
    else:
        values = (1e3 * rng.standard_normal(shape)).astype(dtype)
    return np.where(rng.random(shape) < 0.5, 0, values).astype(dtype)


HALVES = (2, 2, 1)
CUBES = (2, 2, 2)
# dtype, method, sparse, exact, shape, factors
CASES = [
    ("uint8", "average", False, False, (149, 97, 7), [HALVES] * 6),
    ("uint8", "average", True, False, (149, 97, 7), [HALVES] * 6),
    ("int8", "average", True, False, (83, 70, 66), [CUBES] * 6),
    ("uint16", "average", False, False, (83, 70, 66), [CUBES] * 6),
    ("int16", "average", True, False, (300, 65, 3), [HALVES] * 6),
    ("uint16", "average", False, False, (90, 5, 41), [(2, 1, 1)] * 5),
    ("int32", "average", False, False, (83, 70, 66), [CUBES] * 5),
    ("uint32", "average", True, False, (149, 97, 7), [HALVES] * 6),
    ("uint64", "average", False, False, (149, 97, 7), [HALVES] * 6),
    ("uint64", "average", True, False, (61, 50, 40), [CUBES] * 5),
    ("int64", "average", False, False, (61, 50, 40), [CUBES] * 5),
    ("int64", "average", True, False, (149, 97, 7), [HALVES] * 6),
    ("uint8", "average", False, False, (100, 61, 33), [(3, 3, 2)] * 4),
    ("int64", "average", True, False, (100, 61, 33), [(3, 3, 2)] * 4),
    ("bool", "average", False, False, (149, 97, 7), [HALVES] * 6),
    ("float32", "average", False, False, (149, 97, 7), [HALVES] * 6),
    ("float32", "average", True, False, (83, 70, 66), [CUBES] * 6),
    ("float32", "average", False, False, (100, 61, 33), [(3, 3, 2)] * 4),
    ("float64", "average", True, False, (149, 97, 7), [HALVES] * 6),
    ("float64", "average", False, False, (83, 70, 66), [CUBES] * 6),
    ("float64", "average", True, False, (100, 61, 33), [(3, 3, 2)] * 3),
    ("float64", "average", False, True, (61, 50, 40), [CUBES] * 5),
    ("float16", "average", True, False, (83, 70, 20), [CUBES] * 4),
    ("complex64", "average", False, False, (83, 70, 20), [HALVES] * 4),
    ("uint8", "average", False, True, (149, 97, 7), [HALVES] * 6),
    ("int16", "average", True, True, (100, 61, 33), [(3, 3, 2)] * 4),
    ("uint64", "average", False, True, (61, 50, 40), [CUBES] * 5),
    ("bool", "average", False, True, (61, 50, 40), [CUBES] * 5),
    ("float32", "average", True, True, (61, 50, 40), [CUBES] * 5),
    ("uint64", "mode", False, False, (83, 70, 66), [CUBES] * 5),
    ("uint32", "mode", True, False, (149, 97, 7), [(4, 4, 1)] * 3),
    ("uint16", "mode", False, False, (100, 61, 33), [(3, 3, 2)] * 4),
    ("int64", "min", False, False, (100, 61, 33), [(3, 3, 2)] * 4),
    ("float32", "max", False, False, (83, 70, 66), [CUBES] * 6),
    ("uint8", "stride", False, False, (100, 61, 33), [(3, 3, 2)] * 4),
    # Factors that change: every run of equal ones is a call on the mip before.
    ("uint8", "average", False, False, (149, 97, 41), [HALVES, HALVES, CUBES, CUBES, HALVES]),
    ("int32", "average", True, False, (149, 97, 41), [HALVES, HALVES, (3, 1, 2), CUBES]),
    ("float32", "average", True, False, (149, 97, 41), [HALVES, CUBES, CUBES]),
    ("int32", "average", False, True, (149, 97, 41), [HALVES, (3, 1, 2), CUBES]),
    ("uint64", "mode", True, False, (149, 97, 41), [HALVES, CUBES, (3, 3, 1)]),
]


def name(case: tuple) -> str:
    dtype, method, sparse, exact, shape, factors = case
    words = [method, *["sparse"] * sparse, *["exact"] * exact, dtype, "x".join(map(str, shape))]
    return "-".join([*words, *("".join(map(str, f)) for f in dict.fromkeys(factors))])


@pytest.mark.parametrize("depth", [1, 2, 3, None])
@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_bits_are_those_of_one_call_in_memory(
    case: tuple, depth: int | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    dtype, method, sparse, exact, shape, factors = case
    volume = voxels(rng, dtype, shape, flat=method == "mode")
    if depth == 2:
        volume = np.asfortranarray(volume)
    np.save(tmp_path / "in.npy", volume)
    chunk = tuple(int(c) for c in rng.integers(5, 24, 3))
    block = tuple(int(b) for b in rng.integers(1, 64, 3))
    report = build(
        tmp_path / "in.npy",
        tmp_path / "out",
        factor=factors,
        method=method,
        sparse=sparse,
        exact=exact,
        chunk=chunk,
        block=block,
        stage_depth=depth,
        compression="none",
        threads=1,
    )
    assert_same(
        read_zarr(tmp_path / "out", len(factors) + 1), in_memory(volume, method, factors, sparse=sparse, exact=exact)
    )
    # A stage may end earlier than it must, where a mip is all that the next one needs.
    assert report.stages == 1 if depth is None else -(-len(factors) // depth) <= report.stages <= len(factors)


@pytest.mark.parametrize("depth", [None, 4])
def test_exact_modes_are_made_of_mip_0(depth: int | None, tmp_path: Path, rng: np.random.Generator) -> None:
    volume = voxels(rng, "uint64", (83, 70, 66), flat=True)
    np.save(tmp_path / "in.npy", volume)
    options = {"factor": HALVES, "num_mips": 4, "method": "mode", "exact": True, "sparse": True}
    build(tmp_path / "in.npy", tmp_path / "out", chunk=(7, 9, 8), block=(1, 1, 1), stage_depth=depth, **options)
    assert_same(read_zarr(tmp_path / "out", 5), in_memory(volume, "mode", [HALVES] * 4, exact=True, sparse=True))


def test_exact_modes_are_made_from_one_read(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((8, 8, 8), np.uint64))
    with pytest.raises(ValueError, match=r"stage_depth: got 2, but exact modes .* accepted is at least 3"):
        build(tmp_path / "in.npy", tmp_path / "out", num_mips=3, method="mode", exact=True, stage_depth=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extents", ["large", "small"])
def test_sums_beyond_63_bits_are_exact(extents: str, tmp_path: Path) -> None:
    """Cells of the largest 64-bit integers, whose sums wrap any 64-bit sum; of a factor that makes cells of 2**20."""
    factor = (32, 32, 1) if extents == "small" else (2, 2, 1)
    mips = 2 if extents == "small" else 6
    for dtype, value in (("uint64", 2**64 - 1), ("int64", -(2**63)), ("int64", 2**63 - 1)):
        volume = np.full((250, 131, 2), value, dtype)
        volume[3:190:7, 5::9] = 0
        np.save(tmp_path / "in.npy", volume)
        options = {"factor": factor, "num_mips": mips, "method": "average", "chunk": (32, 32, 2), "block": (32, 32, 1)}
        build(tmp_path / "in.npy", tmp_path / f"{dtype}{value}", stage_depth=1, **options)
        assert_same(read_zarr(tmp_path / f"{dtype}{value}", mips + 1), in_memory(volume, "average", [factor] * mips))


@pytest.mark.parametrize("shape", [(5, 3, 2), (64, 64, 64), (65, 1, 1), (1, 97, 3), (33, 33, 1)])
@pytest.mark.parametrize("factor", [(2, 1, 1), (3, 3, 3)])
def test_mips_that_end_in_a_single_voxel(
    factor: tuple[int, ...], shape: tuple[int, ...], tmp_path: Path, rng: np.random.Generator
) -> None:
    volume = voxels(rng, "int32", shape)
    np.save(tmp_path / "in.npy", volume)
    options = {"factor": factor, "num_mips": 8, "method": "average", "sparse": True, "chunk": (16, 16, 16)}
    build(tmp_path / "in.npy", tmp_path / "out", block=(16, 16, 16), stage_depth=3, **options)
    assert_same(read_zarr(tmp_path / "out", 9), in_memory(volume, "average", [factor] * 8, sparse=True))


@pytest.mark.parametrize(
    ("format", "more"),
    [
        ("ome-zarr", {}),
        ("ome-zarr", {"shard": (32, 48, 16), "chunk": (16, 16, 8)}),
        ("ome-zarr", {"shard": (64, 64, 64), "chunk": (16, 16, 16), "compression": "gzip:1"}),
        ("ome-zarr", {"compression": "zstd:1"}),
        ("ome-zarr-0.4", {"compression": "zstd:1"}),
        ("ome-zarr-0.4", {}),
        ("ome-zarr-0.4", {"compression": "gzip"}),
        ("precomputed", {}),
        ("precomputed", {"compression": "png:3"}),
        ("precomputed", {"chunk": (16, 16, 16), "shard": (64, 32, 32)}),
    ],
)
def test_every_format_holds_the_same_mips(format: str, more: dict, tmp_path: Path, rng: np.random.Generator) -> None:
    volume = voxels(rng, "uint8", (131, 77, 30))
    np.save(tmp_path / "in.npy", volume)
    options = {"chunk": (32, 16, 8), **more}
    build(tmp_path / "in.npy", tmp_path / "out", num_mips=4, format=format, stage_depth=2, block=(48, 48, 8), **options)
    read = read_precomputed if format == "precomputed" else read_zarr
    assert_same(read(tmp_path / "out", 5), in_memory(volume, "average", [HALVES] * 4))


def test_lossy_chunks_are_no_input_of_the_next_stage(tmp_path: Path) -> None:
    x, y, z = np.mgrid[:160, :96, :8].astype(np.float32)
    volume = (127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7 + z)).astype(np.uint8)
    np.save(tmp_path / "in.npy", volume)
    options = {"format": "precomputed", "compression": "jpeg:50", "chunk": (32, 32, 8), "num_mips": 5}
    build(tmp_path / "in.npy", tmp_path / "one", **options)
    build(tmp_path / "in.npy", tmp_path / "many", stage_depth=1, block=(32, 32, 8), **options)
    assert_same(read_precomputed(tmp_path / "many", 6), read_precomputed(tmp_path / "one", 6))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "int32", "float32"])
def test_precomputed_dtypes(dtype: str, tmp_path: Path, rng: np.random.Generator) -> None:
    volume = voxels(rng, dtype, (70, 40, 9))
    np.save(tmp_path / "in.npy", volume)
    build(tmp_path / "in.npy", tmp_path / "out", num_mips=2, method="max", format="precomputed")
    assert_same(read_precomputed(tmp_path / "out", 3), in_memory(volume, "max", [HALVES] * 2))


def test_channels_and_times_are_pooled_only_if_asked(tmp_path: Path, rng: np.random.Generator) -> None:
    volume = voxels(rng, "uint16", (40, 30, 8, 3, 5))
    np.save(tmp_path / "in.npy", volume)
    build(tmp_path / "in.npy", tmp_path / "out", num_mips=3, stage_depth=2)
    assert_same(read_zarr(tmp_path / "out", 4), in_memory(volume, "average", [(2, 2, 1, 1, 1)] * 3))
    build(tmp_path / "in.npy", tmp_path / "time", factor=(1, 1, 1, 1, 2), num_mips=2)
    assert_same(read_zarr(tmp_path / "time", 3), in_memory(volume, "average", [(1, 1, 1, 1, 2)] * 2))


def test_a_stored_order_of_axes_changes_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    volume = voxels(rng, "uint16", (61, 44, 12))
    expected = in_memory(volume, "average", [HALVES] * 3)
    for axes in ("xyz", "zyx", "yzx"):
        stored = volume.transpose(["xyz".index(axis) for axis in axes])
        save_zarr3(tmp_path / f"{axes}.zarr", np.ascontiguousarray(stored), (16, 16, 16))
        build(tmp_path / f"{axes}.zarr", tmp_path / axes, axes=axes, num_mips=3, stage_depth=2, block=(16, 16, 8))
        assert_same(read_zarr(tmp_path / axes, 4), expected)


def test_mip_0_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    volume = voxels(rng, "uint8", (50, 40, 9))
    np.save(tmp_path / "in.npy", volume)
    assert build(tmp_path / "in.npy", tmp_path / "out", num_mips=0).shapes == ((50, 40, 9),)
    assert_same(read_zarr(tmp_path / "out", 1), [volume])


def test_by_default_mips_go_on_until_the_volume_fits_in_one_chunk(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((500, 260, 40), np.uint8))
    report = build(tmp_path / "in.npy", tmp_path / "out", chunk=(64, 64, 64))
    assert report.shapes[-1] == (63, 33, 40)
    # Averages over three axes end where the smallest extent is a single voxel, as in memory.
    np.save(tmp_path / "in.npy", np.zeros((50, 26, 4), np.uint8))
    report = build(tmp_path / "in.npy", tmp_path / "cubes", chunk=(2, 2, 2), block=(64, 64, 64), factor=(2, 2, 2))
    assert report.shapes[-1] == (13, 7, 1)


def test_the_source_is_read_once(tmp_path: Path, rng: np.random.Generator) -> None:
    volume = voxels(rng, "uint8", (256, 256, 16))
    save_zarr3(tmp_path / "in.zarr", volume, (32, 32, 16))
    report = build(tmp_path / "in.zarr", tmp_path / "out", num_mips=3, chunk=(32, 32, 16), block=(64, 64, 16))
    pieces = sum(mip.size for mip in in_memory(volume, "average", [HALVES] * 3)[2:])
    assert report.stages == 1
    assert report.bytes_read <= volume.nbytes + pieces
