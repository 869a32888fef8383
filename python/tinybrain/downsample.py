"""Image pyramids of volumes: average, mode, min and max pooling, and striding.

The public functions: each checks its arguments, chooses between the kernels and numpy (`explain` tells which), and
allocates what it returns. What is computed, and how fast, is decided in the Rust module ``tinybrain._native``.

All functions share these rules. A *factor* says how many voxels along each axis make one voxel of the next mip; it may be
shorter than the image's rank, and missing entries are 1. Extents are divided and rounded up. Any rank, memory order,
strides and byte order is welcome; inputs are never written to, and results have the input's memory order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from tinybrain import _native, _numpy
from tinybrain._arguments import (
    Array,
    Factor,
    Shape,
    check_halving_sizes,
    check_outputs,
    checked_factor,
    factor_entries,
    integer,
    mip_shapes,
    not_negative,
    output_arrays,
)
from tinybrain._countless import (
    DimensionError,
    countless,
    countless2d,
    countless3d,
    downsample_segmentation_2d,
    downsample_with_averaging_numpy,
    odd_to_even2d,
    stippled_countless2d,
)

__all__ = [
    "DimensionError",
    "Route",
    "countless",
    "countless2d",
    "countless3d",
    "downsample_segmentation",
    "downsample_segmentation_2d",
    "downsample_with_averaging",
    "downsample_with_averaging_numpy",
    "downsample_with_max_pooling",
    "downsample_with_min_pooling",
    "downsample_with_striding",
    "explain",
    "odd_to_even2d",
    "stippled_countless2d",
]


@dataclass(frozen=True)
class Route:
    """How a call is computed, as `explain` tells it.

    Attributes
    ----------
    engine : {"native", "numpy", "copy", "view"}
        ``native``: the Rust kernels; ``numpy``: a numpy path; ``copy``: strided copies (segmentation by a factor that is
        not made of powers of two); ``view``: the input itself, or strided views of it.
    kernel : str
        What computes, in words.
    backend : str
        The instruction set: ``avx2``, ``scalar``, or ``numpy``.
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
        words = (
            f"{self.engine}: {self.kernel} ({self.backend}, {self.threads} thread{'s' * (self.threads != 1)})"
        )
        return f"{words}; {self.reason}" if self.reason else words


def downsample_with_averaging(
    img: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex = 1,
    sparse: bool | np.bool_ = False,
    *,
    exact: bool | np.bool_ = False,
    out: Sequence[Array] | None = None,
    parallel: SupportsIndex = 0,
) -> list[Array]:
    """Make a pyramid of means.

    Parameters
    ----------
    img : array_like, shape (n0, n1, ...)
        The image; bool, integers, floats or complex numbers, of any rank, order and strides.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip, such as ``(2, 2, 1)``.
    num_mips : int
        Number of mips.
    sparse : bool
        Leave background (zero) out: the mean of the voxels that aren't 0, and 0 where there are none. NaN counts as a
        value, -0.0 as background.
    exact : bool
        Not in this release.
    out : sequence of ndarray, optional
        Arrays to fill and return, one per mip: in shape, dtype (native byte order), writable, sharing no memory.
    parallel : int
        Number of threads; 0 means all cores this process may use. Results are the same for every value.

    Returns
    -------
    list of ndarray
        Mip 1 first; shapes (ceil(n0 / f0), ceil(n1 / f1), ...), dtype of `img`. With a factor of all ones, `img` itself
        `num_mips` times.

    Raises
    ------
    TypeError
        For dtypes without a mean (object, strings, records, datetimes) and arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative `num_mips` or
        `parallel`, arrays in `out` that can't be filled; and, where two or three axes are pooled by 2, for extents
        from 1 to ``2**num_mips - 1`` along them.
    NotImplementedError
        For `exact`.

    Notes
    -----
    *Rounding.* Integer sums are exact, and carried from mip to mip; a mip is the quotient truncated toward zero. With
    two pooled axes of factor 2, 8- and 16-bit integers restart from the written mip after every 4 mips; with three,
    8-bit integers after every 8 and 16-bit integers after every 5. Floats are summed in float64 and rounded
    once per mip. bool: True where any voxel is.

    *Edge.* If all pooled axes have factor 2, a lone trailing row, column or slice counts twice, at every level. With
    any other factor a voxel is the mean of those voxels of `img` that exist in its cell.

    A pyramid by repeated means of 2x2 cells is the classic of L. Williams, "Pyramidal parametrics", SIGGRAPH 1983.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> img = np.arange(16, dtype=np.uint8).reshape(4, 4)
    >>> tinybrain.downsample_with_averaging(img, (2, 2), num_mips=2)
    [array([[ 2,  4],
           [10, 12]], dtype=uint8), array([[7]], dtype=uint8)]
    >>> tinybrain.downsample_with_averaging(img * (img > 9), (2, 2), sparse=True)[0]
    array([[ 0,  0],
           [12, 12]], dtype=uint8)
    """
    call = _Call("averaging", img, factor, num_mips, out, parallel, bool(sparse), bool(exact))
    return call.run(
        lambda out, threads: _native.averaging(call.img, call.factor, call.sparse, out, threads),
        lambda: _numpy.average(call.img, call.factor, call.depth, call.sparse),
    )


