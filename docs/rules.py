"""Draw the picture of the rules in the README; the numbers in it are what tinybrain returns.

Run ``python docs/rules.py`` with matplotlib installed (the extra ``demo``).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

mpl.use("Agg")
from matplotlib import pyplot as plt

import tinybrain

INK, PALE = "#22303c", "#8a97a3"
COLOURS = {1: "#4c9be8", 2: "#f4a259", 3: "#8cb369", 4: "#bc6bb0"}


def board(
    ax: Axes, values: np.ndarray, x: float, y: float, *, size: float = 1.0, colour: str = "white", words: str = ""
) -> None:
    """Draw a 2-D array as squares, axis 0 to the right, axis 1 down."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            face = COLOURS[int(values[i, j])] if colour == "labels" else colour
            ax.add_patch(Rectangle((x + i * size, y + j * size), size, size, facecolor=face, edgecolor=PALE, lw=0.8))
            text = words[i + 2 * j] if words else str(values[i, j])
            ax.text(x + (i + 0.5) * size, y + (j + 0.5) * size, text, ha="center", va="center", color=INK, fontsize=9)


def outline(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    ax.add_patch(Rectangle((x, y), width, height, facecolor="none", edgecolor=INK, lw=2))


def arrow(ax: Axes, x: float, y: float, length: float = 0.9) -> None:
    ax.annotate("", (x + length, y), (x, y), arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.4})


def edges(ax: Axes) -> None:
    ax.set_title("Edges: mip 1 of averages, odd sizes", loc="left", color=INK, fontsize=11)
    img = np.array([[8, 4, 9], [4, 8, 1], [2, 6, 7], [6, 2, 3], [5, 9, 8]], dtype=np.uint8)
    board(ax, img, 0, 0)
    for i in range(0, 5, 2):
        for j in range(0, 3, 2):
            outline(ax, i, j, min(2, 5 - i), min(2, 3 - j))
    arrow(ax, 5.3, 1.5)
    board(ax, tinybrain.downsample_with_averaging(img, (2, 2))[0], 6.5, 0.5, colour="#e8f1fa")
    words = "a lone row or column counts twice:\nthe mean of the voxels that exist"
    ax.text(0, 3.35, words, va="top", color=INK, fontsize=9)
    ax.set(xlim=(-0.2, 9.6), ylim=(4.8, -0.3))


def truncation(ax: Axes) -> None:
    ax.set_title("Truncation: sums are carried, mips are truncated", loc="left", color=INK, fontsize=11)
    img = np.array([[1, 2, 3, 2], [3, 1, 3, 2], [2, 2, 2, 1], [2, 3, 3, 1]], dtype=np.uint8).T
    first, second = tinybrain.downsample_with_averaging(img, (2, 2), num_mips=2)
    chained = tinybrain.downsample_with_averaging(first, (2, 2))[0]
    board(ax, img, 0, 0, size=0.8)
    arrow(ax, 3.4, 1.6)
    board(ax, first, 4.5, 0.8, size=0.8, colour="#e8f1fa")
    arrow(ax, 6.3, 1.6)
    board(ax, second, 7.4, 1.2, size=0.8, colour="#e8f1fa")
    total = int(img.sum())
    words = f"mip 2 is {total} / 16 = {total / 16:g}, truncated: {int(second[0, 0])}\n"
    words += f"(from the written mip 1 it would be {int(first.sum())} / 4: {int(chained[0, 0])})"
    ax.text(0, 3.5, words, va="top", color=INK, fontsize=9)
    ax.set(xlim=(-0.2, 9), ylim=(4.8, -0.3))


def ties(ax: Axes) -> None:
    ax.set_title("Ties: labels by (2, 2); axis 0 →, axis 1 ↓", loc="left", color=INK, fontsize=11)
    cells = [
        ([[1, 1], [2, 2]], "a equals b (or c): a", "a"),
        ([[1, 2], [2, 3]], "else b equals c: b", "b"),
        ([[1, 2], [3, 3]], "else d (here: of two)", "d"),
        ([[1, 2], [3, 4]], "else d (here: of none)", "d"),
    ]
    for k, (cell, rule, winner) in enumerate(cells):
        # Written row by row as one sees it: axis 0 to the right.
        labels = np.array(cell, dtype=np.uint8).T
        x, y = 5 * (k % 2), 2.6 * (k // 2)
        board(ax, labels, x, y, size=0.8, colour="labels", words="abcd")
        arrow(ax, x + 1.8, y + 0.8, 0.7)
        mode = tinybrain.downsample_segmentation(labels, (2, 2))[0]
        board(ax, mode, x + 2.7, y + 0.4, size=0.8, colour="labels", words=winner)
        ax.text(x, y + 1.75, rule, va="top", color=INK, fontsize=9)
    ax.set(xlim=(-0.2, 9.2), ylim=(4.8, -0.3))


def main() -> None:
    """Write rules.png beside this file."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.1), layout="constrained")
    for ax, draw in zip(axes, (edges, truncation, ties), strict=True):
        draw(ax)
        ax.set_aspect("equal", anchor="NW")
        ax.axis("off")
    figure.savefig(Path(__file__).with_name("rules.png"), dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
