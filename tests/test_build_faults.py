"""Nothing lost: builds that are killed, interrupted, out of disk, or given what is broken, and what they leave."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorstore")
pytest.importorskip("ome_zarr_models")
pytest.importorskip("click")

from pyramids import assert_same, in_memory, read_zarr, save_zarr3, tree
from tinybrain.volumes import BuildError, build, tasks

STATE = "tinybrain-build.json"
# Two stages, and mips that are made of pieces.
OPTIONS = {"num_mips": 5, "chunk": (16, 16, 8), "block": (32, 32, 8), "stage_depth": 3, "method": "average"}
ARGUMENTS = ["--mips", "5", "--chunk", "16,16,8", "--block", "32,32,8", "--stage-depth", "3", "--method", "average"]


def command(*arguments: object, **more: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tinybrain", "build", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


@pytest.fixture
def volume(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(-(2**40), 2**40, (150, 90, 24), dtype=np.int64)


@pytest.fixture
def source(volume: np.ndarray, tmp_path: Path) -> Path:
    save_zarr3(tmp_path / "in.zarr", volume, (32, 32, 8))
    return tmp_path / "in.zarr"


def state(path: Path) -> str:
    return json.loads((path / STATE).read_text())["state"]


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_build_is_resumed_to_the_same_bytes(
    seed: int, source: Path, volume: np.ndarray, tmp_path: Path
) -> None:
    build(source, tmp_path / "undisturbed", **OPTIONS)
    began = time.monotonic()
    command(source, tmp_path / "whole", *ARGUMENTS, "--quiet").communicate(timeout=120)
    duration = time.monotonic() - began
    waits = random.Random(seed)
    kills = 0
    while True:
        running = command(source, tmp_path / "killed", *ARGUMENTS, "--quiet")
        wait = waits.uniform(0.3, 1.1) * (1 + kills // 8)  # in the end it may finish, so that the test does
        if kills == 0:  # surely in the midst
            while not (tmp_path / "killed" / STATE).exists() and running.poll() is None:
                time.sleep(0.001)
            wait = waits.uniform(0, 0.1)
        try:
            running.communicate(timeout=duration * wait)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.communicate()
            kills += running.returncode == -signal.SIGKILL
        if running.returncode == 0:
            break
        # Killed: nothing, or a volume that says that it is incomplete. The last act removes that, when all is done.
        if (tmp_path / "killed").exists() and not (tmp_path / "killed" / STATE).exists():
            break
    assert kills >= 1
    name = "killed"
    written = {k: v.replace(b'"killed"', b'"undisturbed"') for k, v in tree(tmp_path / name).items()}
    assert written == tree(tmp_path / "undisturbed")
    assert_same(read_zarr(tmp_path / name, 6), in_memory(volume, "average", [(2, 2, 1)] * 5))


def failing(monkeypatch: pytest.MonkeyPatch, after: int) -> list[tuple[int, int]]:
    """Make every task after so many raise, and return the list of those that ran."""
    ran: list[tuple[int, int]] = []
    run = tasks.Runner.run

    def count(self: tasks.Runner, phase: int, index: int) -> int:
        if len(ran) >= after:
            raise BuildError("the test ends it here")
        ran.append((phase, index))
        return run(self, phase, index)

    monkeypatch.setattr(tasks.Runner, "run", count)
    return ran


@pytest.mark.parametrize("part", [0, 0.02, 0.3, 0.7, 0.98])
def test_finished_blocks_are_not_done_again(
    part: float, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(source, tmp_path / "whole", **OPTIONS)
    after = int(part * whole.tasks)
    with monkeypatch.context() as patch:
        before = failing(patch, after)
        with pytest.raises(BuildError, match="the test ends it here"):
            build(source, tmp_path / "out", **OPTIONS)
    with monkeypatch.context() as patch:
        again = failing(patch, 10**6)
        # Memory and threads decide about no byte.
        report = build(source, tmp_path / "out", **OPTIONS, memory="3GiB", threads=1)
    assert len(before) == after
    assert not set(before) & set(again)
    assert len(before) + len(again) == whole.tasks == report.tasks
    assert report.resumed == after
    renamed = {k: v.replace(b'"out"', b'"whole"') for k, v in tree(tmp_path / "out").items()}
    assert renamed == tree(tmp_path / "whole")


def test_a_resumed_build_with_other_options_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, 3)
        with pytest.raises(BuildError):
            build(source, tmp_path / "out", **OPTIONS)
    before = tree(tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"incomplete volume of another build \(target\.recipe differ\)"):
        build(source, tmp_path / "out", **{**OPTIONS, "sparse": True})
    assert tree(tmp_path / "out") == before
    build(source, tmp_path / "out", **{**OPTIONS, "sparse": True}, overwrite=True)
    assert not (tmp_path / "out" / STATE).exists()


def test_ctrl_c_ends_a_build_that_can_be_resumed(source: Path, volume: np.ndarray, tmp_path: Path) -> None:
    running = command(source, tmp_path / "out", *ARGUMENTS, "--block", "16,16,8", "--threads", "1")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/tinybrain-build/*.done")) and time.monotonic() < deadline:
        time.sleep(0.001)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.rstrip().endswith("tinybrain: interrupted")
    assert state(tmp_path / "out") == "incomplete"
    running = command(source, tmp_path / "out", *ARGUMENTS, "--block", "16,16,8")
    running.communicate(timeout=60)
    assert running.returncode == 0
    assert_same(read_zarr(tmp_path / "out", 6), in_memory(volume, "average", [(2, 2, 1)] * 5))


def fails(*arguments: object, **more: object) -> str:
    """Run a build that must fail, and return its line on stderr."""
    running = command(*arguments, "--quiet", **more)
    output, errors = running.communicate(timeout=120)
    assert running.returncode == 1, (output, errors)
    assert output == ""
    (line,) = errors.splitlines()
    assert line.startswith("tinybrain: ")
    return line


def test_a_corrupt_chunk(source: Path, tmp_path: Path) -> None:
    (source / "c" / "2" / "1" / "1").write_bytes(b"no voxels")
    assert "source" in fails(source, tmp_path / "out", *ARGUMENTS)
    assert state(tmp_path / "out") == "incomplete"


def test_a_full_disk(source: Path, tmp_path: Path) -> None:
    """A file larger than the limit can't be written: what a full disk does, at a place that the test chooses."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    line = fails(source, tmp_path / "out", *ARGUMENTS, "--compression", "none", preexec_fn=limit)
    assert "destination" in line
    assert "File too large" in line
    assert state(tmp_path / "out") == "incomplete"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_destination_that_may_not_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "Permission denied" in fails(source, tmp_path / "closed" / "out", *ARGUMENTS)


