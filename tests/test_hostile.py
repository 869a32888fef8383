"""What a hostile reader found, and must not come back."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import isolated
import tinybrain as tb

pytestmark = pytest.mark.filterwarnings("ignore:This process")


def a_signal_soon_after_the_start(delay: float, parallel: int) -> None:
    import signal

    import numpy as np

    import tinybrain as tb

    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    # A volume that takes many seconds, of one slice in memory.
    img = np.broadcast_to(np.zeros((2048, 2048, 1), np.uint8, order="F"), (2048, 2048, 20_000))
    signal.setitimer(signal.ITIMER_REAL, delay)
    try:
        tb.downsample_segmentation(img, (2, 2, 2), parallel=parallel)
    except Alarm:
        print("raised")
    print(tb.downsample_with_averaging(np.full((4, 4), 7, np.uint8), (2, 2))[0].tolist())


@pytest.mark.skipif(sys.platform == "win32", reason="no itimer")
@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("delay", [0.005, 0.02, 0.3])
def test_a_signal_at_any_time_of_a_call_is_raised(delay: float, parallel: int) -> None:
    out, _ = isolated.run(a_signal_soon_after_the_start, delay, parallel)
    assert out.split("\n")[:2] == ["raised", "[[7, 7], [7, 7]]"]


def a_signal_in_a_cell_that_is_the_whole_volume() -> None:
    import signal

    import numpy as np

    import tinybrain as tb

    def ring(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, ring)
    img = np.broadcast_to(np.zeros((1024, 1024, 1), np.uint8, order="F"), (1024, 1024, 1 << 17))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        tb.downsample_with_averaging(img, (1024, 1024, 1 << 17))
    except KeyboardInterrupt:
        print("raised")


@pytest.mark.skipif(sys.platform == "win32", reason="no itimer")
def test_a_signal_is_raised_in_a_call_of_a_single_cell() -> None:
    assert isolated.run(a_signal_in_a_cell_that_is_the_whole_volume)[0] == "raised\n"


def a_short_call_beside_a_long_one() -> None:
    import threading
    import time

    import numpy as np

    import tinybrain as tb

    long = np.broadcast_to(np.zeros((1024, 1024, 1), np.uint8, order="F"), (1024, 1024, 1 << 14))
    short = np.ones((1024, 1024, 8), np.uint8, order="F")
    out = [np.empty((512, 512, 1 << 13), np.uint8, order="F")]
    ended = threading.Event()

    def run() -> None:
        tb.downsample_segmentation(long, (2, 2, 2), parallel=2, out=out)
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    mip = tb.downsample_segmentation(short, (2, 2, 2), parallel=2)[0]
    print("first" if not ended.is_set() else "last", bool((mip == 1).all()))
    thread.join()


def test_a_short_call_does_not_wait_for_a_long_one() -> None:
    assert isolated.run(a_short_call_beside_a_long_one)[0] == "first True\n"


def calls_that_ask_for_other_numbers_of_threads() -> None:
    import os

    import numpy as np

    import tinybrain as tb

    img = np.ones((1024, 1024, 40), np.uint8, order="F")
    for n in (2, 3, 4, 5, 6):
        os.environ["RAYON_NUM_THREADS"] = str(n)
        tb.downsample_with_averaging(img, (2, 2))
    before = len(os.listdir("/proc/self/task"))
    for n in range(40):
        os.environ["RAYON_NUM_THREADS"] = str(2 + n % 4)
        tb.downsample_with_averaging(img, (2, 2))
        tb.downsample_with_averaging(img, (2, 2), parallel=2 + n % 5)
    print(len(os.listdir("/proc/self/task")) - before)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_threads_do_not_pile_up() -> None:
    assert int(isolated.run(calls_that_ask_for_other_numbers_of_threads)[0]) == 0


@pytest.mark.parametrize(
    ("shape", "factor"),
    [((10**5,), (10**5,)), ((10**6,), (10**6,)), ((128, 128, 128), (128, 128, 128)), ((100, 300, 300), (3, 300, 300))],
    ids=str,
)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sparse", [False, True])
def test_means_of_long_cells_of_float64_keep_their_digits(
    shape: tuple[int, ...], factor: tuple[int, ...], order: str, sparse: bool
) -> None:
    img = np.full(shape, 0.1, order=order)  # type: ignore[call-overload]
    mip = tb.downsample_with_averaging(img, factor, sparse=sparse)[0]
    assert np.abs(mip - 0.1).max() <= 0.1 * 1e-13


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_long_cells_of_float64_propagate_what_is_not_finite(special: float) -> None:
    img = np.ones(1000)
    img[700] = special
    mip = tb.downsample_with_averaging(img, (500,))[0]
    np.testing.assert_array_equal(mip, [1.0, special])


def test_long_cells_of_float64_that_overflow_are_infinite() -> None:
    assert tb.downsample_with_averaging(np.full(200, 1.7e308), (200,))[0][0] == np.inf


@pytest.mark.skipif(not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"), reason="numpy 2")
def test_striding_takes_strings_of_any_length() -> None:
    words = np.array(["a", "bc", "d"], dtype=np.dtypes.StringDType())
    assert tb.downsample_with_striding(words, (2,))[0].tolist() == ["a", "d"]


class Liar(np.ndarray):
    """Says that it can be written to."""

    flags = property(lambda _: types.SimpleNamespace(writeable=True, c_contiguous=True, f_contiguous=True))  # type: ignore[assignment]


def test_a_read_only_output_stays_as_it_is_whatever_its_class_says() -> None:
    kept = np.zeros((32, 32, 8), np.uint8)
    kept.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        tb.downsample_with_averaging(np.ones((64, 64, 8), np.uint8), (2, 2), out=[kept.view(Liar)])
    assert not kept.any()


@pytest.mark.parametrize("factor", [(1,), (2,), (3,)])
def test_more_mips_than_memory_holds_are_refused(factor: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="num_mips"):
        tb.downsample_with_averaging(np.zeros(3), factor, 2**70)


def test_the_largest_extent_and_factor() -> None:
    img = np.broadcast_to(np.uint8(5), (2**63 - 1,))
    for factor in (2**63 - 1, 2**63, 2**70, 2**70 + 1):
        assert tb.downsample_with_striding(img, (factor,))[0].shape == (1,)
    assert tb.downsample_segmentation(img, (2**63 - 1,))[0].tolist() == [5]


def test_a_truth_that_is_none_is_named() -> None:
    with pytest.raises(TypeError, match="sparse"):
        tb.downsample_with_averaging(np.zeros((4, 4)), (2, 2), sparse=np.array([1, 0]))  # type: ignore[arg-type]
