"""The command ``tinybrain``: arguments by click, one line on stderr for what went wrong, and an exit code that says so.

0: done. 1: something went wrong with a volume or an option. 2: the command line can't be understood. 130: Ctrl-C.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

try:
    import click
except ImportError:  # said in one line: this runs as a command
    sys.exit('tinybrain: click is needed and not installed: pip install "tinybrain[volumes]"')

from tinybrain import __version__
from tinybrain.volumes import look

BUILD_EXAMPLES = """
\b
Examples:
  tinybrain build image.npy image.ome.zarr --voxel-size 4,4,40
  tinybrain build slices/ image.ome.zarr --voxel-size 4,4,40 --memory 1GiB
  tinybrain build labels.zarr labels.ome.zarr --labels --factor 2,2,2 --sparse
  tinybrain build s3://bucket/em.n5/s0 em.ome.zarr --shard 1024,1024,1024
  AWS_ENDPOINT_URL=http://localhost:9000 tinybrain build em.zarr s3://bucket/em.ome.zarr
  tinybrain build em.zarr em --format precomputed --compression jpeg
  tinybrain build em em --add --mips 3
  tinybrain build em.zarr em.ome.zarr --factor 2,2,1 --factor 2,2,1 --factor 2,2,2
  tinybrain build em.zarr em.ome.zarr --scheduler tcp://10.0.0.1:8786
"""


def numbers(kind: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a callback that reads numbers separated by commas, once or (of an option given several times) for each."""

    def read(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value is None or isinstance(value, tuple):
            return value if value is None else tuple(read(ctx, param, one) for one in value)
        try:
            return tuple(kind(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter(f"{value!r} is no list of numbers such as 2,2,1", ctx, param) from None

    return read


class Commands(click.Group):
    """A group whose commands answer errors in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\ntinybrain: interrupted", err=True)
            ctx.exit(130)
        except click.UsageError as error:
            usage = " ".join(error.format_message().split())
            click.echo(f"tinybrain: {usage} (see {(error.ctx or ctx).command_path} --help)", err=True)
            ctx.exit(2)
        except (ValueError, TypeError, OSError, RuntimeError, ImportError, MemoryError) as error:
            if isinstance(error, click.exceptions.Exit):
                raise
            words = str(error).strip().splitlines() or [type(error).__name__]
            click.echo(f"tinybrain: {words[0]}", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tinybrain")
def main() -> None:
    """Image pyramids for volumes: build multiscale volumes, and look at them."""


@main.command(short_help="Make a multiscale volume.", epilog=BUILD_EXAMPLES)
@click.argument("src")
@click.argument("dst")
@click.option(
    "--factor",
    metavar="X,Y,Z",
    callback=numbers(int),
    multiple=True,
    help="Voxels that make one of the next mip [2,2,1]; one, or one per mip.",
)
@click.option("--mips", "num_mips", type=int, help="Mips below mip 0 [until the volume fits in one chunk].")
@click.option(
    "--method",
    type=click.Choice(["average", "mode", "min", "max", "stride"]),
    help="[average for images, mode for labels]",
)
@click.option("--labels", is_flag=True, help="The volume holds labels.")
@click.option("--sparse", is_flag=True, help="Leave background (0) out.")
@click.option("--exact", is_flag=True, help="Make every mip of the voxels of mip 0, correctly rounded.")
@click.option(
    "--format",
    type=click.Choice(["ome-zarr", "ome-zarr-0.4", "precomputed"]),
    default="ome-zarr",
    show_default=True,
    help="ome-zarr is 0.5.",
)
@click.option("--chunk", metavar="X,Y,Z", callback=numbers(int), help="Voxels of a chunk [some 2 MiB].")
@click.option(
    "--shard", metavar="X,Y,Z", callback=numbers(int), help="Voxels of a shard, a multiple of the chunk [no shards]."
)
@click.option(
    "--compression",
    help="blosc, zstd, gzip, none; precomputed: raw, compressed_segmentation, jpeg, png. With a level: zstd:5.",
)
@click.option("--axes", help="Axes of SRC as stored, such as zyx [as SRC says, or x, y, z, c, t].")
@click.option("--voxel-size", metavar="X,Y,Z", callback=numbers(float), help="Size of a voxel [as SRC says, or 1].")
@click.option(
    "--unit",
    type=click.Choice(["nanometer", "micrometer", "millimeter", "meter", "angstrom"]),
    help="Unit of the voxel size [as SRC says, or nanometer].",
)
@click.option("--memory", help="What the process may take, such as 1GiB [a quarter of the machine's, at most 4GiB].")
@click.option("--threads", type=int, default=0, help="Threads [all cores].")
@click.option("--scheduler", help="Run on the workers of this dask scheduler, tcp://HOST:PORT.")
@click.option("--add", is_flag=True, help="DST is a precomputed volume that holds SRC: add the mips to it.")
@click.option("--overwrite", is_flag=True, help="Delete the volume that is at DST.")
@click.option(
    "--missing",
    type=click.Choice(["fill", "error"]),
    default="fill",
    show_default=True,
    help="What a chunk is that SRC doesn't hold.",
)
@click.option("--stage-depth", type=int, help="Mips made from one read at most [as the memory allows].")
@click.option(
    "--block",
    metavar="X,Y,Z",
    callback=numbers(int),
    help="Voxels of a block, rounded up as needed [as the memory allows].",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Tell the plan, and what was read.")
def build(src: str, dst: str, factor: Sequence[Any], quiet: bool, verbose: bool, **options: Any) -> None:
    """Make the multiscale volume DST of the volume SRC, which may be larger than memory.

    SRC is Zarr, OME-Zarr, N5, Neuroglancer Precomputed (a path, an s3://, gs:// or http:// URL, or a TensorStore spec
    as JSON), an .npy file, a TIFF file, or a folder of TIFFs. DST, a path, an s3:// or gs:// URL, becomes OME-Zarr or
    Neuroglancer Precomputed. A run that was interrupted is resumed by the same command.

    Of S3, the environment names server and credentials: AWS_ENDPOINT_URL (or s3+https://HOST/BUCKET/PATH),
    AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile (AWS_PROFILE).
    """
    from tinybrain.volumes import build as make
    from tinybrain.volumes.progress import Bar, Lines, Progress

    # dask tells of a scheduler that is lost by itself, and in many lines, besides the one that it is here.
    for part in ("batched", "client", "comm.tcp", "core", "utils"):
        logging.getLogger(f"distributed.{part}").disabled = True
    progress = Progress() if quiet else Bar() if sys.stderr.isatty() else Lines()
    factors: Any = factor[0] if len(factor) == 1 else factor or (2, 2, 1)
    report = make(src, dst, factor=factors, progress=progress, verbose=verbose and not quiet, **options)
    if not quiet:
        more = f" and {len(report.shapes) - 1} more, {report.method}" if len(report.shapes) > 1 else ""
        click.echo(f"{dst}: mip 0{more}, in {report.seconds:.1f} s")


for command in (look.info, look.preview, look.view):
    main.add_command(command)
