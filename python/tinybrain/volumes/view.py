"""A multiscale volume in Neuroglancer: the viewer's page and the volume's files, served to this machine's browser.

Neuroglancer reads the volume's files in their own format, with all mips. Those of a local volume are served to it by
`serve`, beside the page; a volume that has a URL already is read from there. Labels become a segmentation layer, an
image one layer, or one per channel, with the colours and the contrast that `preview` gives them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from tinybrain.volumes import serve
from tinybrain.volumes._extras import extra
from tinybrain.volumes.colours import Channel
from tinybrain.volumes.preview import drawn_channels
from tinybrain.volumes.pyramid import Kind, Pyramid, open_pyramid

# What the client that the neuroglancer package brings can read.
_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
_SCHEMES = {"zarr": "zarr2", "zarr3": "zarr3", "n5": "n5", "neuroglancer_precomputed": "neuroglancer-precomputed"}
_URL_NAMES = {"zarr": "zarr2:", "zarr3": "zarr3:", "n5": "n5:", "neuroglancer_precomputed": "neuroglancer-precomputed:"}
_METRES = {"angstrom": 1e-10, "inch": 0.0254, "foot": 0.3048, "yard": 0.9144, "mile": 1609.34, "meter": 1.0}
_METRES |= {
    f"{prefix}meter": 10.0**power
    for prefix, power in (
        ("femto", -15),
        ("pico", -12),
        ("nano", -9),
        ("micro", -6),
        ("milli", -3),
        ("centi", -2),
        ("deci", -1),
        ("kilo", 3),
    )
}
_SECONDS = {"nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0}
_SECONDS["day"] = 86400.0

_GREY = """#uicontrol invlerp normalized
void main() {
  emitGrayscale(normalized());
}
"""
_COLOURED = """#uicontrol invlerp normalized
#uicontrol vec3 color color
void main() {
  emitRGB(color * normalized());
}
"""


class Viewing:
    """A volume that is being viewed, until `close`; a context manager.

    Attributes
    ----------
    url : str
        The page to open.
    pyramid : Pyramid
        What is viewed.
    viewer : neuroglancer.Viewer
        To change the view from Python, as Neuroglancer's documentation has it.
    """

    def __init__(self, pyramid: Pyramid, viewer: Any, token: str | None) -> None:
        self.pyramid = pyramid
        self.viewer = viewer
        self.url = str(viewer.get_viewer_url())
        self._token = token
        self._closed = threading.Event()

    def wait(self) -> None:
        """Wait until `close` is called, or Ctrl-C raises KeyboardInterrupt here."""
        while not self._closed.wait(1):  # in steps: a wait without end is deaf to Ctrl-C on Windows
            pass

    def close(self) -> None:
        """Stop serving."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._token is not None:
            serve.end(self._token)
        serve.stop()

    def __enter__(self) -> Viewing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def view(
    path: str | os.PathLike[str],
    *,
    port: int = 0,
    browser: bool = True,
    kind: Kind | None = None,
    follow_links: bool = False,
) -> Viewing:
    """Show a multiscale volume in Neuroglancer.

    Returns at once; the page is served in the background, until `Viewing.close`, the end of its ``with`` or that of the
    process.

    Parameters
    ----------
    path : str or path
        A multiscale volume, as `open_pyramid` takes it.
    port : int, optional
        Of the server, on the loopback address. Default: a free one.
    browser : bool, optional
        Whether the page is opened in the user's browser.
    kind : {"image", "labels"}, optional
        How voxels are drawn. Default: what the volume says it is.
    follow_links : bool, optional
        Serve files that links in the volume lead to, wherever they are, too: for volumes that git-annex keeps.

    Returns
    -------
    Viewing

    Raises
    ------
    FileNotFoundError, ValueError
        `path` is no multiscale volume, or one that Neuroglancer cannot draw; the port is taken.
    ImportError
        The extra is not installed: ``pip install "tinybrain[volumes]"``.

    Examples
    --------
    >>> with view("volume.zarr") as shown:  # doctest: +SKIP
    ...     shown.wait()
    """
    neuroglancer = extra("neuroglancer")
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"port: got {port!r}; accepted are 0 (a free one) to 65535")
    pyramid = open_pyramid(path)
    shown = kind or pyramid.kind
    _check(pyramid, shown, follow_links)
    serve.start(port)
    token = None
    try:
        address = pyramid.url.partition("|" + _URL_NAMES[pyramid.driver])[0]
        if pyramid.root is not None:
            token = serve.begin(pyramid.root, follow_links)
            address = serve.address(token)
        viewer = neuroglancer.Viewer()
        viewer.set_state(_state(pyramid, f"{address}|{_SCHEMES[pyramid.driver]}:", shown))
        viewing = Viewing(pyramid, viewer, token)
    except BaseException:
        if token is not None:
            serve.end(token)
        serve.stop()
        raise
    if browser:
        import webbrowser

        webbrowser.open(viewing.url)
    return viewing


def _check(pyramid: Pyramid, kind: Kind, follow_links: bool) -> None:
    """Refuse what the viewer would only show an error of, or nothing."""
    for number, mip in enumerate(pyramid.mips):
        if mip.dtype not in _DTYPES:
            raise ValueError(f"path: Neuroglancer draws no {mip.dtype}; accepted are {', '.join(_DTYPES)}")
        if pyramid.root is not None and not follow_links:
            root, directory = os.path.realpath(pyramid.root), os.path.realpath(pyramid.root / mip.path)
            if os.path.commonpath((root, directory)) != root:
                raise ValueError(
                    f"path: mip {number} is a link to {directory}, outside of the volume; follow_links serves it"
                )
    if kind == "labels" and pyramid.mips[0].dtype == "float32":
        raise ValueError("kind: labels of dtype float32 cannot be drawn; accepted are integers")
    if len(pyramid.xyz) not in (2, 3):
        raise ValueError(f"path: {pyramid.path} has {len(pyramid.xyz)} axes of space; accepted are 2 and 3")
    for axis in pyramid.axes:
        if axis.type == "space" and axis.unit and axis.unit not in _METRES:
            raise ValueError(f"path: Neuroglancer knows no unit {axis.unit!r}; accepted are nanometer and the like")