def downsample_segmentation(
    img: npt.ArrayLike,
    factor: Factor,
    sparse: bool | np.bool_ = False,
    num_mips: SupportsIndex = 1,
    *,
    exact: bool | np.bool_ = False,
    out: Sequence[Array] | None = None,
    parallel: SupportsIndex = 0,
) -> list[Array]:
    """Make a pyramid of the most frequent labels.

    Parameters
    ----------
    img : array_like, shape (n0, n1, ...)
        The labels: any dtype of 1, 2, 4 or 8 bytes. They are compared by their bits, so 0, -1 and the largest value
        are labels like any other, and so is -0.0.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip, such as ``(2, 2, 2)``.
    sparse : bool
        Leave background (all bits zero) out where a cell holds anything else.
    num_mips : int
        Number of mips.
    exact : bool
        Not in this release.
    out : sequence of ndarray, optional
        Arrays to fill and return, one per mip: in shape, dtype (native byte order), writable, sharing no memory.
    parallel : int
        Number of threads; 0 means all cores this process may use. Results are the same for every value.

    Returns
    -------
    list of ndarray
        Mip 1 first; shapes (ceil(n0 / f0), ceil(n1 / f1), ...), dtype of `img`. With a factor of all ones, `img` itself
        `num_mips` times.

    Raises
    ------
    TypeError
        For other dtypes and arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative `num_mips` or
        `parallel`, and arrays in `out` that can't be filled.
    NotImplementedError
        For `exact`.

    Notes
    -----
    A mip is made from the mip above it. If all entries of the factor are powers of two, every axis whose remaining factor
    is at least 2 is halved, step by step: ``(4, 4, 1)`` is two steps of ``(2, 2, 1)``. If any is not, the labels are
    strided: the first voxel of each cell, `sparse` or not.

    *Ties.* A step over exactly two axes, with a the first voxel of a cell, b one along the first of the axes, c one along the
    second, and d both: a if it equals b or c, else b if it equals c, else d. Any other step: the most frequent label, and
    of equally frequent ones the one met first in raster order (axis 0 fastest). With `sparse`, pairs of background
    don't count in the rule of pairs; where none is left it is d, or else the first that isn't background of a, c, b.

    *Edge.* Cells at an odd edge are decided by the voxels that exist.

    The rule for 2x2 cells is the one of W. Silversmith, "Countless: high performance 2x downsampling of labeled images
    using Python and Numpy", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> labels = np.array([[7, 7, 0, 0], [7, 9, 0, 5]], dtype=np.uint64)
    >>> tinybrain.downsample_segmentation(labels, (2, 2))[0]
    array([[7, 0]], dtype=uint64)
    >>> tinybrain.downsample_segmentation(labels, (2, 2), sparse=True)[0]
    array([[7, 5]], dtype=uint64)
    """
    call = _Call("segmentation", img, factor, num_mips, out, parallel, bool(sparse), bool(exact))
    return call.run(
        lambda out, threads: _native.segmentation(call.img, call.factor, call.sparse, out, threads),
        lambda: _strided(call.img, call.factor, call.depth),
    )


