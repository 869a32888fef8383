"""What a multiscale volume holds, as a dictionary for programs and as a table for people.

Everything but the bytes on disk is metadata and known at once. Bytes are counted file by file; that stops after some
seconds, because a large volume has millions of files, and what was counted until then is given as "at least".
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from tinybrain.volumes.pyramid import Axis, Pyramid, open_pyramid

if TYPE_CHECKING:
    from rich.console import Console

COUNTING = 5.0  # seconds
_TIMES = " \N{MULTIPLICATION SIGN} "


def info(path: str | os.PathLike[str], *, seconds: float = COUNTING) -> dict[str, Any]:
    """Describe a multiscale volume.

    Parameters
    ----------
    path : str or path
        A multiscale volume, as `open_pyramid` takes it.
    seconds : float, optional
        Time after which counting of bytes on disk stops.

    Returns
    -------
    dict
        As ``tinybrain info --json`` prints it: ``path``, ``format``, ``kind`` ("image" or "labels"), ``method`` or
        None, ``complete``, ``axes`` (``name``, ``type``, ``unit``), ``channels`` (their names), ``nbytes``,
        ``bytes_on_disk`` and ``mips``. Each mip has ``mip``, ``path``, ``shape``, ``dtype``, ``scale``, ``translation``
        (in the units of the axes; of the centre of the first voxel), ``chunk``, ``shard`` or None, ``codecs``,
        ``nbytes``, ``bytes_on_disk``, ``files`` and ``counted`` (False: the two are lower bounds; all three None: the
        volume is not on a local disk). Entries per axis have the order of ``axes``, which is that of the arrays.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As `open_pyramid` raises them.
    """
    return described(open_pyramid(path), seconds)


def described(pyramid: Pyramid, seconds: float = COUNTING) -> dict[str, Any]:
    """Describe an open volume, as `info` does."""
    until = time.monotonic() + seconds
    mips: list[dict[str, Any]] = []
    for number, mip in enumerate(pyramid.mips):
        stored = mip.on_disk(until)
        mips.append(
            {
                "mip": number,
                "path": mip.path,
                "shape": list(mip.shape),
                "dtype": mip.dtype,
                "scale": list(mip.scale),
                "translation": list(mip.translation),
                "chunk": list(mip.chunk),
                "shard": None if mip.shard is None else list(mip.shard),
                "codecs": list(mip.codecs),
                "nbytes": mip.nbytes,
                "bytes_on_disk": None if stored is None else stored.nbytes,
                "files": None if stored is None else stored.files,
                "counted": None if stored is None else stored.whole,
            }
        )
    on_disk = [mip["bytes_on_disk"] for mip in mips]
    return {
        "path": pyramid.path,
        "format": pyramid.format,
        "kind": pyramid.kind,
        "method": pyramid.method,
        "complete": pyramid.complete,
        "axes": [{"name": a.name, "type": a.type, "unit": a.unit} for a in pyramid.axes],
        "channels": [str(c.get("label", "")) for c in pyramid.channels],
        "nbytes": sum(mip["nbytes"] for mip in mips),
        "bytes_on_disk": None if None in on_disk else sum(on_disk),
        "mips": mips,
    }


def as_json(description: dict[str, Any]) -> str:
    """Write a description as JSON, a line per entry."""
    return json.dumps(description, indent=2, ensure_ascii=False)


def print_table(description: dict[str, Any], console: Console) -> None:
    """Print a description: a few lines on the whole, and a table with a row per mip."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    mips = description["mips"]
    axes = [Axis(**axis) for axis in description["axes"]]
    console.print(Text(description["path"], style="bold"), soft_wrap=True)
    for name, value in _heading(description, axes):
        console.print(Text.assemble((f"  {name:<9}", "dim"), value), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    order = ", ".join(axis.name for axis in axes)
    table.add_column("mip", justify="right", style="yellow")
    sharded = any(mip["shard"] for mip in mips)
    offset = any(any(mip["translation"]) for mip in mips)
    headings = [f"shape ({order})", "voxel size"]
    headings += ["first voxel"] * offset + ["chunk"] + ["shard"] * sharded + ["bytes"]
    local = description["bytes_on_disk"] is not None
    headings += ["on disk", "files"] * local
    for heading in headings:
        table.add_column(heading, justify="right")
    for mip in mips:
        row = [str(mip["mip"]), _product(mip["shape"]), _lengths(mip["scale"], axes)]
        row += [_lengths(mip["translation"], axes, ", ")] * offset
        row += [_product(mip["chunk"])] + [_product(mip["shard"]) if mip["shard"] else "-"] * sharded
        sign = "" if mip["counted"] is not False else "≥ "
        row.append(human(mip["nbytes"]))
        if local:
            row += [sign + human(mip["bytes_on_disk"]), f"{sign}{mip['files']:,}"]
        table.add_row(*map(Text, row))
    console.print(table)


def _heading(description: dict[str, Any], axes: list[Axis]) -> list[tuple[str, str]]:
    mips = description["mips"]
    dtypes = list(dict.fromkeys(mip["dtype"] for mip in mips))
    codecs = list(dict.fromkeys(" + ".join(mip["codecs"]) or "raw" for mip in mips))
    lines = [
        ("format", description["format"]),
        ("kind", f"{description['kind']} of {', '.join(dtypes)}"),
        ("method", description["method"] or "not noted"),
        ("codec", ", ".join(codecs)),
    ]
    if any(description["channels"]):
        lines.append(("channels", ", ".join(name or "?" for name in description["channels"])))
    on_disk = description["bytes_on_disk"]
    at_least = "at least " if any(mip["counted"] is False for mip in mips) else ""
    stored = "" if on_disk is None else f", {at_least}{human(on_disk)} on disk"
    lines.append(("size", f"{human(description['nbytes'])} in {len(mips)} mip{'s' * (len(mips) != 1)}{stored}"))
    if not description["complete"]:
        lines.append(("state", "INCOMPLETE: a build is under way or was stopped; run it again to finish it"))
    return lines


def human(nbytes: int) -> str:
    """Write a number of bytes in binary units, with three digits."""
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:,.3g} EiB"


def _product(values: list[int]) -> str:
    return _TIMES.join(f"{value:,}" if value else "all" for value in values)


def _lengths(values: list[float], axes: list[Axis], between: str = _TIMES) -> str:
    """Write lengths along the axes of space, the unit once where it is the same for all."""
    kept = [(v, axis.short_unit) for v, axis in zip(values, axes, strict=True) if axis.type == "space"]
    units = {unit for _, unit in kept}
    if len(units) == 1:
        return f"{between.join(f'{v:.6g}' for v, _ in kept)} {units.pop()}".rstrip()
    return between.join(f"{v:.6g} {unit}".rstrip() for v, unit in kept)
