"""The commands that look at multiscale volumes: ``tinybrain info``, ``tinybrain preview`` and ``tinybrain view``.

Thin: arguments are click's work, everything else that of the functions of the same names. What they raise for wrong
arguments and broken volumes becomes one line on stderr and exit code 1.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

_KINDS = click.Choice(["image", "labels"])
_PATH = click.argument("path")


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turn errors of volumes and arguments into a line without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        text = " ".join(str(error).split()).removeprefix("path: ") or type(error).__name__
        click.echo(f"tinybrain: {text}", err=True)
        click.get_current_context().exit(1)


@click.command(
    short_help="Show what a multiscale volume holds.",
    epilog="""\b
Examples:
  tinybrain info volume.zarr
  tinybrain info gs://bucket/segmentation
  tinybrain info --json volume.zarr | jq '.mips[].shape'
""",
)
@_PATH
@click.option("--json", "machine", is_flag=True, help="Print JSON for programs instead of a table.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=5,
    show_default=True,
    help="Stop counting bytes on disk after this time; what was counted is then given as a lower bound.",
)
def info(path: str, machine: bool, seconds: float) -> None:
    """Show what a multiscale volume holds: mips, shapes, voxel sizes, chunks, bytes and method.

    PATH is an OME-Zarr image or labels (0.4, 0.5), a Neuroglancer Precomputed volume or a multiscale N5 group: a
    directory or a URL.
    """
    with _one_line():
        from tinybrain.volumes.info import as_json, print_table
        from tinybrain.volumes.info import info as describe

        description = describe(path, seconds=seconds)
        if machine:
            click.echo(as_json(description))
            return
        from rich.console import Console

        # Into a pipe or a file, rows are not broken into lines.
        console = Console(width=None if sys.stdout.isatty() else 240, highlight=False)
        print_table(description, console)


@click.command(
    epilog="""\b
Examples:
  tinybrain preview volume.zarr -o volume.png
  tinybrain preview volume.zarr --axis x --slice 512 -o yz.png
  tinybrain preview seg.zarr --kind labels -o seg.png
"""
)
@_PATH
@click.option("-o", "--out", default="preview.png", show_default=True, help="The picture to write.")
@click.option("--axis", help="Name of the axis that is sliced.  [default: z]")
@click.option("--slice", "index", type=int, help="Index of the slice, in voxels of mip 0.  [default: the middle]")
@click.option("--kind", type=_KINDS, help="Draw voxels as an image or as labels.  [default: what the volume says]")
@click.option("--channel", type=int, help="Draw this channel only.  [default: up to six, in colours]")
@click.option("--time", type=int, default=0, show_default=True, help="Index along an axis of time.")
@click.option("--size", type=int, default=320, show_default=True, help="Pixels of a side of a panel.")
def preview(
    path: str,
    out: str,
    axis: str | None,
    index: int | None,
    kind: str | None,
    channel: int | None,
    time: int,
    size: int,
) -> None:
    """Draw a contact sheet: one slice of every mip, side by side.

    Small slices are drawn whole; of large ones, a window around the middle at full resolution, so that a volume of any
    size takes seconds. Labels have the colours that Neuroglancer gives them.
    """
    with _one_line():
        from tinybrain.volumes.preview import preview as draw

        made = draw(
            path,
            out,
            axis=axis,
            slice=index,
            kind=kind,  # type: ignore[arg-type]
            channel=channel,
            time=time,
            size=size,
        )
        click.echo(made)


@click.command(
    epilog="""\b
Examples:
  tinybrain view volume.zarr
  tinybrain view volume.zarr --port 8080 --no-browser
  ssh -L 8080:127.0.0.1:8080 server tinybrain view volume.zarr --port 8080 --no-browser
"""
)
@_PATH
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page.  [default: a free one]")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in the browser.")
@click.option("--kind", type=_KINDS, help="Draw voxels as an image or as labels.  [default: what the volume says]")
@click.option("--follow-links", is_flag=True, help="Serve files outside of PATH that links in it lead to, too.")
def view(path: str, port: int, browser: bool, kind: str | None, follow_links: bool) -> None:
    """Open a multiscale volume in Neuroglancer, with all its mips.

    The page and a local volume are served to this machine only (127.0.0.1), until Ctrl-C. Volumes at URLs are read by
    the browser itself, without credentials: their servers must let it.
    """
    with _one_line():
        from tinybrain.volumes.view import view as show

        with (
            contextlib.suppress(KeyboardInterrupt),
            show(path, port=port, browser=browser, kind=kind, follow_links=follow_links) as shown,  # type: ignore[arg-type]
        ):
            if not shown.pyramid.complete:
                click.echo("This volume is incomplete: a build is under way or was stopped.", err=True)
            served = f"Serving {path} to this machine"
            if shown.pyramid.root is None:
                served = f"The browser reads {path} itself, without credentials: its server must let it (CORS)"
            click.echo(f"{shown.url}\n{served}; Ctrl-C ends it.")
            shown.wait()
