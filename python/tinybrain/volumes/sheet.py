"""The contact sheet: panels in rows, captions, maps of where windows lie, bars of length. Drawn by Pillow.

Pillow and not matplotlib: the extra stays small, and every pixel is ours to place.
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinybrain.volumes._extras import extra

if TYPE_CHECKING:
    from PIL.Image import Image

    from tinybrain.volumes.preview import Panel

_GROUND = (16, 18, 22)
_MATTE = (0, 0, 0)
_EDGE = (58, 62, 70)
_BRIGHT = (240, 242, 245)
_DIM = (150, 156, 166)
_ACCENT = (255, 190, 60)

_MARGIN, _GAP, _HEAD, _LINE = 28, 20, 74, 19
_MOST_COLUMNS = 4
_MAP = 76  # pixels of the longer side of a map
_SPELLED = str.maketrans({"\N{MICRO SIGN}": "u", "\N{GREEK SMALL LETTER MU}": "u"})


def checked_target(out: str | os.PathLike[str]) -> Path:
    """Return the path of the picture, or raise an error if it cannot become one."""
    Image = extra("PIL.Image")
    target = Path(out)
    try:
        if target.is_dir():
            raise ValueError(f"out: {target} is a directory; accepted is the name of a picture such as preview.png")
        if not target.parent.is_dir():
            raise ValueError(f"out: there is no directory {target.parent}")
    except OSError as error:
        raise ValueError(f"out: {target} cannot be written: {error.strerror}") from None
    known = Image.registered_extensions()
    if target.suffix.lower() not in known or known[target.suffix.lower()] not in Image.SAVE:
        raise ValueError(f"out: {target} does not end in .png, .jpg or another format of pictures")
    return target


def draw(
    target: Path,
    panels: Sequence[Panel],
    *,
    title: str,
    subtitle: str,
    legend: Sequence[tuple[str, tuple[int, int, int]]],
    size: int,
) -> None:
    """Draw the sheet and write it. Either the whole picture is there in the end, or what was there before."""
    from PIL import Image, ImageDraw

    columns = _columns(len(panels))
    rows = math.ceil(len(panels) / columns)
    lines = max(len(panel.caption) for panel in panels)
    high = size + 10 + _LINE * lines + _GAP
    wide = max(2 * _MARGIN + columns * (size + _GAP) - _GAP, 640)
    picture = Image.new("RGB", (wide, _HEAD + _MARGIN + rows * high), _GROUND)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, 22), _fitted(title, 21, wide - 2 * _MARGIN), font=_font(21), fill=_BRIGHT)
    pen.text((_MARGIN, 50), _fitted(subtitle, 14, wide - 2 * _MARGIN), font=_font(14), fill=_DIM)
    _legend(pen, legend, wide - _MARGIN)
    smallest = _drawn(panels[-1], _MAP)
    for k, panel in enumerate(panels):
        left = _MARGIN + (k % columns) * (size + _GAP)
        top = _HEAD + _MARGIN // 2 + (k // columns) * high
        picture.paste(_framed(panel, smallest if panels[-1].crop is None else None, size), (left, top))
        for line, text in enumerate(panel.caption):
            colour = _ACCENT if line == 0 else _BRIGHT if line == 1 else _DIM
            place = (left, top + size + 10 + line * _LINE)
            pen.text(place, _fitted(text, 14, size), font=_font(14), fill=colour)
    _save(picture, target)


def _columns(count: int) -> int:
    """Rows of equal length, as far as that goes."""
    return math.ceil(count / math.ceil(count / _MOST_COLUMNS))


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _plain(text: str) -> str:
    """Write a text in the letters of Pillow's own font, which is there on every machine: ASCII, and few more."""
    text = unicodedata.normalize("NFKD", text.translate(_SPELLED))
    text = "".join(c for c in text if not unicodedata.combining(c))
    return "".join(c if c in "·…°" or (c.isascii() and c.isprintable()) else "?" for c in text)


