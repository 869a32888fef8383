"""The commands of the README, run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinybrain.volumes

pytest.importorskip("ome_zarr_models")
pytest.importorskip("click")
README = Path(__file__).parents[1] / "README.md"


def test_the_walk_from_a_generated_volume_to_its_picture(tmp_path):
    section = README.read_text().split("## Volumes larger than memory")[1].split("\n## ")[0]
    lines = re.search(r"```sh\n(.*?)```", section, re.S).group(1).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["tinybrain", word] for word in ("build", "info", "preview", "view")
    ]
    for line in lines[:-1]:  # the viewer has tests of its own
        line = re.sub(r"^tinybrain", "python -m tinybrain", line).replace("python", sys.executable, 1)
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "em.png").read_bytes()[:4] == b"\x89PNG"
    volume = np.load(tmp_path / "em.npy")
    pyramid = tinybrain.volumes.open_pyramid(tmp_path / "em.ome.zarr")
    mips = tinybrain.downsample_with_averaging(volume, (2, 2, 1), num_mips=4)
    for mip, right in zip(pyramid.mips, [volume, *mips], strict=True):
        np.testing.assert_array_equal(mip.store.read().result().T, right)
