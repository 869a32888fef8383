"""Multiscale volumes opened: what others wrote is read as it is, and what is broken is said in a line."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import volumes_on_disk as on_disk
from tinybrain.volumes.pyramid import Pyramid, open_pyramid

FACTORS = [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8)]


def check(pyramid: Pyramid, mips: list[on_disk.Array]) -> None:
    """Compare the voxels of all mips."""
    assert [mip.shape for mip in pyramid.mips] == [voxels.shape for voxels in mips]
    for mip, voxels in zip(pyramid.mips, mips, strict=True):
        assert mip.dtype == voxels.dtype.name
        assert not any(mip.store.domain.origin)
        assert np.array_equal(mip.store.read().result(), voxels)
        assert mip.nbytes == voxels.nbytes


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("is_labels", [False, True])
def test_ome_zarr(tmp_path: Path, version: str, is_labels: bool) -> None:
    mips = on_disk.mips_of(on_disk.labels() if is_labels else on_disk.image(), mode=is_labels)
    path = on_disk.ome_zarr(tmp_path / "a", mips, version=version, is_labels=is_labels, method="mode")
    found = open_pyramid(path)
    check(found, mips)
    assert found.format == f"OME-Zarr {version}"
    assert (found.kind, found.method, found.complete) == ("labels" if is_labels else "image", "mode", True)
    assert [(a.name, a.type, a.unit) for a in found.axes] == [(n, "space", "nanometer") for n in "zyx"]
    assert found.xyz == (2, 1, 0)
    assert [mip.scale for mip in found.mips] == [(40 * z, 8 * y, 8 * x) for z, y, x in FACTORS]
    assert [mip.translation for mip in found.mips] == [(0, 4 * (y - 1), 4 * (x - 1)) for _, y, x in FACTORS]
    assert {mip.chunk for mip in found.mips} == {(16, 32, 32)}
    assert {mip.shard for mip in found.mips} == {None}
    assert {mip.codecs for mip in found.mips} == {("blosc",) if version == "0.4" else ("zstd",)}


def test_shards_are_told_from_chunks(tmp_path: Path) -> None:
    mips = on_disk.mips_of(on_disk.image())
    found = open_pyramid(on_disk.ome_zarr(tmp_path / "a", mips, shard=(32, 64, 64)))
    check(found, mips)
    assert {(mip.chunk, mip.shard) for mip in found.mips} == {((16, 32, 32), (32, 64, 64))}
    assert {mip.codecs for mip in found.mips} == {("zstd",)}


def test_axes_of_time_and_channels(tmp_path: Path) -> None:
    voxels = np.stack([on_disk.image(), 255 - on_disk.image()])[None]
    mips = on_disk.mips_of(voxels, (1, 1, 1, 2, 2), 2)
    channels = [{"label": "DNA", "color": "00FFFF"}, {"label": "actin"}]
    path = on_disk.ome_zarr(
        tmp_path / "a",
        mips,
        axes="tczyx",
        factor=(1, 1, 1, 2, 2),
        scale=(2, 1, 40, 8, 8),
        chunk=(1, 1, 16, 32, 32),
        channels=channels,
    )
    found = open_pyramid(path)
    check(found, mips)
    assert (found.xyz, found.channel_axis, found.channels) == ((4, 3, 2), 1, tuple(channels))
    assert [axis.type for axis in found.axes[:2]] == ["time", "channel"]


@pytest.mark.parametrize("sharded", [False, True])
def test_precomputed(tmp_path: Path, sharded: bool) -> None:
    mips = [np.asfortranarray(m.T) for m in on_disk.mips_of(on_disk.labels(), mode=True)]
    path = on_disk.precomputed(
        tmp_path / "a", mips, kind="segmentation", sharded=sharded, offset=(16, 8, 4), method="sparse mode"
    )
    found = open_pyramid(path)
    check(found, [m[..., None] for m in mips])
    assert (found.format, found.kind, found.method) == ("Neuroglancer Precomputed", "labels", "sparse mode")
    assert [axis.name for axis in found.axes] == ["x", "y", "z", "channel"]
    assert found.xyz == (0, 1, 2)
    assert [mip.scale[:3] for mip in found.mips] == [(8.0 * x, 8.0 * y, 40.0) for _, y, x in FACTORS]
    # Of voxel centres, those of mip 0 at multiples of the voxel size: as OME-Zarr has them.
    assert [mip.translation[:3] for mip in found.mips] == [
        (128 + 4 * (x - 1), 64 + 4 * (y - 1), 160) for _, y, x in FACTORS
    ]
    assert {mip.chunk for mip in found.mips} == {(32, 32, 16, 1)}
    assert [mip.shard is not None for mip in found.mips] == [sharded] * 4
    assert found.mips[0].codecs[0] == "compressed_segmentation"


def test_n5(tmp_path: Path) -> None:
    mips = [np.asfortranarray(m.T) for m in on_disk.mips_of(on_disk.image(dtype="uint16"))]
    found = open_pyramid(on_disk.n5(tmp_path / "a", mips))
    check(found, mips)
    assert (found.format, found.xyz, found.mips[1].codecs) == ("N5", (0, 1, 2), ("gzip",))
    assert [mip.scale for mip in found.mips] == [(8.0 * x, 8.0 * y, 40.0) for _, y, x in FACTORS]
    assert [mip.translation for mip in found.mips] == [(4.0 * (x - 1), 4.0 * (y - 1), 0) for _, y, x in FACTORS]
    assert found.axes[0].unit == "nanometer"


def test_the_transformation_of_the_whole_comes_on_top(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()))
    whole = [{"type": "scale", "scale": [2, 3, 0.5]}, {"type": "translation", "translation": [0, 0, 100]}]

    def change(ome: dict[str, Any]) -> None:
        ome["multiscales"][0]["coordinateTransformations"] = whole

    edit(path, change)
    mip = open_pyramid(path).mips[2]
    assert mip.scale == (80, 96, 16)
    assert mip.translation == (0, 36, 106)


def test_labels_are_known_by_the_group_around_them(tmp_path: Path) -> None:
    mips = on_disk.mips_of(on_disk.labels(), mode=True)
    path = on_disk.ome_zarr(tmp_path / "image" / "labels" / "cells", mips)
    assert open_pyramid(path).kind == "image"
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", "labels": ["cells"]}}}
    on_disk.write_json(tmp_path / "image" / "labels" / "zarr.json", group)
    assert open_pyramid(path).kind == "labels"


def test_a_volume_that_is_not_finished_says_so(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()), incomplete=True)
    assert not open_pyramid(path).complete
    on_disk.write_json(path / "tinybrain-build.json", {"state": "complete"})
    assert open_pyramid(path).complete
    (path / "zarr.json").unlink()
    on_disk.write_json(path / "tinybrain-build.json", {"state": "incomplete"})
    with pytest.raises(ValueError, match="is incomplete: its build is under way"):
        open_pyramid(path)


def test_bytes_on_disk(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()))
    for mip in open_pyramid(path).mips:
        files = [f for f in (path / mip.path).rglob("*") if f.is_file()]
        stored = mip.on_disk()
        assert stored is not None
        assert (stored.nbytes, stored.files, stored.whole) == (sum(f.stat().st_size for f in files), len(files), True)


def test_counting_of_bytes_ends_in_time(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()), chunk=(4, 16, 16))
    stored = open_pyramid(path).mips[0].on_disk(until=0)
    assert stored is not None
    assert not stored.whole
    assert 0 < stored.files < len(list((path / "0").rglob("*")))


@pytest.mark.parametrize("name", ["with a space", "ünïcode-文", "100% #1?x=y|zarr3:", "-o"])
def test_strange_names(tmp_path: Path, name: str) -> None:
    mips = on_disk.mips_of(on_disk.image())
    check(open_pyramid(on_disk.ome_zarr(tmp_path / name, mips)), mips)


def test_links_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mips = on_disk.mips_of(on_disk.image())
    on_disk.ome_zarr(tmp_path / "a", mips)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    for path in ("a", "a/", "./link", "../" + tmp_path.name + "/a"):
        check(open_pyramid(path), mips)


# --- URLs -----------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a log; like some object stores, it forbids what is not there."""

    def log_message(self, *args: Any) -> None:
        pass

    def send_error(self, code: int, *args: Any, **kwargs: Any) -> None:
        super().send_error(403 if code == 404 else code, *args, **kwargs)


