"""What `build` reads: every format, as another library wrote it, and what it takes from its metadata."""

from __future__ import annotations

import functools
import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ts = pytest.importorskip("tensorstore")
pytest.importorskip("ome_zarr_models")

from pyramids import assert_same, in_memory, read_precomputed, read_zarr, save_zarr3
from tinybrain.volumes import BuildError, build, files
from tinybrain.volumes.source import open_source
from tinybrain.volumes.storage import Box, Pipe, slices

FACTORS = [(2, 2, 1)] * 2


@pytest.fixture
def volume(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 60000, (70, 41, 13), dtype=np.uint16)


def check(source: object, to: Path, volume: np.ndarray, **options: object) -> None:
    """Build in blocks, so that boxes begin and end anywhere."""
    build(source, to, num_mips=2, chunk=(16, 16, 8), block=(32, 16, 8), **options)
    assert_same(read_zarr(to, 3), in_memory(volume, "average", FACTORS))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_npy(dtype: str, order: str, tmp_path: Path, volume: np.ndarray) -> None:
    np.save(tmp_path / "in.npy", np.asarray(volume.astype(dtype), order=order))
    check(tmp_path / "in.npy", tmp_path / "out", volume)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["?", "i1", ">i2", "<u4", ">u8", ">f2", "<f4", ">f8", ">c8", "<c16"])
