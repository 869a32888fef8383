"""One call of a public function: its arguments checked, its route chosen, its outputs filled.

The route is the kernels wherever they know the dtype; numpy for the few dtypes they don't; copies of strided views for
segmentation by factors that aren't powers of two. `tinybrain.explain` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from tinybrain import _native, _numpy
from tinybrain._arguments import (
    Array,
    Factor,
    Shape,
    as_array,
    check_halving_sizes,
    check_mips,
    check_outputs,
    checked_factor,
    dask_array,
    different_mips,
    factor_entries,
    integer,
    mip_shapes,
    not_negative,
    output_arrays,
    stand_in,
    truth,
)

# Item sizes by kind of dtype.
_KERNEL_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (4, 8)}
METHODS = ("averaging", "segmentation", "min", "max", "striding")


@dataclass(frozen=True)
class Route:
    """How a call is computed, as `explain` tells it.

    Attributes
    ----------
    engine : {"native", "numpy", "copy", "view"}
        ``native``: the Rust kernels; ``numpy``: a numpy path; ``copy``: strided copies (segmentation by a
        factor that is not made of powers of two); ``view``: the input itself, or strided views of it.
    kernel : str
        What computes, in words.
    backend : str
        The instruction set: ``avx512``, ``avx2``, ``scalar``, or ``numpy``.
    threads : int
        How many threads the call would use.
    copies : bool
        Whether a copy of the whole input is made on the way.
    reason : str
        Why the kernels don't take the input as it is; empty if they do.
    """

    engine: str
    kernel: str
    backend: str
    threads: int = 1
    copies: bool = False
    reason: str = ""

    def __str__(self) -> str:
        words = f"{self.engine}: {self.kernel} ({self.backend}, {self.threads} thread{'s' * (self.threads != 1)})"
        return f"{words}; {self.reason}" if self.reason else words


def strided(img: Array, factor: Shape, num_mips: int) -> list[Array]:
    """Return the strided views: the first voxel of every cell, level after level."""
    steps = tuple(slice(None, None, f) for f in factor)
    mips = []
    for _ in range(num_mips):
        img = img[steps]
        mips.append(img)
    return mips


class Call:
    """A call with its arguments checked: types first, then values.

    `img` may be a dask array: it is checked by its shape and dtype, and `run` leaves the voxels to `tinybrain._dask`.
    With `whole` false it is a block of a larger image, whose size is not that of the block and has been checked.
    """

    def __init__(
        self,
        method: str,
        img: npt.ArrayLike,
        factor: Factor,
        num_mips: SupportsIndex,
        out: Sequence[Array] | None = None,
        parallel: SupportsIndex = 0,
        sparse: bool | np.bool_ = False,
        exact: bool | np.bool_ = False,
        name: str = "img",
        whole: bool = True,
    ) -> None:
        self.method, self.sparse = method, truth("sparse", sparse)
        self.exact = exact = truth("exact", exact)
        self.chunked = dask_array(img)
        self.img: Array = as_array(name, img) if self.chunked is None else stand_in(name, self.chunked, out)
        _check_dtype(method, name, self.img.dtype, exact)
        entries = factor_entries(factor)
        self.num_mips = integer("num_mips", num_mips)
        self.parallel = integer("parallel", parallel)
        self.out = output_arrays(out)
        self.given = out

        self.factor = checked_factor(entries, self.img.ndim)
        check_mips(self.num_mips)
        not_negative("parallel", self.parallel)
        if method == "averaging" and not exact and whole:
            check_halving_sizes(self.img.shape, self.factor, self.num_mips)
        self.is_trivial = max(self.factor, default=1) == 1
        dtype = self.img.dtype
        self.dtype: np.dtype[Any] = dtype if dtype.isnative else dtype.newbyteorder("=")
        if self.out is not None:
            check_outputs(self.out, self.img, mip_shapes(self.img.shape, self.factor, self.num_mips), self.dtype)
        self.depth = different_mips(self.img.shape, self.factor, self.num_mips)
        self.has_kernel, self.engine, self.reason = self._engine()
        self.copies = bool(self.reason) and self.engine != "copy" and method != "striding" and not self.is_trivial

    def _engine(self) -> tuple[bool, str, str]:
        """Return whether a kernel computes, the engine as `Route` names it, and why it isn't the kernel alone."""
        dtype = self.img.dtype
        if self.method == "segmentation" and not self.exact and any(f & (f - 1) for f in self.factor):
            return False, "copy", f"factor {self.factor} has entries that are not powers of two"
        if self.method != "segmentation" and (
            dtype.kind not in "biuf" or dtype.itemsize not in _KERNEL_SIZES[dtype.kind]
        ):
            return False, "numpy", f"there is no kernel for {dtype}"
        if not dtype.isnative:
            return True, "native", f"byte-swapped {dtype.str} is converted to native byte order first"
        return True, "native", ""

    def run(self) -> list[Array]:
        """Fill the outputs by the kernels, or by numpy; of dask arrays, lazily, return others."""
        if self.copies and os.environ.get("TINYBRAIN_STRICT", "0") not in ("", "0"):
            raise RuntimeError(f"TINYBRAIN_STRICT is set, and {self.reason}")
        if self.chunked is not None:
            from tinybrain import _dask

            return _dask.pyramid(self)
        if self.is_trivial:
            if self.out is None:
                return [self.img] * self.num_mips
            for mip in self.out:
                np.copyto(mip, self.img)
            return self._results(self.out)
        if self.method == "striding":
            return strided(self.img, self.factor, self.num_mips)
        out = self.out
        if out is None:
            shapes = mip_shapes(self.img.shape, self.factor, self.num_mips)
            out = [_numpy.empty_mip(self.img, shape) for shape in shapes]
        if self.has_kernel:
            self.img = self.img.astype(self.dtype, copy=False)
            self._by_kernel(out[: self.depth], min(self.parallel, 1 << 30))
        else:
            for mip, voxels in zip(out, self._by_numpy(), strict=False):
                np.copyto(mip, voxels)
        for mip in out[self.depth :]:
            np.copyto(mip, out[self.depth - 1])
        return self._results(out)

    def _by_kernel(self, out: list[Array], threads: int) -> None:
        """Fill the outputs."""
        if self.method == "averaging":
            _native.averaging(self.img, self.factor, self.sparse, out, threads, exact=self.exact)
        elif self.method == "segmentation":
            _native.segmentation(self.img, self.factor, self.sparse, out, threads, exact=self.exact)
        else:
            _native.extrema(self.img, self.factor, self.method == "max", out, threads)

    def _by_numpy(self) -> list[Array]:
        """Make the mips that differ."""
        if self.method == "averaging":
            return _numpy.average(self.img, self.factor, self.depth, self.sparse, self.exact)
        if self.method == "segmentation":
            return strided(self.img, self.factor, self.depth)
        return _numpy.extremum(self.img, self.factor, self.depth, self.method == "max")

    def _results(self, out: list[Array]) -> list[Array]:
        """Return what was filled: the very objects that were given, if they were."""
        return out if self.given is None else list(self.given)

    def route(self) -> Route:
        """Say what `run` would do."""
        if self.chunked is not None and not self.is_trivial:
            from tinybrain import _dask

            return _dask.route(self)
        if self.method == "striding" or self.is_trivial:
            what = "strided views" if self.method == "striding" and not self.is_trivial else "the input itself"
            return Route("view", what, "numpy")
        if not self.has_kernel:
            words = {"averaging": "mean", "segmentation": "striding", "min": "minimum", "max": "maximum"}[self.method]
            words = f"sparse {words}" if self.sparse and self.method == "averaging" else words
            return Route(self.engine, words, "numpy", copies=self.copies, reason=self.reason)
        img = np.broadcast_to(np.empty((), self.dtype), self.img.shape) if self.copies else self.img
        threads = min(self.parallel, 1 << 30)
        kernel, backend, threads = _native.explain(
            self.method, img, self.factor, self.depth, self.sparse, threads, self.exact
        )
        return Route(self.engine, kernel, backend, threads, self.copies, self.reason)


