"""Calls in forked children, after the parent's threads have run: threads do not survive a fork.

Each program runs in an interpreter of its own and waits for its children with a time limit, so
that a child that hangs is a failure and not a hung suite.
"""

from __future__ import annotations

import os

import pytest

import isolated

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# From Python 3.12 on a fork beside running threads earns a warning; here it is the purpose.
FLAGS = ("-W", "ignore::DeprecationWarning")

# What every program below starts with: an image large enough for several threads, calls on it
# with their right answers by numpy, and children that report by their exit code.
PRELUDE = '''
import os, signal, sys, threading, time
import numpy as np
import tinybrain as tb

rng = np.random.default_rng(0)
image = np.asfortranarray(rng.integers(0, 250, (1024, 1024, 12), dtype=np.uint8))
a, b, c, d = image[::2, ::2], image[1::2, ::2], image[::2, 1::2], image[1::2, 1::2]
right = {
    "mean": ((a.astype(np.uint16) + b + c + d) // 4).astype(np.uint8),
    "min": np.minimum(np.minimum(a, b), np.minimum(c, d)),
    "max": np.maximum(np.maximum(a, b), np.maximum(c, d)),
    "mode": np.where((a == b) | (a == c), a, np.where(b == c, b, d)),
}
assert tb.explain(image, (2, 2, 1), parallel=2).threads == 2  # or nothing would be tried here


def call(parallel=2, names=("mean", "mode", "min", "max")):
    """True if all the calls give the right answers."""
    functions = {
        "mean": tb.downsample_with_averaging,
        "mode": tb.downsample_segmentation,
        "min": tb.downsample_with_min_pooling,
        "max": tb.downsample_with_max_pooling,
    }
    return all(
        np.array_equal(functions[name](image, (2, 2, 1), parallel=parallel)[0], right[name]) for name in names
    )


def child(work):
    """Fork; the child exits with 0 if the work gives True."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = 0 if work() else 2
    except BaseException as error:
        print(f"child: {error!r}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(*pids, seconds=40):
    """True if all the children end with 0 in time; those that hang are killed."""
    deadline = time.monotonic() + seconds
    good = True
    for pid in pids:
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                if code:
                    print(f"child {pid} ended with {code}", file=sys.stderr)
                good &= code == 0
                break
            if time.monotonic() > deadline:
                print(f"child {pid} hangs", file=sys.stderr)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                good = False
                break
            time.sleep(0.005)
    return good
'''


def succeeds(program: str) -> None:
    code, out, err = isolated.finish(PRELUDE + program, flags=FLAGS, timeout=100)
    assert code == 0, f"{'did not end in time' if code is None else f'ended with {code}'}\n{out}{err}"
    assert (out, err) == ("done\n", "")


@pytest.mark.parametrize("parallel", [1, 2, 0, 8])
def test_children_after_a_parallel_call(parallel: int) -> None:
    succeeds(f"""
assert call(2) and call({parallel})
assert wait(*[child(lambda: call({parallel})) for _ in range(3)])
assert call(2) and call({parallel})  # and the parent goes on
assert wait(child(lambda: call(2)))
print("done")
""")


def test_children_before_the_first_call() -> None:
    succeeds("""
assert wait(child(call), child(call))
assert call()
assert wait(child(call))
print("done")
""")


def test_children_of_children() -> None:
    succeeds("""
assert call()

def work(depth):
    return call() and (not depth or wait(child(lambda: work(depth - 1)), seconds=20)) and call()

assert wait(child(lambda: work(3)), child(lambda: wait(child(lambda: work(1)), seconds=20)))
assert call()
print("done")
""")


def test_fork_while_another_thread_is_inside_a_call() -> None:
    succeeds("""
assert call()
stop = False
wrong = []

def busy():
    while not stop:
        if not call(2, ["mean", "mode"]):
            wrong.append("busy thread")

threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
try:
    for _ in range(12):
        time.sleep(0.01 * rng.random())
        assert wait(child(lambda: call(2, ["mean", "min"])))
finally:
    stop = True
    for thread in threads:
        thread.join()
assert not wrong
assert call()
print("done")
""")


def test_fork_during_the_first_call_of_another_thread() -> None:
    # The pool may be half made when the fork comes.
    succeeds("""
for delay in (0, 0.0005, 0.002, 0.005):
    def fresh(delay=delay):
        thread = threading.Thread(target=call)
        thread.start()
        time.sleep(delay)
        good = wait(child(lambda: call(2, ["mean"])), seconds=20)
        thread.join()
        return good and call(2, ["mean"])

    assert wait(child(fresh))
print("done")
""")


def test_fork_from_another_thread() -> None:
    succeeds("""
assert call()
good = []
thread = threading.Thread(target=lambda: good.append(wait(child(call)) and call()))
thread.start()
thread.join()
assert good == [True] and call()
print("done")
""")


def test_threads_in_a_child() -> None:
    succeeds("""
assert call()

def work():
    good = []
    threads = [threading.Thread(target=lambda: good.append(call(2, ["mean", "mode"]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return good == [True] * 3

assert wait(child(work), child(work))
print("done")
""")


def test_multiprocessing_pool_by_fork() -> None:
    succeeds("""
import multiprocessing
assert call()
context = multiprocessing.get_context("fork")
for _ in range(2):
    with context.Pool(2) as pool:
        assert pool.map_async(call, [1, 2, 0, 2]).get(timeout=60) == [True] * 4
    assert call()
print("done")
""")


def test_process_pool_executor_by_fork() -> None:
    succeeds("""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
assert call()
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
    assert [f.result(timeout=60) for f in [pool.submit(call, 2) for _ in range(4)]] == [True] * 4
assert call()
print("done")
""")


def test_ctrl_c_in_a_child() -> None:
    # The child's main thread is the one that hears the signal, whoever it was in the parent.
    succeeds("""
assert call()
endless = np.broadcast_to(np.uint8(3), (16384, 16384, 4096))

def work():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        tb.downsample_with_averaging(endless, (64, 64, 64), parallel=2)
    except KeyboardInterrupt:
        return call()
    return False

assert wait(child(work))
print("done")
""")
