"""``tinybrain preview``: the right voxels in the right colours, and no more chunks read than are drawn."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import volumes_on_disk as on_disk
from tinybrain.volumes import look, sheet
from tinybrain.volumes.colours import Channel, blended, channel_colours, contrast, label_colours
from tinybrain.volumes.preview import Panel, preview
from tinybrain.volumes.preview import chosen_plane as plane_of
from tinybrain.volumes.pyramid import open_pyramid

Array = np.ndarray[Any, Any]


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Panel]:
    """Panels of the sheets that a test draws, as they are handed to the drawing."""
    caught: list[Panel] = []
    draw = sheet.draw

    def caught_draw(target: Path, panels: list[Panel], **options: Any) -> None:
        caught[:] = panels
        draw(target, panels, **options)

    monkeypatch.setattr(sheet, "draw", caught_draw)
    return caught


# --- Colours --------------------------------------------------------------------------------------


def test_labels_have_neuroglancers_colours() -> None:
    segment_colors = pytest.importorskip("neuroglancer.segment_colors")
    labels = np.array([1, 2, 3, 255, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63, 2**64 - 1], np.uint64)
    labels = np.concatenate([labels, np.random.default_rng(0).integers(1, 2**64, 500, np.uint64)])
    expected = [bytes.fromhex(segment_colors.hex_string_from_segment_id(0, int(k))[1:]) for k in labels]
    found = label_colours(labels)
    # Neuroglancer rounds on the graphics card: the last bit is free.
    assert np.abs(found.astype(int) - np.array([list(e) for e in expected])).max() <= 1


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_a_label_has_one_colour_whatever_its_type_and_place(dtype: str) -> None:
    labels = np.array([[0, 1, 1], [1, 0, 0]], dtype)
    colours = label_colours(labels)
    assert colours.shape == (2, 3, 3)
    assert np.array_equal(colours[labels == 0], np.zeros((3, 3)))
    one = label_colours(np.array([1], np.uint64))[0]
    assert one.max() == 255
    assert np.array_equal(colours[labels == 1], [one] * 3)


def test_contrast() -> None:
    values = np.concatenate([np.linspace(100, 200, 10_000), [1e9], [np.nan], [np.inf]]).astype(np.float32)
    low, high = contrast(values)
    assert 100 <= low < 101
    assert 199 < high < 200.1
    assert contrast(np.zeros((4, 4))) == (0, 1)
    assert contrast(np.full(9, np.nan)) == (0, 1)
    sparse = np.zeros(100_000, np.uint16)
    sparse[3] = 700
    assert contrast(sparse) == (0, 700)


def test_channels_add_up() -> None:
    planes = [np.array([[0, 100, 50, np.nan]]), np.array([[0, 0, 4, 4]])]
    channels = [Channel(0, (255, 0, 0), 0, 100), Channel(1, (255, 255, 0), 0, 4)]
    assert blended(planes, channels).tolist() == [[[0, 0, 0], [255, 0, 0], [255, 255, 0], [255, 255, 0]]]


def test_colours_of_channels() -> None:
    assert [c.colour for c in channel_colours(3, (), "uint8")] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    metadata = [{"color": "00FFFF", "label": "DNA"}, {"active": False}, {"color": "bad"}]
    found = channel_colours(4, metadata, "uint16")
    assert [(c.index, c.name) for c in found] == [(0, "DNA"), (2, ""), (3, "")]
    assert found[0].colour == (0, 255, 255)
    assert len(channel_colours(50, (), "uint16")) == 6
    assert len(channel_colours(2, [{"active": False}] * 2, "uint16")) == 1


# --- What is drawn --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_panels_hold_the_slices(tmp_path: Path, panels: list[Panel], version: str) -> None:
    mips = on_disk.mips_of(on_disk.labels(), mode=True)
    path = on_disk.ome_zarr(tmp_path / "a", mips, is_labels=True, version=version)
    out = preview(path, tmp_path / "a.png", slice=21)
    assert out == tmp_path / "a.png"
    assert len(panels) == 4
    for panel, voxels in zip(panels, mips, strict=True):
        assert np.array_equal(panel.pixels, label_colours(voxels[21]))
        assert panel.crop is None
    assert panels[1].caption == ("mip 1", "75 x 65 x 40", "16 x 16 x 40 nm")


@pytest.mark.parametrize(
    ("axis", "rows", "columns", "aspect"), [("z", "y", "x", 1), ("y", "z", "x", 5), ("x", "y", "z", 0.2)]
)
def test_axes_of_slices(tmp_path: Path, panels: list[Panel], axis: str, rows: str, columns: str, aspect: float) -> None:
    voxels = on_disk.labels((12, 26, 30))
    path = on_disk.ome_zarr(tmp_path / "a", [voxels], is_labels=True)
    other = on_disk.precomputed(tmp_path / "b", [np.asfortranarray(voxels.T)], kind="segmentation", offset=(5, 6, 7))
    expected = np.moveaxis(voxels, "zyx".index(axis), 0)[7]
    if "zyx".index(rows) > "zyx".index(columns):
        expected = expected.T
    for volume in (path, other):
        preview(volume, tmp_path / "a.png", axis=axis, slice=7)
        assert np.array_equal(panels[0].pixels, label_colours(expected))
        assert panels[0].aspect == aspect


def test_all_mips_show_the_same_position(tmp_path: Path, panels: list[Panel]) -> None:
    # Voxels of mip k hold the index along z of their first voxel in mip 0.
    mips = [
        np.broadcast_to(np.arange(0, 64, 2**k, dtype="u1")[:, None, None], (64 >> k, 64 >> k, 64 >> k))
        for k in range(4)
    ]
    path = on_disk.ome_zarr(tmp_path / "a", mips, factor=(2, 2, 2), scale=(8, 8, 8), is_labels=True)
    for index in (0, 1, 31, 32, 62, 63):
        preview(path, tmp_path / "a.png", slice=index)
        for k, panel in enumerate(panels):
            assert np.array_equal(panel.pixels[0, 0], label_colours(np.array(index >> k << k))), (index, k)


def test_large_slices_are_windows_around_one_place(tmp_path: Path, panels: list[Panel]) -> None:
    voxels = on_disk.labels((2, 1000, 1400), "uint32")
    mips = on_disk.mips_of(voxels, num_mips=4, mode=True)
    path = on_disk.ome_zarr(tmp_path / "a", mips, is_labels=True, chunk=(2, 128, 128))
    preview(path, tmp_path / "a.png", size=128)
    assert [panel.pixels.shape[:2] for panel in panels] == [(128, 128), (128, 128), (128, 128), (125, 175), (63, 88)]
    for k, (panel, mip) in enumerate(zip(panels, mips, strict=True)):
        if k > 2:
            assert panel.crop is None
            assert np.array_equal(panel.pixels, label_colours(mip[1]))
            continue
        assert panel.crop is not None
        left, top, right, bottom = panel.crop
        rows = slice(round(top * mip.shape[1]), round(bottom * mip.shape[1]))
        columns = slice(round(left * mip.shape[2]), round(right * mip.shape[2]))
        assert np.array_equal(panel.pixels, label_colours(mip[1, rows, columns]))
        assert panel.caption[-1] == (
            f"window: x {columns.start:,} - {columns.stop - 1:,}, y {rows.start:,} - {rows.stop - 1:,}"
        )
        # The middle of the window is the middle of the slice, to a voxel of this mip.
        assert abs((left + right) / 2 - 0.5) <= 1 / mip.shape[2]
        assert abs((top + bottom) / 2 - 0.5) <= 1 / mip.shape[1]


def test_only_chunks_that_are_drawn_are_read(tmp_path: Path) -> None:
    """Chunks that the sheet does not need are replaced by rubbish."""
    voxels = on_disk.image((32, 1024, 1024))
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(voxels, num_mips=2), chunk=(16, 64, 64))
    before = preview(path, tmp_path / "a.png", size=64).read_bytes()
    kept = 0
    for k, side in enumerate((1024, 512, 256)):
        for z, y, x in itertools.product(range(2), range(side // 64), range(side // 64)):
            low, high = (side - 64) // 2 // 64, ((side + 64) // 2 - 1) // 64
            if z == 1 and low <= x <= high and low <= y <= high:  # slice 16 of 32
                kept += 1
            else:
                (path / f"{k}" / "c" / f"{z}" / f"{y}" / f"{x}").write_bytes(b"rubbish")
    assert kept == 12
    assert preview(path, tmp_path / "b.png", size=64).read_bytes() == before


def test_a_petabyte_is_drawn_from_a_few_windows(tmp_path: Path, panels: list[Panel]) -> None:
    path = on_disk.petabyte(tmp_path / "a")
    preview(path, tmp_path / "a.png")
    assert len(panels) == 12
    assert {panel.pixels.shape for panel in panels[:8]} == {(320, 320, 3)}
    assert panels[11].crop is None


def test_huge_chunks_make_smaller_windows(tmp_path: Path, panels: list[Panel]) -> None:
    voxels = np.lib.stride_tricks.as_strided(np.zeros(1, "u8"), (4096, 4096, 4096), (0, 0, 0))
    path = on_disk.ome_zarr(tmp_path / "a", [voxels], chunk=(512, 512, 128), is_labels=True, scale=(8,) * 3, empty=True)
    preview(path, tmp_path / "a.png", size=512)
    assert panels[0].pixels.shape[:2] == (64, 64)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int32", "int64", "uint64", "float16", "float32", "float64"]
)
def test_images_of_any_type(tmp_path: Path, panels: list[Panel], dtype: str) -> None:
    voxels = on_disk.image((4, 60, 60)) > 128 if dtype == "bool" else on_disk.image((4, 60, 60)) // 3
    path = on_disk.ome_zarr(tmp_path / "a", [voxels.astype(dtype)], chunk=(4, 32, 32))
    preview(path, tmp_path / "a.png")
    pixels = panels[0].pixels
    assert pixels[0, 30].max() < 60
    assert pixels[30, 20].min() > 190
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_channels_in_their_colours(tmp_path: Path, panels: list[Panel]) -> None:
    disc = on_disk.image((4, 60, 60)) > 128
    voxels = np.stack([disc, ~disc, np.zeros_like(disc)]).astype("u2") * 900
    channels = [{"color": "FF0000", "label": "one"}, {"color": "0000FF"}, {"active": False}]
    path = on_disk.ome_zarr(
        tmp_path / "a",
        [voxels[None]],
        axes="tczyx",
        factor=(1,) * 5,
        scale=(1,) * 5,
        chunk=(1, 1, 4, 32, 32),
        channels=channels,
    )
    preview(path, tmp_path / "a.png")
    assert panels[0].pixels[30, 30].tolist() == [255, 0, 0]
    assert panels[0].pixels[0, 0].tolist() == [0, 0, 255]
    preview(path, tmp_path / "a.png", channel=1)
    assert panels[0].pixels[0, 0].tolist() == [255, 255, 255]


def test_flat_volumes(tmp_path: Path, panels: list[Panel]) -> None:
    voxels = on_disk.labels((1, 50, 70))[0]
    path = on_disk.ome_zarr(
        tmp_path / "a",
        [voxels],
        axes="yx",
        factor=(1, 1),
        scale=(1, 1),
        chunk=(32, 32),
        unit="micrometer",
        is_labels=True,
    )
    preview(path, tmp_path / "a.png")
    assert np.array_equal(panels[0].pixels, label_colours(voxels))
    with pytest.raises(ValueError, match="is flat"):
        preview(path, tmp_path / "a.png", slice=0)


# --- The picture ----------------------------------------------------------------------------------


def picture(path: Path) -> Array:
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_picture_holds_the_panels(tmp_path: Path) -> None:
    voxels = on_disk.labels((4, 80, 80))
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(voxels, num_mips=1, mode=True), is_labels=True)
    drawn = picture(preview(path, tmp_path / "a.png", size=160))
    # A panel of 160 pixels for 80 voxels: each is a square of two.
    expected = label_colours(voxels[2]).repeat(2, 0).repeat(2, 1)
    found = [
        (y, x)
        for y in range(drawn.shape[0] - 160)
        for x in (28,)
        if np.array_equal(drawn[y + 5 : y + 120, x + 5 : x + 150], expected[5:120, 5:150])
    ]
    assert len(found) == 1


def test_a_label_has_the_same_colour_in_all_mips_and_runs(tmp_path: Path) -> None:
    voxels = np.full((4, 64, 64), 12345, np.uint64)
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(voxels, mode=True), is_labels=True)
    one, two = preview(path, tmp_path / "a.png"), preview(path, tmp_path / "b.png")
    assert one.read_bytes() == two.read_bytes()
    colour = label_colours(np.array(12345))
    assert (picture(one) == colour).all(axis=2).sum() > 0.8 * 4 * 320 * 320


@pytest.mark.parametrize("count", range(1, 10))
def test_any_number_of_mips(tmp_path: Path, count: int) -> None:
    mips = [np.zeros((1, max(1, 200 >> k), max(1, 100 >> k)), "u1") for k in range(count)]
    path = on_disk.ome_zarr(tmp_path / "a", mips)
    drawn = picture(preview(path, tmp_path / "a.png", size=64))
    assert drawn.shape[1] == 640
    assert drawn.shape[0] <= 640


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3000), (3000, 1, 1), (1, 3000, 1)])
def test_shapes_out_of_the_ordinary(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", [np.ones(shape, "u1")], chunk=(64, 64, 64))
    for axis in "xyz":
        assert picture(preview(path, tmp_path / "a.png", axis=axis)).size


def test_voxels_out_of_proportion(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()), scale=(1e6, 1e-6, 3.0))
    for axis in "xyz":
        assert picture(preview(path, tmp_path / "a.png", axis=axis)).size


def test_names_that_the_font_does_not_have(tmp_path: Path) -> None:
    for name in ("ünïcode-文-" + "x" * 180, "line\nbreak\t\x1b[31m"):
        path = on_disk.ome_zarr(tmp_path / name, [on_disk.image((2, 9, 9))], channels=[{"label": name}])
        assert picture(preview(path, tmp_path / "a.png")).size


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis": "w"}, "axis: got 'w'; accepted are x, y, z"),
        ({"slice": 40}, "slice: got 40; accepted are 0 to 39 along z"),
        ({"slice": -1}, "slice: got -1"),
        ({"axis": "x", "slice": 150}, "accepted are 0 to 149 along x"),
        ({"channel": 1}, "channel: got 1; accepted are 0 to 0"),
        ({"size": 63}, "size: got 63"),
        ({"kind": "labels"}, "kind: labels of dtype float32"),
    ],
)
def test_wrong_arguments(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image().astype("f4")))
    with pytest.raises(ValueError, match=message):
        preview(path, tmp_path / "a.png", **options)
    assert not (tmp_path / "a.png").exists()


def test_wrong_targets(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", [on_disk.image((2, 9, 9))])
    (tmp_path / "dir.png").mkdir()
    for name, message in [
        ("a.xyz", "does not end in .png"),
        ("a", "is a directory"),
        ("dir.png", "is a directory"),
        ("no/a.png", "there is no directory"),
        ("x" * 300 + ".png", "cannot be written"),
    ]:
        with pytest.raises(ValueError, match=message):
            preview(path, tmp_path / name)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "dir.png"]


def test_corrupt_chunks_are_named_and_the_picture_before_stays(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image((4, 64, 64))))
    out = preview(path, tmp_path / "a.png")
    before = out.read_bytes()
    for chunk in (path / "2" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="mip 2 cannot be read"):
        preview(path, out)
    assert out.read_bytes() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "a.png"]


def test_volumes_without_voxels(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", [np.zeros((4, 0, 4), "u1")], empty=True)
    with pytest.raises(ValueError, match="has no voxels"):
        preview(path, tmp_path / "a.png")


def test_time_out_of_range(tmp_path: Path) -> None:
    voxels = np.zeros((2, 1, 4, 9, 9), "u1")
    path = on_disk.ome_zarr(
        tmp_path / "a", [voxels], axes="tczyx", factor=(1,) * 5, scale=(1,) * 5, chunk=(1, 1, 4, 9, 9)
    )
    pyramid = open_pyramid(path)
    assert plane_of(pyramid, None, None, 1).others == {0: 1}
    with pytest.raises(ValueError, match="time: got 2; accepted are 0 to 1 along t"):
        plane_of(pyramid, None, None, 2)


def test_command(tmp_path: Path) -> None:
    path = on_disk.ome_zarr(tmp_path / "a", on_disk.mips_of(on_disk.image()))
    out = tmp_path / "a.png"
    arguments = [str(path), "-o", str(out), "--axis", "x", "--slice", "75", "--kind", "labels", "--size", "100"]
    result = CliRunner().invoke(look.preview, arguments)
    assert (result.exit_code, result.output) == (0, f"{out}\n")
    other = preview(path, tmp_path / "b.png", axis="x", slice=75, kind="labels", size=100)
    assert out.read_bytes() == other.read_bytes()
    result = CliRunner().invoke(look.preview, [str(path), "-o", str(tmp_path / "a.xyz")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    result = CliRunner().invoke(look.preview, [str(path), "--kind", "meshes"])
    assert result.exit_code == 2
