"""``tinybrain info``: the table for people, the JSON for programs, one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import volumes_on_disk as on_disk
from tinybrain.volumes import look
from tinybrain.volumes.info import human, info

TIMES = "\N{MULTIPLICATION SIGN}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(look.info, list(arguments))


def test_json_says_what_the_function_says(tmp_path: Path) -> None:
    mips = on_disk.mips_of(on_disk.image(dtype="uint16"))
    path = str(on_disk.ome_zarr(tmp_path / "a", mips, shard=(32, 64, 64), method="sparse mean"))
    result = run("--json", path)
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert found == info(path)
    assert (found["format"], found["kind"], found["method"]) == ("OME-Zarr 0.5", "image", "sparse mean")
    assert found["complete"] is True
    assert found["nbytes"] == sum(m.nbytes for m in mips)
    assert [axis["name"] for axis in found["axes"]] == ["z", "y", "x"]
    second = found["mips"][1]
    files = [f for f in (Path(path) / "1").rglob("*") if f.is_file()]
    assert second == {
        "mip": 1,
        "path": "1",
        "shape": [40, 65, 75],
        "dtype": "uint16",
        "scale": [40, 16, 16],
        "translation": [0, 4, 4],
        "chunk": [16, 32, 32],
        "shard": [32, 64, 64],
        "codecs": ["zstd"],
        "nbytes": 2 * 40 * 65 * 75,
        "bytes_on_disk": sum(f.stat().st_size for f in files),
        "files": len(files),
        "counted": True,
    }


def test_table(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()), shard=(32, 64, 64))
    result = run(str(path))
    assert result.exit_code == 0
    for text in (
        "OME-Zarr 0.5",
        "image of uint8",
        "mean",
        "zstd",
        "shape (z, y, x)",
        "40 x 65 x 75",
        "40 x 16 x 16 nm",
    ):
        assert text in result.output.replace(TIMES, "x")
    rows = [line.split()[0] for line in result.output.splitlines() if line.strip() and line.split()[0].isdigit()]
    assert rows == ["0", "1", "2", "3"]


def test_table_of_labels_with_an_offset(tmp_path: Path) -> None:
    mips = [np.asfortranarray(m.T) for m in on_disk.mips_of(on_disk.labels(), mode=True)]
    path = on_disk.precomputed(tmp_path / "a", mips, kind="segmentation", sharded=True, offset=(16, 8, 4))
    output = run(str(path)).output
    for text in (
        "labels of uint64",
        "not noted",
        "compressed_segmentation + gzip",
        "128, 64, 160 nm",
        "150 x 130 x 40 x 1",
    ):
        assert text in output.replace(TIMES, "x")


def test_a_volume_that_is_not_finished_says_so(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()), incomplete=True)
    assert "INCOMPLETE" in run(str(path)).output
    assert json.loads(run("--json", str(path)).output)["complete"] is False


def test_counting_that_was_stopped_is_a_lower_bound(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()), chunk=(4, 16, 16))
    found = info(path, seconds=0)
    assert found["mips"][0]["counted"] is False
    assert "≥ " in run("--seconds", "0", str(path)).output
    assert "≥ " not in run(str(path)).output


def test_a_petabyte_is_described_at_once(tmp_path: Path) -> None:
    path = on_disk.petabyte(tmp_path / "a")
    found = info(path)
    assert found["nbytes"] > 1e15
    assert "1.02 PiB" in run(str(path)).output


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "0.977 KiB"), (1 << 20, "1 MiB"), (3 << 49, "1.5 PiB"), (1 << 61, "2 EiB")],
)
def test_numbers_of_bytes(nbytes: int, text: str) -> None:
    assert human(nbytes) == text


def test_help_has_examples() -> None:
    for command in (look.info, look.preview, look.view):
        output = CliRunner().invoke(command, ["--help"]).output
        assert "Examples:" in output
        assert f"tinybrain {command.name} " in output


@pytest.mark.parametrize("command", [look.info, look.preview, look.view])
def test_wrong_paths_and_options_are_answered_in_one_line(tmp_path: Path, command: object) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ([str(tmp_path / "nowhere")], "there is nothing at"),
        ([str(tmp_path / "empty")], "is no multiscale volume"),
        ([""], "empty string"),
    ]:
        result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        assert message in result.stderr
        assert result.stderr.startswith("tinybrain: ")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
    for arguments in ([], ["--no-such-option", "a"], ["a", "b"]):
        result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
        assert result.exit_code == 2
        assert "Traceback" not in result.output
