"""``tinybrain view``: what is served and what is not, the state of the viewer, and the page in a real Chromium."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neuroglancer
import numpy as np
import pytest
from click.testing import CliRunner

import volumes_on_disk as on_disk
from tinybrain.volumes import look
from tinybrain.volumes.view import Viewing, view


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    return on_disk.ome_zarr(tmp_path / "a volume", on_disk.mips_of(on_disk.image()), shard=(32, 64, 64))


@contextlib.contextmanager
def shown(path: Path | str, **options: Any) -> Iterator[Viewing]:
    with view(path, browser=False, **options) as viewing:
        yield viewing


def source(viewing: Viewing) -> str:
    """Return the URL that the viewer reads the volume from, without its format."""
    state = viewing.viewer.state.to_json()
    url: Any = state["layers"][0]["source"]
    url = url["url"] if isinstance(url, dict) else url
    return str(url).partition("|")[0]


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Ask for a path as it is written: nothing is tidied up on the way."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.putrequest(method, "/" + path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


# --- What is served -------------------------------------------------------------------------------


def test_files_are_served_whole_and_in_parts(volume: Path) -> None:
    with shown(volume) as viewing:
        root = source(viewing)
        assert root.startswith("http://127.0.0.1:")
        chunk = (volume / "0/c/0/0/0").read_bytes()
        status, body, headers = ask(root + "0/c/0/0/0")
        assert (status, body) == (200, chunk)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Type"] == "application/octet-stream"
        assert ask(root + "0/c/0/0/0", Range="bytes=10-29")[:2] == (206, chunk[10:30])
        assert ask(root + "0/c/0/0/0", Range="bytes=-20")[:2] == (206, chunk[-20:])
        status, body, headers = ask(root + "0/c/0/0/0", "HEAD")
        assert (status, body, int(headers["Content-Length"])) == (200, b"", len(chunk))
        tag = headers["Etag"]
        assert ask(root + "0/c/0/0/0", **{"If-None-Match": tag})[0] == 304
        (volume / "0/c/0/0/0").write_bytes(b"new")
        assert ask(root + "0/c/0/0/0", **{"If-None-Match": tag})[:2] == (200, b"new")
        assert ask(root + "0/c/9/9/9")[0] == 404


def test_nothing_else_is_served(volume: Path) -> None:
    (volume / "link").symlink_to(volume.parent / "secret")
    (volume / "inside").symlink_to(volume / "zarr.json")
    os.mkfifo(volume / "pipe")
    with shown(volume) as viewing:
        root = source(viewing)
        token = root.rstrip("/").rpartition("/")[2]
        assert len(token) >= 40
        base = root.removesuffix(token + "/")
        assert ask(root + "inside")[0] == 200
        for path in (
            root,
            root + "0",
            root + "0/",
            root + "link",
            root + "../secret",
            root + "0/../../secret",
            root + "%2e%2e/secret",
            root + "..%2fsecret",
            root + "0/%2e%2e%2f%2e%2e%2fsecret",
            root + "/etc/passwd",
            root + "%2fetc%2fpasswd",
            root + "..\\secret",
            root + "zarr.json%00",
            root + "x" * 5000,
            base + token[:-1] + "/zarr.json",
            base + "0" * 40 + "/zarr.json",
            base + "/zarr.json",
            base,
        ):
            status, body, _ = ask(path)
            assert status in (400, 403, 404, 405), path
            assert b"secret" not in body.replace(b"/secret", b"")
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert ask(root + "zarr.json", method)[0] == 405
        # No other origin may read it.
        headers = ask(root + "zarr.json", Origin="http://evil.example")[2]
        assert not [name for name in headers if name.lower().startswith("access-control")]


def test_chunks_in_compressed_files_are_unpacked_by_the_browser(tmp_path: Path) -> None:
    path = on_disk.precomputed(tmp_path / "a", [np.full((9, 9, 9), 7, "u1")])
    on_disk.pack(path / "8_8_40")
    with shown(path) as viewing:
        status, body, headers = ask(source(viewing) + "8_8_40/0-9_0-9_0-9")
        assert (status, headers["Content-Encoding"], gzip.decompress(body)) == (200, "gzip", b"\7" * 729)
        assert ask(source(viewing) + "8_8_40/0-9_0-9_0-9.gz")[2]["Content-Encoding"] is None
        assert ask(source(viewing) + "8_8_40/0-9_0-9_9-18")[0] == 404


def test_links_are_followed_on_request(volume: Path) -> None:
    (volume / "link").symlink_to(volume.parent / "secret")
    with shown(volume, follow_links=True) as viewing:
        assert ask(source(viewing) + "link")[:2] == (200, b"secret")
        assert ask(source(viewing) + "../secret")[0] in (403, 404)


def test_mips_elsewhere_are_refused_or_followed(volume: Path) -> None:
    (volume / "1").rename(volume.parent / "elsewhere")
    (volume / "1").symlink_to(volume.parent / "elsewhere")
    with pytest.raises(ValueError, match="mip 1 is a link to "):
        view(volume, browser=False)
    assert not neuroglancer.is_server_running()
    with shown(volume, follow_links=True) as viewing:
        assert ask(source(viewing) + "1/zarr.json")[0] == 200


def test_after_the_end_nothing_is_served(volume: Path) -> None:
    with shown(volume) as viewing:
        url = source(viewing) + "zarr.json"
        assert ask(url)[0] == 200
    viewing.close()  # once more is no error
    assert not neuroglancer.is_server_running()
    with pytest.raises(OSError):
        ask(url)


def test_two_views_share_a_server_until_the_last_one_ends(volume: Path) -> None:
    one, two = view(volume, browser=False), view(volume, browser=False)
    try:
        urls = [source(v) + "zarr.json" for v in (one, two)]
        assert urls[0] != urls[1]
        assert [ask(url)[0] for url in urls] == [200, 200]
        one.close()
        assert [ask(url)[0] for url in urls] == [404, 200]
    finally:
        one.close()
        two.close()
    assert not neuroglancer.is_server_running()


def test_a_server_that_runs_already_goes_on(volume: Path) -> None:
    neuroglancer.set_server_bind_address("127.0.0.1")
    neuroglancer.server.start()
    try:
        with shown(volume) as viewing:
            assert ask(source(viewing) + "zarr.json")[0] == 200
            with pytest.raises(ValueError, match="Neuroglancer's server runs on"):
                view(volume, browser=False, port=1)
        assert neuroglancer.is_server_running()
    finally:
        neuroglancer.stop()


def test_a_server_for_other_machines_gets_no_files(volume: Path) -> None:
    neuroglancer.set_server_bind_address("0.0.0.0")
    neuroglancer.server.start()
    try:
        with pytest.raises(ValueError, match="for other machines too"):
            view(volume, browser=False)
    finally:
        neuroglancer.stop()
        neuroglancer.set_server_bind_address()


def test_only_the_loopback_address_is_bound(volume: Path) -> None:
    with shown(volume) as viewing:
        port = urllib.parse.urlsplit(viewing.url).port
        assert port
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", port))
        with socket.socket() as other:  # another address of this machine is free
            other.bind(("127.0.0.2", port))


def test_ports(volume: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port: {port} cannot be used"):
            view(volume, browser=False, port=port)
        assert not neuroglancer.is_server_running()
    with shown(volume, port=port) as viewing:
        assert f":{port}/" in viewing.url
    for wrong in (-1, 65536, "80"):
        with pytest.raises(ValueError, match="port: got"):
            view(volume, browser=False, port=wrong)  # type: ignore[arg-type]


# --- The state ------------------------------------------------------------------------------------


def state(path: Path, **options: Any) -> dict[str, Any]:
    with shown(path, **options) as viewing:
        found: dict[str, Any] = viewing.viewer.state.to_json()
        return found


def test_an_image_becomes_a_layer_with_the_contrast_of_the_preview(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image(dtype="uint16") // 5))
    found = state(path)
    (layer,) = found["layers"]
    assert layer["type"] == "image"
    assert "|zarr3:" in json.dumps(layer["source"])
    low, high = layer["shaderControls"]["normalized"]["range"]
    assert 20 * 257 / 5 - 99 < low < 40 * 257 / 5
    assert 200 * 257 / 5 < high < 226 * 257 / 5
    assert list(found["dimensions"]) == ["x", "y", "z"]
    assert np.allclose([value[0] for value in found["dimensions"].values()], [8e-9, 8e-9, 40e-9])
    assert found["layout"] == "4panel"


@pytest.mark.parametrize(
    ("version", "name"), [("0.4", "zarr2:"), ("0.5", "zarr3:"), (None, "neuroglancer-precomputed:")]
)
def test_labels_become_a_segmentation(tmp_path: Path, version: str | None, name: str) -> None:
    mips = on_disk.mips_of(on_disk.labels(), mode=True)
    if version:
        path = on_disk.ome_zarr(tmp_path / "a", mips, version=version, is_labels=True)
    else:
        path = on_disk.precomputed(tmp_path / "a", [np.asfortranarray(m.T) for m in mips], kind="segmentation")
    (layer,) = state(path)["layers"]
    assert layer["type"] == "segmentation"
    assert f"|{name}" in json.dumps(layer["source"])
    (layer,) = state(path, kind="image")["layers"]
    assert layer["type"] == "image"


def test_channels_become_layers_that_add_up(tmp_path: Path) -> None:
    voxels = np.stack([on_disk.image(), 255 - on_disk.image()])
    path = on_disk.ome_zarr(
        tmp_path / "a",
        on_disk.mips_of(voxels, (1, 1, 2, 2)),
        axes="czyx",
        factor=(1, 1, 2, 2),
        scale=(1, 40, 8, 8),
        chunk=(1, 16, 32, 32),
        channels=[{"label": "DNA", "color": "00FF00"}, {"label": "actin"}],
    )
    layers = state(path)["layers"]
    assert [layer["name"] for layer in layers] == ["0: DNA", "1: actin"]
    assert [layer["localPosition"] for layer in layers] == [[0], [1]]
    assert {layer["blend"] for layer in layers} == {"additive"}
    assert layers[0]["shaderControls"]["color"] == "#00ff00"


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "bool"])
def test_types_that_neuroglancer_does_not_draw_are_refused(tmp_path: Path, dtype: str) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", [np.zeros((4, 9, 9), dtype)])
    with pytest.raises(ValueError, match=f"Neuroglancer draws no {dtype}"):
        view(path, browser=False)
    assert not neuroglancer.is_server_running()


def test_units_and_kinds_that_neuroglancer_does_not_know_are_refused(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", [on_disk.image((4, 9, 9))], unit="furlong")
    with pytest.raises(ValueError, match="knows no unit 'furlong'"):
        view(path, browser=False)
    path = on_disk.ome_zarr(tmp_path / "b", [on_disk.image((4, 9, 9)).astype("f4")])
    with pytest.raises(ValueError, match="labels of dtype float32"):
        view(path, browser=False, kind="labels")


def test_a_corrupt_chunk_does_not_keep_the_viewer_from_opening(volume: Path) -> None:
    for chunk in (volume / "3" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"rubbish")
    (layer,) = state(volume)["layers"]
    assert layer["shaderControls"]["normalized"]["range"] == [0, 255]


def test_remote_volumes_are_read_where_they_are(volume: Path) -> None:
    with shown(volume) as viewing:
        url = source(viewing)
        with shown(f"zarr3://{url}") as remote:
            assert source(remote) == url


def test_the_browser_is_opened_unless_told_not_to(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with view(volume) as viewing:
        assert opened == [viewing.url]
    with view(volume, browser=False):
        assert len(opened) == 1


def test_wait_ends_with_close(volume: Path) -> None:
    with shown(volume) as viewing:
        waiting = threading.Thread(target=viewing.wait)
        waiting.start()
        assert waiting.is_alive()
        viewing.close()
        waiting.join(20)
        assert not waiting.is_alive()


def test_command_serves_until_ctrl_c(volume: Path) -> None:
    program = "from tinybrain.volumes import look; look.view()"
    command = [sys.executable, "-c", program, str(volume), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert "Ctrl-C" in process.stdout.readline()
            assert ask(url)[0] == 200
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")


def test_command_tells_of_a_volume_that_is_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()), incomplete=True)
    monkeypatch.setattr(Viewing, "wait", lambda self: None)
    result = CliRunner().invoke(look.view, [str(path), "--no-browser"])
    assert result.exit_code == 0
    assert "incomplete" in result.stderr
    assert result.stdout.startswith("http://127.0.0.1:")