def pyramid(
    method: str,
    img: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex,
    out: Sequence[Array] | None,
    parallel: SupportsIndex,
    sparse: bool | np.bool_ = False,
    exact: bool | np.bool_ = False,
    name: str = "img",
) -> list[Array]:
    """Make the mips: in one step if the call is of the usual kind, else by a `Call`."""
    mips = _native.usual(method, img, factor, num_mips, sparse, exact, out, parallel)
    return Call(method, img, factor, num_mips, out, parallel, sparse, exact, name).run() if mips is None else mips


def _check_dtype(method: str, name: str, dtype: np.dtype[Any], exact: bool) -> None:
    """Raise `TypeError` for dtypes that the method gives no meaning to."""
    if exact and method == "segmentation" and dtype.kind not in "biu":
        raise TypeError(f"{name}: got dtype {dtype}; with exact, accepted are bool and integers")
    known = {"averaging": "biufc", "segmentation": "biufcmM", "min": "biufmM", "max": "biufmM"}.get(method)
    if known is None:
        return
    if dtype.kind not in known or (method == "segmentation" and dtype.itemsize not in (1, 2, 4, 8)):
        accepted = {
            "averaging": "bool, integers, floats and complex numbers",
            "segmentation": "bool, integers, floats, complex numbers and datetimes of 1, 2, 4 or 8 bytes",
        }.get(method, "bool, integers, floats and datetimes")
        raise TypeError(f"{name}: got dtype {dtype}; accepted are {accepted}")