def downsample_with_min_pooling(
    array: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex = 1,
    *,
    out: Sequence[Array] | None = None,
    parallel: SupportsIndex = 0,
) -> list[Array]:
    """Make a pyramid of minima.

    Parameters
    ----------
    array : array_like, shape (n0, n1, ...)
        The image: bool, integers, floats or datetimes, of any rank, order and strides.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip.
    num_mips : int
        Number of mips.
    out : sequence of ndarray, optional
        Arrays to fill and return, one per mip: in shape, dtype (native byte order), writable, sharing no memory.
    parallel : int
        Number of threads; 0 means all cores this process may use.

    Returns
    -------
    list of ndarray
        Mip 1 first; mip k holds the minimum of the voxels of `array` that exist in each cell of ``factor**k``. NaN
        propagates, as in `numpy.minimum`.

    Raises
    ------
    TypeError
        For dtypes without an order (complex, object, strings, records) and arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative `num_mips` or
        `parallel`, and arrays in `out` that can't be filled.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> tinybrain.downsample_with_min_pooling(np.array([5, 3, 8, 7, 9]), (2,))[0]
    array([3, 7, 9])
    """
    return _extremum("min", array, factor, num_mips, out, parallel)


def downsample_with_max_pooling(
    array: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex = 1,
    *,
    out: Sequence[Array] | None = None,
    parallel: SupportsIndex = 0,
) -> list[Array]:
    """Make a pyramid of maxima.

    Parameters
    ----------
    array : array_like, shape (n0, n1, ...)
        The image: bool, integers, floats or datetimes, of any rank, order and strides.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip.
    num_mips : int
        Number of mips.
    out : sequence of ndarray, optional
        Arrays to fill and return, one per mip: in shape, dtype (native byte order), writable, sharing no memory.
    parallel : int
        Number of threads; 0 means all cores this process may use.

    Returns
    -------
    list of ndarray
        Mip 1 first; mip k holds the maximum of the voxels of `array` that exist in each cell of ``factor**k``. NaN
        propagates, as in `numpy.maximum`.

    Raises
    ------
    TypeError
        For dtypes without an order (complex, object, strings, records) and arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, a negative `num_mips` or
        `parallel`, and arrays in `out` that can't be filled.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> tinybrain.downsample_with_max_pooling(np.array([5, 3, 8, 7, 9]), (2,))[0]
    array([5, 8, 9])
    """
    return _extremum("max", array, factor, num_mips, out, parallel)


def downsample_with_striding(
    array: npt.ArrayLike, factor: Factor, num_mips: SupportsIndex = 1
) -> list[Array]:
    """Make a pyramid of the first voxel of every cell, without copying.

    Parameters
    ----------
    array : array_like, shape (n0, n1, ...)
        The image, of any dtype.
    factor : sequence of int
        Voxels along each axis that make one voxel of the next mip.
    num_mips : int
        Number of mips.

    Returns
    -------
    list of ndarray
        Views of `array`, mip 1 first: ``array[::f0, ::f1, ...]``, repeated. With a factor of all ones, `array` itself
        `num_mips` times.

    Raises
    ------
    TypeError
        For arguments of the wrong type.
    ValueError
        For a factor entry below 1 or not integral, a factor that pools more axes than there are, and a negative
        `num_mips`.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> tinybrain.downsample_with_striding(np.arange(9), (2,), num_mips=2)
    [array([0, 2, 4, 6, 8]), array([0, 4, 8])]
    """
    call = _Call("striding", array, factor, num_mips)
    return [call.img] * call.num_mips if call.is_trivial else _strided(call.img, call.factor, call.num_mips)


