"""Volumes in object stores: built from and into a local S3 server (moto), looked at, and what goes wrong there."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ts = pytest.importorskip("tensorstore")
pytest.importorskip("ome_zarr_models")
pytest.importorskip("click")

from pyramids import assert_same, in_memory, read_zarr, tree
from tinybrain.volumes import BuildError, build, info, s3, storage, tasks, view
from tinybrain.volumes.storage import kvstore_spec, kvstore_url

STATE = "tinybrain-build.json"
# Two stages, and mips that are made of pieces.
OPTIONS: dict[str, Any] = {"num_mips": 3, "chunk": (16, 16, 8), "block": (32, 32, 8), "stage_depth": 2}
ARGUMENTS = ["--mips", "3", "--chunk", "16,16,8", "--block", "32,32,8", "--stage-depth", "2"]
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Server:
    """An S3 server in a process of its own; what it holds ends with it."""

    def __init__(self, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def make_bucket(self, name: str) -> str:
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT"), timeout=20):
            return f"s3://{name}"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    pytest.importorskip("moto.server", reason="moto[s3], flask and flask-cors are not installed")
    server = Server()
    yield server
    server.end()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take everything away that says something of S3, and have no more patience with a server than tests have."""
    monkeypatch.setattr(storage, "LONG_PATIENCE", storage.PATIENCE)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(s3, "_MACHINE", tmp_path / "machine")


