"""Calls of the usual kind, which skip the checks in Python: they give the same, and nothing else gets through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinybrain import _native
from tinybrain._call import Call

METHODS = ("averaging", "segmentation", "min", "max")
DTYPES = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float32", "float64")
IMG = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def usual(
    method: str = "averaging",
    img: object = IMG,
    factor: object = (2, 2, 1),
    num_mips: object = 1,
    sparse: object = False,
    exact: object = False,
    out: object = None,
    parallel: object = 0,
) -> list[Any] | None:
    return _native.usual(method, img, factor, num_mips, sparse, exact, out, parallel)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("factor", [(2, 2, 1), [2, 2, 2], (1, 2), (4, 1, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_a_usual_call_gives_what_the_checked_one_gives(
    method: str, dtype: str, factor: Any, sparse: bool, order: Any
) -> None:
    img = np.random.default_rng(1).integers(0, 3, (10, 9, 8)).astype(dtype, order=order)
    for num_mips in (1, 2):
        checked = Call(method, img, factor, num_mips, None, 1, sparse).run()
        mips = usual(method, img, factor, num_mips, sparse, parallel=1)
        filled = [np.zeros_like(mip) for mip in checked]
        given = usual(method, img, factor, num_mips, sparse, out=filled, parallel=1)
        assert mips is not None
        assert given is not None
        assert given is not filled
        assert all(a is b for a, b in zip(given, filled, strict=True))
        for mip, same, wanted in zip(mips, given, checked, strict=True):
            np.testing.assert_array_equal(mip, wanted)
            np.testing.assert_array_equal(same, wanted)
            assert (type(mip), mip.dtype, mip.strides) == (np.ndarray, wanted.dtype, wanted.strides)
            assert mip.flags.owndata
            assert mip.flags.writeable


def test_a_subclass_is_taken_for_the_voxels_it_holds() -> None:
    class Liar(np.ndarray[Any, Any]):
        shape = property(lambda _: (1, 1, 1))

    mips = usual(img=IMG.view(Liar))
    assert mips is not None
    assert type(mips[0]) is np.ndarray
    np.testing.assert_array_equal(mips[0], Call("averaging", IMG, (2, 2, 1), 1).run()[0])


def mip(**changes: Any) -> Any:
    out = np.zeros(changes.pop("shape", (2, 3, 3)), changes.pop("dtype", np.uint8))
    out.flags.writeable = changes.pop("writeable", True)
    return out


SHARED = np.zeros(100, np.uint8)


@pytest.mark.parametrize(
    "changes",
    [
        {"img": IMG.tolist()},
        {"img": IMG.astype(">u2")},
        {"img": IMG.astype(np.float16)},
        {"img": IMG.astype(np.complex64)},
        {"img": IMG.astype("M8[s]")},
        {"img": IMG.astype(object)},
        {"img": IMG[::2]},
        {"img": IMG[:, :0]},
        {"img": np.uint8(3)},
        {"img": IMG[:1]},  # too small
        {"method": "segmentation", "exact": True, "img": IMG.astype(np.float32)},
        {"method": "segmentation", "factor": (3, 1, 1)},
        {"factor": (1, 1, 1)},
        {"factor": ()},
        {"factor": (2, 0, 1)},
        {"factor": (2, -2, 1)},
        {"factor": (2, 2.0, 1)},
        {"factor": (2, True, 1)},
        {"factor": (2, 2, 1, 2)},
        {"factor": (2, 2, 1, 1)},
        {"factor": (2**70, 2, 1)},
        {"factor": np.array((2, 2, 1))},
        {"factor": 2},
        {"factor": "221"},
        {"num_mips": 0},
        {"num_mips": -1},
        {"num_mips": True},
        {"num_mips": 1.0},
        {"num_mips": 3},  # too small
        {"num_mips": 10**6, "method": "min"},
        {"num_mips": 4, "method": "min"},  # repeats itself
        {"sparse": 1},
        {"sparse": np.array([1, 2])},
        {"exact": None},
        {"parallel": -1},
        {"parallel": 1.5},
        {"parallel": 2**80},
        {"out": []},
        {"out": mip()},
        {"out": [mip(), mip()]},
        {"out": [mip().tolist()]},
        {"out": [mip(shape=(2, 3, 2))]},
        {"out": [mip(shape=(2, 3))]},
        {"out": [mip(dtype=np.int8)]},
        {"out": [mip(dtype=np.dtype(">u2"))], "img": IMG.astype(np.uint16)},
        {"out": [mip(writeable=False)]},
        {"out": [IMG[:2, :3]]},
        {"out": [IMG.reshape(-1)[:18].reshape(2, 3, 3)]},
        {"out": [mip(shape=(2, 3, 6))[..., ::2]]},
        {"out": [np.lib.stride_tricks.as_strided(SHARED, (2, 3, 3), (0, 3, 1))]},
        {"num_mips": 2, "out": [SHARED[:18].reshape(2, 3, 3), SHARED[17:23].reshape(1, 2, 3)]},
    ],
    ids=str,
)
def test_what_is_out_of_the_ordinary_is_left_to_the_checks(changes: dict[str, Any]) -> None:
    assert usual(**changes) is None


@pytest.mark.parametrize("exact", [False, True])
def test_the_smallest_size_of_a_halving_pyramid(exact: bool) -> None:
    for extent in range(1, 20):
        for num_mips in range(1, 6):
            img = np.ones((extent, 64), np.uint8)
            mips = usual(img=img, factor=(2, 2), num_mips=num_mips, exact=exact)
            assert (mips is not None) == (exact or extent >= 2**num_mips)
