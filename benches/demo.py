"""The demo: a pyramid of an image and its labels, a table of times and a picture; and a pyramid on disk.

``make demo`` runs it on a generated piece of tissue (`tissue`); ``make demo VOLUME=file.npz`` on
your own.  An .npz may hold an image, labels, or both of one shape; the two are told apart by
`kind_of`, and ``METHOD=average`` or ``METHOD=mode`` overrules it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products below are small: threads would cost more

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Factor = tuple[int, ...]


class Layer(NamedTuple):
    """A volume and the way it is downsampled."""

    name: str
    voxels: Array
    method: str  # "average" or "mode"
    reason: str  # why this method


# --- The generated volume -----------------------------------------------------------------------
# Slices are four times as far apart as pixels, as in a serial-section volume, so the 64 slices
# span 256 units.  Everything is computed in C order with x last and handed out transposed: the
# Fortran order that volume stores use.

SLICE_DISTANCE = 4
BLOCK = (8, 32, 32)  # voxels whose distances are computed at once; they fit the cache


def smooth_noise(shape: tuple[int, int, int], period: float, rng: np.random.Generator) -> Array:
    """Smooth random field (z, y, x) with standard deviation near 1: cubic splines over random knots."""
    splines = []
    for n, step in zip(shape, (SLICE_DISTANCE, 1, 1), strict=True):
        knots = np.arange(int(n * step / period) + 4)
        away = np.abs(np.arange(n)[:, None] * step / period + 1 - knots)
        spline = np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, (2 - away.clip(1, 2)) ** 3 / 6)
        # Unit variance: the knots are independent, so the squares of their weights add up.
        splines.append((spline / np.sqrt((spline**2).sum(axis=1).mean())).astype(np.float32))
    field = rng.standard_normal([s.shape[1] for s in splines], np.float32)
    field = np.tensordot(splines[0], field, 1)
    made: Array = np.matmul(np.matmul(splines[1], field), splines[2].T)
    return made


def nearest_two(points: Array, seeds: Array) -> tuple[Array, Array]:
    """Index of the seed next to each point, and how much farther the second next one is.

    `points` is (3, number of points).  Only seeds that can be first or second anywhere within the
    points' bounding sphere are looked at, which makes the search exact and short.
    """
    centre = (points.min(axis=1) + points.max(axis=1)) / 2
    local = points - centre[:, None]
    square = np.einsum("ij,ij->j", local, local)
    away = np.sqrt(((seeds - centre) ** 2).sum(axis=1))
    near = np.flatnonzero(away <= np.partition(away, 1)[1] + 2 * np.sqrt(square.max()))
    # |p - s|^2 without |p|^2, which is the same for all seeds: one matrix product for all pairs.
    rows = (-2 * (seeds[near] - centre)) @ local + (away[near] ** 2)[:, None]
    index = np.full(square.shape, near[0], np.int32)
    first, second = rows[0], np.full_like(square, np.inf)
    for seed, row in zip(near[1:], rows[1:], strict=True):
        np.copyto(index, seed, where=row < first)
        np.minimum(second, np.maximum(first, row), out=second)
        np.minimum(first, row, out=first)
    return index, np.sqrt((second + square).clip(0)) - np.sqrt((first + square).clip(0))


def tissue(shape: tuple[int, int, int] = (512, 512, 64), *, cells: int = 420, seed: int = 7) -> tuple[Array, Array]:
    """Make an electron-microscopy-like uint8 image and the uint64 labels of its cells.

    Both are (x, y, z) in Fortran order.  The cells are Voronoi cells of a space bent by smooth
    noise; the cleft between two cells is background (label 0) and dark in the image.
    """
    rng = np.random.default_rng(seed)
    nz, ny, nx = grid = shape[::-1]
    extent = np.array([nz * SLICE_DISTANCE, ny, nx], np.float32)
    margin = 40  # seeds beyond the border, so that border cells look like the others
    volume = float(np.prod(extent))
    count = int(cells * np.prod(extent + 2 * margin) / volume)
    seeds = (rng.random((count, 3)) * (extent + 2 * margin) - margin).astype(np.float32)
    size = (volume / cells) ** (1 / 3)
    axes = np.meshgrid(np.arange(nz) * SLICE_DISTANCE, np.arange(ny), np.arange(nx), indexing="ij", sparse=True)
    bent = [smooth_noise(grid, size * 0.8, rng) for _ in range(3)]
    for field, axis in zip(bent, axes, strict=True):
        field *= size * 0.16
        field += axis

    cell = np.empty(grid, np.int32)
    gap = np.empty(grid, np.float32)
    for z in range(0, nz, BLOCK[0]):
        for y in range(0, ny, BLOCK[1]):
            for x in range(0, nx, BLOCK[2]):
                box = (slice(z, z + BLOCK[0]), slice(y, y + BLOCK[1]), slice(x, x + BLOCK[2]))
                index, difference = nearest_two(np.stack([field[box].ravel() for field in bent]), seeds)
                cell[box] = index.reshape(cell[box].shape)
                gap[box] = difference.reshape(gap[box].shape)

    ids = rng.integers(1, 2**64, size=count, dtype=np.uint64)
    shade = rng.normal(168, 7, size=count).astype(np.float32)
    labels = np.empty(grid, np.uint64)
    image = smooth_noise(grid, 11, rng)
    image *= 9
    for z in range(nz):  # slice by slice, which stays in the cache
        np.multiply(ids[cell[z]], gap[z] >= 2.2, out=labels[z])
        image[z] += shade[cell[z]]
        # A membrane is darkest next to the cleft, and fades within some nine pixels.
        image[z] -= 105 * np.clip(1.35 - gap[z] / 7, 0, 1)
        image[z] += 9 * rng.standard_normal((ny, nx), np.float32)
    draw_vesicles(image, cell, gap, rng, number=int(volume / 30000))
    return np.clip(image, 0, 255, out=image).astype(np.uint8).T, labels.T


def draw_vesicles(image: Array, cell: Array, gap: Array, rng: np.random.Generator, number: int) -> None:
    """Draw small dark rings in clusters near membranes, each vesicle inside one cell."""
    nz, ny, nx = image.shape
    reach = 6
    dz, dy, dx = np.mgrid[-1:2, -reach : reach + 1, -reach : reach + 1].astype(np.float32)
    distance = np.sqrt((dz * SLICE_DISTANCE) ** 2 + dy**2 + dx**2)
    z = y = x = 0
    for k in range(number):
        if k % 60 == 0:  # the next cluster: of a few points, the one that sits best beside a membrane
            tries = [rng.integers(0, (nz, ny, nx)) for _ in range(12)]
            z, y, x = min(tries, key=lambda t: abs(gap[tuple(t)] - 16))
        at = np.rint(rng.normal((z, y, x), (2, 15, 15))).astype(int)
        at = at.clip((1, reach, reach), (nz - 2, ny - reach - 1, nx - reach - 1))
        if cell[tuple(at)] != cell[z, y, x] or gap[tuple(at)] < 10:
            continue
        box = tuple(slice(c - r, c + r + 1) for c, r in zip(at, (1, reach, reach), strict=True))
        ring = np.exp(-(((distance - rng.uniform(3.2, 4.4)) / 1.1) ** 2)) * 62
        image[box] -= ring


# --- A volume from a file -----------------------------------------------------------------------


def kind_of(voxels: Array) -> tuple[str, str]:
    """Guess the method a volume wants, with the reason: the mean for images, the mode for labels."""
    size = voxels.dtype.itemsize
    if voxels.dtype.kind in "fc":
        return "average", "floats are an image"
    if voxels.dtype.kind == "b" or size >= 4:
        return "mode", f"{voxels.dtype} is a type for labels"
    if size == 1:
        return "average", f"{voxels.dtype} is a type for images"
    # 16-bit integers are used for both.  Labels are mostly flat, images mostly are not.
    flat = float(np.mean(voxels[1:] == voxels[:-1])) if len(voxels) > 1 else 0.0
    if flat > 0.5:
        return "mode", f"{flat:.0%} of neighbours are equal: labels"
    return "average", f"only {flat:.0%} of neighbours are equal: an image"


def read(path: Path, method: str) -> list[Layer]:
    """Read the volume, or the image and the labels, of an .npy or .npz file."""
    try:
        loaded = np.load(path)
    except (OSError, ValueError) as error:
        sys.exit(f"VOLUME: {path} cannot be read as .npy or .npz: {error}")
    arrays: dict[str, Array] = dict(loaded.items()) if hasattr(loaded, "files") else {path.stem: loaded}
    layers: list[Layer] = []
    for name, voxels in arrays.items():
        if voxels.ndim < 2 or voxels.size == 0 or voxels.dtype.kind not in "biuf":
            print(f"{name}: {voxels.dtype} of shape {voxels.shape} is not a volume; left out")
            continue
        kind, reason = (method, "as METHOD says") if method else kind_of(voxels)
        fits = not layers or layers[0].voxels.shape == voxels.shape
        if fits and all(kind != layer.method for layer in layers):
            layers.append(Layer(name, voxels, kind, reason))
    if not layers:
        sys.exit(f"{path}: no array of two or more axes with numbers in it")
    return sorted(layers, key=lambda layer: layer.method)


# --- The pyramids, and their times --------------------------------------------------------------


def mips_that_fit(shape: tuple[int, ...], factor: Factor, wanted: int) -> int:
    """Number of mips until the smallest pooled axis is down to one voxel; at least one."""
    pooled = [(n, f) for n, f in zip(shape, factor) if f > 1]  # noqa: B905 - the factor may be shorter
    fits = 0
    while fits < wanted and all(n >= f ** (fits + 1) for n, f in pooled):
        fits += 1
    return max(fits, 1)


def size_of(voxels: Array) -> str:
    """Shape, as people write it."""
    return " \N{MULTIPLICATION SIGN} ".join(map(str, voxels.shape))


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median time of `repeats` calls, in milliseconds, after one call to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def pyramid(layer: Layer, factor: Factor, num_mips: int, repeats: int) -> list[Array]:
    """Downsample a layer, print its table, and return all mips with the input first."""
    import tinybrain

    voxels = layer.voxels
    labels = layer.method == "mode"
    downsample = tinybrain.downsample_segmentation if labels else tinybrain.downsample_with_averaging
    method = "segmentation" if labels else "averaging"
    order = "C" if voxels.flags.c_contiguous else "F" if voxels.flags.f_contiguous else "strided"
    print(f"\n{layer.name}: {voxels.dtype} {voxels.shape}, {order} order -> {layer.method} ({layer.reason})")
    print(f"  {'mip':>3}  {'shape':<20}{'time':>10}{'speed':>13}   engine")
    for mips in range(1, num_mips + 1):

        def call(mips: int = mips) -> list[Array]:
            result: list[Array] = downsample(voxels, factor, num_mips=mips)
            return result

        ms = median_ms(call, repeats)
        route = tinybrain.explain(voxels, factor, num_mips=mips, method=method)
        shape = size_of(call()[-1])
        speed = voxels.size / ms / 1e3
        engine = f"{route.engine}, {route.backend}, {route.threads} thread{'s' if route.threads != 1 else ''}"
        print(f"  {mips:>3}  {shape:<20}{ms:>7.2f} ms{speed:>8.0f} MVx/s   {engine}")
    print(f"  {tinybrain.explain(voxels, factor, num_mips=num_mips, method=method)}")
    return [voxels, *downsample(voxels, factor, num_mips=num_mips)]


# --- The picture --------------------------------------------------------------------------------


def colours(labels: Array) -> Array:
    """RGB of each label: a random, bright colour that depends on the label only; background is black."""
    mixed = labels.astype(np.uint64)
    for shift, prime in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(prime)
    hue = (mixed >> np.uint64(40)).astype(np.float32) / 2**24 * 2 * np.pi
    light = 0.5 + 0.35 * ((mixed >> np.uint64(8)) & np.uint64(0xFF)).astype(np.float32) / 255
    # Three cosines a third of a turn apart: every hue, none of them harsh.
    turns = np.array([0, 2, 4], np.float32) * (np.pi / 3)
    rgb = light[..., None] * (0.72 + 0.38 * np.cos(hue[..., None] - turns))
    return np.where((labels == 0)[..., None], 0, rgb.clip(0, 1))


def middle_slice(voxels: Array, mip: int, factor: Factor, shape: tuple[int, ...]) -> Array:
    """Middle x-y slice of a mip, at the same place at every mip; the first channel of several."""
    while voxels.ndim > 3:
        voxels = voxels[..., 0]
    if voxels.ndim == 3:
        voxels = voxels[:, :, (shape[2] // 2) // factor[2] ** mip]
    flat: Array = voxels.T
    return flat


def draw(layers: list[Layer], pyramids: list[list[Array]], factor: Factor, path: Path) -> None:
    """Write the picture: a row per mip, a column per layer, every panel the same piece of tissue."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ink, faint = "#1b1f24", "#6e7781"
    plt.rcParams.update({"font.family": "sans-serif", "font.size": 10, "text.color": ink})
    shape = layers[0].voxels.shape
    rows, columns = len(pyramids[0]), len(layers)
    width = 3.4
    height = min(max(width * shape[1] / shape[0], 0.8), 2 * width)
    left, top, between = 0.75, 1.05, 0.42  # inches
    figure = plt.figure(
        figsize=(left + columns * (width + 0.2) + 0.1, top + rows * (height + between) + 0.15),
        facecolor="white",
    )
    wide, tall = figure.get_size_inches()
    title = f"{'Image and label pyramid' if columns == 2 else 'Pyramid'}, factor {factor}"
    figure.text(left / wide, 1 - 0.30 / tall, title, fontsize=15, fontweight="bold", va="center")
    subtitle = f"tinybrain, {rows - 1} mips, the same slice at every mip"
    figure.text(left / wide, 1 - 0.58 / tall, subtitle, color=faint, va="center")

    for column, (layer, mips) in enumerate(zip(layers, pyramids, strict=True)):
        first = middle_slice(mips[0], 0, factor, shape)
        low, high = np.percentile(first, (0.5, 99.5)) if layer.method == "average" else (0, 1)
        for mip, voxels in enumerate(mips):
            flat = middle_slice(voxels, mip, factor, shape)
            bottom = tall - top - (mip + 1) * (height + between) + between
            x = left + column * (width + 0.2)
            axes = figure.add_axes((x / wide, bottom / tall, width / wide, height / tall))
            # Extents in mip-0 voxels; the last cell of an odd size sticks out and is cut off by the limits.
            extent = (0, flat.shape[1] * factor[0] ** mip, flat.shape[0] * factor[1] ** mip, 0)
            if layer.method == "mode":
                axes.imshow(colours(flat), extent=extent, interpolation="nearest")
            else:
                axes.imshow(flat, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")
            axes.set(xlim=(0, shape[0]), ylim=(shape[1], 0), xticks=[], yticks=[], aspect="auto")
            axes.spines[:].set_visible(False)
            axes.set_title(size_of(voxels), fontsize=9, color=faint, loc="left", pad=4)
            if mip == 0:
                axes.set_title(f"{layer.name} · {layer.voxels.dtype} · {layer.method}", fontsize=9, loc="right", pad=4)
            if column == 0:
                y = (bottom + height / 2) / tall
                figure.text(0.38 / wide, y, f"mip {mip}", fontweight="bold", rotation=90, ha="center", va="center")
    figure.savefig(path, dpi=150)
    plt.close(figure)


# --- The same on disk -----------------------------------------------------------------------------


def on_disk(layer: Layer, factor: Factor, num_mips: int, picture: Path) -> None:
    """Build an OME-Zarr volume of a layer beside the picture, and draw its preview, where the extra is installed."""
    from tinybrain.volumes import build, preview

    volume = picture.with_suffix(".ome.zarr")
    sheet = picture.with_name(f"{picture.stem}-volume.png")
    try:
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/{picture.stem}.npy", layer.voxels)
            build(
                f"{folder}/{picture.stem}.npy",
                volume,
                factor=factor,
                num_mips=num_mips,
                method=layer.method,
                labels=layer.method == "mode",
                overwrite=volume.exists(),
            )
        preview(volume, sheet)
    except ImportError as error:
        print(f"No volume on disk: {error}")
        return
    print(f"OME-Zarr written to {volume}, its preview to {sheet}: tinybrain view {volume} opens it")


def main() -> None:
    """Parse the command line and run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--volume", default="", help=".npy or .npz file; generated tissue without it")
    parser.add_argument("--method", default="", choices=["", "average", "mode"], help="overrules the guess")
    parser.add_argument("--factor", default="2,2,1", help="comma-separated, default 2,2,1")
    parser.add_argument("--mips", type=int, default=5, help="at most this many, default 5")
    parser.add_argument("--repeats", type=int, default=5, help="timings behind each median, default 5")
    parser.add_argument("--out", default="demo.png", help="the picture, default demo.png")
    options = parser.parse_args()
    try:
        factor = tuple(int(part) for part in options.factor.strip("() ").rstrip(",").split(","))
    except ValueError:
        factor = ()
    if not factor or min(factor) < 1:
        sys.exit(f"--factor: {options.factor!r} is not a list of whole numbers from 1 on, such as 2,2,1")

    if options.volume:
        layers = read(Path(options.volume), options.method)
    else:
        start = time.perf_counter()
        image, labels = tissue()
        print(f"Generated tissue in {time.perf_counter() - start:.1f} s")
        layers = [Layer("image", image, "average", "generated"), Layer("labels", labels, "mode", "generated")]
        if options.method:
            layers = [layer for layer in layers if layer.method == options.method]

    shape = layers[0].voxels.shape
    factor = (factor + (1,) * len(shape))[: len(shape)]
    num_mips = mips_that_fit(shape, factor, options.mips)
    print(f"Factor {factor}, {num_mips} mips; each time is the median of {options.repeats} calls.")
    print("A row's call makes all mips up to its own; its speed is millions of voxels of the input (mip 0) per second.")
    pyramids = [pyramid(layer, factor, num_mips, options.repeats) for layer in layers]
    try:
        draw(layers, pyramids, factor, Path(options.out))
    except OSError as error:
        sys.exit(f"--out: {options.out!r} cannot be written: {error.strerror}")
    print(f"\nPicture written to {options.out}")
    on_disk(layers[0], factor, num_mips, Path(options.out))


if __name__ == "__main__":
    main()