class Server(ThreadingHTTPServer):
    """A server that TensorStore may ask for many chunks at once."""

    request_queue_size = 256


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    with Server(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_urls(tmp_path: Path, served: str) -> None:
    mips = on_disk.mips_of(on_disk.image())
    on_disk.ome_zarr(tmp_path / "a", mips)
    on_disk.precomputed(tmp_path / "b", [np.asfortranarray(m.T) for m in mips])
    for url in (f"{served}/a", f"zarr3://{served}/a/", f"{served}/a/|zarr3:", f"zarr://{served}/a"):
        found = open_pyramid(url)
        check(found, mips)
        assert found.mips[0].on_disk() is None
    found = open_pyramid(f"precomputed://{served}/b")
    check(found, [m.T[..., None] for m in mips])
    local = open_pyramid((tmp_path / "a").as_uri())
    check(local, mips)
    assert local.root == tmp_path / "a"


def test_urls_of_nothing(served: str) -> None:
    with pytest.raises(ValueError, match=r"nothing/zarr\.json cannot be read"):
        open_pyramid(f"{served}/nothing")
    with pytest.raises(ValueError, match="unsupported URL scheme"):
        open_pyramid("ftp://127.0.0.1/volume")


# --- What is broken -------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the metadata of an OME-Zarr 0.5."""
    group = json.loads((path / "zarr.json").read_text())
    change(group["attributes"]["ome"])
    on_disk.write_json(path / "zarr.json", group)


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no datasets": (lambda ome: ome["multiscales"][0].pop("datasets"), "datasets: Field required"),
    "empty datasets": (lambda ome: ome["multiscales"][0].update(datasets=[]), "datasets"),
    "empty multiscales": (lambda ome: ome.update(multiscales=[]), "must be a list with an entry"),
    "multiscales of another type": (lambda ome: ome.update(multiscales={"a": 1}), "must be a list with an entry"),
    "no scale": (lambda ome: ome["multiscales"][0]["datasets"][1].pop("coordinateTransformations"), "datasets.1"),
    "short scale": (lambda ome: _scale(ome).update(scale=[1, 1]), "dimensionality"),
    "zero scale": (lambda ome: _scale(ome).update(scale=[0, 0, 0]), "is broken"),
    "infinite scale": (lambda ome: _scale(ome, 3).update(scale=[40, 64, float("inf")]), "is broken"),
    "four axes": (lambda ome: ome["multiscales"][0]["axes"].insert(0, {"name": "t", "type": "time"}), "axes"),
    "one axis": (lambda ome: ome["multiscales"][0].update(axes=[{"name": "x", "type": "space"}]), "axes"),
    "no version": (lambda ome: ome.pop("version"), "is OME-Zarr None"),
    "later version": (lambda ome: ome.update(version="0.9"), "is OME-Zarr 0.9; accepted are 0.4"),
    "a mip outside": (lambda ome: ome["multiscales"][0]["datasets"][1].update(path="../b/1"), "outside of the volume"),
    "an absolute mip": (lambda ome: ome["multiscales"][0]["datasets"][1].update(path="/etc"), "outside of the volume"),
    "a mip that is not there": (
        lambda ome: ome["multiscales"][0]["datasets"][1].update(path="9"),
        "mip 1 cannot be opened",
    ),
    "no multiscales": (lambda ome: ome.pop("multiscales"), "name the image in it"),
}