def explain(
    img: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex = 1,
    sparse: bool | np.bool_ = False,
    *,
    method: str = "averaging",
    exact: bool | np.bool_ = False,
    parallel: SupportsIndex = 0,
) -> Route:
    """Tell how a call would be computed: by which kernel, with which instructions, or why not by a kernel.

    Set the environment variable ``TINYBRAIN_STRICT=1`` to make every call that would leave the kernels for numpy an error.

    Parameters
    ----------
    img : array_like
        The image or labels.
    factor, num_mips, sparse, exact, parallel
        As in the call.
    method : {"averaging", "segmentation", "min", "max", "striding"}
        The function.

    Returns
    -------
    Route
        Nothing is computed.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As the call would; `ValueError` for an unknown method.

    Examples
    --------
    >>> import numpy as np
    >>> import tinybrain
    >>> tinybrain.explain(np.zeros((64, 64), np.uint8), (2, 2), method="averaging").kernel
    'mean, sums in 16 bits'
    >>> print(tinybrain.explain(np.zeros((64, 64), np.float16), (2, 2)))
    numpy: mean (numpy, 1 thread); there is no kernel for float16
    """
    if method not in _METHODS:
        raise ValueError(f"method: got {method!r}; accepted are {', '.join(_METHODS)}")
    return _Call(method, img, factor, num_mips, None, parallel, bool(sparse), bool(exact)).route()


# Item sizes by kind of dtype.
_KERNEL_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (4, 8)}
_METHODS = ("averaging", "segmentation", "min", "max", "striding")


def _extremum(
    method: str,
    array: npt.ArrayLike,
    factor: Factor,
    num_mips: SupportsIndex,
    out: Sequence[Array] | None,
    parallel: SupportsIndex,
) -> list[Array]:
    call = _Call(method, array, factor, num_mips, out, parallel, name="array")
    return call.run(
        lambda out, threads: _native.extrema(call.img, call.factor, method == "max", out, threads),
        lambda: _numpy.extremum(call.img, call.factor, call.depth, method == "max"),
    )


def _strided(img: Array, factor: Shape, num_mips: int) -> list[Array]:
    steps = tuple(slice(None, None, f) for f in factor)
    mips = []
    for _ in range(num_mips):
        img = img[steps]
        mips.append(img)
    return mips


