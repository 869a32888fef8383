"""The bars: every case that has to reach a figure, and every case that peers are compared on.

A bar's `case` and `demand` are those of the table that set them; a `Row` is one measurement under a bar.
The figure of a row is the rate of its call divided by the rate of what it is measured `against`: a plain
sequential read of the same input ("stream"), or another call.  ``<=`` rows divide times instead.  A loop
that reads the input and writes as many bytes as the call ("pass") has a figure, too, the "limit": where that is
below the bar, too, a row that is short is "beyond".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from volumes import Shape, Volume


@dataclass(frozen=True)
class Call:
    """One call, in words that cross process borders."""

    op: str  # avg, seg, min, max; stream: the read; pass: the read, and the mips' bytes written; add: numpy.add
    volume: Volume
    factor: Shape = ()
    mips: int = 1
    sparse: bool = False
    parallel: int = 1
    out: bool = True  # results go into arrays made once, where the library can do that
    library: str = "tinybrain 2.0"
    exact: bool = False

    @property
    def text(self) -> str:
        """The call in a table."""
        if self.op in ("stream", "pass", "add"):
            return {"stream": "plain read", "pass": "plain read and write", "add": "numpy.add"}[self.op]
        words = ["exact"] if self.exact else []
        words += ["sparse"] if self.sparse else []
        words += [{"avg": "mean", "seg": "mode"}.get(self.op, self.op), str(self.factor).replace(" ", "")]
        words += [f"{self.mips} mips"] if self.mips > 1 else []
        return " ".join(words)


@dataclass(frozen=True)
class Bar:
    """A line of the table of bars, or the part of one that has a threshold of its own."""

    key: str
    case: str
    demand: str
    sense: str  # ">=" or "<="
    threshold: float


@dataclass(frozen=True)
class Row:
    """One measurement: a call, and what it is compared with."""

    id: str
    bar: Bar | None
    call: Call
    against: Call | None = None  # None: the stream only
    note: str = ""


NEW, OLD = "tinybrain 2.0", "tinybrain 1.7.0"
_MEAN = "averaging, (2,2,1) and (2,2,2), uint8/uint16/float32"
_OLD = "against tinybrain 1.7.0, one thread, fresh outputs, same run"
_SLICE = "single 1024x1024 uint8 slice, (2,2), warm"
_EXACT = "exact pyramids, (2,2,1) and (2,2,2), real data, fresh outputs, one thread"
_EXACT_PEER = "exact, against TensorStore's downsample, same factor, same run, one thread each"
_PEAK = "peak memory beyond input and outputs"
BARS = {
    bar.key: bar
    for bar in (
        Bar("mean-1", f"{_MEAN}, 1 mip, F order, R1", ">= 0.80 of stream", ">=", 0.80),
        Bar("mean-5", "the same, 5 mips in one call", ">= 0.70 of stream", ">=", 0.70),
        Bar("mean-c", "the same in C order with z, y, x meaning (factor reversed)", ">= 0.60 of stream", ">=", 0.60),
        Bar("mean-100", "and with the contiguous axis not pooled (rows of 100)", ">= 0.60 of stream", ">=", 0.60),
        Bar("sparse-1", "sparse averaging, uint8/uint16, 1 mip", ">= 0.60 of stream", ">=", 0.60),
        Bar("sparse-5", "sparse averaging, uint8/uint16, 5 mips", ">= 0.50 of stream", ">=", 0.50),
        Bar("other", "other factors: (4,4,1), (3,3,3), (1,2,2), (5,1,1)", ">= 0.40 of stream", ">=", 0.40),
        Bar("types", "int8/int16/int32/uint32/float64", ">= 0.40 of stream", ">=", 0.40),
        Bar("mean-64", "int64/uint64 averaging (exact sums)", ">= 0.25 of stream", ">=", 0.25),
        Bar(
            "mode-221",
            "mode (2,2,1), 1 mip, uint64/uint32/uint16/uint8, real and random labels, R1",
            ">= 0.60 of stream",
            ">=",
            0.60,
        ),
        Bar("mode-222", "mode (2,2,2), real segmentation as uint64 and uint32, R1", ">= 0.55 of stream", ">=", 0.55),
        Bar("mode-222-random", "mode (2,2,2), random labels 0..255 in uint64, R1", ">= 0.28 of stream", ">=", 0.28),
        Bar(
            "mode-sparse",
            "sparse mode, (2,2,1) and (2,2,2), real segmentation",
            ">= 0.90 of the dense rate",
            ">=",
            0.90,
        ),
        Bar("extrema", "min/max, any factor of 2s", ">= 0.75 of stream", ">=", 0.75),
        Bar("odd", "odd sizes (1025 x 1023 x 101)", ">= 0.9 of the even, contiguous rate", ">=", 0.9),
        Bar(
            "strided",
            "strided views (`img[..., 0]` of an interleaved array)",
            ">= 0.3 of the even, contiguous rate",
            ">=",
            0.3,
        ),
        Bar("two-mode", "two threads", ">= 1.7 x one thread on mode of random labels", ">=", 1.7),
        Bar("two-mean", "two threads", "averaging >= 0.85 of the two-thread stream", ">=", 0.85),
        Bar("old-mean-1", _OLD, "averaging 1 mip >= 3x", ">=", 3),
        Bar("old-mean-n", _OLD, "averaging 2+ mips >= 8x", ">=", 8),
        Bar("old-sparse-1", _OLD, "sparse 1 mip >= 8x", ">=", 8),
        Bar("old-sparse-n", _OLD, "sparse 2+ mips >= 12x", ">=", 12),
        Bar("old-mean-c", _OLD, "C order or (4,4,1) >= 100x", ">=", 100),
        Bar("old-mode-221", _OLD, "mode uint64 (2,2,1) >= 1.5x", ">=", 1.5),
        Bar("old-mode-222", _OLD, "mode uint64 (2,2,2) real >= 1.4x", ">=", 1.4),
        Bar("old-mode-random", _OLD, "mode uint64 (2,2,2) random >= 3.5x", ">=", 3.5),
        Bar("old-mode-sparse", _OLD, "mode uint64 sparse (2,2,1) >= 8x", ">=", 8),
        Bar("old-mode-c", _OLD, "mode uint64 any factor in C order >= 4x", ">=", 4),
        Bar(
            "slice-opencv",
            _SLICE,
            "faster than OpenCV INTER_AREA (one thread, into a given array) by >= 1.2x",
            ">=",
            1.2,
        ),
        Bar("slice-pillow", _SLICE, "than Pillow `reduce(2)` by >= 10x", ">=", 10),
        Bar(
            "small",
            "64x64x64 uint8, (2,2,1), one mip: whole call",
            "<= 1.3 x the time of `numpy.add(a, b, out=c)` on arrays of that size",
            "<=",
            1.3,
        ),
        Bar("small-threads", "64x64x64 uint8", "no thread is woken below the size where it pays", "<=", 1),
        Bar("exact-mean", f"{_EXACT}, averaging, 5 mips", ">= 0.9 of the default's rate", ">=", 0.9),
        Bar("exact-mode-1", f"{_EXACT}, mode, 1 mip", ">= 0.8 of the recursive rate", ">=", 0.8),
        Bar("exact-mode-5", f"{_EXACT}, mode, 5 mips", ">= 0.5 of the recursive rate", ">=", 0.5),
        Bar("exact-random", "exact mode (2,2,2), 5 mips, random labels 0..255", ">= 0.05 of stream", ">=", 0.05),
        Bar("exact-333", "exact mode (3,3,3) on the real segmentation", ">= 0.25 of stream", ">=", 0.25),
        Bar("exact-peer-mode", _EXACT_PEER, "mode >= 6x at one mip", ">=", 6),
        Bar("exact-peer-mode-8", _EXACT_PEER, "mode >= 10x at factor 8", ">=", 10),
        Bar("exact-peer-mean", _EXACT_PEER, "mean >= 10x", ">=", 10),
        Bar("peak-dense", _PEAK, "<= 1 MiB + 64 KiB per thread for dense, at any size (4 GiB input)", "<=", 1.0),
        Bar("peak-sparse", _PEAK, "twice that for sparse, at any size (4 GiB input)", "<=", 1.0),
    )
}

# Sizes: 134 MB for the bars of the stream, 67 MB beside peers.  The axes pooled most have 32 voxels or more,
# enough for five mips.
BIG = {1: (1024, 1024, 128), 2: (1024, 1024, 64), 4: (512, 1024, 64), 8: (512, 512, 64)}
HALF = {1: (1024, 1024, 64), 2: (1024, 1024, 32), 4: (512, 1024, 32), 8: (512, 512, 32)}
QUICK = {1: (512, 512, 64), 2: (512, 512, 32), 4: (256, 512, 32), 8: (256, 256, 32)}
WIDTH = {"8": 1, "16": 2, "32": 4, "64": 8}
PLANE, CUBE = (2, 2, 1), (2, 2, 2)


def _width(dtype: str) -> int:
    return WIDTH[dtype.lstrip("uintfloa")]


def _mb(volume: Volume) -> str:
    return f"{volume.source.replace(' ', '-')}-{volume.dtype}-{volume.layout.replace(' ', '')}"


class Sizes:
    """Volumes of the full or of the quick run."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick

    def big(self, source: str, dtype: str, layout: str = "F") -> Volume:
        """Make a volume of 134 MB."""
        shape = (QUICK if self.quick else BIG)[_width(dtype)]
        return Volume(source, dtype, shape[::-1] if layout != "F" else shape, layout)

    def half(self, source: str, dtype: str, layout: str = "F") -> Volume:
        """Make a volume of 67 MB."""
        return Volume(source, dtype, (QUICK if self.quick else HALF)[_width(dtype)], layout)