def _scale(ome: dict[str, Any], mip: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = ome["multiscales"][0]["datasets"][mip]["coordinateTransformations"][0]
    return found


@pytest.mark.parametrize("case", BROKEN)
def test_broken_metadata_of_ome_zarr(tmp_path: Path, case: str) -> None:
    change, message = BROKEN[case]
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image((8, 32, 32))))
    edit(path, change)
    refused(path, message)


def refused(path: Path, message: str) -> None:
    """Opening must fail in one line that names the path."""
    with pytest.raises(ValueError) as raised:
        open_pyramid(path)
    text = str(raised.value)
    assert message in text
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize("name", ["zarr.json", "1/zarr.json", "tinybrain-build.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": NaN'])
def test_files_that_hold_no_json_object(tmp_path: Path, name: str, content: bytes) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image((8, 32, 32))))
    (path / name).write_bytes(content)
    refused(path, "mip 1 cannot be opened" if name.startswith("1") else f"{name} is broken")


def test_missing_mips(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image((8, 32, 32))))
    shutil.rmtree(path / "2")
    refused(path, "mip 2 cannot be opened")


def test_mips_of_another_rank(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image((8, 32, 32))))
    shutil.rmtree(path / "1")
    on_disk.ome_zarr(tmp_path / "flat", [np.zeros((9, 9), "u1")], axes="yx", factor=(1, 1), scale=(1, 1), chunk=(4, 4))
    shutil.copytree(tmp_path / "flat" / "0", path / "1")
    refused(path, "mip 1 has 2 axes, not 3")


