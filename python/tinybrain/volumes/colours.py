"""Voxels to colours: labels by a hash, images by contrast, channels by their colours.

The colour of a label depends on nothing but the label: it is the one that Neuroglancer gives it, so that a preview and
the viewer agree, in every mip, run and volume. Neuroglancer takes hue and saturation from a hash of the 64 bits of the
label (two rounds of a murmur hash, the lower half first) at full value; 0, background, is black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rgb = tuple[int, int, int]

_PERCENTILES = (0.5, 99.5)
_GREY: Rgb = (255, 255, 255)
_PRIMARY: tuple[Rgb, ...] = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
# Magenta and green first: told apart by everybody.
_DISTINCT: tuple[Rgb, ...] = (
    (255, 60, 255),
    (60, 255, 60),
    (60, 200, 255),
    (255, 180, 40),
    (255, 70, 70),
    (90, 90, 255),
)


def label_colours(labels: Array) -> npt.NDArray[np.uint8]:
    """Return the colours of labels.

    Parameters
    ----------
    labels : numpy.ndarray of integers or bool
        Any shape. Signed labels go by their value in 64 bits.

    Returns
    -------
    numpy.ndarray of uint8
        The shape of `labels`, with a last axis of red, green and blue.
    """
    unique, inverse = np.unique(labels, return_inverse=True)
    wide = unique.astype(np.int64).view(np.uint64) if unique.dtype.kind == "i" else unique.astype(np.uint64)
    state = _hashed(np.zeros(wide.shape, np.uint32), wide.astype(np.uint32))
    state = _hashed(state, (wide >> np.uint64(32)).astype(np.uint32))
    hue = (state & np.uint32(0xFF)) / 255.0
    saturation = 0.5 + 0.5 * (((state >> np.uint32(8)) & np.uint32(0xFF)) / 255.0)
    # Each of red, green and blue is at its top for a third of the hues, and falls off to both sides.
    away = np.abs((hue[:, None] * 6 - (0, 2, 4) + 3) % 6 - 3)
    share = np.clip(2 - away, 0, 1)
    colours = np.rint(255 * (1 - saturation[:, None] * (1 - share))).astype(np.uint8)
    colours[wide == 0] = 0
    found: npt.NDArray[np.uint8] = colours[inverse.reshape(labels.shape)]
    return found


def _hashed(state: npt.NDArray[np.uint32], value: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """One round of the hash: 32 bits of every label are mixed into its state. Products wrap."""
    value = value * np.uint32(0xCC9E2D51)
    value = (value << np.uint32(15)) | (value >> np.uint32(17))
    state = state ^ (value * np.uint32(0x1B873593))
    state = (state << np.uint32(13)) | (state >> np.uint32(19))
    mixed: npt.NDArray[np.uint32] = state * np.uint32(5) + np.uint32(0xE6546B64)
    return mixed


@dataclass(frozen=True)
class Channel:
    """How one channel of an image is drawn.

    Attributes
    ----------
    index : int
        Of the channel; 0 where there is no axis of channels.
    colour : (int, int, int)
        Red, green and blue of its brightest voxels.
    low, high : float
        The values drawn black and brightest.
    name : str
        As the volume has it, or empty.
    """

    index: int
    colour: Rgb
    low: float = 0.0
    high: float = 1.0
    name: str = ""


def channel_colours(count: int, metadata: Sequence[dict[str, Any]], dtype: str) -> list[Channel]:
    """Choose the channels to draw, and colours: the volume's; else RGB for three of uint8, or distinct ones."""
    if count == 1:
        return [Channel(0, _GREY)]
    palette = _PRIMARY if count == 3 and dtype == "uint8" else _DISTINCT
    found: list[Channel] = []
    for index in range(count):
        about = metadata[index] if index < len(metadata) else {}
        if about.get("active") is False or (len(found) == len(_DISTINCT)):
            continue
        colour = _hex_colour(about.get("color")) or palette[index % len(palette)]
        found.append(Channel(index, colour, name=str(about.get("label", ""))))
    return found or [Channel(0, _GREY)]


def _hex_colour(text: Any) -> Rgb | None:
    """Return the colour of "RRGGBB", with or without "#", or None."""
    text = str(text).removeprefix("#")[:6]
    try:
        return (int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)) if len(text) == 6 else None
    except ValueError:
        return None


def contrast(sample: Array) -> tuple[float, float]:
    """Return the values to draw black and white, from percentiles of a sample of voxels.

    What is not finite is left out. A sample with too little between its percentiles is drawn from its extremes.
    """
    values = sample.astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(p) for p in np.percentile(values, _PERCENTILES))
    if not low < high:
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low, low + 1.0)


def blended(planes: Sequence[Array], channels: Sequence[Channel]) -> npt.NDArray[np.uint8]:
    """Return the sum of the channels' planes, each stretched to its contrast and in its colour.

    Parameters
    ----------
    planes : sequence of numpy.ndarray
        One of shape (rows, columns) per channel.
    channels : sequence of Channel

    Returns
    -------
    numpy.ndarray of uint8
        Of shape (rows, columns, 3).
    """
    total = np.zeros((*planes[0].shape, 3))
    for plane, channel in zip(planes, channels, strict=True):
        values = np.nan_to_num(plane.astype(np.float64), nan=channel.low)
        bright = ((values - channel.low) / (channel.high - channel.low)).clip(0, 1)
        total += bright[..., None] * channel.colour
    made: npt.NDArray[np.uint8] = np.rint(total.clip(0, 255)).astype(np.uint8)
    return made