def _fitted(text: str, size: int, width: float) -> str:
    """Write a text in letters that there are, and cut what is too long out of its middle."""
    text = _plain(text)
    if _font(size).getlength(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and _font(size).getlength(text[: keep // 2] + "…" + text[-(keep - keep // 2) :]) > width:
        keep -= 1
    return text[: keep // 2] + "…" + text[-(keep - keep // 2) :]


def _legend(pen: Any, legend: Sequence[tuple[str, tuple[int, int, int]]], right: int) -> None:
    """Name the channels in their colours, from the right."""
    for name, colour in reversed(legend):
        text = _fitted(name, 14, 160)
        right -= int(_font(14).getlength(text))
        pen.text((right, 27), text, font=_font(14), fill=tuple(max(c, 70) for c in colour))
        pen.ellipse((right - 16, 31, right - 6, 41), fill=colour)
        right -= 34


def _drawn(panel: Panel, size: int) -> Image:
    """Draw the voxels of a panel as large as fits, as squares of one size; averaged where there are more than pixels.

    Colours of labels are not mixed: a voxel is a pixel more or less.
    """
    from PIL import Image

    high, wide = panel.pixels.shape[:2]
    tall, broad = high * max(panel.aspect, 1.0), wide * max(1 / panel.aspect, 1.0)
    zoom = min(size / tall, size / broad)
    shape = (max(1, round(broad * zoom)), max(1, round(tall * zoom)))
    made = Image.fromarray(np.ascontiguousarray(panel.pixels))
    if panel.is_labels:
        return made.resize(shape, Image.Resampling.NEAREST)
    # Whole steps first, so that averaging leaves voxels square.
    steps = (wide * math.ceil(shape[0] / wide), high * math.ceil(shape[1] / high))
    return made.resize(steps, Image.Resampling.NEAREST).resize(shape, Image.Resampling.BOX)


def _framed(panel: Panel, smallest: Image | None, size: int) -> Image:
    """Draw a panel in the middle of its square, with map and bar."""
    from PIL import Image, ImageDraw

    square = Image.new("RGB", (size, size), _MATTE)
    inside = _drawn(panel, size)
    corner = ((size - inside.width) // 2, (size - inside.height) // 2)
    square.paste(inside, corner)
    pen = ImageDraw.Draw(square)
    if panel.crop is not None:
        _map(square, pen, panel, smallest, size)
    _bar(pen, panel, inside.width / panel.pixels.shape[1], size)
    pen.rectangle((0, 0, size - 1, size - 1), outline=_EDGE)
    return square


def _map(square: Image, pen: Any, panel: Panel, smallest: Image | None, size: int) -> None:
    """Draw the whole slice, small, in a corner, and on it a frame around the window that is shown."""
    from PIL import Image, ImageEnhance

    assert panel.crop is not None
    left, top, right, bottom = panel.crop
    if smallest is None:  # no mip is shown whole
        high, wide = panel.pixels.shape[0] / (bottom - top) * panel.aspect, panel.pixels.shape[1] / (right - left)
        zoom = _MAP / max(high, wide)
        smallest = Image.new("RGB", (max(8, round(wide * zoom)), max(8, round(high * zoom))), _GROUND)
    x, y = size - smallest.width - 9, size - smallest.height - 9
    pen.rectangle((x - 2, y - 2, x + smallest.width + 1, y + smallest.height + 1), fill=_GROUND, outline=_EDGE)
    square.paste(ImageEnhance.Brightness(smallest).enhance(0.4), (x, y))
    # Windows of large volumes are a dot there; the frame has some pixels in any case.
    across, down = (left + right) / 2 * smallest.width, (top + bottom) / 2 * smallest.height
    half = (max((right - left) * smallest.width / 2, 2), max((bottom - top) * smallest.height / 2, 2))
    frame = [round(across - half[0]), round(down - half[1]), round(across + half[0]), round(down + half[1])]
    square.paste(smallest.crop((frame[0], frame[1], frame[2], frame[3])), (x + frame[0], y + frame[1]))
    pen.rectangle((x + frame[0], y + frame[1], x + frame[2] - 1, y + frame[3] - 1), outline=_ACCENT)


def _bar(pen: Any, panel: Panel, zoom: float, size: int) -> None:
    """Draw a bar of a round length, with the length beside it."""
    if not panel.unit or not 0 < panel.width < math.inf:
        return
    most = size / 3.5 / zoom * panel.width
    power = 10.0 ** math.floor(math.log10(most))
    length = next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))
    pixels = round(length / panel.width * zoom)
    text = _plain(_length(length, panel.unit))
    y = size - 16
    box = (8, y - 20, 8 + max(pixels, _font(12).getlength(text)) + 12, y + 9)
    pen.rectangle(box, fill=_GROUND)
    pen.text((14, y - 17), text, font=_font(12), fill=_BRIGHT)
    pen.rectangle((14, y + 1, 14 + pixels - 1, y + 3), fill=_BRIGHT)


def _length(length: float, unit: str) -> str:
    """Write a length, in the next larger unit from 1,000 on."""
    larger = {"nm": "µm", "µm": "mm", "mm": "m"}
    while length >= 1000 and unit in larger:
        length, unit = length / 1000, larger[unit]
    return f"{length:.4g} {unit}"


def _save(picture: Image, target: Path) -> None:
    """Write beside the target, then put it in place."""
    part = target.with_name(f".preview-{os.getpid()}{target.suffix}")
    try:
        options: dict[str, Any] = {"optimize": True} if target.suffix.lower() == ".png" else {}
        picture.save(part, **options)
        part.replace(target)
    except OSError as error:
        raise ValueError(f"out: {target} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
