"""The wheel: its tag, its content, and that it installs and computes beside old and new numpy.

Nothing is built here: the wheel is the file named by the environment's TINYBRAIN_WHEEL, else the
newest in dist/.  The installations need a package index and are skipped without one.
"""

from __future__ import annotations

import email.parser
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import isolated

# The oldest numpy with binary wheels for each Python, but not older than the one we ask for.
OLDEST_NUMPY = {10: "1.23.0", 11: "1.23.2", 12: "1.26.0", 13: "2.1.0", 14: "2.3.2"}

DOCUMENTED = {
    "tinybrain/__init__.py",
    "tinybrain/downsample.py",
    "tinybrain/accelerated.py",
    "tinybrain/_native.pyi",
    "tinybrain/py.typed",
}


@pytest.fixture(scope="module")
def wheel() -> Path:
    named = os.environ.get("TINYBRAIN_WHEEL")
    if named:
        assert Path(named).is_file(), f"TINYBRAIN_WHEEL={named} is no file"
        return Path(named).resolve()
    built = (Path(__file__).parent.parent / "dist").glob("tinybrain-*.whl")
    newest = max(built, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        pytest.skip("no wheel: none in dist/, and TINYBRAIN_WHEEL names none")
    return newest


def members(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        return [name for name in archive.namelist() if not name.endswith("/")]


def native_module(wheel: Path) -> bytes:
    (name,) = (name for name in members(wheel) if re.fullmatch(r"tinybrain/_native\..*(so|pyd)", name))
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def metadata(wheel: Path) -> email.message.Message:
    (name,) = (name for name in members(wheel) if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        return email.parser.Parser().parsestr(archive.read(name).decode())


def test_the_tag(wheel: Path) -> None:
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version, python, abi) == ("tinybrain", "2.0.0", "cp310", "abi3")
    if sys.platform.startswith("linux"):
        machine = sysconfig.get_platform().rpartition("-")[2]
        assert set(platform.split(".")) <= {f"manylinux_2_17_{machine}", f"manylinux2014_{machine}"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the versions of glibc's symbols")
def test_it_asks_for_no_newer_glibc_than_the_tag_says(wheel: Path) -> None:
    wanted = {int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)", native_module(wheel))}
    assert wanted
    assert max(wanted) <= 17


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = members(wheel)
    assert set(names) >= DOCUMENTED
    stray = [
        name
        for name in names
        if not re.fullmatch(r"tinybrain/((volumes/)?\w+\.py|_native\.pyi|py\.typed|_native\.[\w.-]*(so|pyd))", name)
        and not re.fullmatch(r"tinybrain-2\.0\.0\.dist-info/[\w./-]+", name)
    ]
    assert stray == []
    sources = Path(__file__).parent.parent / "python" / "tinybrain"
    if sources.is_dir():
        expected = {
            f"tinybrain/{path.relative_to(sources).as_posix()}"
            for path in sources.rglob("*")
            if path.suffix in (".py", ".pyi")
        }
        assert {name for name in names if name.endswith((".py", ".pyi"))} == expected


def test_its_metadata(wheel: Path) -> None:
    said = metadata(wheel)
    assert said["Name"] == "tinybrain"
    assert said["Version"] == "2.0.0"
    assert said["Requires-Python"] == ">=3.10"
    required = [line for line in said.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert [line.replace(" ", "") for line in required] == ["numpy>=1.23"]
    assert said["License-Expression"] == "GPL-3.0-or-later" or "GPL" in str(said["License"])
    assert any("/licenses/LICENSE" in name or name.endswith("/LICENSE") for name in members(wheel))
    assert said.get_payload().strip(), "no README"


def smoke(expected_numpy: str) -> None:
    """Call everything once, on values that can be worked out by hand."""
    import numpy as np

    import tinybrain as tb
    import tinybrain.accelerated as fast
    import tinybrain.downsample as ds

    assert not expected_numpy or np.__version__ == expected_numpy, np.__version__
    assert tb.__version__ == "2.0.0"

    img = np.array([[1, 2, 9], [4, 8, 0], [0, 6, 7], [3, 3, 1]], np.uint8)

    def equal(got: list[np.ndarray], *expected: list[list[int]], dtype: type = np.uint8) -> None:
        assert type(got) is list
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert type(a) is np.ndarray
            assert a.dtype == dtype
            assert a.tolist() == b, (a.tolist(), b)

    for order in "CF":
        a = np.asarray(img, order="C" if order == "C" else "F")
        equal(tb.downsample_with_averaging(a, (2, 2)), [[3, 4], [3, 4]])
        equal(tb.downsample_with_averaging(a, (2, 2), 1, True), [[3, 9], [4, 4]])
        equal(tb.downsample_with_averaging(a, [4.0, 3]), [[3]])
        equal(tb.downsample_segmentation(a, (2, 2)), [[8, 9], [3, 7]])
        equal(tb.downsample_segmentation(a, (2, 1)), [[1, 2, 9], [0, 6, 7]])
        equal(tb.downsample_segmentation(a, (2, 1), True), [[1, 2, 9], [3, 6, 7]])
        equal(tb.downsample_segmentation(a, (3, 3)), [[1], [3]])
        equal(tb.downsample_with_min_pooling(a, (2, 2), 2), [[1, 0], [0, 1]], [[0]])
        equal(tb.downsample_with_max_pooling(a, (2, 2), 2), [[8, 9], [6, 7]], [[9]])
        equal(tb.downsample_with_striding(a, (2, 2)), [[1, 9], [0, 7]])
        for dtype in (np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
            equal(tb.downsample_with_averaging(a.astype(dtype), (2, 2)), [[3, 4], [3, 4]], dtype=dtype)
        for dtype in (np.float16, np.float32, np.float64):
            mean = [[3.75, 4.5], [3.0, 4.0]]
            equal(tb.downsample_with_averaging(a.astype(dtype), (2, 2)), mean, dtype=dtype)
    cube = np.arange(1, 9, dtype=np.uint64).reshape(2, 2, 2)
    cube[1, 1] = 2
    equal(tb.downsample_segmentation(cube, (2, 2, 2)), [[[2]]], dtype=np.uint64)
    equal(tb.downsample_with_averaging(cube, (2, 2, 2)), [[[3]]], dtype=np.uint64)

    equal(fast.average_pooling_2x2(img), [[3, 4], [3, 4]])
    equal(fast.mode_pooling_2x2(img), [[8, 9], [3, 7]])
    equal(fast.average_pooling_2x2x2(cube.astype(np.uint8)), [[[3]]])
    equal(fast.mode_pooling_2x2x2(cube.astype(np.uint8)), [[[2]]])
    assert ds.countless2d(img[:, :2]).tolist() == [[8], [3]]
    assert ds.downsample_with_averaging_numpy(img, (2, 2)).tolist() == [[3, 4], [3, 4]]
    for error, args in (
        (ValueError, (img, (2, 2), 5)),
        (TypeError, (img, 2)),
        (MemoryError, (np.broadcast_to(np.uint8(1), (2**59,)), (2,))),
    ):
        for _ in range(20):  # an old numpy may lose count of its references, and crash only later
            try:
                tb.downsample_with_averaging(*args)
            except error:
                continue
            raise AssertionError(f"no {error.__name__}")
    print(tb.explain(img, (2, 2)))


def pip(python: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("age", ["oldest", "newest"])
def test_it_installs_and_computes(age: str, wheel: Path, tmp_path: Path) -> None:
    minor = sys.version_info.minor
    version = OLDEST_NUMPY.get(minor, "") if age == "oldest" else ""
    if age == "oldest" and not version:
        pytest.skip(f"the oldest numpy for Python 3.{minor} is not known here")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"

    numpy = f"numpy=={version}" if version else "numpy"
    fetched = pip(python, "download", "--only-binary=:all:", "--no-deps", "-d", str(tmp_path / "numpy"), numpy)
    if fetched.returncode:
        pytest.skip(f"pip cannot fetch {numpy}: {fetched.stderr.strip().splitlines()[-1:]}")
    done = pip(
        python,
        "install",
        "--only-binary=:all:",
        "--no-index",
        "--find-links",
        str(tmp_path / "numpy"),
        str(wheel),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out, err = isolated.run(smoke, version, python=str(python), flags=("-I", "-W", "error"))
    assert out.count("\n") == 1
    assert err == ""
