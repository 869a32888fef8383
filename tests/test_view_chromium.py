"""``tinybrain view`` in a real Chromium: the page draws the volume, and its console has no errors.

The pictures are kept in ``.venv/screenshots``, to be looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import browser
import volumes_on_disk as on_disk
from tinybrain.volumes.colours import label_colours
from tinybrain.volumes.view import view

#: Where pictures of the browser are kept; ignored by git.
PICTURES = Path(__file__).resolve().parents[1] / ".venv" / "screenshots"


def close_to(picture: Any, colour: Any, room: int = 8) -> int:
    """Return how many pixels have a colour, up to rounding on the graphics card."""
    return int((np.abs(picture.astype(int) - np.asarray(colour, int)).max(axis=2) <= room).sum())


def keep(picture: Any, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(PICTURES / f"{name}.png")


def expected_errors(said: list[str], version: str | None) -> list[str]:
    """Return what a console says beyond the files that Neuroglancer itself looks for in vain."""
    probes = {"0.4": ("/.zarray",), "n5": ("/volume/attributes.json", "/attributes.json")}.get(version or "", ())
    sought = [text for text in said if text.startswith("answer: 404") and text.endswith(probes)] if probes else []
    echoes = [text for text in said if "Failed to load resource" in text and "404" in text][: len(sought)]
    rest = list(said)
    for text in sought + echoes:
        rest.remove(text)
    return rest


@pytest.mark.parametrize("version", ["0.4", "0.5", "sharded", "precomputed", "packed", "n5"])
def test_an_image_in_chromium(tmp_path: Path, version: str) -> None:
    mips = on_disk.mips_of(np.where(on_disk.image() > 128, 250, 100).astype("u1"))
    transposed = [np.asfortranarray(m.T) for m in mips]
    if version in ("precomputed", "packed"):
        path = on_disk.precomputed(tmp_path / "a b", transposed)
        if version == "packed":
            for directory in path.glob("*_*"):
                on_disk.pack(directory)
    elif version == "n5":
        path = on_disk.n5(tmp_path / "a b", transposed)
    else:
        shard = (32, 64, 64) if version == "sharded" else None
        path = on_disk.ome_zarr(tmp_path / "a b", mips, version="0.4" if version == "0.4" else "0.5", shard=shard)
    with view(path, browser=False) as viewing:
        with viewing.viewer.txn() as change:  # grey instead of black around the disc
            change.layers[0].shader_controls = {"normalized": {"range": [50, 250]}}
        with browser.tab(viewing.url) as tab:
            picture = tab.until(lambda p: close_to(p, (255,) * 3) > 50_000 and close_to(p, (64,) * 3) > 50_000)
            keep(picture, f"image-{version}")
            assert close_to(picture, (255,) * 3) > 50_000, "the disc is not drawn"
            assert close_to(picture, (64,) * 3) > 50_000, "the ground is not drawn"
            assert expected_errors(tab.said, version) == []


@pytest.mark.parametrize("sharded", [False, True])
def test_labels_in_chromium(tmp_path: Path, sharded: bool) -> None:
    voxels = on_disk.labels()
    mips = on_disk.mips_of(voxels, mode=True)
    if sharded:
        transposed = [np.asfortranarray(m.T) for m in mips]
        path = on_disk.precomputed(tmp_path / "a", transposed, kind="segmentation", sharded=True, offset=(16, 8, 4))
    else:
        path = on_disk.ome_zarr(tmp_path / "a", mips, is_labels=True, method="mode")
    # Of the slice in the middle that the first panel shows.
    colours = np.unique(label_colours(np.unique(voxels[20])[1:]), axis=0)
    with view(path, browser=False) as viewing, browser.tab(viewing.url) as tab:
        picture = tab.until(lambda p: all(close_to(p, colour) > 1000 for colour in colours))
        keep(picture, f"labels-{'precomputed' if sharded else 'ome-zarr'}")
        assert len(colours) > 20
        assert [colour for colour in colours if close_to(picture, colour) <= 1000] == []
        assert tab.said == []


def test_channels_in_chromium(tmp_path: Path) -> None:
    disc = on_disk.image() > 128
    voxels = np.stack([disc * 1000 + 1, (~disc) * 3000 + 1]).astype("u2")  # chunks of zeros are not stored
    path = on_disk.ome_zarr(
        tmp_path / "a",
        on_disk.mips_of(voxels[None], (1, 1, 1, 2, 2)),
        axes="tczyx",
        factor=(1, 1, 1, 2, 2),
        scale=(1, 1, 40, 8, 8),
        chunk=(1, 1, 16, 32, 32),
        channels=[{"color": "FF00FF"}, {"color": "00FF00"}],
    )
    with view(path, browser=False) as viewing, browser.tab(viewing.url) as tab:
        picture = tab.until(lambda p: close_to(p, (255, 0, 255)) > 50_000 and close_to(p, (0, 255, 0)) > 50_000)
        keep(picture, "channels")
        assert close_to(picture, (255, 0, 255)) > 50_000
        assert close_to(picture, (0, 255, 0)) > 50_000
        assert tab.said == []


def test_a_picture_of_nothing_does_not_pass(tmp_path: Path) -> None:
    """The conditions above, on a volume of other voxels: they can fail."""
    path = on_disk.ome_zarr(tmp_path / "a", [np.zeros((4, 60, 60), "u1")])
    with view(path, browser=False) as viewing, browser.tab(viewing.url) as tab:
        tab.page.wait_for_timeout(3000)
        picture = tab.picture()
        assert close_to(picture, (255,) * 3) < 50_000
        assert close_to(picture, (64,) * 3) < 50_000
        (path / "zarr.json").unlink()
        tab.page.reload()
        tab.page.wait_for_timeout(3000)
        assert any("404" in text for text in tab.said)