# --- The view -------------------------------------------------------------------------------------


def _state(pyramid: Pyramid, source: str, kind: Kind) -> dict[str, Any]:
    """Return the state of a viewer that shows all of a volume, x to the right and y down."""
    names, scales = _dimensions(pyramid)
    first = pyramid.mips[0]
    space = pyramid.xyz
    # The unit of zoom is the smallest voxel, per pixel of the screen; a panel has some 400 of them.
    metres = [scales[k][0] for k in space]
    zoom = max(first.shape[k] * m for k, m in zip(space, metres, strict=True)) / min(metres)
    flat = len(space) == 2 or first.shape[space[2]] == 1
    return {
        "title": f"{os.path.basename(os.path.abspath(pyramid.path)) if pyramid.root else pyramid.path} | tinybrain",
        "dimensions": {names[k]: list(scales[k]) for k in (*space, *_further(pyramid))},
        "layers": _layers(pyramid, source, kind),
        "layout": "xy" if flat else "4panel",
        "crossSectionScale": max(zoom / (800 if flat else 400), 1 / 16),
        "projectionScale": zoom * 1.6,
        "crossSectionBackgroundColor": "#000000",
    }


def _dimensions(pyramid: Pyramid) -> tuple[list[str], list[tuple[float, str]]]:
    """Name the axes, and give the size of a voxel of mip 0 in metres or seconds, as Neuroglancer does."""
    names, scales = [], []
    for axis, scale in zip(pyramid.axes, pyramid.mips[0].scale, strict=True):
        names.append(axis.name + ("'" if axis.type == "channel" and pyramid.driver.startswith("zarr") else ""))
        if axis.unit in _METRES:
            scales.append((scale * _METRES[axis.unit], "m"))
        elif axis.unit in _SECONDS:
            scales.append((scale * _SECONDS[axis.unit], "s"))
        elif pyramid.driver == "n5" and axis.type == "space":  # Neuroglancer takes nanometres where nothing is said
            scales.append((scale * 1e-9, "m"))
        else:
            scales.append((scale, ""))
    return names, scales


def _further(pyramid: Pyramid) -> list[int]:
    """Return the axes that are neither of space nor of channels: sliders below the view."""
    return [k for k, axis in enumerate(pyramid.axes) if k not in pyramid.xyz and k != pyramid.channel_axis]


def _layers(pyramid: Pyramid, source: str, kind: Kind) -> list[dict[str, Any]]:
    """One layer of labels, or one layer per channel of an image, which add up."""
    name = "labels" if kind == "labels" else "image"
    if kind == "labels":
        return [{"type": "segmentation", "name": name, "source": source, "selectedAlpha": 1, "tab": "segments"}]
    try:
        channels = drawn_channels(pyramid)
    except ValueError:  # a chunk cannot be read: the viewer will say of which mip, and shows the others
        channels = [Channel(0, (255, 255, 255), *_whole_range(pyramid.mips[0].dtype))]
    axis = pyramid.channel_axis
    if len(channels) == 1:
        return [
            {"type": "image", "name": name, "source": source, "shader": _GREY, "shaderControls": _range(channels[0])}
        ]
    if not pyramid.driver.startswith("zarr"):  # all channels in one chunk, and in one layer
        shader, controls = _mixed(channels)
        return [{"type": "image", "name": name, "source": source, "shader": shader, "shaderControls": controls}]
    assert axis is not None
    names, scales = _dimensions(pyramid)
    return [
        {
            "type": "image",
            "name": f"{channel.index}: {channel.name}" if channel.name else f"channel {channel.index}",
            "source": source,
            "localDimensions": {names[axis]: list(scales[axis])},
            "localPosition": [channel.index],
            "blend": "additive",
            "opacity": 1,
            "shader": _COLOURED,
            "shaderControls": _range(channel) | {"color": "#{:02x}{:02x}{:02x}".format(*channel.colour)},
        }
        for channel in channels
    ]


def _range(channel: Channel) -> dict[str, Any]:
    return {"normalized": {"range": _bounds(channel)}}


def _bounds(channel: Channel) -> list[float]:
    return [int(v) if float(v).is_integer() else v for v in (channel.low, channel.high)]


def _whole_range(dtype: str) -> tuple[float, float]:
    import numpy as np

    return (0.0, 1.0) if dtype == "float32" else (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))


def _mixed(channels: Sequence[Channel]) -> tuple[str, dict[str, Any]]:
    """Return a shader that adds the channels of a chunk up, and its controls."""
    controls: dict[str, Any] = {}
    head, terms = [], []
    for channel in channels:
        name = f"channel{channel.index}"
        head.append(f"#uicontrol invlerp {name}(channel={channel.index})")
        head.append(f"#uicontrol vec3 color{channel.index} color")
        terms.append(f"color{channel.index} * {name}()")
        controls[name] = {"range": _bounds(channel)}
        controls[f"color{channel.index}"] = "#{:02x}{:02x}{:02x}".format(*channel.colour)
    return "\n".join([*head, "void main() {", f"  emitRGB({' + '.join(terms)});", "}", ""]), controls
