"""The calls that `compare_1_7.py` makes, and what is known about tinybrain 1.7.0 to judge them by."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"  # real volumes, where there are any
SMALL_RANGE = 64  # data="small": so small that even sums in float32 are exact


# --- Calls --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One call: everything a worker needs to make it, and the fault predicates to judge it."""

    op: str
    factor: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str = "uint8"
    num_mips: int = 1
    sparse: bool = False
    layout: str = "F"
    data: str = "random"

    @property
    def bits(self) -> int:
        """Width of a voxel."""
        return np.dtype(self.dtype).itemsize * 8

    @property
    def kind(self) -> str:
        """Kind of the dtype, as numpy abbreviates it."""
        return np.dtype(self.dtype).kind

    @property
    def whole(self) -> tuple[int, ...]:
        """The factor with one entry per axis."""
        return (self.factor + (1,) * len(self.shape))[: len(self.shape)]

    @property
    def pooled(self) -> tuple[int, ...]:
        """The axes that shrink."""
        return tuple(axis for axis, f in enumerate(self.whole) if f > 1)

    @property
    def halves(self) -> tuple[int, ...]:
        """The pooled axes if all their factors are 2, else nothing."""
        return self.pooled if all(self.whole[axis] == 2 for axis in self.pooled) else ()

    @property
    def plane(self) -> bool:
        """Factor (2, 2, 1, ...)."""
        return self.halves == (0, 1)

    @property
    def cube(self) -> bool:
        """Factor (2, 2, 2, 1, ...)."""
        return self.halves == (0, 1, 2)

    @property
    def powers(self) -> bool:
        """All factors are powers of two."""
        return all(f & (f - 1) == 0 for f in self.whole)

    @property
    def past_period(self) -> bool:
        """1.7.0 has gone from sums back to rendered voxels by the last mip."""
        return self.num_mips > (4 if self.plane else 8 if self.bits == 8 else 5)

    def ragged(self, axis: int) -> bool:
        """Some mip but the last has a size along this axis that the factor does not divide."""
        sizes = [-(-self.shape[axis] // self.whole[axis] ** k) for k in range(self.num_mips)]
        return axis in self.pooled and any(n % self.whole[axis] for n in sizes)

    @property
    def anywhere_ragged(self) -> bool:
        """Some pooled axis is ragged."""
        return any(self.ragged(axis) for axis in self.pooled)

    @property
    def call(self) -> str:
        """The call as the table shows it."""
        ragged = [name for axis, name in enumerate("xyzcv"[: len(self.shape)]) if self.ragged(axis)]
        words = [self.op, str(self.factor).replace(" ", "")]
        words += [f"n={self.num_mips}"] if self.op != "stride" or self.num_mips > 1 else []
        words += ["sparse"] if self.sparse else []
        words += ["odd " + "".join(ragged)] if ragged else []
        words += [f"{len(self.shape)}-D"] if len(self.shape) != 3 else []
        words += ["empty"] if 0 in self.shape else []
        words += [self.data] if self.data not in ("random", "small") else []
        return " ".join(words)


# --- What is known about 1.7.0 --------------------------------------------------------------------
# The predicate says which calls a fault can touch; a difference in any other call is unexplained.
# Found by calling 1.7.0, never by reading it.


RAISES, ANY = "1.7 raises", ""


class Fault(NamedTuple):
    """A fault of 1.7.0, or (letters) a change made on purpose."""

    text: str
    touches: Callable[[Case], bool]
    shows: str = "differs"  # the beginning of the results it can have


def _avg(c: Case) -> bool:
    return c.op in ("avg", "pool2x2")


def _other_powers(c: Case) -> bool:
    return c.op == "seg" and c.powers and not (c.plane and len(c.factor) > 2) and not c.cube


def _big_ints(c: Case) -> bool:
    return c.kind in "iu" and c.bits >= 32


FAULTS: dict[str, Fault] = {
    "1": Fault(
        "mode by (2,2,2) is wrong beyond the first channel, and leaves its buffers",
        lambda c: c.op == "seg" and c.cube and len(c.shape) > 3,
        ANY,
    ),
    "2": Fault(
        "mode by (2,2,2) takes every layout for Fortran order",
        lambda c: c.op == "seg" and c.cube and c.layout not in ("F", "read-only"),
        ANY,
    ),
    "3": Fault(
        "one mip by (2,2): the last of an odd number of rows is made from other voxels",
        lambda c: _avg(c) and c.plane and c.num_mips == 1 and c.ragged(1),
    ),
    "4": Fault(
        "one mip by (2,2): with an odd x the edge mean lands one column early, before zeros",
        lambda c: _avg(c) and c.plane and c.num_mips == 1 and c.ragged(0),
    ),
    "5": Fault(
        "one sparse mip by (2,2): background counts in the last of an odd number of rows",
        lambda c: _avg(c) and c.plane and c.sparse and c.num_mips == 1 and c.ragged(1),
    ),
    "6": Fault(
        "sparse means double the last column of an odd x",
        lambda c: _avg(c) and c.sparse and c.ragged(0) and (c.cube or (c.plane and c.num_mips > 1)),
    ),
    "7": Fault(
        "sparse pyramids by (2,2) double the last row of an odd y, but in the last slice",
        lambda c: _avg(c) and c.sparse and c.plane and c.num_mips > 1 and c.ragged(1),
    ),
    "8": Fault(
        "sparse pyramids past the period of truncation lose the scale: 1/256, or 0",
        lambda c: _avg(c) and c.sparse and (c.plane or c.cube) and c.bits <= 16 and c.past_period,
    ),
    "9": Fault(
        "signed pyramids past the period carry rounded-down means but render truncated ones",
        lambda c: _avg(c) and c.kind == "i" and c.bits <= 16 and (c.plane or c.cube) and c.past_period,
    ),
    "10": Fault(
        "means by (2,2,2) are missing for several signed and most sparse types",
        lambda c: (
            _avg(c)
            and c.cube
            and (
                (c.dtype == "int16" and c.num_mips > 1)
                or (c.dtype in ("int32", "int64") and c.num_mips == 1)
                or (c.sparse and c.dtype not in ("uint8", "uint16"))
            )
        ),
        RAISES,
    ),
    "11": Fault("a fifth axis is lost, or raises, in the (2,2,2) paths", lambda c: c.cube and len(c.shape) > 4, ANY),
    "12": Fault(
        "sums wrap: 64-bit integers; 32 bits in the odd corner of (2,2,2)",
        lambda c: (
            _avg(c)
            and c.data != "small"
            and (
                (c.bits == 64 and c.kind in "iu") or (c.dtype in ("uint32", "float32") and c.cube and c.anywhere_ragged)
            )
        ),
    ),
    "13": Fault(
        "32- and 64-bit voxels are summed in float32 by other factors, and in pyramids",
        lambda c: (
            _avg(c)
            and (c.num_mips > 1 or not (c.plane or c.cube))
            and (_big_ints(c) or c.dtype == "float64")
            # Sums of small integers are exact even so; the means that a float64 pyramid carries on are not.
            and (c.data != "small" or (c.kind == "f" and c.num_mips > 1))
        ),
    ),
    "14": Fault(
        "float32 pyramids overflow where the mean is finite",
        lambda c: _avg(c) and c.dtype == "float32" and c.num_mips > 1 and c.data == "huge",
    ),
    "15": Fault(
        "read-only arrays are refused by the fast paths",
        lambda c: c.layout == "read-only" and c.op in ("avg", "seg"),
        RAISES,
    ),
    "16": Fault(
        "mode by other powers of two writes to the caller's array while it works (read-only: refused)",
        lambda c: _other_powers(c) and c.layout == "read-only",
        RAISES,
    ),
    "17": Fault(
        "in those paths the label with all bits set is taken for no label",
        lambda c: _other_powers(c) and c.data == "extreme labels",
    ),
    "18": Fault(
        "mode by a factor shorter than the rank also shrinks z",
        lambda c: c.op == "seg" and len(c.factor) < len(c.shape) and c.powers,
    ),
    "19": Fault(
        "mode by some powers of two raises: (2,1,1), (4,2,1), (2,2,4), (2,2,1,1) sparse",
        lambda c: _other_powers(c) or (c.op == "seg" and c.sparse and len(c.factor) > 3),
        RAISES,
    ),
    "20": Fault(
        "sparse mode by (4,4,1) or (4,4,4) is sparse for the first halving only",
        lambda c: c.op == "seg" and c.sparse and c.powers and max(c.whole) > 2,
    ),
    "21": Fault(
        "mode by (4,4,4) strides if a size is odd",
        lambda c: _other_powers(c) and min(c.whole[:3]) > 1 and c.anywhere_ragged,
    ),
    "22": Fault(
        "min and max raise, or are wrong, on sizes the factor does not divide",
        lambda c: c.op in ("min", "max") and c.anywhere_ragged,
        ANY,
    ),
    "23": Fault("striding by ones gives no mips", lambda c: c.op == "stride" and not c.pooled),
    "24": Fault("min pooling is not in the package itself; the version says 1.4.1", lambda c: False),
    "25": Fault("memory leaks in sparse pyramids and after errors; python -X dev crashes", lambda c: False),
    "26": Fault(
        "a factor beyond the third axis is ignored, one longer than the rank raises",
        lambda c: len(c.factor) > len(c.shape) or any(axis > 2 for axis in c.pooled),
        ANY,
    ),
    "27": Fault(
        "bool, float16, byte-swapped, reversed, packed, empty and many-axed arrays raise or give garbage",
        lambda c: (
            c.dtype in ("bool", "float16")
            or c.layout in ("big-endian", "reversed", "packed")
            or 0 in c.shape
            or len(c.shape) > 5
        ),
        ANY,
    ),
    "28": Fault(
        "accelerated.average_pooling_* takes every layout for Fortran order",
        lambda c: c.op == "pool2x2" and c.layout != "F",
    ),
    "29": Fault(
        "8- and 16-bit pyramids by other factors: a whole mean comes out one too low now and then",
        lambda c: _avg(c) and c.bits <= 16 and c.num_mips > 1 and not (c.plane or c.cube),
    ),
    "30": Fault("sparse mode of floats takes -0.0 for a label (kept: labels are bits)", lambda c: False),
    "A": Fault(
        "changed: floats are summed in float64 (the last bits only)",
        lambda c: _avg(c) and c.kind == "f",
        "last bits",
    ),
    "B": Fault(
        "changed: 32- and 64-bit integers are not truncated between mips",
        lambda c: _avg(c) and _big_ints(c) and c.num_mips > 1,
    ),
    "C": Fault(
        "changed: larger powers of two repeat the 2x2x2 rule, ties included",
        lambda c: c.op == "seg" and c.powers and len(c.pooled) > 2 and max(c.whole) > 2,
    ),
    "D": Fault(
        "changed: other factors average the voxels that exist in ragged cells, at every mip",
        lambda c: _avg(c) and c.num_mips > 1 and not (c.plane or c.cube) and c.anywhere_ragged,
    ),
    "E": Fault(
        "sparse pyramids by other factors average means, whatever number of voxels is behind each",
        lambda c: _avg(c) and c.sparse and c.num_mips > 1 and not (c.plane or c.cube),
    ),
    "F": Fault(
        "sparse mode by (1,2,2): of two labels across the diagonal from background, the other one",
        lambda c: c.op == "seg" and c.sparse and c.halves == (1, 2),
    ),
    "G": Fault(
        "mode of floats strides, but for the plain (2,2,1) and for (2,2,2)",
        lambda c: c.op == "seg" and c.kind == "f" and (c.sparse if c.plane else not c.cube),
    ),
}


# --- The calls to compare -------------------------------------------------------------------------

ALL_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
ODD_LAYOUTS = ("channel", "reversed", "read-only", "big-endian", "packed")
FACTORS = ((2, 2, 1), (2, 2, 2), (4, 4, 1), (3, 3, 3), (1, 2, 2))


def grid_of_cases(quick: bool) -> Iterator[Case]:
    """Every method by every factor, type, order, parity, number of mips, and sparse or not."""
    dtypes = {
        "avg": ("uint8", "int16", "int64", "float32") if quick else ALL_DTYPES,
        "seg": ("uint8", "uint64") if quick else ("uint8", "int16", "uint32", "uint64", "int64", "float32"),
        "min": ("uint8",) if quick else ("uint8", "int16", "uint64", "float32"),
        "max": ("uint8",) if quick else ("uint8", "int16", "uint64", "float32"),
        "stride": ("uint8",) if quick else ("uint8", "uint64"),
    }
    for op, factor, odd in itertools.product(dtypes, FACTORS, (False, True)):
        deep = 5 if factor in ((2, 2, 1), (2, 2, 2)) else 4
        shape = tuple(m * f**deep if f > 1 else 6 for f, m in zip(factor, (2, 3, 1), strict=True))
        if max(factor) > 2:  # one cell of the last mip along x and y is enough
            shape = tuple(f**deep if f > 1 else 6 for f in factor)
        if odd:
            # Ragged in mip 0 and again in mip 1, so that whole and partial voxels meet in a cell.
            shape = tuple(n + f + f // 2 if f > 1 else n for n, f in zip(shape, factor, strict=True))
        for num_mips, sparse in itertools.product((1, deep), (False, True)):
            if sparse and op not in ("avg", "seg"):
                continue
            for dtype, layout in itertools.product(dtypes[op], ("F", "C")):
                case = Case(op, factor, shape, dtype, num_mips, sparse, layout)
                yield case
                if op == "avg" and (_big_ints(case) or dtype == "float64"):
                    yield Case(op, factor, shape, dtype, num_mips, sparse, layout, "small")


def fault_cases() -> Iterator[Case]:
    """Calls for the faults that the grid does not meet."""
    even, odd = (32, 32, 16), (33, 31, 16)
    yield Case("seg", (2, 2, 2, 1), (16, 16, 16, 2), "uint32")
    yield Case("seg", (2, 2, 2), even, "uint32", layout="reversed")
    yield Case("seg", (2, 2, 2), even, "uint32", layout="channel")
    for n in (1, 2):
        yield Case("avg", (2, 2, 1), (33, 32, 5), num_mips=n)
        yield Case("avg", (2, 2, 1), (32, 33, 5), num_mips=n)
        yield Case("avg", (2, 2, 1), (33, 32, 5), num_mips=n, sparse=True)
        yield Case("avg", (2, 2, 1), (32, 33, 5), num_mips=n, sparse=True)
    yield Case("avg", (2, 2, 2), (512, 512, 512), "int8", num_mips=9, data="bands")
    yield Case("avg", (2, 2, 2, 1, 1), (16, 16, 16, 1, 2))
    yield Case("avg", (2, 2, 1), even, "float32", num_mips=2, data="huge")
    for op, factor in itertools.product(("avg", "seg"), ((2, 2, 1), (2, 2, 2), (4, 4, 1))):
        yield Case(op, factor, even, "uint32", layout="read-only")
    for dtype in ("uint8", "int32", "uint64"):
        yield Case("seg", (2, 1, 2), even, dtype, data="extreme labels")
        yield Case("seg", (4, 4, 4), even, dtype, data="extreme labels")
        yield Case("seg", (2, 2, 1), even, dtype, data="extreme labels")
    wider: tuple[tuple[int, ...], ...] = ((2, 2), (4, 4), (2,), (2, 1, 1), (4, 2, 1), (2, 2, 4), (4, 4, 4))
    for wide in wider:
        yield Case("seg", wide, even, "uint32")
        yield Case("seg", wide, even, "uint32", sparse=True)
    yield Case("seg", (4, 4, 4), odd, "uint32")
    yield Case("seg", (2, 2, 1, 1), (32, 32, 8, 2), "uint32")
    yield Case("seg", (2, 2, 1, 1), (32, 32, 8, 2), "uint32", sparse=True)
    yield Case("seg", (4, 4, 4, 1), (32, 32, 8, 2), "uint32")
    yield Case("avg", (1, 1, 1, 2), (8, 8, 8, 4))
    yield Case("avg", (2, 2, 1, 1), (32, 32, 8, 2))
    yield Case("avg", (2, 2, 1, 1), even)
    yield Case("stride", (1, 1, 1), even)
    for dtype, layout in (("bool", "F"), ("float16", "F"), *(("uint16", layout) for layout in ODD_LAYOUTS)):
        yield Case("avg", (2, 2, 1), even, dtype, layout=layout)
        yield Case("seg", (2, 2, 1), even, dtype, layout=layout)
    yield Case("avg", (2, 2, 1), (0, 8, 8))
    yield Case("avg", (2, 2), (8, 8, 2, 2, 2, 2))
    yield Case("pool2x2", (2, 2), even, layout="F")
    yield Case("pool2x2", (2, 2), even, layout="C")
    for name in ("em", "seg"):  # real volumes, where there are any
        if (DATA / f"{name}.npz").exists():
            shape, dtype = ((512, 512, 30), "uint8") if name == "em" else ((512, 512, 64), "uint32")
            for factor, n, sparse in itertools.product(((2, 2, 1), (2, 2, 2)), (1, 4), (False, True)):
                yield Case("avg" if name == "em" else name, factor, shape, dtype, n, sparse, data=f"real {name}")


def voxels(case: Case) -> Array:
    """Make the input of a case; equal for equal data, dtype and shape."""
    rng = np.random.default_rng(len(case.data) * 1009 + sum(case.shape))
    dtype = np.dtype(case.dtype)
    if case.data.startswith("real "):
        loaded = np.load(DATA / f"{case.data[5:]}.npz")
        return np.asarray(loaded[loaded.files[0]][tuple(map(slice, case.shape))])
    if case.data == "bands":
        return np.broadcast_to((np.arange(case.shape[0]) % 7 - 5).astype(dtype)[:, None, None], case.shape)
    if case.data == "extreme labels":
        top = -1 if dtype.kind == "i" else np.iinfo(dtype).max
        return rng.choice(np.array([0, 1, top], dtype), case.shape)
    if case.op == "seg":  # few labels: every kind of tie
        return rng.integers(0, 2 if dtype.kind == "b" else 5, case.shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(case.shape) < 0.5
    if case.data == "small":
        made = rng.integers(0 if dtype.kind == "u" else -SMALL_RANGE, SMALL_RANGE, case.shape).astype(dtype)
    elif dtype.kind == "f":
        top = np.finfo(dtype).max if case.data == "huge" else 1000
        made = (top * (0.5 + rng.random(case.shape) / 2)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        made = rng.integers(limits.min, limits.max, case.shape, dtype, endpoint=True)
    made[rng.random(case.shape) < 0.3] = 0
    return made