def test_what_is_no_multiscale_volume(tmp_path: Path) -> None:
    volume = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image((8, 32, 32))))
    old = on_disk.ome_zarr(tmp_path / "b", on_disk.mips_of(on_disk.image((8, 32, 32))), version="0.4")
    n5 = on_disk.n5(tmp_path / "c", [np.zeros((9, 9, 9), "u1")])
    refused(volume / "0", "is a single Zarr array without mips")
    refused(old / "0", "is a single Zarr array without mips")
    refused(n5 / "s0", "is a single N5 array without mips")
    refused(volume / "0" / "c", "is no multiscale volume")
    refused(volume / "zarr.json", "is a file")
    on_disk.write_json(tmp_path / "labels" / ".zgroup", {"zarr_format": 2})
    on_disk.write_json(tmp_path / "labels" / ".zattrs", {"labels": ["cells", "nuclei"]})
    refused(tmp_path / "labels", "name the image in it: cells, nuclei")
    on_disk.write_json(tmp_path / "mesh" / "info", {"@type": "neuroglancer_legacy_mesh"})
    refused(tmp_path / "mesh", "its info has no scales")
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        open_pyramid(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="got an empty string"):
        open_pyramid("")
    with pytest.raises(FileNotFoundError):
        open_pyramid("a\0b")
    with pytest.raises(ValueError, match="cannot be opened"):
        open_pyramid("x" * 5000)
    with pytest.raises(TypeError, match="path"):
        open_pyramid(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"scales": []},
        {"scales": [1]},
        {"scales": [{}]},
        {"data_type": "float128"},
        {"num_channels": 0},
    ],
)
def test_broken_metadata_of_precomputed(tmp_path: Path, change: dict[str, Any]) -> None:
    path = on_disk.precomputed(tmp_path / "a", [np.zeros((9, 9, 9), "u1")])
    on_disk.write_json(path / "info", json.loads((path / "info").read_text()) | change)
    refused(path, "is broken")


def test_chunks_in_compressed_files_are_not_read_as_zeros(tmp_path: Path) -> None:
    path = on_disk.precomputed(tmp_path / "a", [np.ones((9, 9, 9), "u1")])
    for chunk in (path / "8_8_40").iterdir():
        chunk.rename(chunk.with_name(chunk.name + ".gz"))
    (mip,) = open_pyramid(path).mips
    with pytest.raises(ValueError, match=r"chunks in compressed files such as 0-9_0-9_0-9\.gz"):
        mip.check_readable()


def test_broken_metadata_of_n5(tmp_path: Path) -> None:
    path = on_disk.n5(tmp_path / "a", [np.zeros((9, 9, 9), "u1")])
    on_disk.write_json(path / "attributes.json", {"scales": [[1, 1]]})
    refused(path, "downsamplingFactors must be 3 positive numbers")
    on_disk.write_json(path / "attributes.json", {"pixelResolution": {"dimensions": ["a", 1, 1]}})
    refused(path, "resolution must be 3 positive numbers")
    shutil.rmtree(path / "s0")
    refused(path, "without mips s0, s1")


def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    import os

    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = on_disk.ome_zarr(tmp_path / "a", [np.zeros((9, 9, 9), "u1")])
    (path / "zarr.json").chmod(0)
    refused(path, "cannot be read")