def _row(key: str, call: Call, against: Call | None = None, note: str = "", more: str = "") -> Row:
    name = f"{key}: {call.text.replace(' ', '-')} {_mb(call.volume)}{more}"
    return Row(name, BARS[key], call, against, note)


def averaging_rows(sizes: Sizes) -> Iterator[Row]:
    """Averaging against the stream."""
    main = list(itertools.product(("uint8", "uint16", "float32"), (PLANE, CUBE)))
    for mips, key in ((1, "mean-1"), (5, "mean-5")):
        for dtype, factor in main:
            yield _row(key, Call("avg", sizes.big("image", dtype), factor, mips))
    for mips, (dtype, factor) in itertools.product((1, 5), main):
        yield _row("mean-c", Call("avg", sizes.big("image", dtype, "C"), factor[::-1], mips))
    for mips, (dtype, factor) in itertools.product((1, 5), main):
        if factor == PLANE:
            shape = sizes.big("image", dtype).shape
            volume = Volume("image", dtype, (100, shape[1], shape[0] * shape[2] // 100 // 32 * 32))
            yield _row("mean-100", Call("avg", volume, (1, 2, 2), mips), more=" rows of 100")
    for mips, key in ((1, "sparse-1"), (5, "sparse-5")):
        for dtype, factor in itertools.product(("uint8", "uint16"), (PLANE, CUBE)):
            yield _row(key, Call("avg", sizes.big("half empty image", dtype), factor, mips, True))
    for dtype, factor in itertools.product(
        ("uint8", "uint16", "float32"), ((4, 4, 1), (3, 3, 3), (1, 2, 2), (5, 1, 1))
    ):
        yield _row("other", Call("avg", sizes.big("image", dtype), factor))
    for dtype, factor in itertools.product(("int8", "int16", "int32", "uint32", "float64"), (PLANE, CUBE)):
        yield _row("types", Call("avg", sizes.big("image", dtype), factor))
    for mips, dtype, factor in itertools.product((1, 5), ("int64", "uint64"), (PLANE, CUBE)):
        yield _row("mean-64", Call("avg", sizes.big("image", dtype), factor, mips))


def label_rows(sizes: Sizes) -> Iterator[Row]:
    """Mode, minimum and maximum against the stream."""
    for source, dtype in itertools.product(("labels", "random labels"), ("uint64", "uint32", "uint16", "uint8")):
        yield _row("mode-221", Call("seg", sizes.big(source, dtype), PLANE))
    yield _row("mode-221", Call("seg", sizes.big("tissue labels", "uint64"), PLANE))
    for dtype in ("uint64", "uint32"):
        yield _row("mode-222", Call("seg", sizes.big("labels", dtype), CUBE))
    yield _row("mode-222", Call("seg", sizes.big("tissue labels", "uint64"), CUBE))
    yield _row("mode-222-random", Call("seg", sizes.big("random labels", "uint64"), CUBE))
    for dtype, factor in itertools.product(("uint64", "uint32"), (PLANE, CUBE)):
        dense = Call("seg", sizes.big("labels", dtype), factor)
        yield _row("mode-sparse", replace(dense, sparse=True), dense)
    factors = (PLANE, CUBE, (1, 2, 2), (2, 1, 1))
    for dtype, op, factor in itertools.product(("uint8", "uint16", "float32"), ("min", "max"), factors):
        yield _row("extrema", Call(op, sizes.big("image", dtype), factor))


def layout_rows(sizes: Sizes) -> Iterator[Row]:
    """Odd sizes and strided views, against the even, contiguous rate; two threads."""
    odd = (257, 255, 101) if sizes.quick else (1025, 1023, 101)
    even = (256, 256, 100) if sizes.quick else (1024, 1024, 100)
    for op, dtype, factor in (
        *itertools.product(("avg",), ("uint8", "uint16"), (PLANE, CUBE)),
        *itertools.product(("seg",), ("uint8", "uint32"), (PLANE, CUBE)),
    ):
        source = "image" if op == "avg" else "labels"
        call = Call(op, Volume(source, dtype, odd), factor)
        yield _row("odd", call, replace(call, volume=Volume(source, dtype, even)), more=" odd")
    for op, dtype, factor in itertools.product(("avg", "seg"), ("uint8", "uint32"), (PLANE, CUBE)):
        source = "image" if op == "avg" else "labels"
        call = Call(op, sizes.big(source, dtype, "1 of 3"), factor[::-1])
        yield _row("strided", call, replace(call, volume=replace(call.volume, layout="C")))
    for dtype, factor in itertools.product(("uint64", "uint8"), (PLANE, CUBE)):
        one = Call("seg", sizes.big("random labels", dtype), factor)
        yield _row("two-mode", replace(one, parallel=2), one, more=" two threads")
    for dtype, factor, mips in itertools.product(("uint8", "uint16", "float32"), (PLANE, CUBE), (1, 5)):
        call = Call("avg", sizes.big("image", dtype), factor, mips, parallel=2)
        yield _row("two-mean", call, more=" two threads")


def old_rows(sizes: Sizes) -> Iterator[Row]:
    """Against tinybrain 1.7.0: one thread, fresh outputs."""

    def row(key: str, op: str, volume: Volume, factor: Shape, mips: int = 1, sparse: bool = False) -> Row:
        new = Call(op, volume, factor, mips, sparse, out=False)
        return _row(key, new, replace(new, library=OLD))

    half = sizes.half
    for mips, dtype, factor in itertools.product((1, 2, 5), ("uint8", "uint16", "float32"), (PLANE, CUBE)):
        if mips != 2 or dtype == "uint8":
            yield row("old-mean-1" if mips == 1 else "old-mean-n", "avg", half("image", dtype), factor, mips)
    for mips, dtype, factor in itertools.product((1, 2, 4), ("uint8", "uint16"), (PLANE, CUBE)):
        key = "old-sparse-1" if mips == 1 else "old-sparse-n"
        if mips != 2 or dtype == "uint8":
            yield row(key, "avg", half("half empty image", dtype), factor, mips, True)
    yield row("old-mean-c", "avg", half("image", "uint8", "C"), PLANE)
    yield row("old-mean-c", "avg", sizes.big("image", "uint8", "C"), PLANE[::-1])
    yield row("old-mean-c", "avg", half("image", "uint8"), (4, 4, 1))
    yield row("old-mode-221", "seg", half("labels", "uint64"), PLANE)
    yield row("old-mode-221", "seg", half("random labels", "uint64"), PLANE)
    yield row("old-mode-222", "seg", half("labels", "uint64"), CUBE)
    yield row("old-mode-random", "seg", half("random labels", "uint64"), CUBE)
    yield row("old-mode-sparse", "seg", half("labels", "uint64"), PLANE, sparse=True)
    # Not (2,2,2), which 1.7.0 gets wrong in C order, nor factors that are no powers of two: it returns views.
    for factor in (PLANE, (4, 4, 1), (1, 2, 2)):
        yield row("old-mode-c", "seg", half("labels", "uint64", "C"), factor)


def exact_rows(sizes: Sizes) -> Iterator[Row]:
    """Exact pyramids against the default ones, the stream and TensorStore."""
    for dtype, factor in itertools.product(("uint8", "uint16"), (PLANE, CUBE)):
        exact = Call("avg", sizes.big("image", dtype), factor, 5, out=False, exact=True)
        yield _row("exact-mean", exact, replace(exact, exact=False))
    for mips, dtype, factor in itertools.product((1, 5), ("uint32", "uint64"), (PLANE, CUBE)):
        exact = Call("seg", sizes.big("labels", dtype), factor, mips, out=False, exact=True)
        yield _row(f"exact-mode-{mips}", exact, replace(exact, exact=False))
    yield _row("exact-random", Call("seg", sizes.big("random labels", "uint64"), CUBE, 5, out=False, exact=True))
    for dtype in ("uint32", "uint64"):
        yield _row("exact-333", Call("seg", sizes.big("labels", dtype), (3, 3, 3), out=False, exact=True))
    for dtype, factor in itertools.product(("uint32", "uint64"), (PLANE, CUBE, (8, 8, 1), (8, 8, 8))):
        exact = Call("seg", sizes.half("labels", dtype), factor, out=False, exact=True)
        key = "exact-peer-mode-8" if factor[0] == 8 else "exact-peer-mode"
        yield _row(key, exact, replace(exact, library="TensorStore"))
    # Factor 8 as mip 3, with those on the way to it, which both make.
    for dtype, factor in itertools.product(("uint32", "uint64"), (PLANE, CUBE)):
        exact = Call("seg", sizes.half("labels", dtype), factor, 3, out=False, exact=True)
        yield _row("exact-peer-mode-8", exact, replace(exact, library="TensorStore"))
    for dtype, factor in itertools.product(("uint8", "uint16"), (PLANE, CUBE, (8, 8, 1), (8, 8, 8))):
        exact = Call("avg", sizes.half("image", dtype), factor, out=False, exact=True)
        yield _row("exact-peer-mean", exact, replace(exact, library="TensorStore"))


def small_rows() -> Iterator[Row]:
    """Small arrays, where the fixed cost of a call shows."""
    call = Call("avg", Volume("image", "uint8", (1024, 1024)), (2, 2))
    yield _row("slice-opencv", call, replace(call, library="OpenCV"))
    yield _row("slice-pillow", call, replace(call, library="Pillow", out=False))
    call = Call("avg", Volume("image", "uint8", (64, 64, 64)), PLANE, parallel=0)
    yield _row("small", call, replace(call, op="add", factor=()))


# The cases every peer is asked for: title, call, and who can do it.
def peer_cases(sizes: Sizes) -> list[tuple[str, Call, tuple[str, ...]]]:
    """Cases of the chart, with the peers that have such a function."""
    means = ("TensorStore", "OpenCV", "Pillow", "scikit-image", "ITK-Wasm")
    volumes = ("TensorStore", "scikit-image", "ITK-Wasm")
    half = sizes.half
    return [
        ("mean (2,2,1), uint8", Call("avg", half("image", "uint8"), PLANE), means),
        ("mean (2,2,2), uint8", Call("avg", half("image", "uint8"), CUBE), volumes),
        ("five mips, mean (2,2,1), uint8", Call("avg", half("image", "uint8"), PLANE, 5), ("TensorStore", "OpenCV")),
        ("mean (2,2,1), float32", Call("avg", half("image", "float32"), PLANE), (*means[:2], *means[3:])),
        ("sparse mean (2,2,1), uint8", Call("avg", half("half empty image", "uint8"), PLANE, sparse=True), ()),
        ("mode (2,2,1), uint64 segmentation", Call("seg", half("labels", "uint64"), PLANE), ("TensorStore",)),
        ("mode (2,2,2), uint64 segmentation", Call("seg", half("labels", "uint64"), CUBE), ("TensorStore",)),
        ("mode (2,2,2), uint64 random", Call("seg", half("random labels", "uint64"), CUBE), ("TensorStore",)),
    ]


def all_rows(sizes: Sizes) -> list[Row]:
    """Every row that a timing answers, in the order of the table."""
    rows = [*averaging_rows(sizes), *label_rows(sizes), *layout_rows(sizes), *old_rows(sizes)]
    rows += [*exact_rows(sizes), *small_rows()]
    assert len({row.id for row in rows}) == len(rows), "ids must be unique"
    return rows
