"""Threads: the interpreter lock is released, results never depend on who calls or how many threads work."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

import isolated
import tinybrain as tb

Call = Callable[..., list[np.ndarray]]

average, mode = tb.downsample_with_averaging, tb.downsample_segmentation
smallest, largest = tb.downsample_with_min_pooling, tb.downsample_with_max_pooling

# Every kernel at least once; each takes an image and `parallel`.
CALLS: dict[str, Call] = {
    "mean 2x2": partial(average, factor=(2, 2, 1)),
    "mean 2x2, five mips": partial(average, factor=(2, 2), num_mips=5),
    "mean 2x2x2, three mips": partial(average, factor=(2, 2, 2), num_mips=3),
    "mean 2": partial(average, factor=(2,), num_mips=2),
    "mean 3x3": partial(average, factor=(3, 3, 1), num_mips=2),
    "sparse mean 2x2, five mips": partial(average, factor=(2, 2, 1), num_mips=5, sparse=True),
    "sparse mean 2x2x2": partial(average, factor=(2, 2, 2), sparse=True),
    "mode 2x2": partial(mode, factor=(2, 2, 1), num_mips=2),
    "sparse mode 2x2": partial(mode, factor=(2, 2, 1), sparse=True),
    "mode 2x2x2": partial(mode, factor=(2, 2, 2), num_mips=2),
    "sparse mode 2x2x2": partial(mode, factor=(2, 2, 2), sparse=True),
    "mode 2": partial(mode, factor=(1, 1, 2)),
    "mode 4x4": partial(mode, factor=(4, 4, 1)),
    "min 2x2x2": partial(smallest, factor=(2, 2, 2), num_mips=2),
    "max 3x3": partial(largest, factor=(3, 3)),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def random_image(dtype: str, shape: tuple[int, ...], order: str = "F") -> np.ndarray:
    """Return an image of few values, zeros among them, that does not repeat along any axis."""
    rng = np.random.default_rng(1)
    size = int(np.prod(shape))
    block = rng.integers(0, 5, 1_000_003).astype(dtype)
    if block.dtype.kind == "f":
        block *= rng.random(block.size).astype(dtype)
    return np.resize(block, size).reshape(shape, order="F" if order == "F" else "C")


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    """Return 48 MiB, enough for every call to take a while and to be shared out to threads."""
    return random_image("u1", (1024, 1024, 48))


def bits(mips: list[np.ndarray]) -> list[bytes]:
    return [mip.tobytes() for mip in mips]


@calls
@pytest.mark.parametrize("parallel", [1, 2])
def test_another_thread_runs_during_a_call(call: Call, parallel: int, large: np.ndarray) -> None:
    # With so long a switch interval nobody takes the lock from the caller: the other thread
    # counts only while the lock is given away, and gives it back with every sleep.
    counted = 0
    stop = False

    def count() -> None:
        nonlocal counted
        while not stop:
            counted += 1
            time.sleep(0)

    interval = sys.getswitchinterval()
    counter = threading.Thread(target=count)
    progress = []
    try:
        sys.setswitchinterval(1000)
        counter.start()
        for _ in range(20):  # a busy machine may not wake the other thread in time
            before = counted
            call(large, parallel=parallel)
            progress.append(counted - before)
            if progress[-1] >= 10:
                break
    finally:
        stop = True
        sys.setswitchinterval(interval)
        counter.join()
    assert progress[-1] >= 10, f"the other thread counted {progress}"


def test_another_thread_runs_while_rows_are_gathered(large: np.ndarray) -> None:
    # Layouts without a fast inner axis have a road of their own.
    view = large[::2].transpose(2, 0, 1)
    for call in (CALLS["mean 2x2"], CALLS["mode 2x2"], CALLS["min 2x2x2"]):
        test_another_thread_runs_during_a_call(call, 1, view)


def test_many_threads_share_one_image() -> None:
    image = random_image("u1", (513, 257, 33))
    image.flags.writeable = False
    expected = {name: bits(call(image, parallel=1)) for name, call in CALLS.items()}
    even = image[:512, :256].astype(np.uint16)
    quarters = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    assert np.array_equal(CALLS["mean 2x2"](image, parallel=1)[0][:256, :128], quarters // 4)

    start = threading.Barrier(8)

    def work(offset: int) -> list[str]:
        start.wait(60)
        names = list(CALLS)[offset:] + list(CALLS)[:offset]
        return [
            name
            for repeat, name in itertools.product(range(4), names)
            if bits(CALLS[name](image, parallel=repeat)) != expected[name]
        ]

    with ThreadPoolExecutor(8) as pool:
        wrong = list(pool.map(work, range(8)))
    assert wrong == [[]] * 8


SHAPES = [(515, 517, 33), (4_000_037,), (64, 64, 64), (7, 5, 3), (3, 500_003), (100_003, 3, 7)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_every_number_of_threads_gives_the_same_bits(shape: tuple[int, ...], dtype: str) -> None:
    for order in "FC" if len(shape) > 1 else "F":
        image = random_image(dtype, shape, order)
        for name, call in CALLS.items():
            factor = call.keywords["factor"]  # type: ignore[attr-defined]
            pooled = [n for n, f in zip(shape, factor, strict=False) if f > 1]
            too_small = min(pooled, default=0) < 2 ** call.keywords.get("num_mips", 1)  # type: ignore[attr-defined]
            if len(factor) > len(shape) or ("mean" in name and too_small):
                continue
            expected = bits(call(image, parallel=1))
            for parallel in (0, 2, 3, 8, 1000):
                assert bits(call(image, parallel=parallel)) == expected, (name, order, parallel)


def test_every_number_of_threads_gives_the_same_bits_of_other_dtypes() -> None:
    for dtype in ("?", "i2", "u4", "i8", "f8", "c8"):
        image = random_image(dtype, (515, 301, 17))
        for name, call in CALLS.items():
            if dtype == "c8" and name[:3] in ("min", "max"):
                continue
            assert bits(call(image, parallel=3)) == bits(call(image, parallel=1)), (name, dtype)


def read_a_mapped_file(path: str) -> None:
    import numpy as np

    import tinybrain as tb

    image = np.memmap(path, np.uint8, "r", shape=(1031, 517, 33), order="F")
    labels = np.memmap(path, np.uint32, "r", shape=(257, 517, 33), order="F")
    for parallel in (1, 2):
        for source in (image, labels, image[::-1], image[..., 1], labels.T):
            for factor in ((2, 2), (2, 2, 1), (4, 4), (3, 2), (2,), (2, 2, 2))[: 6 if source.ndim == 3 else 5]:
                for sparse in (False, True):
                    tb.downsample_with_averaging(source, factor, 2, sparse, parallel=parallel)
                    tb.downsample_segmentation(source, factor, sparse, 2, parallel=parallel)
                tb.downsample_with_min_pooling(source, factor, 2, parallel=parallel)
                tb.downsample_with_max_pooling(source, factor, 2, parallel=parallel)


def test_the_image_is_never_written_not_even_for_a_moment(tmp_path: object) -> None:
    # The pages are mapped for reading only: a write would end the process.
    path = f"{tmp_path}/image"
    content = random_image("u1", (1031 * 517 * 33,)).tobytes()
    with open(path, "wb") as file:
        file.write(content)
    isolated.run(read_a_mapped_file, path)
    with open(path, "rb") as file:
        assert file.read() == content


def interrupt(name: str, parallel: int) -> None:
    import os
    import resource
    import signal
    import threading

    import numpy as np

    import tinybrain as tb

    # Far more voxels than can be seen in a second, all of them the same few bytes; should anyone
    # copy them, this limit ends it.
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, resource.RLIM_INFINITY))
    cells = np.broadcast_to(np.uint8(3), (16384, 16384, 4096)), (64, 64, 64), (256, 256, 64)
    pairs = np.broadcast_to(np.uint8(3), (2048, 2048, 2048)), (2, 2, 2), (1024, 1024, 1024)
    corner = np.arange(1, 65, dtype=np.uint8).reshape((2,) * 6 + (1,))
    labels = np.broadcast_to(corner, (2,) * 6 + (2**28,)), (2,) * 6, (1,) * 6 + (2**28,)
    function, (img, factor, shape), options = {
        "mean of cells": (tb.downsample_with_averaging, cells, {}),
        "sparse mean of cells": (tb.downsample_with_averaging, cells, {"sparse": True}),
        "halving": (tb.downsample_with_averaging, pairs, {}),
        "mode": (tb.downsample_segmentation, labels, {}),
        "min": (tb.downsample_with_min_pooling, cells, {}),
        "max": (tb.downsample_with_max_pooling, cells, {}),
    }[name]
    out = np.zeros(shape, np.uint8, order="F")
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        function(img, factor, out=[out], parallel=parallel, **options)
    except KeyboardInterrupt:
        # Not the end of a finished call: some of the output was never written.
        assert (out.reshape(-1, order="F")[::4096] == 0).any(), "interrupted only after the work"
    else:
        raise AssertionError("no KeyboardInterrupt")

    small = np.random.default_rng(0).integers(1, 200, (1024, 1024), dtype=np.uint8)
    quarters = small.reshape(512, 2, 512, 2)
    for parallel in (1, 2, 0):
        (mean,) = tb.downsample_with_averaging(small, (2, 2), parallel=parallel)
        assert np.array_equal(mean, quarters.sum((1, 3), dtype=np.uint16) // 4)
        (least,) = tb.downsample_with_min_pooling(small, (2, 2), parallel=parallel)
        assert np.array_equal(least, quarters.min((1, 3)))
    print("done")


@pytest.mark.skipif(os.name != "posix", reason="sends itself a POSIX signal")
@pytest.mark.parametrize("name", ["mean of cells", "sparse mean of cells", "halving", "mode", "min", "max"])
@pytest.mark.parametrize("parallel", [1, 2])
def test_ctrl_c_ends_a_long_call(name: str, parallel: int) -> None:
    assert isolated.run(interrupt, name, parallel, timeout=60)[0] == "done\n"


def stay_on_one_cpu() -> None:
    import os

    import numpy as np

    image = np.random.default_rng(0).integers(0, 9, (1024, 1024, 16), dtype=np.uint8)
    wide = image.reshape(512, 2, 512, 2, 16).sum((1, 3), dtype=np.uint16) // 4
    most = image.reshape(512, 2, 512, 2, 16).max((1, 3))

    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    import tinybrain as tb

    assert tb.explain(image, (2, 2), parallel=0).threads == 1
    for allowed in ({min(cpus)}, cpus, {max(cpus)}):  # the pool may have begun on more than is left
        os.sched_setaffinity(0, allowed)
        for parallel in (0, 1, 2, 8):
            assert np.array_equal(tb.downsample_with_averaging(image, (2, 2), parallel=parallel)[0], wide)
            assert np.array_equal(tb.downsample_with_max_pooling(image, (2, 2), parallel=parallel)[0], most)
    print("done")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_a_process_confined_to_one_cpu() -> None:
    assert isolated.run(stay_on_one_cpu)[0] == "done\n"


def compare_thread_counts() -> None:
    import numpy as np

    import tinybrain as tb

    image = np.random.default_rng(0).integers(0, 9, (1024, 1024, 16), dtype=np.uint8)
    wide = image.reshape(512, 2, 512, 2, 16).sum((1, 3), dtype=np.uint16) // 4
    for parallel in (0, 1, 2, 8):
        assert np.array_equal(tb.downsample_with_averaging(image, (2, 2), parallel=parallel)[0], wide)
    print("done")


@pytest.mark.parametrize("threads", ["1", "3", "0", "many"])
def test_rayon_num_threads_in_the_environment(threads: str) -> None:
    assert isolated.run(compare_thread_counts, env={"RAYON_NUM_THREADS": threads})[0] == "done\n"