@pytest.mark.parametrize(("run", "gap"), [(1, 0), (64, 8), (700, 100), (1 << 20, 8 << 10)])
def test_boxes_of_an_npy(
    run: int,
    gap: int,
    dtype: str,
    order: str,
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any box, with whatever is read at once."""
    monkeypatch.setattr(files, "_RUN", run)
    monkeypatch.setattr(files, "_GAP", gap)
    whole = np.asarray(rng.integers(0, 120, (11, 9, 6, 5)).astype(dtype), order=order)
    np.save(tmp_path / "in.npy", whole)
    source = open_source(tmp_path / "in.npy", axes="zxcy", missing="fill", context=None)
    expected = whole.transpose(1, 3, 0, 2)
    assert source.dtype.isnative
    for _ in range(20):
        start = rng.integers(0, expected.shape)
        stop = rng.integers(start, expected.shape) + 1
        box = (tuple(start.tolist()), tuple(stop.tolist()))
        got = source.read(box, Pipe(1 << 20, lambda: None, "test"))
        np.testing.assert_array_equal(got, expected[slices(box)])


@pytest.mark.parametrize(
    ("box", "calls"),
    [
        (((0, 0, 0), (40, 64, 128)), [40 * 64 * 128]),  # all of it
        (((3, 0, 0), (9, 64, 128)), [6 * 64 * 128]),  # whole slices
        (((3, 7, 0), (4, 20, 128)), [13 * 128]),  # whole rows
        (((3, 7, 50), (4, 9, 60)), [128 + 10]),  # pieces of two rows, and what lies between them
        (((3, 7, 0), (5, 20, 128)), [13 * 128] * 2),  # rows of two slices that are far apart
    ],
)
def test_runs_of_an_npy_are_read_at_once(
    box: Box, calls: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_GAP", 2000)
    np.save(tmp_path / "in.npy", np.zeros((40, 64, 128), np.uint8))
    lengths: list[int] = []
    fill = files._Flat._fill

    def counted(self: files._Flat, file: io.FileIO, offset: int, into: memoryview) -> None:
        lengths.append(len(into))
        fill(self, file, offset, into)

    monkeypatch.setattr(files._Flat, "_fill", counted)
    source = open_source(tmp_path / "in.npy", axes="xyz", missing="fill", context=None)
    source.read(box, Pipe(2 << 20, lambda: None, "test"))
    assert lengths == calls


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_zarr_of_zarr_python(version: int, order: str, tmp_path: Path, volume: np.ndarray) -> None:
    import zarr

    more = {"order": order} if version == 2 else {}
    array = zarr.create_array(
        tmp_path / "in.zarr", shape=volume.shape, chunks=(20, 20, 20), dtype="uint16", zarr_format=version, **more
    )
    array[...] = volume
    check(tmp_path / "in.zarr", tmp_path / "out", volume)


def test_sharded_zarr_of_zarr_python(tmp_path: Path, volume: np.ndarray) -> None:
    import zarr

    array = zarr.create_array(
        tmp_path / "in", shape=volume.shape, shards=(32, 32, 8), chunks=(16, 8, 4), dtype="uint16"
    )
    array[...] = volume
    check(tmp_path / "in", tmp_path / "out", volume)


def save_n5(path: Path, volume: np.ndarray, **more: object) -> None:
    metadata = {"dimensions": volume.shape, "dataType": volume.dtype.name, "blockSize": [16, 16, 8], **more}
    spec = {"driver": "n5", "kvstore": path.as_uri() + "/", "metadata": {**metadata, "compression": {"type": "gzip"}}}
    ts.open(spec, create=True).result().write(volume).result()


def test_n5(tmp_path: Path, volume: np.ndarray) -> None:
    save_n5(tmp_path / "in.n5", volume)
    check(tmp_path / "in.n5", tmp_path / "out", volume)


def test_n5_says_axes_and_voxel_size(tmp_path: Path, volume: np.ndarray) -> None:
    axes = {"axes": ["z", "x", "y"], "units": ["um", "nm", "nm"], "resolution": [0.04, 4, 8]}
    save_n5(tmp_path / "in.n5" / "s0", volume.transpose(2, 0, 1), **axes)
    check(tmp_path / "in.n5", tmp_path / "out", volume)
    assert scales(tmp_path / "out") == [[40, 8, 4], [40, 16, 8], [40, 32, 16]]


def save_precomputed(path: Path, volume: np.ndarray, kind: str, **scale: object) -> None:
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": path.as_uri() + "/",
        "multiscale_metadata": {"type": kind, "data_type": volume.dtype.name, "num_channels": 1},
        "scale_metadata": {"size": volume.shape, "encoding": "raw", "chunk_size": [16, 16, 8], **scale},
    }
    ts.open(spec, create=True).result()[..., 0].write(volume).result()


def scales(path: Path) -> list[list[float]]:
    """Scales along z, y, x as the metadata has them."""
    multiscales = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    return [dataset["coordinateTransformations"][0]["scale"] for dataset in multiscales["datasets"]]


def test_precomputed(tmp_path: Path, volume: np.ndarray) -> None:
    save_precomputed(tmp_path / "in", volume, "image", resolution=[4, 4, 40], voxel_offset=[100, 20, 3])
    check(tmp_path / "in", tmp_path / "out", volume)
    assert scales(tmp_path / "out") == [[40, 4, 4], [40, 8, 8], [40, 16, 16]]
    multiscales = json.loads((tmp_path / "out" / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    shifts = [dataset["coordinateTransformations"][1]["translation"] for dataset in multiscales["datasets"]]
    assert shifts == [[120, 80, 400], [120, 82, 402], [120, 86, 406]]


def test_the_channel_of_precomputed_is_an_axis_if_there_are_several(tmp_path: Path, volume: np.ndarray) -> None:
    """Precomputed always has it; OME-Zarr gets it where it tells anything."""
    save_precomputed(tmp_path / "in", volume, "image", resolution=[4, 4, 40])
    assert build(tmp_path / "in", tmp_path / "out", num_mips=2).axes == "xyz"
    build(tmp_path / "in", tmp_path / "again", num_mips=2, format="precomputed")
    info = json.loads((tmp_path / "again" / "info").read_text())
    assert (info["num_channels"], len(info["scales"])) == (1, 3)
    assert_same(read_precomputed(tmp_path / "again", 3), in_memory(volume, "average", FACTORS))
    two = np.stack([volume, volume[::-1]], axis=-1)
    np.save(tmp_path / "two.npy", two)
    build(tmp_path / "two.npy", tmp_path / "two", num_mips=2, format="precomputed")
    assert build(tmp_path / "two", tmp_path / "two.zarr", num_mips=2).axes == "xyzc"
    assert_same(read_zarr(tmp_path / "two.zarr", 3), in_memory(two, "average", [(2, 2, 1, 1)] * 2))


def test_a_precomputed_segmentation_says_that_it_is_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 3, (40, 30, 9)).astype(np.uint64)
    save_precomputed(tmp_path / "in", labels, "segmentation", resolution=[4, 4, 40])
    report = build(tmp_path / "in", tmp_path / "out", num_mips=2)
    assert report.method == "mode"
    assert_same(read_zarr(tmp_path / "out", 3), in_memory(labels, "mode", FACTORS))


@pytest.mark.parametrize("format", ["ome-zarr", "ome-zarr-0.4"])
def test_ome_zarr_is_read_at_mip_0(format: str, tmp_path: Path, volume: np.ndarray) -> None:
    np.save(tmp_path / "in.npy", volume)
    more = {"voxel_size": (0.004, 0.004, 0.04), "unit": "micrometer", "format": format}
    build(tmp_path / "in.npy", tmp_path / "first", num_mips=1, **more)
    check(tmp_path / "first", tmp_path / "out", volume)
    assert scales(tmp_path / "out")[0] == [0.04, 0.004, 0.004]
    check(tmp_path / "first" / "0", tmp_path / "array", volume, axes="zyx")


def test_ome_zarr_labels_stay_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 3, (40, 30, 9)).astype(np.uint32)
    np.save(tmp_path / "in.npy", labels)
    build(tmp_path / "in.npy", tmp_path / "first", num_mips=0, labels=True)
    assert build(tmp_path / "first", tmp_path / "out", num_mips=1).method == "mode"


def save_slices(folder: Path, volume: np.ndarray, **options: object) -> None:
    import tifffile

    folder.mkdir()
    for z in range(volume.shape[2]):
        # Names that sort as numbers only.
        tifffile.imwrite(folder / f"slice{z}.tif", volume[:, :, z].T, **options)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 32)}, {"byteorder": ">"}], ids=str)
def test_a_folder_of_tiffs(options: dict, tmp_path: Path, volume: np.ndarray) -> None:
    save_slices(tmp_path / "in", volume, **options)
    check(tmp_path / "in", tmp_path / "out", volume)


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"bigtiff": True}, {"imagej": True}, {"byteorder": ">"}, {"tile": (16, 32)}],
    ids=str,
)
def test_a_tiff_of_pages(options: dict, tmp_path: Path, volume: np.ndarray) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "in.tif", volume.T, metadata={"axes": "ZYX"}, **options)
    check(tmp_path / "in.tif", tmp_path / "out", volume)


def test_samples_of_a_tiff_are_channels(tmp_path: Path, rng: np.random.Generator) -> None:
    import tifffile

    volume = rng.integers(0, 255, (37, 20, 5, 3), dtype=np.uint8)  # x, y, z, c
    tifffile.imwrite(tmp_path / "in.tif", volume.transpose(2, 1, 0, 3), photometric="rgb", compression="zlib")
    report = build(tmp_path / "in.tif", tmp_path / "out", num_mips=1)
    assert report.axes == "xyzc"
    assert_same(read_zarr(tmp_path / "out", 2), in_memory(volume, "average", [(2, 2, 1, 1)]))


def test_a_slice_of_another_size_is_named(tmp_path: Path, volume: np.ndarray) -> None:
    import tifffile

    save_slices(tmp_path / "in", volume)
    tifffile.imwrite(tmp_path / "in" / "slice7.tif", volume[:50, :, 7].T)
    with pytest.raises(BuildError, match=r"slice7\.tif is uint16 of shape \(41, 50\)"):
        build(tmp_path / "in", tmp_path / "out", num_mips=1)
    assert json.loads((tmp_path / "out" / "tinybrain-build.json").read_text())["state"] == "incomplete"


def test_a_tensorstore_spec(tmp_path: Path, volume: np.ndarray) -> None:
    save_zarr3(tmp_path / "in.zarr", volume, (16, 16, 16))
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path / "in.zarr") + "/"}}
    check(spec, tmp_path / "out", volume)
    check(json.dumps(spec), tmp_path / "json", volume)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve the folder by HTTP on a free port; what is not there is answered with the status that is the parameter."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def send_error(self, code: int, *args: object) -> None:
            super().send_error(request.param if code == 404 else code)

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("server", [404, 403], indirect=True, ids=["open", "unlisted"])
def test_a_url(tmp_path: Path, volume: np.ndarray, server: str) -> None:
    save_zarr3(tmp_path / "in.zarr", volume, (16, 16, 16))
    check(f"{server}/in.zarr", tmp_path / "out", volume)
    check(f"zarr3://{server}/in.zarr/", tmp_path / "prefixed", volume)


def test_chunks_that_are_not_stored_are_the_fill_value_or_an_error(tmp_path: Path, volume: np.ndarray) -> None:
    save_zarr3(tmp_path / "in.zarr", volume, (16, 16, 16), fill_value=7)
    (tmp_path / "in.zarr" / "c" / "1" / "1" / "0").unlink()
    volume[16:32, 16:32] = 7
    check(tmp_path / "in.zarr", tmp_path / "out", volume)
    with pytest.raises(BuildError, match=r"source: .*in.zarr.*missing"):
        build(tmp_path / "in.zarr", tmp_path / "strict", num_mips=1, missing="error")


@pytest.mark.parametrize("dtype", ["uint32", "int32", "uint64", "int64", "bool"])
def test_labels_are_asked_for_never_guessed(dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((8, 8, 8), dtype))
    with pytest.raises(ValueError, match=f"method: .*{dtype}, which may be an image or labels; accepted are --labels"):
        build(tmp_path / "in.npy", tmp_path / "out")
    assert build(tmp_path / "in.npy", tmp_path / "out", labels=True, num_mips=1).method == "mode"
    assert build(tmp_path / "in.npy", tmp_path / "mean", method="average", num_mips=1).method == "mean"
