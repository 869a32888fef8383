"""Memory: nothing is touched beyond the arrays, nothing leaks, no whole array is copied."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import isolated

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measured by /proc")
posix = pytest.mark.skipif(sys.platform == "win32", reason="guards its pages by mprotect")


# --- a debugging interpreter has nothing to say -------------------------------------------------


def varied_calls() -> None:
    import contextlib

    import numpy as np

    import tinybrain as tb

    rng = np.random.default_rng(0)
    pooling = (tb.downsample_with_min_pooling, tb.downsample_with_max_pooling, tb.downsample_with_striding)
    dtypes = "? i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8 g F D M8[s] m8[s] >u2 >f4 >i8"
    for dtype in dtypes.split():
        for shape in ((), (0, 3), (7,), (9, 8), (16, 17, 5), (5, 9, 4, 3), (4, 5, 4, 5, 3)):
            base = np.asarray(rng.integers(-100, 100, shape))
            base = base.astype(dtype) if np.dtype(dtype).kind != "u" else abs(base).astype(dtype)
            ndim = len(shape)
            views = [base, np.asfortranarray(base), base.T]
            if ndim:
                record = np.zeros(shape, [("a", "u1"), ("b", dtype)])
                record["b"] = base
                views += [base[::-1], base[::2], np.broadcast_to(base[:1], shape), record["b"]]
            for img in views:
                for factor in (
                    (2, 2),
                    (2, 2, 1),
                    (2, 2, 2),
                    (2,),
                    (3, 2),
                    (1, 4),
                    (4, 4, 4),
                    (1, 1),
                    (2,) * 5,
                ):
                    factor = factor[:ndim] if ndim else ()
                    for num_mips in (1, 3):
                        # Small images, dates and complex numbers are refused here and there: so be it.
                        for sparse in (False, True):
                            with contextlib.suppress(ValueError, TypeError):
                                tb.downsample_with_averaging(img, factor, num_mips, sparse)
                            with contextlib.suppress(TypeError):
                                tb.downsample_segmentation(img, factor, sparse, num_mips)
                        for function in pooling:
                            with contextlib.suppress(TypeError):
                                function(img, factor, num_mips)


def test_a_debugging_interpreter_is_silent() -> None:
    options: dict[str, Any] = {"flags": ("-X", "dev"), "env": {"PYTHONMALLOC": "debug"}}
    _, _, noise = isolated.finish("import numpy", **options)
    assert isolated.run(varied_calls, **options) == ("", noise)


# --- protected pages --------------------------------------------------------------------------------


def between_protected_pages(kernels: str, placement: str) -> None:
    """Run kernels on arrays that begin or end at a page nobody may touch."""
    import ctypes
    import mmap

    import numpy as np

    import tinybrain as tb

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    class Arena:
        """Pages between two protected ones, for one array at a time."""

        def __init__(self, pages: int) -> None:
            page = mmap.PAGESIZE
            self.map = mmap.mmap(-1, (pages + 2) * page)
            whole = np.frombuffer(self.map, np.uint8)
            for guard in (0, (pages + 1) * page):
                assert libc.mprotect(whole.ctypes.data + guard, page, 0) == 0  # 0 is PROT_NONE
            self.bytes = whole[page:-page]

        def place(self, array: np.ndarray, at: str, order: str) -> np.ndarray:
            """Copy the array to the end or the start of the arena."""
            self.bytes[:] = 0xA5
            offset = self.bytes.size - array.nbytes if at == "end" else 0
            self.used = slice(offset, offset + array.nbytes)
            placed = np.ndarray(array.shape, array.dtype, self.bytes, offset, order=order)
            placed[...] = array
            return placed

        def intact(self) -> bool:
            """Tell whether the bytes around the array are as they were."""
            before, after = self.bytes[: self.used.start], self.bytes[self.used.stop :]
            return bool((before == 0xA5).all() and (after == 0xA5).all())

    source, *targets = Arena(3), Arena(3), Arena(3)
    rng = np.random.default_rng(1)
    average, mode = tb.downsample_with_averaging, tb.downsample_segmentation
    extrema = (tb.downsample_with_min_pooling, tb.downsample_with_max_pooling)
    words = kernels.split()
    dtypes = words[1:]
    factors = {
        "mean": ((2, 2, 1), (2, 2, 2), (2, 1, 1), (1, 2, 1), (3, 2, 1)),
        "sparse-mean": ((2, 2, 1), (2, 2, 2), (1, 2, 1), (3, 3, 1)),
        "mode": ((2, 2, 1), (2, 2, 2), (2, 1, 1), (1, 2, 1), (4, 4, 1)),
        "sparse-mode": ((2, 2, 1), (2, 2, 2), (2, 1, 1)),
        "extrema": ((2, 2, 1), (2, 2, 2), (2, 1, 1), (1, 2, 1), (3, 1, 2)),
    }[words[0]]
    functions = {
        "mean": [lambda a, f, **k: average(a, f, **k)],
        "sparse-mean": [lambda a, f, **k: average(a, f, sparse=True, **k)],
        "mode": [lambda a, f, **k: mode(a, f, **k)],
        "sparse-mode": [lambda a, f, **k: mode(a, f, sparse=True, **k)],
        "extrema": list(extrema),
    }[words[0]]

    def check(a: np.ndarray, order: str, view: tuple[slice, ...] = ()) -> None:
        placed = source.place(a, placement, order)[view]
        for factor in factors:
            mips = 2 if min(placed.shape[:2]) >= 4 and placed.shape[2] >= 4 else 1
            pooled = [n for n, f in zip(placed.shape, factor, strict=True) if f > 1]
            if "mean" in words[0] and max(factor) == 2 and len(pooled) > 1 and min(pooled) < 2:
                continue
            for function in functions:
                plain = function(placed.copy(order="K"), factor, num_mips=mips)
                out = [t.place(p, placement, order) for t, p in zip(targets, plain, strict=False)]
                for mip in out:
                    mip[...] = 0
                function(placed, factor, num_mips=mips, out=out)
                for mip, expected, arena in zip(out, plain, targets, strict=False):
                    assert mip.tobytes() == expected.tobytes(), (a.dtype, a.shape, order, factor)
                    assert arena.intact(), (a.dtype, a.shape, order, factor)

    for dtype in dtypes:
        for width in range(1, 71):
            # The rows lie along the axis of this width: the first in F order, the last in C order.
            for high, deep in ((2, 1), (5, 3)) if width % 4 else ((1, 1), (3, 2), (4, 4)):
                a = rng.integers(0, 3, (width, high, deep)).astype(dtype)
                check(a, "F")
                check(a.T, "C")
                if width % 5 == 0:
                    check(a.T, "F")
                    check(a, "F", (slice(None, None, -1),))
                    check(a, "C", (slice(None, None, 2), slice(None), slice(-1, None)))
    print("done")


@posix
@pytest.mark.parametrize("placement", ["end", "start"])
@pytest.mark.parametrize(
    "kernels",
    [
        "mean ? u1 i1 u2 i2",
        "mean u4 i4 u8 i8 f4 f8",
        "sparse-mean ? u1 i1 u2 i2",
        "sparse-mean u4 i4 u8 i8 f4 f8",
        "mode u1 u2 u4 u8",
        "sparse-mode u1 u2 u4 u8",
        "extrema u1 i1 u2 i2",
        "extrema u4 i8 u8 f4 f8",
    ],
)
def test_nothing_is_touched_beyond_the_arrays(kernels: str, placement: str) -> None:
    assert isolated.run(between_protected_pages, kernels, placement, timeout=200)[0] == "done\n"


# --- leaks ------------------------------------------------------------------------------------------


def call_again_and_again() -> None:
    import contextlib
    import gc
    import itertools
    import sys

    import numpy as np

    import tinybrain as tb

    image = np.random.default_rng(0).integers(0, 200, (64, 64, 16), dtype=np.uint8)
    swapped = image.astype(">u2")
    small = np.zeros((64, 1), np.uint8)
    factor = (2, 2, 1)
    out = [np.empty((32, 32, 16), np.uint8)]
    pooling = (
        tb.downsample_with_averaging,
        tb.downsample_segmentation,
        tb.downsample_with_min_pooling,
        tb.downsample_with_max_pooling,
    )
    wrong = (
        ((image, (2, 0)), {}),
        ((image, 2), {}),
        ((image, factor), {"num_mips": -1}),
        ((image, factor), {"num_mips": 1.5}),
        ((image, factor), {"parallel": -1}),
        ((image, factor), {"out": [image]}),
        ((image, factor), {"out": out, "num_mips": 2}),
        ((image, factor), {"out": [np.empty(3)]}),
        ((np.zeros((4, 4), "O"), (2, 2)), {}),
        ((np.broadcast_to(np.uint8(1), (2**59,)), (2,)), {}),
    )

    def once() -> None:
        for function in pooling:
            for img in (image, image.T, image[::-1, ::2], swapped):
                function(img, factor, num_mips=2)
                function(img, (2, 2, 2), num_mips=3)
                function(img, (3, 2, 1), num_mips=2, parallel=2)
            function(image, factor, out=out)
            function(image, (1, 1), num_mips=3)
            for args, options in wrong:
                with contextlib.suppress(ValueError, TypeError, MemoryError):
                    function(*args, **options)
        for sparse in (False, True):
            tb.downsample_with_averaging(image, factor, 5, sparse)
            tb.downsample_segmentation(image, (4, 4, 1), sparse, 2)
        with contextlib.suppress(ValueError):
            tb.downsample_with_averaging(small, (2, 2))
        tb.downsample_with_striding(image, factor, 3)
        tb.explain(image, factor)

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def state() -> tuple[int, int, list[int]]:
        gc.collect()
        return sys.getallocatedblocks(), resident(), [sys.getrefcount(x) for x in (image, factor, out)]

    for _ in range(60):
        once()
    rounds = [state()]
    for _ in range(6):
        for _ in range(40):
            once()
        rounds.append(state())
    assert rounds[-1][2] == rounds[0][2], "references are kept"
    # Free lists and caches still fill up now and then, but a leak grows in every round: by 40 objects
    # or more, or by the 100 KB and more of 40 small mips.
    more = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(rounds)]
    assert min(blocks for blocks, _ in more) < 40, more
    assert min(memory for _, memory in more) < 100_000, more
    print("done")


@linux
def test_nothing_leaks() -> None:
    assert isolated.run(call_again_and_again)[0] == "done\n"


# --- peak memory --------------------------------------------------------------------------------------


def peak(layout: str, function: str, factor: tuple[int, ...], options: dict[str, Any], allowed: int) -> None:
    """Call with out= and compare the peak of resident memory with what was there before the call."""
    import numpy as np

    import tinybrain as tb

    def status(field: str) -> int:
        # Not ru_maxrss, which a process inherits from the one that started it.
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(field + ":"))

    size = 256 << 20
    image = {
        "F order": lambda: np.full((1024, 1024, 256), 3, np.uint8, order="F"),
        "C order": lambda: np.full((256, 1024, 1024), 3, np.uint8),
        "16 bits": lambda: np.full((1024, 512, 256), 3, np.uint16, order="F"),
        "float32": lambda: np.full((512, 512, 256), 3, np.float32, order="F"),
        "64 bits": lambda: np.full((512, 256, 256), 3, np.uint64, order="F"),
        "channel": lambda: np.full((512, 512, 256, 4), 3, np.uint8)[..., 1],
        "sliced": lambda: np.full((1024, 1024, 256), 3, np.uint8, order="F")[::-1, ::2, ::-1],
        "axes turned": lambda: np.full((1024, 1024, 256), 3, np.uint8).transpose(1, 2, 0),
    }[layout]()
    mips = options.get("num_mips", 1)
    shapes = [tuple(-(-n // f**k) for n, f in zip(image.shape, factor, strict=True)) for k in range(1, mips + 1)]
    order = "F" if image.flags.f_contiguous else "C"
    out = [np.full(shape, 1, image.dtype, order=order) for shape in shapes]
    call = getattr(tb, function)
    call(image[:64, :64, :64], factor, **options)  # code and threads are loaded
    before = status("VmRSS")
    assert before > size
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins again here
    call(image, factor, out=out, **options)
    more = status("VmHWM") - before
    assert all((mip == 3).all() for mip in out)
    assert more < allowed, f"{more >> 20} MiB more than the arrays"
    print("done")


MEAN, MODE = "downsample_with_averaging", "downsample_segmentation"
PEAKS: list[tuple[str, str, tuple[int, ...], dict[str, Any]]] = [
    ("F order", MEAN, (2, 2, 1), {}),
    ("F order", MEAN, (2, 2, 2), {"num_mips": 3}),
    ("F order", MEAN, (2, 2, 1), {"num_mips": 6, "sparse": True}),
    ("C order", MEAN, (2, 2, 1), {"num_mips": 2}),
    ("16 bits", MEAN, (2, 2, 1), {"num_mips": 3, "parallel": 2}),
    ("float32", MEAN, (2, 2, 1), {"num_mips": 3}),
    ("64 bits", MEAN, (2, 2, 1), {"num_mips": 2}),
    ("channel", MEAN, (2, 2, 1), {"num_mips": 2}),
    ("sliced", MEAN, (2, 2, 2), {}),
    ("axes turned", MEAN, (2, 2, 1), {}),
    ("F order", MODE, (2, 2, 1), {}),
    ("C order", MODE, (2, 2, 2), {}),
    ("channel", MODE, (2, 2, 1), {}),
    ("F order", "downsample_with_min_pooling", (2, 2, 2), {}),
    ("C order", "downsample_with_max_pooling", (2, 2, 1), {"num_mips": 2}),
]


@linux
@pytest.mark.parametrize(("layout", "function", "factor", "options"), PEAKS, ids=lambda value: str(value))
def test_no_whole_array_is_copied(layout: str, function: str, factor: Any, options: dict[str, Any]) -> None:
    assert isolated.run(peak, layout, function, factor, options, 16 << 20)[0] == "done\n"
