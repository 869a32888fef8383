"""What `exact=True` changes: labels that the recursive mode gets wrong or loses, brightness that truncation takes.

For two volumes, a segmentation and an electron micrograph (real ones, where there are any, else generated
tissue), every mip is made in several ways, which are compared.  Writes ``benches/record/exact.csv`` and
``exact.md``, and the picture of the README, ``docs/exact.png``.  Nothing is timed here.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
from record import HERE, command, processor, table
from volumes import DATA, Array, origin, tissue_file

import tinybrain

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "exact.png"
FACTORS = ((2, 2, 1), (2, 2, 2))
MIPS = 6
HEADS = ["volume", "factor", "mip", "recursive differs", "is no mode", "labels: mip 0", "recursive", "exact"]
HEADS += ["exact sparse", "mean: mip 0", "truncated", "exact mean"]
COLOURS = {"mip 0": "#1b1f24", "recursive": "#c2703d", "exact": "#0b7a75"}


def whole(source: str) -> Array:
    """Load a whole volume, (x, y, z), in Fortran order."""
    name = {"labels": "seg", "image": "em"}[source]
    path = DATA / f"{name}.npz"
    loaded = np.load(path)[name] if path.exists() else np.load(tissue_file())[source]
    return np.asfortranarray(loaded)


def votes(labels: Array, mip: Array, factor: tuple[int, ...]) -> Array:
    """Return the share of the voxels of every cell that have its label."""
    spread = mip
    for axis, f in enumerate(factor):
        spread = spread.repeat(f, axis=axis)
    same = labels == spread[tuple(slice(n) for n in labels.shape)]
    return tinybrain.downsample_with_averaging(same.astype(np.float32), factor, exact=True)[0]


def label_rows(labels: Array, factor: tuple[int, ...]) -> list[dict[str, Any]]:
    """Compare the modes of every mip: how many voxels differ, how many labels are left."""
    make = tinybrain.downsample_segmentation
    ways = {
        "recursive": make(labels, factor, num_mips=MIPS),
        "exact": make(labels, factor, num_mips=MIPS, exact=True),
        "exact sparse": make(labels, factor, num_mips=MIPS, exact=True, sparse=True),
    }
    rows = []
    for k in range(MIPS):
        row: dict[str, Any] = {"mip": k + 1, "labels: mip 0": len(np.unique(labels))}
        recursive, exact = ways["recursive"][k], ways["exact"][k]
        row["recursive differs"] = float((recursive != exact).mean())
        # Where labels are equally frequent, either is a mode.
        cell = tuple(f ** (k + 1) for f in factor)
        row["is no mode"] = float((votes(labels, recursive, cell) < votes(labels, exact, cell)).mean())
        row |= {name: len(np.unique(mips[k])) for name, mips in ways.items()}
        rows.append(row)
    return rows


def mean_rows(image: Array, factor: tuple[int, ...]) -> list[dict[str, Any]]:
    """Compare the brightness of every mip with that of the image; cells at an odd edge count as much as full ones."""
    exact = tinybrain.downsample_with_averaging(image, factor, MIPS, exact=True)
    # The halving pyramid wants 2**MIPS voxels of every pooled axis.
    most = min(n.bit_length() - 1 for n, f in zip(image.shape, factor, strict=True) if f > 1)
    default = tinybrain.downsample_with_averaging(image, factor, min(MIPS, most))
    return [
        {
            "mip": k + 1,
            "mean: mip 0": float(image.mean()),
            "truncated": float(default[k].mean()) if k < len(default) else None,
            "exact mean": float(exact[k].mean()),
        }
        for k in range(MIPS)
    ]


def measured(labels: Array, image: Array) -> list[dict[str, Any]]:
    """Make all rows: the segmentation, random labels, and the micrograph."""
    random = np.random.default_rng(0).integers(1, 256, (256, 256, 256), np.uint8).T
    rows = []
    for factor in FACTORS:
        for name, made in (
            (f"segmentation ({origin('labels')})", label_rows(labels, factor)),
            ("random labels 1 .. 255", label_rows(random, factor)),
            (f"micrograph ({origin('image')})", mean_rows(image, factor)),
        ):
            rows += [{"volume": name, "factor": str(factor).replace(" ", ""), **row} for row in made]
    return rows


def cell(name: str, value: Any) -> str:
    """Write a figure as the tables have it."""
    if value is None:
        return ""
    if name in ("recursive differs", "is no mode"):
        return f"{value:.2%}"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def record(rows: list[dict[str, Any]], directory: Path) -> None:
    """Write the figures."""
    about = [f"processor: {processor()}", f"tinybrain {tinybrain.__version__}, numpy {np.__version__}"]
    about += [command("rustc", "--version")]
    with (directory / "exact.csv").open("w", newline="") as file:
        file.writelines(f"# {line}\n" for line in about)
        writer = csv.DictWriter(file, HEADS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [[cell(head, row.get(head)) for head in HEADS] for row in rows]
    text = "\n".join(f"- {line}" for line in about)
    text = f"# Exact and recursive pyramids\n\n{text}\n\n{table(HEADS, lines, True)}\n"
    (directory / "exact.md").write_text(text)
    print(table(HEADS, lines, False))


def colours(labels: Array) -> Array:
    """Give every label a colour of its own, the same everywhere; background is black."""
    import matplotlib

    hue = (labels.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) / 2**24
    value = (labels.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F) >> np.uint64(40)) / 2**24
    hsv = np.stack([hue, 0.45 + 0.4 * value, 0.75 + 0.25 * hue], axis=-1)
    return np.asarray(matplotlib.colors.hsv_to_rgb(hsv) * (labels > 0)[..., None])


def draw(labels: Array, rows: list[dict[str, Any]], path: Path) -> None:
    """Draw a slice at a deep mip both ways, where they differ, and what is left of labels and brightness."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    deep, factor = 3, FACTORS[1]
    make = tinybrain.downsample_segmentation
    recursive, exact = (make(labels, factor, num_mips=deep, exact=how)[-1] for how in (False, True))
    z = int((recursive != exact).sum(axis=(0, 1)).argmax())
    panels = [("recursive: a mode of modes", recursive[..., z]), ("exact: the mode of 512 voxels", exact[..., z])]
    figure, axes = plt.subplots(1, 5, figsize=(15, 3.5), width_ratios=[1, 1, 1, 1.15, 1.15], layout="constrained")
    for ax, (title, plane) in zip(axes, panels, strict=False):
        ax.imshow(colours(plane.T), interpolation="nearest")
        ax.set_title(title, fontsize=10, loc="left")
    cell = tuple(f**deep for f in factor)
    wrong = (votes(labels, recursive, cell) < votes(labels, exact, cell))[..., z]
    axes[2].imshow(colours(exact[..., z].T) * 0.2 + 0.8, interpolation="nearest")
    marks = np.zeros((*wrong.T.shape, 4))
    marks[wrong.T] = matplotlib.colors.to_rgba(COLOURS["mip 0"])
    axes[2].imshow(marks, interpolation="nearest")
    axes[2].set_title(f"{wrong.mean():.0%} of these hold no mode", fontsize=10, loc="left")
    for ax in axes[:3]:
        ax.set_xticks([], [])
        ax.set_yticks([], [])
    axes[0].set_ylabel(f"segmentation, mip {deep} of (2,2,2), slice {z}", fontsize=9)

    for ax, volume, curves in (
        (axes[3], "segmentation", [(at, "is no mode", str(at).replace(" ", "")) for at in FACTORS]),
        (axes[4], "micrograph", [(FACTORS[0], "truncated", "default"), (FACTORS[0], "exact mean", "exact")]),
    ):
        for (at, name, words), colour in zip(curves, (COLOURS["recursive"], COLOURS["exact"]), strict=True):
            found = [r for r in rows if r["volume"].startswith(volume) and r["factor"] == str(at).replace(" ", "")]
            values = [found[0].get("mean: mip 0", 0.0), *(row[name] for row in found)]
            ax.plot(range(len(values)), values, color=colour, label=words, linewidth=2)
        ax.set_xlabel("mip", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.legend(fontsize=8, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    axes[3].set_yticks([0, 0.05, 0.1, 0.15, 0.2])
    axes[3].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes[3].set_title("segmentation: recursive mode is no mode", fontsize=10, loc="left")
    axes[4].set_title("micrograph, (2,2,1): mean brightness", fontsize=10, loc="left")
    figure.savefig(path, dpi=110, facecolor="white")
    print(f"Written: {path}")


def main() -> None:
    """Measure, print, record and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--record", type=Path, default=HERE, help="directory of the record")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    labels, image = whole("labels"), whole("image")
    rows = measured(labels, image)
    options.record.mkdir(parents=True, exist_ok=True)
    record(rows, options.record)
    draw(labels, rows, options.picture)


if __name__ == "__main__":
    main()