def use(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


_numbers = itertools.count()


@pytest.fixture
def bucket(started: Server, alone: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a new bucket, whose server and credentials the environment names."""
    use(started, monkeypatch)
    return started.make_bucket(f"bucket-{next(_numbers)}")


@pytest.fixture
def volume(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 60000, (70, 41, 13), dtype=np.uint16)


@pytest.fixture
def source(volume: np.ndarray, tmp_path: Path) -> Path:
    np.save(tmp_path / "in.npy", volume)
    return tmp_path / "in.npy"


def keys(url: str) -> list[str]:
    return storage.list_keys(storage.open_kvstore(kvstore_url(url)))


def objects(url: str) -> dict[str, bytes]:
    """Return everything below a URL, by its name."""
    store = ts.KvStore.open(kvstore_spec(kvstore_url(url))).result()
    return {key: store[key] for key in keys(url)}


def wait_for_a_task(url: str) -> None:
    """Wait until a build into a URL has written down that a task is done."""
    deadline = time.monotonic() + 60
    while not any(key.endswith(".done") for key in keys(url)) and time.monotonic() < deadline:
        time.sleep(0.01)


def put(url: str, content: bytes) -> None:
    folder, _, name = url.rpartition("/")
    ts.KvStore.open(kvstore_spec(folder + "/")).result()[name] = content


def save(driver: str, url: str, volume: np.ndarray) -> None:
    chunk = (32, 32, 8)
    spec: dict[str, Any] = {"driver": driver, "kvstore": kvstore_spec(url + "/")}
    if driver == "zarr":
        spec["metadata"] = {"shape": volume.shape, "dtype": volume.dtype.str, "chunks": chunk}
    elif driver == "zarr3":
        grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
        spec["metadata"] = {"shape": volume.shape, "data_type": volume.dtype.name, "chunk_grid": grid}
    elif driver == "n5":
        packed = {"type": "gzip"}
        spec["metadata"] = {"dimensions": volume.shape, "dataType": volume.dtype.name, "blockSize": chunk}
        spec["metadata"]["compression"] = packed
    else:
        spec["multiscale_metadata"] = {"type": "image", "data_type": volume.dtype.name, "num_channels": 1}
        spec["scale_metadata"] = {
            "size": volume.shape,
            "encoding": "raw",
            "chunk_size": chunk,
            "resolution": [4, 4, 40],
        }
        volume = volume[..., None]
    ts.open(spec, create=True).result().write(volume).result()


def fails(*arguments: object) -> str:
    """Run the command, which must fail soon, and return its line on stderr (of Google, TensorStore has its own)."""
    line = [sys.executable, "-m", "tinybrain", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    assert done.stdout == ""
    *more, said = done.stderr.splitlines()
    assert all(re.match(r"[EI]\d{4} .* google_auth_provider", line) for line in more)
    assert said.startswith("tinybrain: ")
    return said


# --- What is built --------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5", "neuroglancer_precomputed"])
def test_every_format_is_read(driver: str, bucket: str, volume: np.ndarray, tmp_path: Path) -> None:
    save(driver, f"{bucket}/in", volume)
    build(f"{bucket}/in", tmp_path / "out", **OPTIONS)
    assert_same(read_zarr(tmp_path / "out", 4), in_memory(volume, "average", [(2, 2, 1)] * 3))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shard": (32, 32, 8)},
        {"format": "ome-zarr-0.4"},
        {"format": "precomputed"},
        {"format": "precomputed", "shard": (32, 32, 8)},
    ],
    ids=str,
)
def test_every_format_is_written_as_on_disk(options: dict, bucket: str, source: Path, tmp_path: Path) -> None:
    url = f"{bucket}/a folder/out"
    build(source, url, **OPTIONS, **options)
    build(source, tmp_path / "out", **OPTIONS, **options)
    assert objects(url) == tree(tmp_path / "out")
    here, there = info(tmp_path / "out"), info(url)
    for part in (here, there, *here["mips"], *there["mips"]):
        for name in ("path", "bytes_on_disk", "files", "counted"):
            part.pop(name, None)
    assert here == there


def test_mips_are_added_to_a_volume_there(bucket: str, source: Path, tmp_path: Path) -> None:
    for to in (f"{bucket}/out", tmp_path / "out"):
        build(source, to, num_mips=0, format="precomputed", chunk=(16, 16, 8))
        build(to, to, add=True, **OPTIONS)
    assert objects(f"{bucket}/out") == tree(tmp_path / "out")
    with pytest.raises(FileExistsError, match="has the scales 2_2_1, 4_4_1, 8_8_1 already"):
        build(f"{bucket}/out", f"{bucket}/out", add=True, **OPTIONS)


def test_the_server_may_stand_in_the_url(
    started: Server, bucket: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    url = f"s3+{started.endpoint}/{bucket.removeprefix('s3://')}"
    report = build(source, f"{url}/out", num_mips=1)
    assert report.path == f"{url}/out/"
    assert build(f"{url}/out", f"{url}/again", num_mips=1).shapes == report.shapes
    assert len(info(f"{url}/again")["mips"]) == 2


def test_the_command_previews_a_volume_there(bucket: str, source: Path, tmp_path: Path) -> None:
    """And TensorStore complains of nothing."""
    pytest.importorskip("PIL")
    build(source, f"{bucket}/out", **OPTIONS)
    line = [sys.executable, "-m", "tinybrain", "preview", f"{bucket}/out", "-o", str(tmp_path / "out.png")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (f"{tmp_path}/out.png\n", "")
    assert (tmp_path / "out.png").exists()


def test_the_page_reads_a_volume_there(bucket: str, started: Server, source: Path) -> None:
    pytest.importorskip("neuroglancer")
    build(source, f"{bucket}/out", **OPTIONS)
    with view(f"{bucket}/out", browser=False) as viewing:
        (layer,) = viewing.viewer.state.layers
        (from_,) = layer.source
        assert from_.url == f"s3+{started.endpoint}/{bucket.removeprefix('s3://')}/out/|zarr3:"


# --- What goes wrong ------------------------------------------------------------------------------


def test_a_killed_build_is_resumed_to_the_same_bytes(bucket: str, source: Path, tmp_path: Path) -> None:
    url = f"{bucket}/out"
    running = subprocess.Popen([sys.executable, "-m", "tinybrain", "build", source, url, *ARGUMENTS, "--quiet"])
    try:
        wait_for_a_task(url)
    finally:
        running.kill()
    assert running.wait(60) == -signal.SIGKILL
    assert STATE in objects(url)
    with pytest.raises(BuildError, match="out is incomplete"):
        build(url, tmp_path / "copy")
    with pytest.raises(FileExistsError, match=r"incomplete volume of another build \(target\.recipe differ\)"):
        build(source, url, **OPTIONS, sparse=True)
    assert build(source, url, **OPTIONS).resumed > 0
    build(source, tmp_path / "out", **OPTIONS)
    assert objects(url) == tree(tmp_path / "out")


def test_what_is_there_is_kept_or_overwritten(bucket: str, source: Path, tmp_path: Path) -> None:
    url = f"{bucket}/out"
    build(source, url, format="precomputed", num_mips=2)
    before = objects(url)
    with pytest.raises(FileExistsError, match="is not empty; accepted are a new path, or --overwrite"):
        build(source, url, **OPTIONS)
    assert objects(url) == before
    put(f"{url}/notes.txt", b"kept")
    with pytest.raises(ValueError, match=r"also holds notes\.txt, which belongs to no mip"):
        build(source, url, overwrite=True, **OPTIONS)
    assert objects(url) == before | {"notes.txt": b"kept"}
    with pytest.raises(ValueError, match="holds no volume that tinybrain knows"):
        build(source, bucket, overwrite=True, **OPTIONS)
    ts.KvStore.open(kvstore_spec(f"{url}/")).result().delete_range(ts.KvStore.KeyRange("notes", "notet")).result()
    build(source, url, overwrite=True, **OPTIONS)
    build(source, tmp_path / "out", **OPTIONS)
    assert objects(url) == tree(tmp_path / "out")


def test_buckets_and_volumes_that_are_not_there(bucket: str, source: Path, tmp_path: Path) -> None:
    missing = "NoSuchBucket: The specified bucket does not exist"
    with pytest.raises(ValueError, match=f"in is no volume that may be read: {missing}"):
        build("s3://no-such-bucket/in", tmp_path / "out")
    with pytest.raises(BuildError, match=f"out/ can't be listed: {missing}"):
        build(source, "s3://no-such-bucket/out")
    with pytest.raises(FileNotFoundError, match=f"there is no volume at s3://no-such-bucket/in: {missing}"):
        info("s3://no-such-bucket/in")
    with pytest.raises(ValueError, match="nothing is no volume; accepted are Zarr"):
        build(f"{bucket}/nothing", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"there is no volume at .*: there is no zarr\.json"):
        info(f"{bucket}/nothing")
    assert not (tmp_path / "out").exists()


def test_without_credentials(bucket: str, volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line: nothing is said of the places where TensorStore has looked."""
    save("zarr3", f"{bucket}/in", volume)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "in is no volume that may be read: permission denied" in fails("build", f"{bucket}/in", tmp_path / "out")
    with pytest.raises(ValueError, match=r"zarr\.json cannot be read: permission denied"):
        info(f"{bucket}/in")
    keys = tmp_path / "home" / ".aws" / "credentials"
    keys.parent.mkdir(parents=True)
    keys.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    assert "is a single Zarr array without mips" in fails("info", f"{bucket}/in")


def test_source_and_destination_must_be_apart(bucket: str, volume: np.ndarray) -> None:
    save("zarr3", f"{bucket}/in", volume)
    before = objects(bucket)
    for to in (f"{bucket}/in/", f"{bucket}/in/c", bucket):
        with pytest.raises(ValueError, match="lie within each other"):
            build(f"zarr3://{bucket}/in", to, overwrite=True)
    assert objects(bucket) == before


def test_a_server_that_goes_while_it_is_read(
    alone: None, volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto.server", reason="moto[s3], flask and flask-cors are not installed")
    server = Server()
    use(server, monkeypatch)
    bucket = server.make_bucket("bucket")
    save("zarr3", f"{bucket}/in", volume)
    run, ran = tasks.Runner.run, itertools.count()

    def until_the_fifth(self: tasks.Runner, phase: int, index: int) -> int:
        if next(ran) == 5:
            server.end()
        return run(self, phase, index)

    with monkeypatch.context() as patch:
        patch.setattr(tasks.Runner, "run", until_the_fifth)
        with pytest.raises(BuildError, match=r"source: .*retry attempts failed"):
            build(f"{bucket}/in", tmp_path / "out", **OPTIONS)
    assert (tmp_path / "out" / STATE).exists()
    server = Server(server.port)
    save("zarr3", f"{server.make_bucket('bucket')}/in", volume)
    assert build(f"{bucket}/in", tmp_path / "out", **OPTIONS).resumed > 0
    server.end()
    assert_same(read_zarr(tmp_path / "out", 4), in_memory(volume, "average", [(2, 2, 1)] * 3))


def test_ctrl_c_ends_a_build_whose_server_is_gone(alone: None, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not when TensorStore has given up."""
    pytest.importorskip("moto.server", reason="moto[s3], flask and flask-cors are not installed")
    server = Server()
    use(server, monkeypatch)
    url = f"{server.make_bucket('bucket')}/out"
    line = [sys.executable, "-m", "tinybrain", "build", source, url, *ARGUMENTS, "--block", "16,16,8"]
    running = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_a_task(url)
        server.end()
        time.sleep(1)
        assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=20)
    finally:
        running.kill()
    assert running.returncode == 130, errors
    assert errors.rstrip().endswith("tinybrain: interrupted")


@pytest.mark.parametrize("store", ["gs", "s3"])
def test_stores_that_do_not_answer(store: str, alone: None, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", endpoint)
        monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")  # else Google's machines are asked for one
        began = time.monotonic()
        said = fails("build", source, f"{store}://some-bucket/out")
        assert re.search(r"some-bucket/out/tinybrain-build.json can't be read: .*Could not connect", said)
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/out", "destination: http://127.0.0.1/out/ can only be read; accepted are folders"),
        ("s3:///out", "accepted are s3://BUCKET/PATH"),
        ("s3+https://host", r"accepted are s3://BUCKET/PATH and s3\+https://HOST/BUCKET/PATH"),
        ("gs:///out", "Invalid GCS bucket name"),
        ("ftp://host/out", "unsupported URL scheme"),
    ],
)
def test_destinations_that_cannot_be(url: str, words: str, alone: None, source: Path) -> None:
    with pytest.raises(ValueError, match=words):
        build(source, url)


# --- How servers and credentials are found --------------------------------------------------------


def test_urls_of_s3(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    anonymous = {"aws_credentials": {"type": "anonymous"}}
    there = {"driver": "s3", "bucket": "bucket", "path": "a b/c/", **anonymous}
    assert kvstore_url("s3://bucket/a%20b/c") == "s3://bucket/a%20b/c/"
    assert kvstore_spec("s3://bucket/a%20b/c/") == there
    there |= {"endpoint": "http://127.0.0.1:9000", "aws_region": "us-east-1"}
    assert kvstore_spec("s3+http://127.0.0.1:9000/bucket/a%20b/c/") == there
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/")
    assert kvstore_url("s3://bucket/a%20b/c") == "s3+http://127.0.0.1:9000/bucket/a%20b/c/"
    assert kvstore_spec("s3://bucket/a%20b/c/") == there
    assert kvstore_spec("gs://bucket/a/") == "gs://bucket/a/"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://store.example")
    there |= {"endpoint": "https://store.example", "aws_region": "eu-west-1"}
    assert kvstore_spec("s3://bucket/a%20b/c/") == there
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "store.example:9000")
    with pytest.raises(ValueError, match=r"AWS_ENDPOINT_URL_S3: got 'store\.example:9000'; accepted are https://HOST"):
        kvstore_url("s3://bucket/a")


def test_credentials_are_looked_for_place_by_place(
    alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> dict[str, str]:
        return kvstore_spec("s3://bucket/")["aws_credentials"]

    assert found() == {"type": "anonymous"}
    (tmp_path / "machine").mkdir()
    for name, text in (("sys_vendor", "Amazon EC2\n"), ("bios_version", "1.0\n")):
        (tmp_path / "machine" / name).write_text(text)
    assert found() == {"type": "default", "profile": "default"}  # which may have a role
    keys = tmp_path / "home" / ".aws" / "credentials"
    keys.parent.mkdir(parents=True)
    keys.write_text("[default]\naws_access_key_id = key\n[other]\naws_access_key_id = key\n")
    files = {"credentials_file": str(keys), "config_file": os.devnull}
    assert found() == {"type": "profile", "profile": "default", **files}
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert found() == {"type": "profile", "profile": "other", **files}
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")  # a role, or a process that is asked
    assert found() == {"type": "default", "profile": "elsewhere"}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    assert found() == {"type": "environment"}
