"""The chart of the record: a panel per case, a bar per library, and the plain read as the limit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from record import Line

COLOURS = {"tinybrain 2.0": "#0b7a75", "tinybrain 2.0, fresh arrays": "#6fb7b2", "tinybrain 1.7.0": "#c2703d"}
OTHER, INK, FAINT = "#9aa4ae", "#1b1f24", "#6e7781"
COLUMNS = 2


def panel(axes: Any, title: str, lines: list[Line], right: float) -> None:
    """Draw one case."""
    names = [line.library for line in lines]
    rates = [line.rate for line in lines]
    axes.barh(range(len(lines)), rates, height=0.72, color=[COLOURS.get(name, OTHER) for name in names])
    limit = lines[0].stream or 0.0
    axes.axvline(limit, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), zorder=3)
    axes.text(limit, -0.72, f"read {limit:.1f} ", ha="right", va="bottom", color=INK, fontsize=8)
    for place, rate in enumerate(rates):
        text = f"{rate:.2g}" if rate < 1 else f"{rate:.1f}"
        clear = rate < limit - right * 0.07 or rate > limit  # room for the number left of the line
        at, side, colour = (rate + right * 0.008, "left", INK) if clear else (rate - right * 0.01, "right", "white")
        axes.text(at, place, text, va="center", ha=side, fontsize=8.5, color=colour)
    axes.set_yticks(range(len(lines)), names, fontsize=9)
    axes.set_ylim(len(lines) - 0.45, -0.75)
    axes.set_xlim(0, right)
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=13)
    axes.tick_params(length=0, labelsize=9)
    axes.tick_params(axis="x", colors=FAINT, labelsize=8)
    axes.xaxis.grid(True, color="#e3e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def draw(lines: list[Line], about: dict[str, str], path: Path) -> None:
    """Write the chart as PNG and SVG."""
    try:
        import matplotlib
    except ImportError:
        print("no chart: matplotlib is not installed (the extra `demo` has it)")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.family": "sans-serif", "text.color": INK, "svg.hashsalt": "tinybrain"})
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.case, []).append(line)
    right = max(max(line.rate, line.stream or 0) for line in lines) * 1.1
    titles = list(groups)
    rows = [titles[i : i + COLUMNS] for i in range(0, len(titles), COLUMNS)]
    tallest = [max(len(groups[title]) for title in row) for row in rows]
    height = [0.27 * n + 0.72 for n in tallest]
    wide, tall = 11.5, sum(height) + 1.35
    figure = plt.figure(figsize=(wide, tall), facecolor="white")
    top = tall - 1.0
    for row, room in zip(rows, height, strict=True):
        for column, title in enumerate(row):
            count = len(groups[title])
            inches = 0.27 * count + 0.1
            left, width = 2.0 + column * 5.65, 3.7
            bottom = top - 0.38 - inches
            axes = figure.add_axes((left / wide, bottom / tall, width / wide, inches / tall))
            panel(axes, title, groups[title], right)
        top -= room
    megabytes = math.floor(min(line.megabytes for line in lines))
    figure.text(0.2 / wide, 1 - 0.28 / tall, "GB/s of input, one thread", fontsize=15, fontweight="bold", va="center")
    subtitle = f"{megabytes} MB per call; dashed: a plain sequential read of the same input. "
    subtitle += "tinybrain 2.0, TensorStore and OpenCV write into given arrays"
    if about["size"] != "full":
        subtitle += "  (QUICK RUN: no verdict)"
    figure.text(0.2 / wide, 1 - 0.58 / tall, subtitle, fontsize=10, color=FAINT, va="center")
    footer = f"{about['processor']}; {about['compiler'].split(' (')[0]}; {about['date']}"
    figure.text(0.2 / wide, 0.16 / tall, footer, fontsize=8, color=FAINT, va="center")
    for suffix in ("png", "svg"):
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(path.with_suffix(f".{suffix}"), dpi=150, metadata=metadata)
    plt.close(figure)