def test_a_destination_below_a_file(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "can't be" in fails(source, tmp_path / "file" / "out", *ARGUMENTS)
    assert "is a file" in fails(source, tmp_path / "file", *ARGUMENTS)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    assert fails(tmp_path / "none.zarr", tmp_path / "out") == f"tinybrain: source: {tmp_path}/none.zarr does not exist"
    (tmp_path / "empty").mkdir()
    assert "is no volume; accepted are Zarr" in fails(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "notes.txt").write_text("")
    assert "accepted files are .npy, .tif and .tiff" in fails(tmp_path / "notes.txt", tmp_path / "out")
    (tmp_path / "in.npy").write_bytes(b"\x93NUMPY but no more")
    assert "can't be read as .npy" in fails(tmp_path / "in.npy", tmp_path / "out")
    (tmp_path / "in.tif").write_bytes(b"II but no TIFF")
    assert "can't be read as TIFF" in fails(tmp_path / "in.tif", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_servers_that_do_not_answer(source: Path, tmp_path: Path) -> None:
    """Told of in seconds, where a build under way would try for minutes."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/volume"
        assert f"{url}/tinybrain-build.json can't be read" in fails(url, tmp_path / "out")
        assert f"{url}/ can only be read" in fails(source, url, *ARGUMENTS)


@pytest.mark.parametrize("scales", ["[]", "[{}]", "[3]", "3"])
def test_an_info_file_without_scales(scales: str, tmp_path: Path) -> None:
    (tmp_path / "em").mkdir()
    (tmp_path / "em" / "info").write_text(f'{{"scales": {scales}}}')
    assert "em has an info file without scales" in fails(tmp_path / "em", tmp_path / "out")


def changes(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Do something to the source after the fifth task; one task at a time, so that none reads a file meanwhile."""
    run = tasks.Runner.run
    ran: list[int] = []
    alone = threading.Lock()

    def counted(self: tasks.Runner, phase: int, index: int) -> int:
        with alone:
            ran.append(index)
            if len(ran) == 5:
                change()
            return run(self, phase, index)

    monkeypatch.setattr(tasks.Runner, "run", counted)


def test_a_source_that_changes_its_shape(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shrink() -> None:
        metadata = json.loads((source / "zarr.json").read_text())
        (source / "zarr.json").write_text(json.dumps({**metadata, "shape": [150, 60, 24]}))

    changes(monkeypatch, shrink)
    with pytest.raises(
        BuildError, match=r"was int64 of shape \(150, 90, 24\) and is now int64 of shape \(150, 60, 24\)"
    ):
        build(source, tmp_path / "out", **OPTIONS)
    assert state(tmp_path / "out") == "incomplete"


def test_an_npy_that_is_cut_off(volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "in.npy", volume)
    changes(monkeypatch, lambda: os.truncate(tmp_path / "in.npy", 100_000))
    with pytest.raises(BuildError, match=r"in\.npy"):
        build(tmp_path / "in.npy", tmp_path / "out", **OPTIONS)
    assert state(tmp_path / "out") == "incomplete"


# The command, whose source is cut off in the midst of a block.
CUT_OFF = """
import os, sys
from tinybrain.cli import main
from tinybrain.volumes import files

fill = files._Flat._fill
calls = []

def filled(self, *arguments):
    calls.append(self)
    if len(calls) == 250:
        os.truncate(self.path, 1000)
    fill(self, *arguments)

files._Flat._fill = filled
main(sys.argv[1:])
"""


def test_an_npy_that_is_cut_off_while_a_block_is_read(volume: np.ndarray, tmp_path: Path) -> None:
    """One line and no signal, and the build goes on once the file is what it was."""
    path = tmp_path / "in.npy"
    np.save(path, volume)
    whole, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    line = [sys.executable, "-c", CUT_OFF, "build", str(path), str(tmp_path / "out"), *ARGUMENTS, "--quiet"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done
    assert done.stderr == f"tinybrain: source: {path} was cut off: 1000 bytes of {len(whole)} are left\n"
    assert state(tmp_path / "out") == "incomplete"
    assert str(path) in fails(path, tmp_path / "out", *ARGUMENTS)
    path.write_bytes(whole)
    os.utime(path, ns=times)
    assert build(path, tmp_path / "out", **OPTIONS).resumed > 0
    assert_same(read_zarr(tmp_path / "out", 6), in_memory(volume, "average", [(2, 2, 1)] * 5))


def test_an_existing_destination_is_kept(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", **OPTIONS)
    before = tree(tmp_path / "out")
    assert "is not empty; accepted are a new path, or --overwrite" in fails(source, tmp_path / "out", *ARGUMENTS)
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("what", ["a home", "links"])
def test_overwriting_deletes_volumes_only(what: str, source: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "letters").mkdir(parents=True)
    (home / "letters" / "one").write_text("dear")
    if what == "links":
        (home / "zarr.json").write_text("{}")
        (home / "elsewhere").symlink_to(source)
    before = tree(home)
    words = "so it isn't deleted"
    assert words in fails(source, home, *ARGUMENTS, "--overwrite")
    assert {k: v for k, v in tree(home).items() if k != STATE} == before


def test_overwriting_replaces_another_format(source: Path, volume: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", volume.astype(np.uint8))
    build(tmp_path / "in.npy", tmp_path / "out", format="precomputed", method="average", num_mips=2)
    build(source, tmp_path / "out", **OPTIONS, overwrite=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [*"012345", "zarr.json"]
    assert_same(read_zarr(tmp_path / "out", 6), in_memory(volume, "average", [(2, 2, 1)] * 5))


def test_source_and_destination_must_be_apart(source: Path, tmp_path: Path) -> None:
    before = tree(source)
    for destination in (source, source / "c", tmp_path):
        with pytest.raises(ValueError, match="lie within each other"):
            build(source, destination, **OPTIONS, overwrite=True)
    assert tree(source) == before


def test_a_build_is_not_resumed_with_too_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_zarr3(tmp_path / "in.zarr", np.zeros((1024, 1024, 64), np.uint8), (64, 64, 64))
    options = {"num_mips": 2, "chunk": (64, 64, 64), "block": (512, 512, 64)}
    with monkeypatch.context() as patch:
        failing(patch, 1)
        with pytest.raises(BuildError, match="the test ends it here"):
            build(tmp_path / "in.zarr", tmp_path / "out", memory="400MiB", **options)
    with pytest.raises(ValueError, match=r"memory: got 190.0 MiB; accepted is at least .* what was begun with more"):
        build(tmp_path / "in.zarr", tmp_path / "out", memory="190MiB", **options)


def test_overwriting_keeps_what_belongs_to_no_mip(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(source, out, **OPTIONS)
    before = tree(out)
    (out / "labels").mkdir()
    (out / "labels" / "months of work").write_text("kept")
    (out / "notes.txt").write_text("kept")
    with pytest.raises(ValueError, match=r"overwrite: .* also holds labels/, notes.txt"):
        build(source, out, **OPTIONS, overwrite=True)
    assert (out / "labels" / "months of work").read_text() == "kept"
    assert not (out / STATE).exists()
    assert {name: data for name, data in tree(out).items() if name in before} == before


def test_an_incomplete_volume_is_no_source(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "half", **OPTIONS)
    (tmp_path / "half" / STATE).write_text('{"state": "incomplete"}')
    with pytest.raises(BuildError, match="half is incomplete"):
        build(tmp_path / "half", tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_chunks_in_compressed_files_are_refused(volume: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", volume.astype(np.uint8))
    build(tmp_path / "in.npy", tmp_path / "em", num_mips=0, format="precomputed")
    chunks = [path for path in (tmp_path / "em").rglob("*-*") if path.is_file()]
    assert chunks
    for path in chunks:
        path.rename(f"{path}.gz")
    with pytest.raises(ValueError, match=r"compressed files such as .*\.gz"):
        build(tmp_path / "em", tmp_path / "out", num_mips=1)


def test_a_second_build_into_the_same_folder_is_told_so(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    from tinybrain.volumes.storage import kvstore_url, locked

    with locked(kvstore_url(tmp_path / "out")):
        running = command(source, tmp_path / "out", *ARGUMENTS)
        assert "another build is at work" in running.communicate(timeout=60)[1]
        assert running.returncode == 1
    assert not (tmp_path / "out").exists()
    again = command(source, tmp_path / "out", *ARGUMENTS, "--quiet")
    assert again.communicate(timeout=60)[1] == ""
    assert again.returncode == 0
