"""What `build` writes beside the voxels, judged by the models of the formats and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

ts = pytest.importorskip("tensorstore")
models = pytest.importorskip("ome_zarr_models")

import tinybrain
from pyramids import assert_same, in_memory, read_precomputed, tree
from tinybrain.volumes import build


@pytest.fixture
def image(tmp_path: Path, rng: np.random.Generator) -> Path:
    np.save(tmp_path / "in.npy", rng.integers(0, 255, (50, 40, 9), dtype=np.uint8))
    return tmp_path / "in.npy"


def attributes(path: Path) -> dict:
    if (path / "zarr.json").exists():
        return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    return json.loads((path / ".zattrs").read_text())


def places(path: Path) -> list[tuple[list[float], list[float]]]:
    """Scale and translation of every mip."""
    datasets = attributes(path)["multiscales"][0]["datasets"]
    steps = [dataset["coordinateTransformations"] for dataset in datasets]
    return [(scale["scale"], shift["translation"]) for scale, shift in steps]


@pytest.mark.parametrize("format", ["ome-zarr", "ome-zarr-0.4"])
@pytest.mark.parametrize("labels", [False, True])
def test_ome_zarr_passes_its_models(format: str, labels: bool, image: Path, tmp_path: Path) -> None:
    import zarr

    build(image, tmp_path / "out", num_mips=2, format=format, labels=labels, voxel_size=(4, 4, 40))
    version = "0.5" if format == "ome-zarr" else "0.4"
    group = zarr.open_group(tmp_path / "out", mode="r")
    if version == "0.5":
        from ome_zarr_models.v05 import Image, ImageLabel
    else:
        from ome_zarr_models.v04 import Image, ImageLabel
    model = (ImageLabel if labels else Image).from_zarr(group)
    assert len(model.datasets[0] if hasattr(model, "datasets") else model.ome_attributes.multiscales[0].datasets) == 3
    written = attributes(tmp_path / "out")
    assert ("image-label" in written) == labels
    multiscales = written["multiscales"][0]
    assert (written if version == "0.5" else multiscales)["version"] == version
    assert multiscales["axes"] == [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    assert multiscales["type"] == ("mode" if labels else "mean")
    note = multiscales["metadata"]
    assert note["method"] == f"tinybrain.downsample_{'segmentation' if labels else 'with_averaging'}"
    assert note["version"] == tinybrain.__version__
    assert note["kwargs"] == {"factor": [[2, 2, 1]] * 2, "num_mips": 2, "sparse": False, "exact": False}


def test_the_note_of_the_method_makes_the_mips(image: Path, tmp_path: Path) -> None:
    from pyramids import read_zarr

    build(image, tmp_path / "out", num_mips=2, factor=(3, 2, 1), sparse=True)
    note = attributes(tmp_path / "out")["multiscales"][0]["metadata"]
    kwargs = dict(note["kwargs"])
    (factor,) = {tuple(f) for f in kwargs.pop("factor")}
    function = getattr(tinybrain, note["method"].removeprefix("tinybrain."))
    volume = np.load(image)
    assert_same(read_zarr(tmp_path / "out", 3), [volume, *function(volume, factor, **kwargs)])


def test_pooling_moves_centres_by_half_a_cell_and_striding_does_not(image: Path, tmp_path: Path) -> None:
    options = {"factor": (2, 3, 1), "num_mips": 2, "voxel_size": (4, 5, 40)}
    build(image, tmp_path / "mean", **options)
    # The centre of a cell: of 2 voxels of 4, of 4 of them; of 3 voxels of 5, of 9 of them.
    assert places(tmp_path / "mean") == [
        ([40, 5, 4], [0, 0, 0]),
        ([40, 15, 8], [0, 5, 2]),
        ([40, 45, 16], [0, 20, 6]),
    ]
    for method in ("stride", "mode"):  # modes by 3 are strides
        build(image, tmp_path / method, method=method, **options)
        assert [shift for _, shift in places(tmp_path / method)] == [[0, 0, 0]] * 3
    build(image, tmp_path / "exact", method="mode", exact=True, **options)
    assert places(tmp_path / "exact") == places(tmp_path / "mean")


def test_channels_and_times_have_types_and_no_length(tmp_path: Path, rng: np.random.Generator) -> None:
    np.save(tmp_path / "in.npy", rng.integers(0, 255, (30, 20, 6, 2, 3), dtype=np.uint8))
    build(tmp_path / "in.npy", tmp_path / "out", num_mips=1, voxel_size=(0.5, 0.5, 2), unit="micrometer")
    multiscales = attributes(tmp_path / "out")["multiscales"][0]
    assert [(axis["name"], axis["type"], axis.get("unit")) for axis in multiscales["axes"]] == [
        ("t", "time", None),
        ("c", "channel", None),
        *((axis, "space", "micrometer") for axis in "zyx"),
    ]
    assert places(tmp_path / "out")[1] == ([1, 1, 2, 1, 1], [0, 0, 0, 0.25, 0.25])


def test_precomputed_info(image: Path, tmp_path: Path) -> None:
    build(image, tmp_path / "out", num_mips=2, format="precomputed", voxel_size=(0.004, 0.004, 0.04), unit="micrometer")
    info = json.loads((tmp_path / "out" / "info").read_text())
    assert info["type"] == "image"
    assert [scale["resolution"] for scale in info["scales"]] == [[4, 4, 40], [8, 8, 40], [16, 16, 40]]
    assert [scale["size"] for scale in info["scales"]] == [[50, 40, 9], [25, 20, 9], [13, 10, 9]]
    assert info["tinybrain"]["method"] == "tinybrain.downsample_with_averaging"
    build(image, tmp_path / "labels", num_mips=1, format="precomputed", labels=True)
    assert json.loads((tmp_path / "labels" / "info").read_text())["type"] == "segmentation"


def test_labels_of_32_and_64_bits_are_packed_in_precomputed(tmp_path: Path, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 5, (50, 40, 9)).astype(np.uint64) << np.uint64(60)
    np.save(tmp_path / "in.npy", labels)
    build(tmp_path / "in.npy", tmp_path / "out", num_mips=2, format="precomputed", labels=True)
    info = json.loads((tmp_path / "out" / "info").read_text())
    assert {scale["encoding"] for scale in info["scales"]} == {"compressed_segmentation"}
    assert_same(read_precomputed(tmp_path / "out", 3), in_memory(labels, "mode", [(2, 2, 1)] * 2))


def test_mips_are_added_to_a_precomputed_volume(image: Path, tmp_path: Path) -> None:
    volume = np.load(image)
    build(image, tmp_path / "vol", num_mips=0, format="precomputed", voxel_size=(4, 4, 40), chunk=(16, 16, 8))
    before = tree(tmp_path / "vol")
    report = build(tmp_path / "vol", tmp_path / "vol", num_mips=3, add=True, stage_depth=2, block=(16, 16, 8))
    assert report.stages == 2
    assert_same(read_precomputed(tmp_path / "vol", 4), in_memory(volume, "average", [(2, 2, 1)] * 3))
    after = tree(tmp_path / "vol")
    assert {name: after[name] for name in before if name != "info"} == {k: v for k, v in before.items() if k != "info"}
    with pytest.raises(FileExistsError, match="8_8_40"):
        build(tmp_path / "vol", tmp_path / "vol", num_mips=3, add=True)
    assert tree(tmp_path / "vol") == after


def test_offsets_of_precomputed_mips_are_rounded_down(image: Path, tmp_path: Path) -> None:
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": (tmp_path / "vol").as_uri() + "/",
        "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
        "scale_metadata": {
            "size": [50, 40, 9],
            "resolution": [4, 4, 40],
            "voxel_offset": [13, 8, 5],
            "encoding": "raw",
        },
    }
    ts.open(spec, create=True).result()[..., 0].write(np.load(image)).result()
    build(tmp_path / "vol", tmp_path / "vol", num_mips=2, add=True)
    info = json.loads((tmp_path / "vol" / "info").read_text())
    assert [scale["voxel_offset"] for scale in info["scales"]] == [[13, 8, 5], [6, 4, 5], [3, 2, 5]]
    assert_same(read_precomputed(tmp_path / "vol", 3), in_memory(np.load(image), "average", [(2, 2, 1)] * 2))