class _Call:
    """A call with its arguments checked: types first, then values."""

    def __init__(
        self,
        method: str,
        img: npt.ArrayLike,
        factor: Factor,
        num_mips: SupportsIndex,
        out: Sequence[Array] | None = None,
        parallel: SupportsIndex = 0,
        sparse: bool = False,
        exact: bool = False,
        name: str = "img",
    ) -> None:
        self.method, self.sparse = method, sparse
        self.img: Array = np.asarray(img)
        _check_dtype(method, name, self.img.dtype, exact)
        entries = factor_entries(factor)
        self.num_mips = integer("num_mips", num_mips)
        self.parallel = integer("parallel", parallel)
        self.out = output_arrays(out)

        self.factor = checked_factor(entries, self.img.ndim)
        not_negative("num_mips", self.num_mips)
        not_negative("parallel", self.parallel)
        if method == "averaging" and not exact:
            check_halving_sizes(self.img.shape, self.factor, self.num_mips)
        self.is_trivial = max(self.factor, default=1) == 1
        self.dtype: np.dtype[Any] = self.img.dtype.newbyteorder("=")
        if self.out is not None:
            check_outputs(
                self.out, self.img, mip_shapes(self.img.shape, self.factor, self.num_mips), self.dtype
            )
        if exact and not self.is_trivial:
            raise NotImplementedError(
                "exact: exact pyramids come with a later release; accepted is exact=False"
            )
        self.depth = self._depth()
        self.has_kernel, self.engine, self.reason = self._engine()
        self.copies = bool(self.reason) and self.engine != "copy"

    def _engine(self) -> tuple[bool, str, str]:
        """Return whether a kernel computes, the engine as `Route` names it, and why it isn't the kernel alone."""
        dtype = self.img.dtype
        if self.method == "segmentation" and any(f & (f - 1) for f in self.factor):
            return False, "copy", f"factor {self.factor} has entries that are not powers of two"
        if self.method != "segmentation" and (
            dtype.kind not in "biuf" or dtype.itemsize not in _KERNEL_SIZES[dtype.kind]
        ):
            return False, "numpy", f"there is no kernel for {dtype}"
        if not dtype.isnative:
            return True, "native", f"byte-swapped {dtype.str} is converted to native byte order first"
        return True, "native", ""

    def _depth(self) -> int:
        """Return after how many mips all pooled axes have extent 1: from there on, mips repeat."""
        if self.is_trivial:
            return 0
        reduces = [extent for extent, f in zip(self.img.shape, self.factor, strict=True) if f > 1]
        by = [f for f in self.factor if f > 1]
        depth = 1
        while depth < self.num_mips and max(reduces) > 1:
            reduces = [-(-extent // f) for extent, f in zip(reduces, by, strict=True)]
            depth += max(reduces) > 1
        return min(depth, self.num_mips)

    def run(
        self, native: Callable[[list[Array], int], None], numpy: Callable[[], list[Array]]
    ) -> list[Array]:
        """Fill the outputs by the kernels, which take outputs and threads, or by numpy, which makes them."""
        if self.is_trivial:
            if self.out is None:
                return [self.img] * self.num_mips
            for mip in self.out:
                np.copyto(mip, self.img)
            return self.out
        if self.copies and os.environ.get("TINYBRAIN_STRICT", "0") not in ("", "0"):
            raise RuntimeError(f"TINYBRAIN_STRICT is set, and {self.reason}")
        out = self._outputs() if self.out is None else self.out
        if self.has_kernel:
            self.img = self.img.astype(self.dtype, copy=False)
            native(out[: self.depth], min(self.parallel, 1 << 30))
        else:
            for mip, voxels in zip(out, numpy(), strict=False):
                np.copyto(mip, voxels)
        for mip in out[self.depth :]:
            np.copyto(mip, out[self.depth - 1])
        return out

    def _outputs(self) -> list[Array]:
        shapes = mip_shapes(self.img.shape, self.factor, self.num_mips)
        return [
            np.empty_like(self.img, dtype=self.dtype, order="K", subok=False, shape=shape) for shape in shapes
        ]

    def route(self) -> Route:
        """Say what `run` would do."""
        if self.method == "striding" or self.is_trivial:
            what = (
                "strided views" if self.method == "striding" and not self.is_trivial else "the input itself"
            )
            return Route("view", what, "numpy")
        if not self.has_kernel:
            words = {"averaging": "mean", "segmentation": "striding", "min": "minimum", "max": "maximum"}[
                self.method
            ]
            words = f"sparse {words}" if self.sparse and self.method == "averaging" else words
            return Route(self.engine, words, "numpy", copies=self.copies, reason=self.reason)
        img = np.broadcast_to(np.empty((), self.dtype), self.img.shape) if self.copies else self.img
        threads = min(self.parallel, 1 << 30)
        kernel, backend, threads = _native.explain(
            self.method, img, self.factor, self.depth, self.sparse, threads
        )
        return Route(self.engine, kernel, backend, threads, self.copies, self.reason)


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
            "segmentation": "labels of 1, 2, 4 or 8 bytes",
        }.get(method, "bool, integers, floats and datetimes")
        raise TypeError(f"{name}: got dtype {dtype}; accepted are {accepted}")
